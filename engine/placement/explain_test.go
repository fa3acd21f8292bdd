package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct{ name, given, want string }{
		{
			name: "all that each machine has against it, and the change",
			given: `machine m1 cordoned region=us
				machine m2 region=eu cordoned
				machine m3 region=us lost
				unit a.service needs region=eu`,
			want: `a.service fits 0 of 3 machines
				cordon: is cordoned (m1, m2)
				metadata: lacks region=eu (m1, m3)
				machine-state: is dead (m3)
				It would be placed after one change: uncordon m2`,
		},
		{
			name: "metadata that a machine would have to have",
			given: `machine m1 region=us
				machine m2
				taken m2 a.service
				unit a.service needs region=eu`,
			want: `a.service fits 0 of 2 machines
				metadata: lacks region=eu (m1, m2)
				name-taken: has the name for itself in /etc/systemd/system/a.service (m2)
				It would be placed after one change: set region=eu in the metadata of m1`,
		},
		{
			name: "a blocker",
			given: `machine m1
				machine m2 cordoned
				unit b.service on m1
				unit c.service on m2
				unit a.service conflicts b.service conflicts c.service`,
			want: `a.service fits 0 of 2 machines
				conflicts: runs the conflicting b.service (m1)
				cordon: is cordoned (m2)
				conflicts: runs the conflicting c.service (m2)
				It would be placed after one change: take Conflicts=b.service out of a.service`,
		},
		{
			name: "a blocker that binds the unit by its own file",
			given: `machine m1
				unit b.service on m1 conflicts a.service
				unit a.service`,
			want: `a.service fits 0 of 1 machines
				conflicts: runs the conflicting b.service (m1)
				It would be placed after one change: stop b.service`,
		},
		{
			name: "a smaller request",
			given: `machine m1 GiB=4
				unit b.service on m1 MiB 2048
				unit a.service MiB 3072`,
			want: `a.service fits 0 of 1 machines
				resources: has 2 GiB of memory free, and the unit needs 3 GiB (m1)
				It would be placed after one change: let a.service need no more than 2 GiB of memory`,
		},
		{
			name: "patience",
			given: `machine m1
				unit b.service leaving m1 unwanted
				unit a.service conflicts b.service`,
			want: `a.service fits 0 of 1 machines
				conflicts: is still stopping the conflicting b.service (m1)
				It would be placed after one change: wait until b.service has stopped on m1`,
		},
		{
			name: "nothing simple",
			given: `machine m1 cordoned
				taken m1 a.service
				unit a.service`,
			want: `a.service fits 0 of 1 machines
				cordon: is cordoned (m1)
				name-taken: has the name for itself in /etc/systemd/system/a.service (m1)`,
		},
		{
			name: "one that is where it should be",
			given: `machine m1
				machine m2 cordoned
				unit a.service on m1`,
			want: `a.service fits 1 of 2 machines
				cordon: is cordoned (m2)`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, ok := cluster(t, tt.given).ExplainUnit("a.service")
			if got, want := lines(e.String()), lines(tt.want); !ok || got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// lines returns a text without indentation.
func lines(text string) string {
	var all []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		all = append(all, strings.TrimSpace(line))
	}
	return strings.Join(all, "\n")
}

// TestExplainSameAsOracle asks random clusters about units: the reasons are
// those of the oracle, a change that is suggested helps there, and where there
// are few machines, no smaller kind of change does.
func TestExplainSameAsOracle(t *testing.T) {
	suggested := map[ChangeKind]int{}
	for seed := range uint64(seeds(t)) {
		p := newPair(t, seed)
		for range 3 * len(p.machines) {
			p.event()
		}
		p.decide(p.units)
		for range 3 {
			p.event()
		}
		before := fmt.Sprint(p.c.told())
		for _, name := range p.units[:min(len(p.units), 3)] {
			would := p.randomUnit(name)
			would.Wanted = true
			clone := p.c.Clone()
			clone.SetUnit(would)
			e, _ := clone.ExplainUnit(name)
			if as := p.c.ExplainAs(would); as.String() != e.String() {
				t.Fatalf("seed %d: %s explained as it would be:\n%s\nnot\n%s", seed, name, as, e)
			}
		}
		for _, name := range p.units[:min(len(p.units), 20)] {
			e, ok := p.c.ExplainUnit(name)
			if !ok {
				continue
			}
			p.reasons(e)
			if e.Pending == p.o.content(name) && p.c.Unit(name).Wanted {
				t.Fatalf("seed %d: %s: pending: %v", seed, name, e.Pending)
			}
			if e.Change != nil {
				suggested[e.Change.Kind]++
			}
			if e.Pending {
				p.change(e)
			}
		}
		if after := fmt.Sprint(p.c.told()); after != before {
			t.Fatalf("seed %d: explaining changed\n%s\nto\n%s", seed, before, after)
		}
		p.decide(p.units)
	}
	t.Log("suggested:", suggested)
	if len(suggested) < int(changeKinds)-4 {
		t.Errorf("only %d of %d kinds of changes were ever suggested", len(suggested), changeKinds)
	}
}

func (p *pair) reasons(e Explanation) {
	p.t.Helper()
	u := p.o.units[e.Unit]
	for _, m := range e.Machines {
		var got, want []string
		for _, problem := range m.Problems {
			got = append(got, problem.Rule+": "+problem.Detail)
		}
		for _, problem := range p.o.refuseBy(&checks{all: true}, u, p.o.machines[m.ID]) {
			want = append(want, problem.rule+": "+problem.detail)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			p.t.Fatalf("%s\n%s on %s: got %q, want %q", strings.Join(p.story, "\n"), e.Unit, m.ID, got, want)
		}
	}
	if len(e.Machines) != len(p.o.order) {
		p.t.Fatalf("%d machines, want %d", len(e.Machines), len(p.o.order))
	}
}

// change checks what is suggested.
func (p *pair) change(e Explanation) {
	p.t.Helper()
	helps := func(ch Change) bool {
		undo := ch.applyTo(p.o)
		defer undo()
		return p.o.content(e.Unit)
	}
	if e.Change != nil && !helps(*e.Change) {
		p.t.Fatalf("%s\n%s: it does not help to %s", strings.Join(p.story, "\n"), e.Unit, e.Change)
	}
	if len(p.machines) > 6 {
		return
	}
	for _, ch := range p.allChanges(e.Unit) {
		if e.Change != nil && (ch.Kind >= e.Change.Kind || e.Change.Kind == RemoveMetadata && ch.Kind == SetMetadata) {
			continue // of the two about metadata neither is the smaller
		}
		if helps(ch) {
			p.t.Fatalf("%s\n%s: %v is suggested, but it helps to %s", strings.Join(p.story, "\n"), e.Unit, e.Change, ch)
		}
	}
}

// allChanges lists every change there is.
func (p *pair) allChanges(name unit.Name) []Change {
	u := p.c.Unit(name)
	var all []Change
	add := func(ch Change) {
		ch.Unit = name
		all = append(all, ch)
	}
	for _, m := range p.o.order {
		on := Change{Machine: m.ID, Hostname: m.Hostname}
		for kind, is := range map[ChangeKind]bool{Uncordon: m.Cordoned && !m.Drained, EndDrain: m.Drained, BringBack: m.State != Ready} {
			if on.Kind = kind; is {
				add(on)
			}
		}
		if path := m.taken[name]; path != "" {
			on.Kind, on.Value = FreeName, path
			add(on)
		}
		for _, r := range u.Options.Requirements {
			on.Kind, on.Key = RemoveMetadata, r.Key
			add(on)
			for _, value := range []string{"eu", "us", "0", "1", "2", "3", "yes"} {
				on.Kind, on.Value = SetMetadata, value
				add(on)
			}
		}
		if u.Systemd > m.systemd {
			add(Change{Kind: UpgradeSystemd, Machine: m.ID, Amount: uint64(u.Systemd)})
		}
	}
	for _, r := range u.Options.Requirements {
		add(Change{Kind: DropRequirement, Value: r.String()})
	}
	add(Change{Kind: DropMachineID})
	for kind, list := range map[ChangeKind][]string{DropMachineOf: u.Options.MachineOf, DropConflicts: u.Options.Conflicts, DropReplaces: u.Options.Replaces} {
		for _, value := range list {
			add(Change{Kind: kind, Value: value})
		}
	}
	for other, o := range p.o.units {
		if other != name && o.known {
			add(Change{Kind: StopUnit, Other: other})
		}
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	return all
}

func (c *oracle) Machine(id registry.MachineID) (Machine, bool) {
	if m := c.machines[id]; m != nil && m.registered {
		return m.Machine, true
	}
	return Machine{}, false
}

func (c *oracle) content(name unit.Name) bool {
	u := c.units[name]
	d := c.somewhere
	if u.Options.Global {
		d = c.everywhere
	}
	got := d(u)
	return len(got.On) > 0 && len(got.Refusals) == 0
}

// told is all that a cluster was told, in a form to compare.
func (c *Cluster) told() []string {
	var all []string
	for _, m := range c.machines {
		all = append(all, fmt.Sprint("machine ", m.Machine, m.registered, m.taken, m.load, m.used, len(m.listening)))
	}
	for u := range c.units.all() {
		all = append(all, fmt.Sprint("unit ", c.Unit(u.name), c.Places(u.name), u.known))
	}
	slices.Sort(all)
	return all
}
