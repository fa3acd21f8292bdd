package unit

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Resources are what a unit needs of its machine, for placement to count.
type Resources struct {
	Memory Resource // bytes
	CPU    Resource // thousandths of a CPU
	Tasks  Resource // processes and threads
}

// Resource is one of the Resources. The zero value says nothing of it.
type Resource struct {
	// Amount is the need; 0 when it is a Share.
	Amount uint64
	// Share is the need in hundredths of a percent of what the machine has.
	Share uint64
	// From is the key that says so, such as MemoryMax; empty when none does.
	From string
	Line int
}

// Of is how much the unit needs of a machine that has whole; 0 when it doesn't say.
func (r Resource) Of(whole uint64) uint64 {
	if r.Share == 0 {
		return r.Amount
	}
	const all = 100 * 100
	high, low := bits.Mul64(whole, r.Share)
	if high >= all {
		return 1<<64 - 1
	}
	share, _ := bits.Div64(high, low, all)
	return share
}

func (r Resource) String() string {
	switch {
	case r.From == "":
		return "any"
	case r.Share > 0:
		return strconv.FormatFloat(float64(r.Share)/100, 'f', -1, 64) + "%"
	}
	return strconv.FormatUint(r.Amount, 10)
}

// limits are the settings that say what a unit needs, the best first.
var limits = struct{ memory, cpu, tasks []string }{
	memory: []string{"MemoryMax", "MemoryLimit", "MemoryHigh"},
	cpu:    []string{"CPUQuota"},
	tasks:  []string{"TasksMax"},
}

// Resources returns what the unit's own limits say it needs, and where they
// say nothing, or infinity, what Requests= does. Values that systemd would
// ignore say nothing: Check names them.
func (f *File) Resources(n Name) (Resources, error) {
	o, err := f.Options(n)
	if err != nil {
		return Resources{}, err
	}
	own := f.ownLimits(n.Type())
	return Resources{or(own.Memory, o.Requests.Memory), or(own.CPU, o.Requests.CPU), or(own.Tasks, o.Requests.Tasks)}, nil
}

func or(a, b Resource) Resource {
	if a.From != "" {
		return a
	}
	return b
}

// sectionOf is the section with a unit type's own settings.
func sectionOf(typ string) string {
	if typ == "" || typ == "target" {
		return ""
	}
	return strings.ToUpper(typ[:1]) + typ[1:]
}

func (f *File) ownLimits(typ string) Resources {
	section := sectionOf(typ)
	read := func(keys []string, parse func(string) (Resource, bool)) Resource {
		for _, key := range keys {
			v, ok := f.Last(section, key)
			if !ok {
				continue
			}
			if r, ok := parse(v.Text); ok {
				r.From, r.Line = key, v.Line
				return r
			}
		}
		return Resource{}
	}
	return Resources{
		Memory: read(limits.memory, parseMemory),
		CPU:    read(limits.cpu, parseQuota),
		Tasks:  read(limits.tasks, parseTasks),
	}
}

func parseMemory(s string) (Resource, bool) {
	if share, ok := parseShare(s); ok {
		return Resource{Share: share}, share > 0 && share <= 100*100
	}
	n, ok := parseSize(s)
	return Resource{Amount: n}, ok && n > 0
}

// parseQuota reads a share of one CPU: 150% is 1500 thousandths.
func parseQuota(s string) (Resource, bool) {
	share, ok := parseShare(s)
	return Resource{Amount: (share + 9) / 10}, ok && share > 0
}

func parseTasks(s string) (Resource, bool) {
	if share, ok := parseShare(s); ok {
		return Resource{Share: share}, share > 0 && share <= 100*100
	}
	n, ok := parseUint(s, 64)
	return Resource{Amount: n}, ok && n > 0
}

// parseCPUs reads a number of CPUs, such as 0.5, 500m or 50%.
func parseCPUs(s string) (Resource, bool) {
	if r, ok := parseQuota(s); ok {
		return r, true
	}
	scale := 1000.0
	if cut, ok := strings.CutSuffix(s, "m"); ok {
		s, scale = cut, 1
	}
	n, rest, ok := cutDecimal(s)
	r := Resource{Amount: uint64(min(n, 1e9) * scale)}
	return r, ok && rest == "" && r.Amount > 0
}

var errNoRequest = errors.New("write it as cpu=0.5, memory=512M or tasks=100")

// request takes one word of a Requests=.
func (rs *Resources) request(text string, line int) error {
	key, value, _ := strings.Cut(text, "=")
	var to *Resource
	var parse func(string) (Resource, bool)
	switch strings.ToLower(key) {
	case "cpu":
		to, parse = &rs.CPU, parseCPUs
	case "memory":
		to, parse = &rs.Memory, parseMemory
	case "tasks":
		to, parse = &rs.Tasks, parseTasks
	default:
		return fmt.Errorf("%q asks for nothing that is known; %w", excerpt(text), errNoRequest)
	}
	r, ok := parse(value)
	if !ok {
		return fmt.Errorf("%q is no amount; %w", excerpt(text), errNoRequest)
	}
	r.From, r.Line = "Requests", line
	*to = r
	return nil
}
