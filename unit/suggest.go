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

// nearest returns the word that is most like the given one; empty when none is.
func nearest(to string, words iter.Seq[string]) string {
	best, distance := "", min(4, 1+len(to)/2)
	for word := range words {
		if len(word) > len(to)+distance || len(to) > len(word)+distance {
			continue
		}
		if d := edits(strings.ToLower(to), strings.ToLower(word)); d < distance {
			best, distance = word, d
		}
	}
	return best
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
