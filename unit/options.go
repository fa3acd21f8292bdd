package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Options are what a unit file's [X-Cluster] section asks of the cluster, its
// specifiers expanded for one unit.
type Options struct {
	// Global units run on every machine that fits.
	Global bool
	// MachineID is the only machine that fits: an unambiguous prefix of its id,
	// or its host name. Empty means any.
	MachineID string
	// MachineOf are the full names of units that must be on the same machine.
	MachineOf []string
	// Conflicts are patterns (path.Match) of names of units that must not be on
	// the same machine.
	Conflicts []string
	// Replaces are patterns of names of units that make room.
	Replaces []string
	// Metadata has, for each key, the values of which the machine must have one.
	Metadata map[string][]string
	// Warnings are about what was ignored, in the form "name:line: what; fix".
	Warnings []string
}

// The sections that are the cluster's. The second is fleet's: in it, what is
// not understood is a warning, as it was there.
const (
	clusterSection = "X-Cluster"
	fleetSection   = "X-Fleet"
)

// optionKeys are the keys of [X-Cluster].
var optionKeys = []string{"Global", "MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Replaces", "Fencing"}

// canonical returns the present name of a key, which may be one of fleet's old ones.
func canonical(key string) string {
	switch key {
	case "X-ConditionMachineID", "X-ConditionMachineBootID":
		return "MachineID"
	case "X-ConditionMachineOf":
		return "MachineOf"
	case "X-ConditionMachineMetadata":
		return "MachineMetadata"
	case "X-Conflicts":
		return "Conflicts"
	}
	return key
}

// Options reads the file's [X-Cluster] and [X-Fleet] sections for the unit n.
// Where n is a template, %i stands for an instance not yet known: the options
// are then only good for being checked. The error joins a *SyntaxError for
// each thing wrong.
func (f *File) Options(n Name) (Options, error) {
	r := optionReader{file: f, unit: n, lines: map[string]int{}}
	for _, a := range f.assignments {
		if a.section == clusterSection || a.section == fleetSection {
			r.fleet = a.section == fleetSection
			r.assign(canonical(a.key), a)
		}
	}
	r.combinations()
	if len(r.errs) > 0 {
		return Options{}, errors.Join(r.errs...)
	}
	return r.Options, nil
}

type optionReader struct {
	Options
	file  *File
	unit  Name
	fleet bool
	lines map[string]int // of the first assignment in force, by canonical key
	errs  []error
}

func (r *optionReader) fail(line int, what, fix string) {
	r.errs = append(r.errs, &SyntaxError{r.file.name, line, what, fix})
}

// lenient refuses in [X-Cluster] what in [X-Fleet] is ignored with a warning.
func (r *optionReader) lenient(line int, what, fix string) {
	if !r.fleet {
		r.fail(line, what, fix)
		return
	}
	warning := SyntaxError{r.file.name, line, what + ", which is ignored", fix}
	r.Warnings = append(r.Warnings, warning.Error())
}

// assign carries out one assignment. An empty one takes back those before it.
func (r *optionReader) assign(key string, a assignment) {
	if !slices.Contains(optionKeys, key) {
		r.lenient(a.Line, fmt.Sprintf("[%s] has no setting %s=", a.section, excerpt(a.key)), "use "+suggestion(a.key))
		return
	}
	if a.Text == "" {
		r.reset(key)
		return
	}
	words, err := splitWords(a.Text, false)
	if err != nil {
		r.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "as systemd.syntax(7) has it")
		return
	}
	if _, ok := r.lines[key]; !ok {
		r.lines[key] = a.Line
	}
	if single := key == "Global" || key == "MachineID" || key == "Fencing"; single && len(words) != 1 {
		r.fail(a.Line, fmt.Sprintf("%s= has %d words", a.key, len(words)), "give one")
		return
	}
	for _, w := range words {
		text, err := expand(w.text, r.unit)
		if err != nil {
			r.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "use %n, %N, %p, %i, %j, or %% for a percent sign")
			continue
		}
		r.word(key, text, a)
	}
}

func (r *optionReader) reset(key string) {
	delete(r.lines, key)
	switch key {
	case "Global":
		r.Global = false
	case "MachineID":
		r.MachineID = ""
	case "MachineOf":
		r.MachineOf = nil
	case "MachineMetadata":
		r.Metadata = nil
	case "Conflicts":
		r.Conflicts = nil
	case "Replaces":
		r.Replaces = nil
	}
}

// word takes one expanded word of a value.
func (r *optionReader) word(key, text string, a assignment) {
	switch key {
	case "Global":
		r.global(text, a)
	case "MachineID":
		r.machineID(text, a)
	case "MachineOf":
		name, err := ParseName(text)
		if err != nil {
			r.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "name a unit of the cluster")
			return
		}
		r.MachineOf = appendNew(r.MachineOf, string(name))
	case "MachineMetadata":
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" || v == "" {
			r.lenient(a.Line, fmt.Sprintf("%s= has %q", a.key, excerpt(text)), "write it as key=value")
			return
		}
		if r.Metadata == nil {
			r.Metadata = map[string][]string{}
		}
		r.Metadata[k] = appendNew(r.Metadata[k], v)
	case "Conflicts":
		r.Conflicts = r.pattern(r.Conflicts, text, a)
	case "Replaces":
		r.Replaces = r.pattern(r.Replaces, text, a)
	case "Fencing":
		if text != "none" {
			r.fail(a.Line, fmt.Sprintf("%s=%s is not available in this version", a.key, excerpt(text)), "leave it out, which means none")
		}
	}
}

func (r *optionReader) global(text string, a assignment) {
	switch strings.ToLower(text) {
	case "1", "yes", "y", "true", "t", "on":
		r.Global = true
		r.lines["Global"] = a.Line
	case "0", "no", "n", "false", "f", "off":
		r.reset("Global")
	default:
		r.fail(a.Line, fmt.Sprintf("%s=%s is neither yes nor no", a.key, excerpt(text)), "write yes or no")
	}
}

func (r *optionReader) machineID(text string, a assignment) {
	if strings.IndexFunc(text, notHostname) >= 0 {
		r.fail(a.Line, fmt.Sprintf("%s=%s is no machine's id or host name", a.key, excerpt(text)), "take it from clusterctl list-machines --full")
		return
	}
	if r.MachineID != "" && r.MachineID != text {
		r.fail(a.Line, fmt.Sprintf("%s=%s contradicts MachineID=%s in line %d", a.key, excerpt(text), excerpt(r.MachineID), r.lines["MachineID"]), "keep one of them")
		return
	}
	r.MachineID = text
}

func notHostname(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_')
}

// pattern adds a pattern of unit names. Without a special character it is a
// name, and gets its suffix as names do.
func (r *optionReader) pattern(list []string, text string, a assignment) []string {
	if !strings.ContainsAny(text, `*?[`) {
		name, err := ParseName(text)
		if err != nil {
			r.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "name a unit, or give a pattern such as web@*.service")
			return list
		}
		text = strings.ReplaceAll(string(name), `\`, `\\`) // it is a pattern from here on
	}
	if _, err := path.Match(text, ""); err != nil {
		r.fail(a.Line, fmt.Sprintf("%s=%s is no pattern", a.key, excerpt(text)), "close its bracket, as in web@[1-3].service")
		return list
	}
	return appendNew(list, text)
}

// combinations refuses settings that contradict each other.
func (r *optionReader) combinations() {
	for _, pair := range [][2]string{
		{"MachineID", "MachineOf"}, {"MachineID", "Conflicts"}, {"MachineID", "Global"}, {"MachineID", "Replaces"},
		{"Global", "MachineOf"}, {"Global", "Replaces"}, {"Conflicts", "Replaces"},
	} {
		one, ok := r.lines[pair[0]]
		other, both := r.lines[pair[1]]
		if ok && both {
			r.fail(one, fmt.Sprintf("%s= in line %d and %s= in line %d can't hold together", pair[0], one, pair[1], other), "take one of them out")
		}
	}
	for _, peer := range r.MachineOf {
		if peer == string(r.unit) {
			r.fail(r.lines["MachineOf"], "MachineOf= names the unit itself", "name another unit, or take it out")
		}
		for _, key := range []string{"Conflicts", "Replaces"} {
			patterns := r.Conflicts
			if key == "Replaces" {
				patterns = r.Replaces
			}
			for _, pattern := range patterns {
				if ok, _ := path.Match(pattern, peer); ok {
					r.fail(r.lines["MachineOf"], fmt.Sprintf("MachineOf= in line %d and %s=%s in line %d both mean %s", r.lines["MachineOf"], key, pattern, r.lines[key], peer), "take one of them out")
				}
			}
		}
	}
}

// expand replaces the specifiers that [X-Cluster] knows.
func expand(text string, n Name) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		if i == len(text) {
			return "", fmt.Errorf("%q ends in a percent sign", excerpt(text))
		}
		switch text[i] {
		case '%':
			b.WriteByte('%')
		case 'n':
			b.WriteString(n.String())
		case 'N':
			b.WriteString(n.stem())
		case 'p':
			b.WriteString(n.Prefix())
		case 'j':
			b.WriteString(n.Prefix()[strings.LastIndexByte(n.Prefix(), '-')+1:])
		case 'i':
			b.WriteString(instanceFor(n))
		default:
			return "", fmt.Errorf("no specifier %s", excerpt("%"+text[i:]))
		}
	}
	return b.String(), nil
}

// instanceFor is what %i stands for; a template has a stand-in, so that what
// is built of it can be checked.
func instanceFor(n Name) string {
	if n.IsTemplate() {
		return "i"
	}
	instance, _ := n.Instance()
	return instance
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// suggestion names the setting that key may have been meant to be, else all.
func suggestion(key string) string {
	best, distance := "", 4
	for _, k := range optionKeys {
		if d := edits(strings.ToLower(key), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return best + "="
	}
	return strings.Join(optionKeys, "=, ") + "="
}

// edits counts the insertions, deletions and replacements between two words.
func edits(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
