package unit

import (
	"iter"
	"slices"
	"strings"
)

// suggestOption names the setting of [X-Cluster] that key may have been meant
// to be, else all.
func suggestOption(key string) string {
	if best := nearest(key, slices.Values(optionKeys)); best != "" {
		return best + "="
	}
	return strings.Join(optionKeys, "=, ") + "="
}

// nearest returns the word that the given one was most likely meant to be: one
// with a slip of the pen less, or one that it begins, or that begins it. It is
// empty when none is near.
func nearest(to string, words iter.Seq[string]) string {
	best, distance := "", min(4, max(2, 1+len(to)/3))
	var extends []string // the words that to begins
	begins := ""         // the longest word that begins to
	lower := strings.ToLower(to)
	for word := range words {
		plain := strings.ToLower(word)
		switch {
		case len(lower) >= 3 && strings.HasPrefix(plain, lower):
			extends = append(extends, word)
		case len(plain) > len(begins) && len(plain) >= 4 && strings.HasPrefix(lower, plain):
			begins = word
		}
		if max(len(to), len(word))-min(len(to), len(word)) < distance {
			if d := edits(lower, plain); d < distance {
				best, distance = word, d
			}
		}
	}
	if distance <= 2 && best != "" {
		return best
	}
	if len(extends) > 0 && len(extends) <= 3 {
		return slices.MinFunc(extends, func(a, b string) int { return len(a) - len(b) })
	}
	if begins != "" {
		return begins
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours
// between two words.
func edits(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := row[j-1]
			if a[i-1] != b[j-1] {
				cost = 1 + min(row[j-1], row[j], next[j-1])
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cost = min(cost, before[j-2]+1)
			}
			next[j] = cost
		}
		before, row = row, next
	}
	return row[len(b)]
}

// inventions are settings that systemd doesn't have and people write, each
// with the one that does what they mean.
const inventions = " EnvFile=EnvironmentFile EnvironmentFiles=EnvironmentFile ExecPreStart=ExecStartPre ExecPostStart=ExecStartPost ExecPreStop=ExecStop ExecPostStop=ExecStopPost" +
	" RestartInterval=RestartSec RestartDelay=RestartSec StartTimeout=TimeoutStartSec StopTimeout=TimeoutStopSec Username=User MaxMemory=MemoryMax MaxTasks=TasksMax" +
	" ConditionFileExists=ConditionPathExists WorkDir=WorkingDirectory Cwd=WorkingDirectory Command=ExecStart Depends=Requires DependsOn=Requires Device=What MountPoint=Where "

// meant is the setting behind an invention; empty when key is none.
func meant(key string) string {
	_, rest, ok := strings.Cut(inventions, " "+key+"=")
	if !ok {
		return ""
	}
	word, _, _ := strings.Cut(rest, " ")
	return word
}

// suggestUnit names the unit that a name without a type may have been meant to be.
func suggestUnit(name, typ string) string {
	const targets = " basic default getty graphical local-fs multi-user network network-online network-pre nss-lookup nss-user-lookup remote-fs rescue shutdown sockets sysinit time-sync timers "
	stem, suffix, dotted := cutLast(name, ".")
	if dotted {
		if best := nearest(suffix, slices.Values(types)); best != "" {
			return stem + "." + best
		}
	}
	if strings.Contains(targets, " "+name+" ") {
		return name + ".target"
	}
	return name + "." + typ
}

func cutLast(s, at string) (before, after string, found bool) {
	if i := strings.LastIndex(s, at); i >= 0 {
		return s[:i], s[i+len(at):], true
	}
	return s, "", false
}
