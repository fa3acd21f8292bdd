package unit

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// keysText is the table of systemd's settings; its head says what it holds.
//
//go:embed keys.txt
var keysText string

// Newest is the version of systemd whose settings are known in full.
const Newest = 257

// setting is one of systemd's settings, as it is in some sections.
type setting struct {
	key      string
	sections []string
	since    int  // the version of systemd that brought it; 0: long ago
	gone     bool // systemd ignores it nowadays
	kind     string
	words    []string
	filled   bool // an empty value means nothing to systemd
}

// single are the kinds of settings with one value, most of which an empty one
// doesn't take back: systemd ignores it, with a line in its journal.
var single = []string{"bool", "busname", "enum", "int", "mode", "nspan", "rlimit-int", "rlimit-nice", "rlimit-size", "rlimit-span", "rlimit-uspan", "signal", "size", "slice", "span", "unit"}

func (s setting) in(section string) bool { return slices.Contains(s.sections, section) }

// settings is the table, by key. A key that means different things in
// different sections has several entries.
var settings = sync.OnceValue(func() map[string][]setting {
	table := make(map[string][]setting, 512)
	for line := range strings.Lines(keysText) {
		words := strings.Fields(line)
		if len(words) < 4 || words[0] == "#" {
			continue
		}
		s := setting{key: words[0], gone: words[2] == "gone", kind: words[3], words: words[4:]}
		s.since, _ = strconv.Atoi(words[2])
		kind, mayBeEmpty := strings.CutSuffix(s.kind, "?")
		s.kind, s.filled = kind, !mayBeEmpty && slices.Contains(single, kind)
		switch words[1] {
		case "exec":
			s.sections = []string{"Service", "Socket", "Mount", "Swap"}
		case "cgroup":
			s.sections = []string{"Service", "Socket", "Mount", "Swap", "Slice"}
		default:
			s.sections = strings.Split(words[1], ",")
		}
		table[s.key] = append(table[s.key], s)
	}
	return table
})

// lookUp finds a key in a section. Where the section hasn't it, elsewhere are
// the sections that have.
func lookUp(section, key string) (s setting, elsewhere []string, ok bool) {
	for _, s := range settings()[key] {
		if s.in(section) {
			return s, nil, true
		}
		elsewhere = append(elsewhere, s.sections...)
	}
	return setting{}, elsewhere, false
}

// keysOf returns the keys of a section that a version of systemd has, sorted.
func keysOf(section string, version int) []string {
	var keys []string
	for key, all := range settings() {
		if slices.ContainsFunc(all, func(s setting) bool { return s.in(section) && s.since <= version && !s.gone }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// isOneOf says whether the words of a setting allow a value in this version of
// systemd; since is the version that does, if this one is too old.
func isOneOf(words []string, value string, version int) (ok bool, since int) {
	for _, word := range words {
		word, from := cutVersion(word)
		prefix, isPrefix := strings.CutSuffix(word, "*")
		if word != value && !(isPrefix && strings.HasPrefix(value, prefix)) && !between(word, value) {
			continue
		}
		if since, _ = strconv.Atoi(from); since <= version {
			return true, 0
		}
	}
	return false, since
}

// cutVersion cuts the version off a setting's word: strict@257.
func cutVersion(word string) (plain, since string) {
	if at := strings.LastIndexByte(word, '@'); at > 0 {
		return word[:at], word[at+1:]
	}
	return word, ""
}

// plainWords are the words of a setting for an error's text.
func plainWords(words []string, version int) string {
	var plain []string
	for _, word := range words {
		word, from := cutVersion(word)
		if since, _ := strconv.Atoi(from); since <= version && !strings.HasSuffix(word, "%*") && !strings.Contains(word, "..") {
			plain = append(plain, strings.Replace(word, "*", "...", 1))
		}
	}
	return strings.Join(plain, ", ")
}
