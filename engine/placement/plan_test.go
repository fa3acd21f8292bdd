package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// cluster builds an index from sentences, one a line:
//
//	machine m1 region=eu cordoned
//	unit web.service on m1 conflicts db.service
func cluster(t testing.TB, text string) *Cluster {
	t.Helper()
	c := New()
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "machine":
			c.SetMachine(machineOf(t, words[1], words[2:]))
		case words[0] == "unit":
			addUnit(t, c, registry.Revision(i+1), words[1], words[2:])
		case words[0] == "taken":
			c.SetTaken(registry.MachineID(words[1]), unit.Name(words[2]), "/etc/systemd/system/"+words[2])
		default:
			t.Fatalf("no such sentence: %s", line)
		}
	}
	return c
}

func machineOf(t testing.TB, id string, words []string) Machine {
	m := Machine{ID: registry.MachineID(id), Hostname: id, Metadata: map[string]string{"hostname": id}}
	for _, w := range words {
		switch key, value, pair := strings.Cut(w, "="); {
		case key == "GiB":
			m.Memory = number(t, value) << 30
		case key == "cpus":
			m.CPU = number(t, value) * 1000
		case pair:
			m.Metadata[key] = value
		case w == "cordoned":
			m.Cordoned = true
		case w == "drained":
			m.Drained = true
		case w == "held":
			m.State, m.Why = Held, "is silent"
		case w == "lost":
			m.State, m.Why = Lost, "is dead"
		default:
			t.Fatalf("no such machine: %s", w)
		}
	}
	return m
}

func addUnit(t testing.TB, c *Cluster, since registry.Revision, name string, words []string) {
	u := Unit{Name: unit.Name(name), Wanted: true}
	var needs []string
	places := map[string]Place{}
	for len(words) > 0 {
		arg := ""
		if len(words) > 1 {
			arg = words[1]
		}
		switch words[0] {
		case "on":
			places[arg] = Place{Since: since}
		case "leaving":
			places[arg] = Place{Since: since, Leaving: true}
		case "running":
			u.Running = append(u.Running, registry.MachineID(arg))
		case "conflicts":
			u.Options.Conflicts = append(u.Options.Conflicts, arg)
		case "with":
			u.Options.MachineOf = append(u.Options.MachineOf, arg)
		case "pinned":
			u.Options.MachineID = arg
		case "needs":
			needs = append(needs, arg)
		case "prefers":
			more, err := unit.ParseRequirements(arg)
			if err != nil {
				t.Fatal(err)
			}
			u.Options.Prefer = append(u.Options.Prefer, more...)
		case "over":
			u.Options.Spread = append(u.Options.Spread, arg)
		case "replaces":
			u.Options.Replaces = append(u.Options.Replaces, arg)
		case "priority":
			u.Options.Priority = int(number(t, arg))
		case "MiB":
			u.Needs.Memory.Amount = number(t, arg) << 20
		case "percent":
			u.Needs.Memory.Share = number(t, arg) * 100
		case "mCPU":
			u.Needs.CPU.Amount = number(t, arg)
		case "port":
			n := uint16(number(t, arg))
			u.Ports = append(u.Ports, unit.Port{Protocol: "tcp", Number: n, Last: n})
		case "least":
			u.Options.MinAvailable.Count = int(number(t, arg))
		case "wish":
			u.Wish = registry.MachineID(arg)
		case "global", "changed", "unwanted", "up":
			u.Launched, u.Active = u.Launched || words[0] == "up", u.Active || words[0] == "up"
			u.Options.Global = u.Options.Global || words[0] == "global"
			u.Changed = u.Changed || words[0] == "changed"
			u.Wanted = u.Wanted && words[0] != "unwanted"
			words = words[1:]
			continue
		default:
			t.Fatalf("no such unit: %s", words[0])
		}
		words = words[2:]
	}
	var err error
	if u.Options.Requirements, err = unit.ParseRequirements(strings.Join(needs, " ")); err != nil {
		t.Fatal(err)
	}
	c.SetUnit(u)
	for id, p := range places {
		c.Put(registry.MachineID(id), u.Name, p)
	}
}

func number(t testing.TB, word string) uint64 {
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tell puts decisions in words, one a line; units that stay are left out.
func tell(c *Cluster, decisions []Decision) string {
	var lines []string
	for _, d := range decisions {
		var parts []string
		for _, id := range d.Off {
			parts = append(parts, "off "+string(id))
		}
		if d.Reason != "" || c.Unit(d.Unit).Options.Global {
			for _, id := range d.On {
				parts = append(parts, "on "+string(id))
			}
		}
		if len(d.Refusals) > 0 {
			parts = append(parts, c.Explain(d.Refusals))
		}
		if len(parts) > 0 {
			lines = append(lines, string(d.Unit)+" "+strings.Join(parts, ", "))
		}
	}
	return strings.Join(lines, "\n")
}

func all(c *Cluster) []unit.Name {
	var names []unit.Name
	for u := range c.units.all() {
		names = append(names, u.name)
	}
	slices.Sort(names)
	return names
}

func TestPlan(t *testing.T) {
	tests := []struct{ name, given, want string }{
		{
			name: "a unit goes to the least loaded machine",
			given: `machine m1
				machine m2
				unit a.service on m1
				unit b.service`,
			want: "b.service on m2",
		},
		{
			name: "of equally loaded machines the smallest id",
			given: `machine m2
				machine m1
				unit a.service
				unit b.service
				unit c.service`,
			want: "a.service on m1\nb.service on m2\nc.service on m1",
		},
		{
			name: "what fits stays, however uneven",
			given: `machine m1
				machine m2
				unit a.service on m1
				unit b.service on m1`,
			want: "",
		},
		{
			name: "a cordoned machine keeps its units and gets none",
			given: `machine m1 cordoned
				unit a.service on m1
				unit b.service`,
			want: "b.service no machine fits: is cordoned (m1)",
		},
		{
			name: "a drained machine's units move",
			given: `machine m1 drained
				machine m2
				unit a.service on m1`,
			want: "a.service off m1, on m2",
		},
		{
			name: "a drained machine's units stay when nothing else fits",
			given: `machine m1 drained
				unit a.service on m1`,
			want: "a.service no machine fits: is being drained (m1)",
		},
		{
			name: "a silent machine's units stay",
			given: `machine m1 held
				machine m2
				unit a.service on m1`,
			want: "",
		},
		{
			name: "a dead machine's units move",
			given: `machine m1 lost
				machine m2
				unit a.service on m1`,
			want: "a.service off m1, on m2",
		},
		{
			name: "a dead machine's unit that fits nowhere else waits for it",
			given: `machine m1 lost
				machine m2 cordoned
				unit a.service on m1`,
			want: "a.service no machine fits: is cordoned (m2); is dead (m1)",
		},
		{
			name: "a machine that was removed loses its units even so",
			given: `machine m2 cordoned
				unit a.service on m1`,
			want: "a.service off m1, no machine fits: is cordoned (m2)",
		},
		{
			name: "a unit that runs somewhere is adopted there, cordon or not",
			given: `machine m1
				machine m2 cordoned
				unit a.service running m2`,
			want: "a.service on m2",
		},
		{
			name: "a unit that runs where it may not be is placed elsewhere",
			given: `machine m1 region=eu
				machine m2
				unit a.service running m2 needs region=eu`,
			want: "a.service on m1",
		},
		{
			name: "a unit wanted again goes where it was last",
			given: `machine m1
				machine m2
				unit a.service leaving m2`,
			want: "a.service on m2",
		},
		{
			name: "a unit not wanted leaves",
			given: `machine m1
				unit a.service on m1 unwanted`,
			want: "a.service off m1",
		},
		{
			name: "a name the machine has for itself is a refusal",
			given: `machine m1
				machine m2
				taken m1 a.service
				unit a.service on m1`,
			want: "a.service off m1, on m2",
		},
		{
			name:  "without machines",
			given: `unit a.service`,
			want:  "",
		},
	}
	run(t, tests)
}

func run(t *testing.T, tests []struct{ name, given, want string }) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(t, tt.given)
			if got := tell(c, c.Plan(all(c))); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestPlanProperty plans random clusters: the plan obeys every rule, and a
// second plan changes nothing.
func TestPlanProperty(t *testing.T) {
	for seed := range uint64(400) {
		text := randomCluster(rand.New(rand.NewPCG(seed, 1)))
		c := cluster(t, text)
		plan := tell(c, c.Plan(all(c)))
		checkRules(t, seed, c)
		for _, d := range c.Plan(all(c)) {
			if len(d.Off) > 0 || d.Reason != "" {
				t.Fatalf("seed %d: a second plan still wants %+v in\n%s", seed, d, text)
			}
		}
		again := cluster(t, text)
		if other := tell(again, again.Plan(all(again))); other != plan {
			t.Fatalf("seed %d: equal clusters, other plans:\n%s\n\n%s", seed, plan, other)
		}
	}
}

func randomCluster(r *rand.Rand) string {
	var b strings.Builder
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	machines := 1 + r.IntN(6)
	for i := range machines {
		fmt.Fprintf(&b, "machine m%d region=%s %s\n", i, pick("eu", "us"), pick("", "", "", "", "cordoned", "drained", "held", "lost"))
	}
	for i := range 1 + r.IntN(12) {
		fmt.Fprintf(&b, "unit u%d.service %s %s %s\n", i,
			pick("", "", fmt.Sprintf("on m%d", r.IntN(machines)), fmt.Sprintf("leaving m%d", r.IntN(machines))),
			pick("", "", "needs region=eu", "changed", "unwanted"),
			pick("", "", "global", fmt.Sprintf("conflicts u%d.service", r.IntN(12)), "conflicts u1*.service",
				fmt.Sprintf("pinned m%d", r.IntN(machines)), fmt.Sprintf("with u%d.service", r.IntN(max(i, 1)))))
	}
	return b.String()
}

func checkRules(t *testing.T, seed uint64, c *Cluster) {
	t.Helper()
	for _, name := range all(c) {
		u := c.units.get(name)
		on := u.placed(nil)
		if !u.wanted && len(on) > 0 || !u.class.options.Global && len(on) > 1 {
			t.Fatalf("seed %d: %s is on %v", seed, name, on)
		}
		for _, m := range on {
			if m.State != Ready {
				continue // what is there stays until it can be moved
			}
			if problems := c.expel(u, m); len(problems) > 0 {
				t.Fatalf("seed %d: %s is on %s, which %s", seed, name, m.ID, problems[0].detail)
			}
		}
	}
}
