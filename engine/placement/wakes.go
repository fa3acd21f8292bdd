package placement

import (
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Units that Plan could not put where they should be are parked, by class. When
// something changes about one machine, most classes can be passed over at once:
// that machine still lacks what they need.

// park notes whether a unit waits for something.
func (c *Cluster) park(u *member, waits bool) {
	if u.waits == waits {
		return
	}
	u.waits = waits
	if !waits {
		if delete(c.parked[u.class], u); len(c.parked[u.class]) == 0 {
			delete(c.parked, u.class)
		}
		return
	}
	if c.parked[u.class] == nil {
		c.parked[u.class] = map[*member]bool{}
	}
	c.parked[u.class][u] = true
}

// Wakes returns the parked units that may be better off elsewhere now that
// something changed about a machine, or about what is on it, sorted. Those that
// are on the machine, or run there, are concerned anyway; units that follow
// others are woken by Followers.
func (c *Cluster) Wakes(id registry.MachineID) []unit.Name {
	if len(c.parked) == 0 {
		return nil
	}
	c.settle()
	m := c.machines[id]
	var found []unit.Name
	for k, waiting := range c.parked {
		// What MachineID= means depends on all machines; and one that replaces
		// others fits where the rules say no.
		any := k.options.MachineID != "" || len(k.victims) > 0
		if !any && (m == nil || !c.open.has(m.slot) || k.mask != nil && !c.fit(k.mask).has(m.slot)) {
			continue
		}
		for u := range waiting {
			if u.wanted && (any || len(c.refuse(u, m, true)) == 0) {
				found = append(found, u.name)
			}
		}
	}
	slices.Sort(found)
	return found
}
