package placement

import "strings"

// shortage is which machines have too little for units of a class. Where many
// wait for memory, each would otherwise look at every machine for itself.
type shortage struct {
	version int // of the cluster's room; 0: never made
	all     set
	lines   []shortLine
}

type shortLine struct {
	detail string
	set    set
}

// shortageOf returns it for u, where it would be a new unit.
func (c *Cluster) shortageOf(u *member) *shortage {
	if !u.class.needy {
		return &shortage{}
	}
	fresh := u.place.m == nil && u.more == nil
	if s := &u.class.shortage; fresh && s.version == c.room {
		return s
	}
	s := c.shortageNow(u)
	if fresh {
		u.class.shortage = s
	}
	return &s
}

// sizesMax is how many different amounts are put in words to see whether they
// make many lines.
const sizesMax = 1000

func (c *Cluster) shortageNow(u *member) shortage {
	s := shortage{version: c.room}
	var by [resources]map[lack]*set
	for slot := range c.ready.all() {
		for _, l := range c.lacks(u, c.bySlot[slot], amounts{}) {
			if by[l.resource] == nil {
				by[l.resource] = map[lack]*set{}
			}
			on := by[l.resource][l]
			if on == nil {
				on = &set{}
				by[l.resource][l] = on
			}
			on.add(slot)
			s.all.add(slot)
		}
	}
	for _, lacks := range by {
		s.lines = append(s.lines, shortLines(lacks)...)
	}
	return s
}

// shortLines says how much each machine has left of a resource, or if that
// would be many lines, how much the one with most has.
func shortLines(by map[lack]*set) []shortLine {
	said := map[string]*set{}
	var most lack
	for l := range by {
		if l.free > most.free || l.free == most.free && l.need > most.need {
			most = l
		}
	}
	whole := "has at most " + strings.TrimPrefix(most.String(), "has ")
	var all set
	for l, on := range by {
		all.union(on)
		if len(by) > sizesMax {
			continue
		}
		text := l.String()
		if said[text] == nil {
			said[text] = &set{}
		}
		said[text].union(on)
	}
	if len(said) > namesMax || len(by) > sizesMax {
		return []shortLine{{whole, all}}
	}
	var lines []shortLine
	for text, on := range said {
		lines = append(lines, shortLine{text, *on})
	}
	return lines
}
