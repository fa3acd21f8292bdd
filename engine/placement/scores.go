package placement

import (
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// Of the machines that suit a unit, those are better that meet more of its
// Prefer=, then those whose values for its Spread= fewer of its template have,
// then the less loaded. The first two are ladders: sets of machines, the best
// first, that together are all.

// ladders returns the ladders for a unit.
func (c *Cluster) ladders(u *member) [][]*set {
	var all [][]*set
	if len(u.class.options.Prefer) > 0 {
		all = append(all, c.preferred(u.class))
	}
	if u.family.key != "" {
		for _, key := range u.class.options.Spread {
			all = append(all, c.spreadOf(u, key).rungs())
		}
	}
	return all
}

// preference is a class's ladder by how many of its Prefer= a machine meets.
type preference struct {
	rungs       []*set
	epoch, seen int // of the table
}

func (c *Cluster) preferred(k *class) []*set {
	p := &k.preference
	if p.epoch == c.epoch && p.seen == len(c.changed) {
		return p.rungs
	}
	prefer := k.options.Prefer
	p.rungs = make([]*set, len(prefer)+1)
	for i := range p.rungs {
		p.rungs[i] = &set{}
	}
	for slot := range c.registered.all() {
		p.rungs[unmet(prefer, c.bySlot[slot].Metadata)].add(slot)
	}
	p.epoch, p.seen = c.epoch, len(c.changed)
	return p.rungs
}

func unmet(prefer []unit.Requirement, metadata map[string]string) int {
	n := 0
	for _, r := range prefer {
		if !r.Matches(metadata) {
			n++
		}
	}
	return n
}

// spread counts the instances of a template by their machines' values of one
// key. A machine without the key is the last choice.
type spread struct {
	key, typ    string
	counts      map[string]int
	at          []*set // machines by the count of their value
	lacking     set
	epoch, seen int // of the table
}

func (s *spread) rungs() []*set { return append(s.at[:len(s.at):len(s.at)], &s.lacking) }

// typeOf is the type of a unit, which tells templates of one name apart.
func typeOf(name unit.Name) string { return string(name[strings.LastIndexByte(string(name), '.')+1:]) }

// spreadOf returns the counts of u's template, without u itself.
func (c *Cluster) spreadOf(u *member, key string) *spread {
	f, typ := u.family, typeOf(u.name)
	id := key + "\x00" + typ
	s := f.spreads[id]
	if s == nil {
		s = &spread{key: key, typ: typ}
		if f.spreads == nil {
			f.spreads = map[string]*spread{}
		}
		f.spreads[id] = s
	}
	if s.epoch != c.epoch || s.seen != len(c.changed) {
		c.respread(s, f)
	}
	return s
}

// respread counts anew, since machines changed.
func (c *Cluster) respread(s *spread, f *family) {
	s.counts, s.at, s.lacking = map[string]int{}, nil, c.registered.clone()
	if a := c.metadata[s.key]; a != nil {
		first := a.has.clone()
		first.widen()
		s.at = []*set{&first}
		s.lacking.minus(&first)
	}
	s.epoch, s.seen = c.epoch, len(c.changed)
	for _, u := range f.members {
		for spot := range u.spots() {
			if !spot.leaving && typeOf(u.name) == s.typ {
				c.scatter(s, spot.m, 1)
			}
		}
	}
}

// scatter counts a unit on a machine, or takes it back.
func (c *Cluster) scatter(s *spread, m *machine, by int) {
	value, ok := m.Metadata[s.key]
	if !ok || !m.registered || m.slot < 0 || s.epoch != c.epoch || s.seen != len(c.changed) {
		return // the last: all will be counted anew
	}
	n := s.counts[value]
	s.counts[value] = n + by
	for n+by >= len(s.at) {
		next := &set{}
		next.widen()
		s.at = append(s.at, next)
	}
	for slot := range c.metadata[s.key].values[value].all() {
		s.at[n].remove(slot)
		s.at[n+by].add(slot)
	}
}

// scatterAll counts a unit's place in what its template spreads over.
func (c *Cluster) scatterAll(u *member, s spot, by int) {
	if s.leaving || len(u.family.spreads) == 0 {
		return
	}
	typ := typeOf(u.name)
	for _, spread := range u.family.spreads {
		if spread.typ == typ {
			c.scatter(spread, s.m, by)
		}
	}
}
