package placement

import (
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// A unit with Replaces= takes the machine of a unit that it names, its victim,
// which goes elsewhere; after that neither comes to the other's machine. Units
// that replace each other, be it in a circle, would chase each other for ever:
// between them nobody takes a machine, they only keep apart. So would one that
// has to be on its victim's machine, by MachineOf=.

// replaces says whether a names b in Replaces=.
func replaces(a, b *member) bool {
	return a != b && slices.ContainsFunc(a.class.victims, func(p *pattern) bool { return p.matches(b.name) })
}

// ousts says whether a takes b's machine when it is placed. A unit of which
// nothing is known but that it is there can't be moved.
func (c *Cluster) ousts(a, b *member) bool {
	return replaces(a, b) && b.known && !b.class.options.Global && !c.reaches(b, a, map[*member]bool{}) &&
		(len(a.class.peers) == 0 || !c.follows(a, b, map[*member]bool{}))
}

// follows says whether a has to be where b is, be it by way of others.
func (c *Cluster) follows(a, b *member, seen map[*member]bool) bool {
	if seen[a] {
		return false
	}
	seen[a] = true
	for _, p := range a.class.peers {
		if p.matches(b.name) {
			return true
		}
		for next := range c.meant(p, c.following) {
			if next != a && c.follows(next, b, seen) {
				return true
			}
		}
	}
	return false
}

// reaches says whether a replaces b, or one that reaches b.
func (c *Cluster) reaches(a, b *member, seen map[*member]bool) bool {
	if seen[a] || !a.wanted {
		return false
	}
	seen[a] = true
	for _, p := range a.class.victims {
		if p.matches(b.name) {
			return true
		}
		for next := range c.meant(p, c.replacing) {
			if next != a && c.reaches(next, b, seen) {
				return true
			}
		}
	}
	return false
}

// meant yields the units that a pattern matches; of a glob those among some.
func (c *Cluster) meant(p *pattern, among map[*member]bool) func(yield func(*member) bool) {
	return func(yield func(*member) bool) {
		if !isGlob(p.text) {
			if u := c.units.get(unit.Name(p.text)); u != nil {
				yield(u)
			}
			return
		}
		for u := range among {
			if p.matches(u.name) && !yield(u) {
				return
			}
		}
	}
}

// apart returns the units on m, and not leaving, that one of the two replaces, sorted.
func (c *Cluster) apart(u *member, m *machine) []*member {
	if c.victims.empty() || !c.mayReplace(u, m) {
		return nil
	}
	var found []*member
	for _, other := range m.units {
		if other != u && !other.on(m).leaving && (replaces(u, other) || replaces(other, u)) {
			found = append(found, other)
		}
	}
	slices.SortFunc(found, byName)
	return found
}

func (c *Cluster) mayReplace(u *member, m *machine) bool {
	for _, p := range u.class.victims {
		if p.matching.has(m.slot) {
			return true
		}
	}
	var few [8]*pattern
	for _, p := range c.victims.of(u, few[:0]) {
		if p.carrying.has(m.slot) {
			return true
		}
	}
	return false
}

// roomMade keeps u off a machine with one that it replaces, or that replaces it.
func (c *Cluster) roomMade(k *checks, u *member, m *machine) bool {
	for _, other := range c.apart(u, m) {
		if k.over && c.ousts(u, other) {
			continue
		}
		detail := "runs " + string(other.name) + ", which it replaces"
		if replaces(other, u) {
			detail = "runs " + string(other.name) + ", which replaces it"
		}
		if !k.add(RuleReplaces, detail) {
			return false
		}
	}
	return true
}

// ousted says that u has to go because of one on m that replaces it, or that
// replaces it in a circle and was there first.
func (c *Cluster) ousted(k *checks, u *member, m *machine) bool {
	for _, other := range c.apart(u, m) {
		if c.ousts(u, other) || !c.ousts(other, u) && first(u, other, m) {
			continue
		}
		if !k.add(RuleReplaces, "runs "+string(other.name)+", which replaces it") {
			return false
		}
	}
	return true
}

// takeOver returns the machine of a unit that u ousts, and that unit; nil when
// there is none where u fits once the other is gone.
func (c *Cluster) takeOver(u *member, not *machine) (*machine, *member) {
	var found *machine
	for _, p := range u.class.victims {
		for slot := range p.matching.all() {
			m := c.bySlot[slot]
			if m == not || !m.registered || found != nil && byLoad(found, m) <= 0 {
				continue
			}
			if k := (&checks{first: true, over: true}); len(c.refuseBy(k, u, m)) == 0 && c.victim(u, m) != nil {
				found = m
			}
		}
	}
	if found == nil {
		return nil, nil
	}
	return found, c.victim(u, found)
}

// victim is the first unit on m that u ousts.
func (c *Cluster) victim(u *member, m *machine) *member {
	for _, other := range c.apart(u, m) {
		if c.ousts(u, other) {
			return other
		}
	}
	return nil
}

// isVictim says whether some unit, placed or not, replaces u.
func (c *Cluster) isVictim(u *member) bool {
	var few [8]*pattern
	return !c.victims.empty() && len(c.victims.of(u, few[:0])) > 0
}

// again decides anew about the units that another has taken the machine of. One
// that was decided before is put back to where it was, and its decision replaced.
func (p *planning) again(u *member, on []*machine) {
	c := p.cluster
	for _, m := range on {
		for _, other := range c.apart(u, m) {
			if !c.ousts(u, other) {
				continue
			}
			if was, ok := p.was[other]; ok && other.decided == c.pass {
				if was.times++; was.times > againMax {
					continue
				}
				p.was[other] = was
				c.restore(other, was.places)
				p.decisions = slices.DeleteFunc(p.decisions, func(d Decision) bool { return d.Unit == other.name })
				other.decided = c.pass - 1
			}
			p.queue = append(p.queue, other)
		}
	}
}

// againMax is how often a unit is decided anew in one plan. Since circles don't
// oust, a unit is so only once for each that does.
const againMax = 64

// before is where a unit was before a plan.
type before struct {
	places map[registry.MachineID]Place
	times  int
}

// restore puts a unit back to the places it had.
func (c *Cluster) restore(u *member, places map[registry.MachineID]Place) {
	for s := range u.spots() {
		if _, ok := places[s.m.ID]; !ok {
			c.Take(s.m.ID, u.name)
		}
	}
	for id, place := range places {
		c.Put(id, u.name, place)
	}
}
