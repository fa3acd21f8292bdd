package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

func TestSimulate(t *testing.T) {
	const given = `machine m1 rack=1
		machine m2 rack=1
		machine m3 rack=2
		unit a.service on m1 conflicts c.service
		unit b.service on m2 needs rack=1
		unit c.service on m3
		unit g.service global on m1 on m2 on m3
		unit p.service conflicts g.service`
	for _, tt := range []struct{ name, scenario, want string }{
		{"nothing happens", "", "p.service pending as before"},
		{"a machine is lost, and its units move", "lose m1", "a.service m1 to m2\np.service pending as before"},
		{"a rack is lost, and a unit that needs it waits", "lose rack=1", "a.service pending\nb.service pending\np.service pending as before"},
		{"a rack is cordoned, and takes nothing new", "cordon rack=1; add new.service", "new.service to m3\np.service pending as before"},
		{"units that are added", "add w@1.service; add w@2.service", "p.service pending as before\nw@1.service to m1\nw@2.service to m2"},
		{"a unit that is removed makes room", "remove g.service", "g.service m1 m2 m3 to \np.service to m1"},
		{"a drain", "drain m2", "b.service m2 to m1\np.service pending as before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(t, given)
			before := fmt.Sprint(c.told())
			if got := outcome(c.Simulate(scenario(t, c, tt.scenario))); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if after := fmt.Sprint(c.told()); after != before {
				t.Errorf("it changed the cluster itself:\n%s\n%s", before, after)
			}
		})
	}
}

// TestSimulate_MinAvailable: what waits for others to be active moves in the end.
func TestSimulate_MinAvailable(t *testing.T) {
	const given = `machine m1
		machine m2
		unit w@1.service on m1 least 2 up
		unit w@2.service on m1 least 2 up`
	for _, tt := range []struct{ more, want string }{
		{"\nunit w@3.service on m1 least 2 up", "w@1.service m1 to m2\nw@2.service m1 to m2\nw@3.service m1 to m2"},
		{"", "w@1.service pending\nw@2.service pending"},
	} {
		c := cluster(t, given+tt.more)
		if got := outcome(c.Simulate(Scenario{Drain: []registry.MachineID{"m1"}})); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

// TestA23_SimulateMetadata: what a change of metadata moves is said before.
func TestA23_SimulateMetadata(t *testing.T) {
	const given = `machine m1 rack=7
		machine m2 rack=8
		machine m3
		unit a.service on m1 needs rack=7
		unit b.service on m2 needs rack=8
		unit c.service needs gpu=yes
		unit d.service on m3`
	for _, tt := range []struct {
		name   string
		change []Change
		want   string
	}{
		{"nothing", nil, "c.service pending as before"},
		{"a unit no longer fits, and nothing else does", []Change{{Kind: RemoveMetadata, Machine: "m1", Key: "rack"}}, "a.service pending\nc.service pending as before"},
		{"it moves to where it fits", []Change{{Kind: SetMetadata, Machine: "m3", Key: "rack", Value: "7"}, {Kind: RemoveMetadata, Machine: "m1", Key: "rack"}}, "a.service m1 to m3\nc.service pending as before"},
		{"a unit that waits gets its place", []Change{{Kind: SetMetadata, Machine: "m2", Key: "gpu", Value: "yes"}}, "c.service to m2"},
		{"a value that nobody asks for", []Change{{Kind: SetMetadata, Machine: "m2", Key: "zone", Value: "a"}}, "c.service pending as before"},
	} {
		c := cluster(t, given)
		before := fmt.Sprint(c.told())
		if got := outcome(c.Simulate(Scenario{Change: tt.change})); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if after := fmt.Sprint(c.told()); after != before {
			t.Errorf("%s: it changed the cluster itself:\n%s\n%s", tt.name, before, after)
		}
	}
}

func scenario(t *testing.T, c *Cluster, text string) Scenario {
	var s Scenario
	for line := range strings.SplitSeq(text, "; ") {
		what, whom, _ := strings.Cut(line, " ")
		var ids []registry.MachineID
		if what == "lose" || what == "cordon" || what == "drain" {
			var err error
			if ids, err = c.Select(whom); err != nil {
				t.Fatal(err)
			}
		}
		switch what {
		case "lose":
			s.Lose = ids
		case "cordon":
			s.Cordon = ids
		case "drain":
			s.Drain = ids
		case "remove":
			s.Remove = append(s.Remove, unit.Name(whom))
		case "add":
			s.Add = append(s.Add, Unit{Name: unit.Name(whom)})
		}
	}
	return s
}

func outcome(o Outcome) string {
	words := func(ids []registry.MachineID) string {
		text := ""
		for i, id := range ids {
			if i > 0 {
				text += " "
			}
			text += string(id)
		}
		return text
	}
	var all []string
	for _, m := range o.Moves {
		if len(m.To) > 0 || len(m.From) > 1 {
			all = append(all, strings.Replace(fmt.Sprintf("%s %s to %s", m.Unit, words(m.From), words(m.To)), "  ", " ", 1))
		}
	}
	for _, p := range o.Pending {
		text := string(p.Unit) + " pending"
		if p.Before {
			text += " as before"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// TestCloneIsTheSame compares clones of random clusters, and what they decide.
func TestCloneIsTheSame(t *testing.T) {
	for seed := range uint64(200) {
		p := newPair(t, seed)
		for range 3 * len(p.machines) {
			p.event()
		}
		p.decide(p.units)
		p.event()
		clone := p.c.Clone()
		if got, want := fmt.Sprint(clone.told()), fmt.Sprint(p.c.told()); got != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
		if got, want := fmt.Sprint(clone.Plan(p.units)), fmt.Sprint(p.c.Plan(p.units)); got != want {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, got, want)
		}
	}
}
