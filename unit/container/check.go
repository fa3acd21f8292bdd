package container

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// Check is unit.File's Check for files that may have a [Container] section:
// then what it becomes is checked as well, and what Render has to say of it is
// among the problems. All of them point at the user's lines.
func Check(name unit.Name, f *unit.File, o unit.CheckOptions) []unit.Problem {
	problems := f.Check(name, o)
	if !Has(f) {
		return problems
	}
	problems = withoutQuadlet(problems, f)
	rendered, err := Render(name, f)
	if err != nil {
		problems = append(problems, refusals(err)...)
	} else {
		for _, n := range rendered.notes {
			problems = append(problems, unit.Problem{SyntaxError: n, Warning: true})
		}
		problems = appendRendered(problems, name, rendered, o)
	}
	slices.SortStableFunc(problems, func(a, b unit.Problem) int { return cmp.Compare(a.Line, b.Line) })
	return problems
}

// withoutQuadlet drops what is said of a [Quadlet] section, which only Render
// knows beside [Container].
func withoutQuadlet(problems []unit.Problem, f *unit.File) []unit.Problem {
	if !slices.Contains(f.Sections(), quadlet) {
		return problems
	}
	its := map[int]bool{}
	for _, l := range lines(f.Bytes()) {
		its[l.first] = l.section == quadlet
	}
	return slices.DeleteFunc(problems, func(p unit.Problem) bool { return its[p.Line] })
}

// appendRendered adds what is wrong with the text for systemd, but for what was
// found in the user's own lines already.
func appendRendered(problems []unit.Problem, name unit.Name, r *Rendered, o unit.CheckOptions) []unit.Problem {
	text, err := unit.Parse(string(name), r.Text)
	if err != nil {
		return append(problems, refusals(err)...)
	}
	for _, p := range text.Check(name, o) {
		if p.Line > 0 && p.Line <= len(r.Lines) {
			p.Line = r.Lines[p.Line-1]
		}
		p.What = otherLine.ReplaceAllStringFunc(p.What, func(s string) string {
			n, err := strconv.Atoi(strings.TrimPrefix(s, "line "))
			if err != nil || n < 1 || n > len(r.Lines) {
				return s
			}
			return "line " + strconv.Itoa(r.Lines[n-1])
		})
		said := func(q unit.Problem) bool { return q.Line == p.Line && q.What == p.What }
		if !slices.ContainsFunc(problems, said) {
			problems = append(problems, p)
		}
	}
	return problems
}

// otherLine is how a problem names a line beside its own.
var otherLine = regexp.MustCompile(`\bline [0-9]+\b`)

// refusals are the problems that an error of Render or unit.Parse joins.
func refusals(err error) []unit.Problem {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	var problems []unit.Problem
	for _, e := range all {
		var s *unit.SyntaxError
		if errors.As(e, &s) {
			problems = append(problems, unit.Problem{SyntaxError: *s})
		}
	}
	return problems
}

// Needs is the oldest systemd that ignores nothing of a unit's file, given that
// the newest known takes all of it; 0 when any does.
func Needs(name unit.Name, f *unit.File) int {
	ignores := func(systemd int) bool {
		return unit.Errors(Check(name, f, unit.CheckOptions{Systemd: systemd})) != nil
	}
	const first = 1 // older than all
	if !ignores(first) || ignores(unit.Newest) {
		return 0
	}
	return first + sort.Search(unit.Newest-first, func(i int) bool { return !ignores(first + i) })
}
