package placement

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Scenario is what might happen.
type Scenario struct {
	Lose   []registry.MachineID // their units move, and they are not there
	Cordon []registry.MachineID // they take no new units
	Drain  []registry.MachineID // they take none, and those they have move if they can
	Change []Change             // of machines only: SetMetadata, RemoveMetadata, Uncordon, EndDrain and their like
	Remove []unit.Name          // no longer wanted
	Add    []Unit               // wanted, be they known yet or not
}

// Outcome is what would come of it.
type Outcome struct {
	Moves   []Move    // by unit
	Pending []Pending // by unit, those that would not be where they should
}

// Move is a unit's change of place. From is empty for what is new, To for what
// goes or finds no place.
type Move struct {
	Unit     unit.Name
	From, To []registry.MachineID
	Reason   string
}

// Pending is a unit that would not be where it should.
type Pending struct {
	Unit     unit.Name
	Before   bool                 // it is so already
	On       []registry.MachineID // where it would be, though it should not
	Refusals []Refusal
	Text     string
}

// Clone returns an index that knows the same and shares nothing that changes.
func (c *Cluster) Clone() *Cluster {
	to := New()
	for _, m := range c.machines {
		if m.registered {
			to.SetMachine(m.Machine)
		}
	}
	for u := range c.units.all() {
		if u.known {
			to.SetUnit(c.Unit(u.name))
		}
		for s := range u.spots() {
			to.Put(s.m.ID, u.name, Place{Since: s.since, Leaving: s.leaving})
		}
	}
	for id, m := range c.machines {
		for name, path := range m.taken {
			to.SetTaken(id, name, path)
		}
	}
	return to
}

// Select returns the machines that text means: all that meet a requirement such
// as rack=7, or the one with that host name, or whose id begins so; sorted.
func (c *Cluster) Select(text string) ([]registry.MachineID, error) {
	c.settle()
	if strings.ContainsAny(text, "=<> ") {
		needs, err := unit.ParseRequirements(text)
		if err != nil {
			return nil, fmt.Errorf("select machines: %w", err)
		}
		found := c.made(&mask{needs: needs})
		return c.ids(&found), nil
	}
	found := c.pinned(&mask{pin: text})
	switch {
	case found.n > 0:
		return c.ids(&found), nil
	case len(c.called(text)) > 1:
		return nil, fmt.Errorf("select machines: %s fits several machines; give more of the id", text)
	}
	return nil, fmt.Errorf("select machines: no machine is called %s; see clusterctl list-machines --full", text)
}

// roundsMax bounds how often a scenario is planned: what leaves a machine makes
// room for others, which may in turn.
const roundsMax = 20

// Simulate says what would come of a scenario once all has come to rest. It
// works on a clone, with Plan: what it says is what would be decided.
func (c *Cluster) Simulate(s Scenario) Outcome {
	was := c
	c = c.Clone()
	c.resting = true
	todo := was.restless()
	c.happen(s, todo)
	reasons := map[unit.Name]string{}
	refused := map[unit.Name][]Refusal{}
	for range roundsMax {
		moved := false
		for _, d := range c.Plan(slices.Collect(maps.Keys(todo))) {
			if todo[d.Unit] = true; len(d.Refusals) > 0 {
				refused[d.Unit] = d.Refusals
			} else {
				delete(refused, d.Unit)
			}
			if d.Reason != "" {
				reasons[d.Unit], moved = d.Reason, true
			}
			moved = moved || len(d.Off) > 0
		}
		if !moved {
			break
		}
		c.finish(todo)
	}
	return c.compare(was, todo, reasons, refused)
}

// restless are the units that any change of the machines may concern: those
// that are not where they should be, and those that are to be everywhere.
func (c *Cluster) restless() map[unit.Name]bool {
	todo := map[unit.Name]bool{}
	c.settle()
	for u := range c.units.all() {
		if u.known && u.wanted && (u.class.options.Global || !c.content(u)) {
			todo[u.name] = true
		}
	}
	return todo
}

// happen makes a scenario true, and adds the units it concerns.
func (c *Cluster) happen(s Scenario, todo map[unit.Name]bool) {
	change := func(ids []registry.MachineID, to func(m *Machine)) {
		for _, id := range ids {
			m := c.machines[id]
			if m == nil || !m.registered {
				continue
			}
			now := m.Machine
			to(&now)
			c.SetMachine(now)
			for _, u := range m.units {
				todo[u.name] = true
			}
		}
	}
	change(s.Lose, func(m *Machine) { m.State, m.Why = Lost, "is lost" })
	change(s.Cordon, func(m *Machine) { m.Cordoned = true })
	change(s.Drain, func(m *Machine) { m.Drained = true })
	for _, ch := range s.Change {
		change([]registry.MachineID{ch.Machine}, func(m *Machine) { *m = ch.machine(*m) })
	}
	for _, name := range s.Remove {
		u := c.Unit(name)
		u.Wanted = false
		c.SetUnit(u)
		todo[name] = true
	}
	for _, u := range s.Add {
		u.Wanted = true
		c.SetUnit(u)
		todo[u.Name] = true
	}
}

// finish lets units be gone that are leaving.
func (c *Cluster) finish(todo map[unit.Name]bool) {
	for name := range todo {
		for id, place := range c.Places(name) {
			if place.Leaving {
				c.Take(id, name)
			}
		}
	}
}

// compare says how units are placed otherwise than they were.
func (c *Cluster) compare(was *Cluster, todo map[unit.Name]bool, reasons map[unit.Name]string, refused map[unit.Name][]Refusal) Outcome {
	var o Outcome
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		from, to := was.PlacedOn(name), c.PlacedOn(name)
		if !slices.Equal(from, to) {
			o.Moves = append(o.Moves, Move{Unit: name, From: from, To: to, Reason: reasons[name]})
		}
		if said := refused[name]; len(said) > 0 || c.Unit(name).Wanted && len(to) == 0 {
			u := was.units.get(name)
			before := u != nil && u.known && u.wanted && !was.content(u)
			o.Pending = append(o.Pending, Pending{Unit: name, Before: before, On: to, Refusals: said, Text: c.Explain(said)})
		}
	}
	return o
}
