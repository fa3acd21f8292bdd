package placement

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// TestWakes changes random clusters: whoever could be where it should be after
// a change, and could not before, is woken.
func TestWakes(t *testing.T) {
	woken, parked := 0, 0
	for seed := range uint64(seeds(t)) {
		p := newPair(t, seed)
		for range 3 * len(p.machines) {
			p.event()
		}
		p.decide(p.units)
		p.decide(p.units)
		for range 8 {
			id := p.anyMachine()
			waiting := p.waiting()
			before := map[unit.Name]bool{}
			concerned := map[unit.Name]bool{}
			if p.r.IntN(2) == 0 || p.o.machines[id] == nil {
				m := p.randomMachine(id)
				p.say("machine %+v", m)
				p.c.SetMachine(m)
				p.o.SetMachine(m)
			} else {
				on := slices.Sorted(maps.Keys(p.o.machines[id].units))
				if len(on) == 0 {
					continue
				}
				name := on[p.r.IntN(len(on))]
				p.say("take %s off %s", name, id)
				p.c.Take(id, name)
				p.o.Take(id, name)
				before[name] = true
				for _, f := range p.c.Followers(name) {
					before[f] = true
				}
			}
			if m := p.o.machines[id]; m != nil {
				for name := range m.units {
					concerned[name] = true
				}
			}
			for name, u := range p.o.units {
				if slices.Contains(u.Running, id) {
					concerned[name] = true
				}
			}
			wakes := p.c.Wakes(id)
			woken, parked = woken+len(wakes), parked+len(waiting)
			for _, name := range waiting {
				if p.o.content(name) && !slices.Contains(wakes, name) && !before[name] && !concerned[name] {
					t.Fatalf("%s\nseed %d: %s is not woken, only %s", strings.Join(p.story, "\n"), seed, name, wakes)
				}
			}
			p.decide(p.units)
		}
	}
	t.Logf("%d changes woke %.1f %% of the units that waited", seeds(t)*8, 100*float64(woken)/float64(parked))
}

// waiting are the units that the oracle would have elsewhere.
func (p *pair) waiting() []unit.Name {
	var names []unit.Name
	for name, u := range p.o.units {
		if u.known && u.Wanted && !p.o.content(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func BenchmarkWakes(b *testing.B) {
	const machines, waiting = 10000, 100000
	c, names := fleet(b, machines, waiting)
	for i := range machines {
		m, _ := c.Machine(registry.MachineID(fleetID(i)))
		m.Cordoned = true
		c.SetMachine(m)
	}
	c.quiet = true // their reasons are not what is measured
	c.Plan(names)
	m, _ := c.Machine(registry.MachineID(fleetID(1)))
	m.Cordoned = false
	m.Metadata = map[string]string{"hostname": "other"}
	for b.Loop() {
		c.SetMachine(m)
		if n := len(c.Wakes(m.ID)); n > 0 {
			b.Fatalf("%d woken", n)
		}
	}
}
