package unit

import (
	"fmt"
	"strconv"
	"strings"
)

// Available is how many instances of a template are to stay active: a number,
// or a share of those that are to run. The zero value is none.
type Available struct {
	Count   int // 0 to availableMax
	Percent int // 0 to 100; at most one of the two is set
}

// availableMax bounds a number of MinAvailable=.
const availableMax = 100_000

// IsSet says whether any instance is to stay active.
func (a Available) IsSet() bool { return a != Available{} }

// Of is the number when wanted instances are to run. A share is rounded up: of
// three instances, half are two.
func (a Available) Of(wanted int) int {
	if a.Percent > 0 {
		return (wanted*a.Percent + 99) / 100
	}
	return a.Count
}

// String writes it as a unit file has it.
func (a Available) String() string {
	if a.Percent > 0 {
		return strconv.Itoa(a.Percent) + "%"
	}
	return strconv.Itoa(a.Count)
}

// parseAvailable reads what String writes.
func parseAvailable(text string) (Available, bool) {
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseUint(digits, 10, 32)
	switch {
	case err != nil || percent && n > 100 || n > availableMax:
		return Available{}, false
	case percent:
		return Available{Percent: int(n)}, true
	}
	return Available{Count: int(n)}, true
}

func (r *optionReader) minAvailable(text string, a assignment) {
	if _, instance := r.unit.Template(); !instance && !r.unit.IsTemplate() {
		r.fail(a.Line, fmt.Sprintf("%s= counts instances of a template, and %s is none", a.key, r.unit), "take it out, or make a template of the unit, such as "+r.unit.stem()+"@."+r.unit.Type())
		return
	}
	available, ok := parseAvailable(text)
	if !ok {
		r.fail(a.Line, fmt.Sprintf("%s=%s is no number of instances", a.key, excerpt(text)), fmt.Sprintf("give a whole number up to %d, or a share such as 50%%", availableMax))
	}
	r.MinAvailable = available
}
