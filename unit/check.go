package unit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that Check finds.
type Problem struct {
	SyntaxError
	// Warning problems leave the unit usable; with others systemd would refuse
	// it, or ignore what the line asks for.
	Warning bool
}

func (p Problem) String() string {
	if p.Warning {
		return "warning: " + p.Error()
	}
	return p.Error()
}

// CheckOptions say what Check is strict about.
type CheckOptions struct {
	// Systemd is the version the unit is for; 0 is the newest one known.
	Systemd int
	// AllowUnknown makes warnings of unknown sections and keys.
	AllowUnknown bool
}

// Check looks for what systemd, or the cluster, would refuse, ignore or
// misread in the file of the unit n. It knows systemd's settings by version,
// and the values of most; what only a machine can know, such as whether a
// program exists, it leaves to systemd there. The problems come in the order
// of their lines, about a hundred at most. Of a template it
// refuses only what no instance could have.
func (f *File) Check(n Name, o CheckOptions) []Problem {
	if o.Systemd == 0 {
		o.Systemd = Newest
	}
	c := checker{file: f, name: n, CheckOptions: o, own: sectionOf(n.Type())}
	for i := 0; i < len(f.headers) && !c.full(); i++ {
		c.section(f.headers[i])
	}
	for i := 0; i < len(f.assignments) && !c.full(); i++ {
		c.assignment(f.assignments[i])
	}
	c.wholeUnit()
	c.cluster()
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return c.problems
}

// Errors joins those of the problems that are errors; nil when there is none.
func Errors(problems []Problem) error {
	var errs []error
	for _, p := range problems {
		if !p.Warning {
			errs = append(errs, &p.SyntaxError)
		}
	}
	return errors.Join(errs...)
}

type checker struct {
	CheckOptions
	file     *File
	name     Name
	own      string          // the section of the unit's type; empty when it has none
	added    map[string]bool // the settings with a value that systemd never takes back
	misspelt bool            // what looks missing may be there, under a name nobody knows
	problems []Problem
}

// problemsMax is how many problems of a file Check looks for.
const problemsMax = 100

func (c *checker) full() bool { return len(c.problems) >= problemsMax }

func (c *checker) fail(line int, what, fix string) {
	c.problems = append(c.problems, Problem{SyntaxError: SyntaxError{c.file.name, line, what, fix}})
}

func (c *checker) warn(line int, what, fix string) {
	c.problems = append(c.problems, Problem{SyntaxError{c.file.name, line, what, fix}, true})
}

func (c *checker) unknown(line int, what, fix string) {
	c.misspelt = true
	if c.AllowUnknown {
		c.warn(line, what, fix)
	} else {
		c.fail(line, what, fix)
	}
}

// containerSection is package container's business.
const containerSection = "Container"

// sections are those that a file of this unit's type has.
func (c *checker) sections() []string {
	if c.own == "" {
		return []string{"Unit", "Target", "Install"} // systemd knows the section, and no setting in it
	}
	return []string{"Unit", c.own, "Install"}
}

func (c *checker) knows(section string) bool {
	return slices.Contains(c.sections(), section)
}

// someoneElses says whether a section is none of systemd's.
func someoneElses(section string) bool {
	return strings.HasPrefix(section, "X-") || section == containerSection
}

func (c *checker) section(h header) {
	if c.knows(h.name) || someoneElses(h.name) {
		return
	}
	all := "[" + strings.Join(c.sections(), "], [") + "]"
	if typ := strings.ToLower(h.name); slices.Contains(types, typ) && sectionOf(typ) == h.name {
		c.unknown(h.line, fmt.Sprintf("a .%s has no section [%s]", c.name.Type(), excerpt(h.name)), "use "+all+", or name the unit ."+typ)
		return
	}
	fix := "use " + all + ", or begin the name with X- to have systemd skip it"
	if best := nearest(h.name, slices.Values(append(c.sections(), clusterSection, containerSection))); best != "" {
		fix = "write [" + best + "]"
	}
	c.unknown(h.line, fmt.Sprintf("systemd has no section [%s]", excerpt(h.name)), fix)
}

func (c *checker) assignment(a assignment) {
	if !c.knows(a.section) || strings.HasPrefix(a.key, "X-") {
		return
	}
	s, elsewhere, ok := lookUp(a.section, a.key)
	switch {
	case !ok:
		c.unknownKey(a, elsewhere)
	case s.gone:
		c.unknown(a.Line, fmt.Sprintf("systemd no longer knows %s=", a.key), "take it out")
	case s.since > c.Systemd:
		c.unknown(a.Line, fmt.Sprintf("%s= came with systemd %d, and %d ignores it", a.key, s.since, c.Systemd), "take it out, or run the unit where systemd is newer")
	case slices.Contains(inertFor[a.key], c.name.Type()):
		c.fail(a.Line, fmt.Sprintf("systemd ignores %s= in a .%s", a.key, c.name.Type()), "take it out")
	default:
		c.value(s, a)
	}
}

// inertFor are settings that sections share, and that systemd ignores in units
// of these types, with a line in its journal.
var inertFor = map[string][]string{
	"Delegate":                      {"socket", "mount", "swap", "slice"},
	"ManagedOOMSwap":                {"socket", "mount", "swap"},
	"ManagedOOMMemoryPressure":      {"socket", "mount", "swap"},
	"ManagedOOMMemoryPressureLimit": {"socket", "mount", "swap"},
	"Slice":                         {"slice"}, // which its name says
}

func (c *checker) unknownKey(a assignment, elsewhere []string) {
	for _, section := range elsewhere {
		if c.knows(section) {
			c.unknown(a.Line, fmt.Sprintf("%s= belongs in [%s], not in [%s]", a.key, section, a.section), "move it there")
			return
		}
	}
	what := fmt.Sprintf("[%s] has no setting %s=", a.section, excerpt(a.key))
	if slices.Contains(optionKeys, a.key) {
		c.unknown(a.Line, what, "move it to ["+clusterSection+"]")
		return
	}
	if len(elsewhere) > 0 {
		c.unknown(a.Line, fmt.Sprintf("%s= belongs in [%s], which a .%s doesn't have", a.key, strings.Join(elsewhere, "], ["), c.name.Type()), "take it out")
		return
	}
	if word := meant(a.key); word != "" {
		if _, _, ok := lookUp(a.section, word); ok {
			c.unknown(a.Line, what, "write "+word+"=")
			return
		}
	}
	for _, section := range append([]string{a.section}, c.sections()...) {
		best := nearest(a.key, slices.Values(keysOf(section, c.Systemd)))
		switch {
		case best == "":
			continue
		case section == a.section:
			c.unknown(a.Line, what, "write "+best+"=")
		default:
			c.unknown(a.Line, what, fmt.Sprintf("write %s= in [%s]", best, section))
		}
		return
	}
	c.unknown(a.Line, what, "take it out, or begin its name with X- to have systemd skip it")
}

// cluster checks what is the cluster's.
func (c *checker) cluster() {
	o, err := c.file.Options(c.name)
	for _, e := range syntaxErrors(err) {
		c.problems = append(c.problems, Problem{SyntaxError: *e})
	}
	for _, w := range o.warnings {
		c.problems = append(c.problems, Problem{w, true})
	}
}

// syntaxErrors takes a joined error apart.
func syntaxErrors(err error) []*SyntaxError {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var all []*SyntaxError
	for _, e := range joined.Unwrap() {
		var one *SyntaxError
		if errors.As(e, &one) {
			all = append(all, one)
		}
	}
	return all
}
