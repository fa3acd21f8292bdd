package main

import "strings"

// didYouMean names what of known was probably meant by word, as a part of a
// message; nothing when nothing is like it.
func didYouMean(word, dashes string, known []string) string {
	best, distance := "", 3
	switch {
	case len(word) < 3:
		return ""
	case len(word) < 5:
		distance = 2
	}
	for _, k := range known {
		if d := edits(word, k); d < distance {
			best, distance = k, d
		} else if best == "" && len(word) >= 4 && strings.HasPrefix(k, word) {
			best = k
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + dashes + best + "?"
}

// edits counts the letters to put in, take out, change or swap to make b of a.
func edits(a, b string) int {
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j]+cost, last[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
