package main

import "strings"

// diffMax is how many lines a difference shows.
const diffMax = 40

// diff shows the lines in which two texts differ, from the first such line to
// the last.
func diff(old, new string) string {
	a, b := strings.SplitAfter(old, "\n"), strings.SplitAfter(new, "\n")
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var out strings.Builder
	show := func(mark string, lines []string) {
		for i, line := range lines {
			if line == "" {
				continue
			}
			if i == diffMax {
				out.WriteString(mark + "...\n")
				return
			}
			out.WriteString(mark + strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	show("-", a)
	show("+", b)
	return out.String()
}
