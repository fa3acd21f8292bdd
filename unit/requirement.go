package unit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Operator is how a Requirement compares a machine's metadata.
type Operator string

// The operators of MachineMetadata=. Both key=value and key in a,b are In.
const (
	In       Operator = "in"
	NotEqual Operator = "!="
	Exists   Operator = "exists"
	Less     Operator = "<"
	Greater  Operator = ">"
)

// Requirement is what a unit asks of the metadata of its machine.
type Requirement struct {
	Key    string
	Op     Operator
	Values []string // In: one of them must be the machine's; Exists: none; else one
	Line   int      // where it stands, or the first part of it
}

// ParseRequirements reads the value of a MachineMetadata=:
//
//	key=value key!=value   the machine's value is this one, or isn't
//	key<number key>number  it is a smaller or larger number
//	key in a,b             it is one of these
//	key exists             it has any
//
// The values that = and in give for one key are alternatives; all else must
// hold at once. Numbers may end in K, M, G or T, of 1024 each; numbers with
// dots are versions, compared part by part. A machine without the key has
// no value: of these only != holds then.
func ParseRequirements(text string) ([]Requirement, error) {
	words, err := splitWords(text, false)
	if err != nil {
		return nil, err
	}
	var all requirements
	plain := make([]string, len(words))
	for i, w := range words {
		plain[i] = w.text
	}
	err = all.read(plain, 0)
	return all.sorted(), err
}

// requirements are being collected.
type requirements []Requirement

// read adds what words say. All that can be understood is added, also when
// the error names words that can't.
func (rs *requirements) read(words []string, line int) error {
	var bad error
	for len(words) > 0 {
		r, used, err := nextRequirement(words)
		words = words[used:]
		if err != nil {
			bad = cmp.Or(bad, err)
			continue
		}
		r.Line = line
		rs.add(r)
	}
	return bad
}

func (rs *requirements) add(r Requirement) {
	for i, has := range *rs {
		if has.Key != r.Key || has.Op != r.Op {
			continue
		}
		if r.Op == In {
			for _, v := range r.Values {
				(*rs)[i].Values = appendNew((*rs)[i].Values, v)
			}
			return
		}
		if slices.Equal(has.Values, r.Values) {
			return
		}
	}
	*rs = append(*rs, r)
}

func (rs requirements) sorted() []Requirement {
	slices.SortStableFunc(rs, func(a, b Requirement) int { return cmp.Compare(a.Key, b.Key) })
	return rs
}

const requirementForms = `key=value, key!=value, key<number, key>number, key in a,b or key exists`

// nextRequirement reads the first requirement in words, and says how many it took.
func nextRequirement(words []string) (r Requirement, used int, err error) {
	malformed := func(used int) (Requirement, int, error) {
		return Requirement{}, used, fmt.Errorf("%q is no requirement", excerpt(strings.Join(words[:used], " ")))
	}
	key, op, value := cutOperator(words[0])
	if op == "" && len(words) > 1 { // the operator stands apart
		switch _, next, rest := cutOperator(words[1]); {
		case words[1] == "exists":
			return Requirement{Key: key, Op: Exists}, 2, nil
		case words[1] == "in" && len(words) > 2:
			return listRequirement(key, words[2])
		case words[1] == "in":
			return malformed(2)
		case next != "" && rest == "" && words[1] == next && len(words) > 2:
			op, value, used = next, words[2], 2
		}
	}
	if key == "" || op == "" || value == "" {
		return malformed(1)
	}
	used++
	switch op {
	case "=":
		return Requirement{Key: key, Op: In, Values: []string{value}}, used, nil
	case "!=":
		return Requirement{Key: key, Op: NotEqual, Values: []string{value}}, used, nil
	}
	if _, ok := parseNumber(value); !ok {
		return Requirement{}, used, fmt.Errorf("%q is no number", excerpt(value))
	}
	return Requirement{Key: key, Op: Operator(op), Values: []string{value}}, used, nil
}

func listRequirement(key, list string) (Requirement, int, error) {
	var values []string
	for v := range strings.SplitSeq(list, ",") {
		values = appendNew(values, v)
	}
	if key == "" || slices.Contains(values, "") {
		return Requirement{}, 3, fmt.Errorf("%q has an empty value", excerpt(key+" in "+list))
	}
	return Requirement{Key: key, Op: In, Values: values}, 3, nil
}

// cutOperator cuts a word at its first operator: =, !=, < or >.
func cutOperator(word string) (key, op, value string) {
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == '=' || c == '<' || c == '>':
			return word[:i], word[i : i+1], word[i+1:]
		case c == '!' && strings.HasPrefix(word[i+1:], "="):
			return word[:i], "!=", word[i+2:]
		}
	}
	return word, "", ""
}

// String writes the requirement as a unit file may have it.
func (r Requirement) String() string {
	switch r.Op {
	case In:
		return r.Key + "=" + strings.Join(r.Values, " or "+r.Key+"=")
	case Exists:
		return r.Key + " exists"
	}
	return r.Key + string(r.Op) + strings.Join(r.Values, "")
}

// Matches says whether a machine with this metadata meets the requirement.
func (r Requirement) Matches(metadata map[string]string) bool {
	has, ok := metadata[r.Key]
	switch r.Op {
	case In:
		return ok && slices.Contains(r.Values, has)
	case NotEqual:
		return !ok || len(r.Values) == 0 || has != r.Values[0]
	case Exists:
		return ok
	}
	if !ok || len(r.Values) == 0 {
		return false
	}
	x, isNumber := parseNumber(leadingNumber(has))
	y, _ := parseNumber(r.Values[0])
	order := compareNumbers(x, y)
	return isNumber && (r.Op == Less && order < 0 || r.Op == Greater && order > 0)
}

// Lacks says of a machine that doesn't match what is amiss, as "lacks
// region=eu" or "has region=eu"; it is empty for one that matches.
func (r Requirement) Lacks(metadata map[string]string) string {
	switch {
	case r.Matches(metadata):
		return ""
	case r.Op == NotEqual:
		return "has " + r.Key + "=" + r.Values[0]
	case r.Op == Exists:
		return "lacks " + r.Key
	}
	return "lacks " + r.String()
}

// parseNumber reads a number into its parts: 16G is one part, 5.10 has two.
func parseNumber(s string) (parts []uint64, ok bool) {
	scale := uint64(1)
	if at := strings.IndexByte("KMGT", last(s)); at >= 0 && s != "" && strings.IndexByte(s, '.') < 0 {
		s, scale = s[:len(s)-1], 1<<(10*(at+1))
	}
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil || part[0] == '+' || n > (1<<64-1)/scale {
			return nil, false
		}
		parts = append(parts, n*scale)
	}
	return parts, true
}

func last(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// leadingNumber cuts what distributions put behind a version: 6.1.0-13-amd64.
func leadingNumber(s string) string {
	if end := strings.IndexAny(s, "-+~ "); end > 0 {
		return s[:end]
	}
	return s
}

// compareNumbers compares part by part; a missing part is 0.
func compareNumbers(a, b []uint64) int {
	for i := range max(len(a), len(b)) {
		var x, y uint64
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return cmp.Compare(x, y)
		}
	}
	return 0
}

// contradiction returns two requirements that no machine can meet at once.
func contradiction(rs []Requirement) (a, b Requirement, found bool) {
	for i, a := range rs {
		for _, b := range rs[i+1:] {
			if a.Key == b.Key && contradict(a, b) {
				return a, b, true
			}
		}
	}
	return a, b, false
}

func contradict(a, b Requirement) bool {
	if b.Op == In {
		a, b = b, a
	}
	if a.Op == In {
		return !slices.ContainsFunc(a.Values, func(v string) bool { return b.Matches(map[string]string{a.Key: v}) })
	}
	if b.Op == Less {
		a, b = b, a
	}
	if a.Op != Less || b.Op != Greater {
		return false
	}
	x, _ := parseNumber(a.Values[0])
	y, _ := parseNumber(b.Values[0])
	return compareNumbers(x, y) <= 0
}
