//go:build machine

package unit

import (
	"cmp"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// onPurpose are problems that are none to systemd, each with why we complain:
// with doc.go this is the list of what systemd accepts and we refuse.
var onPurpose = map[string]string{
	"CapabilityBoundingSet=":           "systemd drops what it doesn't know without a word",
	"AmbientCapabilities=":             "systemd drops what it doesn't know without a word",
	"SecureBits=":                      "systemd drops what it doesn't know without a word",
	"ConditionFirstBoot=":              "the condition fails on every machine",
	"ConditionACPower=":                "the condition fails on every machine",
	"AssertFirstBoot=":                 "the condition fails on every machine",
	"AssertACPower=":                   "the condition fails on every machine",
	"a variable can't stand for":       "no program has such a name: every start fails",
	"the dashes of a slice's name":     "systemd refuses the slice, and with it every start",
	"doesn't say what the swap is for": "its manual page has What= as mandatory",
	"can't be taken back":              "systemd passes over it without a word",
	"systemd ignores it for":           "systemd says so without the line",
	"as slices don't fail":             "systemd says so without the line",
}

// compare compares one specimen and returns in how many properties.
func (s *specimen) compare(t *testing.T) (properties int) {
	t.Helper()
	differs := func(what, ours, theirs string) {
		t.Helper()
		t.Errorf("%s (%s): %s: we have %s, systemd %s", s.name, s.from, what, ours, theirs)
	}
	refused := map[int]string{}
	for _, p := range s.problems {
		refused[p.Line] = p.String()
	}
	for line, messages := range s.said {
		if refused[line] == "" && refused[s.header(line)] == "" {
			differs(fmt.Sprintf("line %d %s", line, s.text(line)), "no complaint", strings.Join(messages, "; "))
		}
	}
	errs := Errors(s.problems)
	switch {
	case (s.load == "bad-setting" || s.load == "error") && errs != nil:
		return 0
	case s.load != "loaded":
		differs("LoadState", fmt.Sprint(errs), s.load)
		return 0
	}
	for line, problem := range refused {
		if s.said[line] == nil && !s.strict(line, problem) {
			differs(fmt.Sprintf("line %d %s", line, s.text(line)), problem, "no complaint")
		}
	}
	for _, p := range s.wanted(refused) {
		properties++
		theirs := s.has[p.name]
		if !p.is(theirs) {
			if key, ok := strings.CutSuffix(p.name, "Ex"); ok {
				theirs = []string{fmt.Sprintf("%q", s.executions[key])}
			}
			differs(p.name, p.want, fmt.Sprintf("%q", theirs))
		}
	}
	return properties
}

// strict says whether a line that systemd is content with is one that we are
// stricter about.
func (s *specimen) strict(line int, problem string) bool {
	for part := range onPurpose {
		if strings.Contains(problem, part) {
			return true
		}
	}
	for _, a := range s.f.assignments {
		if a.Line == line { // systemctl enable reads the one, we alone the others
			return a.section == "Install" || a.section == clusterSection || a.section == fleetSection
		}
	}
	return false
}

// header is the line in which the section of a setting begins.
func (s *specimen) header(line int) int {
	for _, a := range s.f.assignments {
		for _, h := range s.f.headers {
			if a.Line == line && a.section == h.name {
				return h.line
			}
		}
	}
	return 0
}

func (s *specimen) text(line int) string {
	for _, a := range s.f.assignments {
		if a.Line == line {
			return a.key + "=" + a.Text
		}
	}
	return ""
}

// property is one that systemd should have.
type property struct {
	name string
	want string
	is   func(theirs []string) bool
}

// equal is a property of one value.
func equal(name, want string) property {
	return property{name, want, func(theirs []string) bool { return len(theirs) == 1 && theirs[0] == want }}
}

// wanted are the properties that follow from the file: the settings without a
// complaint, by their kinds, and what placement takes from it.
func (s *specimen) wanted(refused map[int]string) []property {
	var all []property
	own := sectionOf(s.name.Type())
	for _, section := range []string{"Unit", own} {
		for _, key := range s.f.Keys(section) {
			v, ok := s.f.Last(section, key)
			if !ok || s.anyRefused(section, key, refused) {
				continue
			}
			if set, _, ok := lookUp(section, key); ok {
				all = append(all, s.byKind(set, v.Text)...)
			}
		}
	}
	if text, err := s.name.Expand(s.f.Description()); err == nil && text != "" {
		all = append(all, equal("Description", text))
	}
	all = append(all, equal("FragmentPath", unitsDir+"/"+s.file))
	return slices.Concat(all, s.placement(refused), s.ofType(refused), s.commands(refused))
}

// anyRefused says whether a line of a setting is complained of: what is in
// force then doesn't matter.
func (s *specimen) anyRefused(section, key string, refused map[int]string) bool {
	for _, a := range s.f.assignments {
		if a.section == section && a.key == key && refused[a.Line] != "" {
			return true
		}
	}
	return false
}

// placement are the properties behind what placement asks a file.
func (s *specimen) placement(refused map[int]string) []property {
	var all []property
	for _, d := range s.f.Dependencies(s.name) {
		if d.Unit == s.name || d.Kind == Triggers && d.Unit.IsTemplate() || d.Line > 0 && refused[d.Line] != "" {
			continue // systemd drops the first, and has the second from the first connection on
		}
		all = append(all, property{d.Kind, string(d.Unit), func(theirs []string) bool {
			has := unquoted(theirs)
			return slices.Contains(has, string(d.Unit)) || slices.Contains(has, realName(d.Unit))
		}})
	}
	for _, p := range s.f.Ports(s.name) {
		if s.name.Type() != "socket" {
			break
		}
		all = append(all, property{"Listen", p.String(), func(theirs []string) bool {
			kind := map[string]string{"tcp": " (Stream)", "udp": " (Datagram)"}[p.Protocol]
			address := cmp.Or(p.Address, "[::]")
			if strings.Contains(p.Address, ":") {
				address = "[" + p.Address + "]"
			}
			port := fmt.Sprintf(":%d%s", p.Number, kind)
			return slices.Contains(theirs, address+port) || p.Address == "" && slices.Contains(theirs, "0.0.0.0"+port)
		}})
	}
	r, err := s.f.Resources(s.name)
	if err != nil {
		return all
	}
	if r.CPU.From != "" && refused[r.CPU.Line] == "" {
		all = append(all, property{"CPUQuotaPerSecUSec", r.CPU.String(), func(theirs []string) bool {
			got, ok := parseSpan(strings.Join(theirs, " "), time.Microsecond)
			return ok && uint64((got+time.Millisecond-1)/time.Millisecond) == r.CPU.Amount
		}})
	}
	if r.Tasks.From != "" && r.Tasks.Share == 0 && refused[r.Tasks.Line] == "" {
		all = append(all, equal("TasksMax", r.Tasks.String()))
	}
	if r.Memory.From != "" && refused[r.Memory.Line] == "" {
		all = append(all, s.memory(r.Memory.From, r.Memory.String()))
	}
	return all
}

// unquoted are the words of a list that systemctl show prints.
func unquoted(lines []string) []string {
	words, _ := splitWords(strings.Join(lines, " "), true)
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	return texts
}

// realName is the name of the unit that a name is another one of.
func realName(n Name) string {
	out, err := exec.Command("systemctl", "show", "--value", "-p", "Id", "--", string(n)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// ofType are the properties that only a unit of this type has.
func (s *specimen) ofType(refused map[int]string) []property {
	var all []property
	last := func(section, key string) (string, bool) {
		v, ok := s.f.Last(section, key)
		text, err := s.name.Expand(v.Text)
		return text, ok && err == nil && !s.anyRefused(section, key, refused)
	}
	switch s.name.Type() {
	case "service":
		if v, ok := last("Service", "Type"); ok {
			all = append(all, equal("Type", v))
		}
	case "mount":
		if v, ok := last("Mount", "Where"); ok {
			all = append(all, equal("Where", SimplifyPath(v)))
		}
		if v, ok := last("Mount", "What"); ok {
			all = append(all, equal("What", v))
		}
		if v, ok := last("Mount", "Type"); ok {
			all = append(all, equal("Type", v))
		}
	case "automount":
		if v, ok := last("Automount", "Where"); ok {
			all = append(all, equal("Where", SimplifyPath(v)))
		}
	case "swap":
		if v, ok := last("Swap", "What"); ok {
			all = append(all, equal("What", SimplifyPath(v)))
		}
	case "timer":
		calendars, monotonic := 0, map[string]int{}
		for _, key := range timeKeys {
			for _, v := range s.f.Values("Timer", key) {
				if refused[v.Line] != "" {
					continue
				}
				if key == "OnCalendar" {
					calendars++
					continue
				}
				span, _ := parseSpan(v.Text, time.Second)
				if span != forever {
					monotonic[strings.TrimSuffix(key, "Sec")+"USec "+span.Truncate(time.Microsecond).String()]++
				}
			}
		}
		all = append(all, property{"TimersCalendar", strconv.Itoa(calendars), func(theirs []string) bool { return countSet(theirs) == calendars }})
		if len(monotonic) > 0 {
			all = append(all, property{"TimersMonotonic", fmt.Sprint(monotonic), func(theirs []string) bool {
				got := map[string]int{}
				for _, line := range theirs { // { OnBootUSec=15min ; next_elapse=15min }
					base, rest, _ := strings.Cut(strings.TrimPrefix(line, "{ "), "=")
					text, _, _ := strings.Cut(rest, " ; ")
					if span, _ := parseSpan(text, time.Microsecond); span != forever {
						got[base+" "+span.String()]++
					}
				}
				return maps.Equal(got, monotonic)
			}})
		}
	case "path":
		want := map[string]int{}
		for _, key := range pathKeys {
			for _, v := range s.f.Values("Path", key) {
				if text, err := s.name.Expand(v.Text); err == nil && refused[v.Line] == "" {
					want[fmt.Sprintf("%s (%s)", SimplifyPath(text), key)]++
				}
			}
		}
		all = append(all, property{"Paths", fmt.Sprint(want), func(theirs []string) bool {
			for _, line := range theirs {
				want[line]--
				if want[line] < 0 {
					return false
				}
			}
			return true
		}})
	}
	return all
}

// countSet counts the lines that say something.
func countSet(lines []string) int {
	n := 0
	for _, line := range lines {
		if line != "" {
			n++
		}
	}
	return n
}
