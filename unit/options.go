package unit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
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
	// MachineOf are full names, or patterns of names, of units that must be on
	// the same machine.
	MachineOf []string
	// Conflicts are patterns (path.Match) of names of units that must not be on
	// the same machine.
	Conflicts []string
	// Replaces are patterns of names of units that make room.
	Replaces []string
	// Requirements are what the machine's metadata must meet, all of them,
	// sorted by key.
	Requirements []Requirement
	// Prefer are requirements that the machine should meet if one can.
	Prefer []Requirement
	// Spread are the metadata keys over whose values units of the same template
	// should be spread out.
	Spread []string
	// Priority says who goes first where there isn't room for all: the larger
	// number. 0 is usual.
	Priority int
	// Requests is what the unit needs where its own limits don't say.
	Requests Resources
	// MinAvailable is how many instances of the unit's template are to stay
	// active while this one is moved without need: by a drain, or as an operator
	// wishes.
	MinAvailable Available
	// Warnings are about what was ignored, in the form "name:line: what; fix".
	Warnings []string

	warnings []SyntaxError // the same, for Check
}

// The sections that are the cluster's. The second is fleet's: in it, what is
// not understood is a warning, as it was there.
const (
	clusterSection = "X-Cluster"
	fleetSection   = "X-Fleet"
)

// optionKeys are the keys of [X-Cluster].
var optionKeys = []string{"Global", "MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Replaces", "Fencing", "Spread", "Prefer", "Priority", "Requests", "MinAvailable"}

// wordsMax is how many words a key may have in all its lines.
const wordsMax = 256

// priorityMax bounds Priority=, both ways.
const priorityMax = 1000

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
	r := optionReader{file: f, unit: n, lines: map[string]int{}, words: map[string]int{}}
	for _, a := range f.assignments {
		if len(r.errs) >= errorsMax {
			break
		}
		if a.section == clusterSection || a.section == fleetSection {
			r.fleet = a.section == fleetSection
			r.assign(canonical(a.key), a)
		}
	}
	r.Requirements, r.Prefer = r.required.sorted(), r.preferred.sorted()
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
	words map[string]int // how many are in force, by canonical key
	lines map[string]int // of the first assignment in force, by canonical key
	errs  []error

	required, preferred requirements
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
	r.warn(line, what+", which is ignored", fix)
}

func (r *optionReader) warn(line int, what, fix string) {
	if len(r.warnings) >= errorsMax {
		return
	}
	warning := SyntaxError{r.file.name, line, what, fix}
	r.Warnings = append(r.Warnings, warning.Error())
	r.warnings = append(r.warnings, warning)
}

// assign carries out one assignment. An empty one takes back those before it.
func (r *optionReader) assign(key string, a assignment) {
	if !slices.Contains(optionKeys, key) {
		if len(r.warnings) < errorsMax {
			r.lenient(a.Line, fmt.Sprintf("[%s] has no setting %s=", a.section, excerpt(a.key)), "use "+suggestOption(a.key))
		}
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
	if r.words[key] += len(words); r.words[key] > wordsMax {
		r.fail(a.Line, fmt.Sprintf("%s= has more than %d words", a.key, wordsMax), "say it by a pattern, or a metadata key of its own")
		return
	}
	if slices.Contains([]string{"Global", "MachineID", "Fencing", "Priority", "MinAvailable"}, key) && len(words) != 1 {
		r.fail(a.Line, fmt.Sprintf("%s= has %d words", a.key, len(words)), "give one")
		return
	}
	texts := make([]string, 0, len(words))
	for _, w := range words {
		if key == "Requests" || key == "MinAvailable" { // their percent signs are just that
			texts = append(texts, w.text)
			continue
		}
		text, err := r.unit.Expand(w.text)
		if err != nil {
			r.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), specifierFix)
			continue
		}
		texts = append(texts, text)
	}
	switch key {
	case "MachineMetadata":
		r.requirements(&r.required, texts, a)
	case "Prefer":
		r.requirements(&r.preferred, texts, a)
	default:
		for _, text := range texts {
			r.word(key, text, a)
		}
	}
}

func (r *optionReader) requirements(to *requirements, words []string, a assignment) {
	if err := to.read(words, a.Line); err != nil {
		r.lenient(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "write it as "+requirementForms)
	}
}

func (r *optionReader) reset(key string) {
	delete(r.lines, key)
	delete(r.words, key)
	switch key {
	case "Global":
		r.Global = false
	case "MachineID":
		r.MachineID = ""
	case "MachineOf":
		r.MachineOf = nil
	case "MachineMetadata":
		r.required = nil
	case "Prefer":
		r.preferred = nil
	case "Spread":
		r.Spread = nil
	case "Priority":
		r.Priority = 0
	case "Requests":
		r.Requests = Resources{}
	case "MinAvailable":
		r.MinAvailable = Available{}
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
		r.MachineOf = r.pattern(r.MachineOf, text, a)
	case "Conflicts":
		r.Conflicts = r.pattern(r.Conflicts, text, a)
	case "Replaces":
		r.Replaces = r.pattern(r.Replaces, text, a)
	case "Spread":
		r.Spread = appendNew(r.Spread, text)
	case "Fencing":
		r.fencing(text, a)
	case "Priority":
		n, err := strconv.Atoi(text)
		if err != nil || n < -priorityMax || n > priorityMax {
			r.fail(a.Line, fmt.Sprintf("%s=%s is no priority", a.key, excerpt(text)), fmt.Sprintf("give a whole number from %d to %d", -priorityMax, priorityMax))
		}
		r.Priority = n
	case "Requests":
		if err := r.Requests.request(text, a.Line); err != nil {
			r.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "take MemoryMax=, CPUQuota= and TasksMax= where the unit is to be limited")
		}
	case "MinAvailable":
		r.minAvailable(text, a)
	}
}

func (r *optionReader) fencing(text string, a assignment) {
	switch text {
	case "none":
	case "lease", "manual":
		r.fail(a.Line, fmt.Sprintf("%s=%s is not available yet", a.key, text), "leave it out, which means none: in a partition a second copy may run")
	default:
		r.fail(a.Line, fmt.Sprintf("%s=%s is no kind of fencing", a.key, excerpt(text)), "write none; lease and manual are not available yet")
	}
}

func (r *optionReader) global(text string, a assignment) {
	value, ok := parseBool(text)
	switch {
	case !ok:
		r.fail(a.Line, fmt.Sprintf("%s=%s is neither yes nor no", a.key, excerpt(text)), "write yes or no")
	case value:
		r.Global = true
		r.lines["Global"] = a.Line
	default:
		r.reset("Global")
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
		text = literal(string(name))
	}
	if _, err := path.Match(text, ""); err != nil {
		r.fail(a.Line, fmt.Sprintf("%s=%s is no pattern", a.key, excerpt(text)), "close its bracket, as in web@[1-3].service")
		return list
	}
	return appendNew(list, text)
}

// literal is the pattern that means this name alone.
func literal(name string) string { return strings.ReplaceAll(name, `\`, `\\`) }

// apart are the pairs of keys that contradict each other.
var apart = [][2]string{
	{"MachineID", "MachineOf"}, {"MachineID", "Conflicts"}, {"MachineID", "Global"}, {"MachineID", "Replaces"}, {"MachineID", "Spread"}, {"MachineID", "Prefer"},
	{"Global", "MachineOf"}, {"Global", "Replaces"}, {"Global", "Spread"}, {"Global", "Prefer"},
	{"MachineOf", "Spread"}, {"Conflicts", "Replaces"}, {"Global", "MinAvailable"},
}

// combinations refuses settings that contradict each other.
func (r *optionReader) combinations() {
	for _, pair := range apart {
		one, ok := r.lines[pair[0]]
		other, both := r.lines[pair[1]]
		if ok && both {
			r.fail(one, fmt.Sprintf("%s= in line %d and %s= in line %d can't hold together", pair[0], one, pair[1], other), "take one of them out")
		}
	}
	if a, b, found := contradiction(r.Requirements); found {
		r.fail(a.Line, fmt.Sprintf("%s in line %d and %s in line %d can't hold together", a, a.Line, b, b.Line), "take one of them out")
	}
	for _, peer := range r.MachineOf {
		r.peer(peer)
	}
	if self := literal(string(r.unit)); slices.Contains(r.Replaces, self) {
		r.fail(r.lines["Replaces"], "Replaces= names the unit itself", "name another unit, or take it out")
	}
	r.requestsWithinLimits()
}

// peer refuses a MachineOf= that no machine can satisfy.
func (r *optionReader) peer(peer string) {
	if peer == literal(string(r.unit)) {
		r.fail(r.lines["MachineOf"], "MachineOf= names the unit itself", "name another unit, or take it out")
	}
	for _, key := range []string{"Conflicts", "Replaces"} {
		patterns := r.Conflicts
		if key == "Replaces" {
			patterns = r.Replaces
		}
		for _, pattern := range patterns {
			if ok, _ := path.Match(pattern, peer); ok || pattern == peer {
				r.fail(r.lines["MachineOf"], fmt.Sprintf("MachineOf= in line %d and %s=%s in line %d both mean %s", r.lines["MachineOf"], key, pattern, r.lines[key], peer), "take one of them out")
			}
		}
	}
}

// requestsWithinLimits refuses to ask for more than the unit may use.
func (r *optionReader) requestsWithinLimits() {
	own := r.file.ownLimits(r.unit.Type())
	for _, pair := range []struct {
		what       string
		asks, owns Resource
	}{{"memory", r.Requests.Memory, own.Memory}, {"CPU", r.Requests.CPU, own.CPU}, {"tasks", r.Requests.Tasks, own.Tasks}} {
		if pair.asks.Amount > pair.owns.Amount && pair.owns.Amount > 0 {
			r.fail(pair.asks.Line, fmt.Sprintf("Requests= in line %d asks for more %s than %s= in line %d allows", pair.asks.Line, pair.what, pair.owns.From, pair.owns.Line), "take it out: the unit's own limit is what counts")
		}
	}
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
