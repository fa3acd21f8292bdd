package placement

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/clusterd/clusterd/unit"
)

// search looks for the machine that suits a unit best. What the machine has to
// be in and out of are sets, so that it looks at 64 machines at once, and at
// none that can't be it. It is kept between searches for its memory.
type search struct {
	c    *Cluster
	u    *member
	not  *machine
	in   []*set  // wide ones
	list *set    // the smallest of the others it has to be in; nil: there is none
	also []*set  // the rest of these
	out  []*set  // wide ones
	bar  []*set  // others
	own  []int32 // where the unit is, to be looked at by the rules
	fits []int32 // those of them that suit
}

// start gathers the sets. It is false when no machine can be it.
func (s *search) start(c *Cluster, u *member, not *machine) bool {
	*s = search{c: c, u: u, not: not, in: s.in[:0], also: s.also[:0], out: s.out[:0], bar: s.bar[:0], own: s.own[:0], fits: s.fits[:0]}
	for spot := range u.spots() {
		s.own = append(s.own, spot.m.slot)
	}
	slices.Sort(s.own)
	for _, slot := range s.own {
		if m := c.bySlot[slot]; m != not && m.registered && len(c.refuse(u, m, true)) == 0 {
			s.fits = append(s.fits, slot)
		}
	}
	s.within(&c.open)
	if k := u.class.mask; k != nil {
		s.within(c.fit(k))
	}
	for _, p := range u.class.peers {
		if c.elsewhere(p, u) != nil {
			s.within(&p.matching.set)
		} else if !c.circle(p, u) {
			return len(s.fits) > 0
		}
	}
	s.withoutRivals()
	for version := range u.unfit() {
		if on := c.versions[version]; on != nil {
			s.without(on)
		}
	}
	if len(c.taken) > 0 {
		for m := range c.taken[u.name] {
			s.own = append(s.own, m.slot)
		}
	}
	return true
}

func (s *search) withoutRivals() {
	c := s.c
	if c.conflicts.empty() {
		return
	}
	for _, p := range s.u.class.conflicts {
		s.without(&p.matching.set)
	}
	var few [8]*pattern
	for _, p := range c.conflicts.of(s.u, few[:0]) {
		s.without(&p.carrying.set)
	}
}

func (s *search) within(x *set) {
	switch {
	case x.dense():
		s.in = append(s.in, x)
	case s.list == nil:
		s.list = x
	case x.n < s.list.n:
		s.also, s.list = append(s.also, s.list), x
	default:
		s.also = append(s.also, x)
	}
}

func (s *search) without(x *set) {
	switch {
	case x.n == 0:
	case x.dense():
		s.out = append(s.out, x)
	default:
		s.bar = append(s.bar, x)
	}
}

// each visits the machines that suit, the best first, until visit is true. It
// reports whether it was.
func (s *search) each(visit func(m *machine) bool) bool {
	if s.list != nil {
		return s.eachOf(s.list, visit)
	}
	load := &s.c.load
	for level := load.lowest(); level < len(load.at); level++ {
		if load.at[level].n > 0 && s.eachAt(load.at[level], visit) {
			return true
		}
	}
	return false
}

// eachOf visits those among a few that suit.
func (s *search) eachOf(few *set, visit func(m *machine) bool) bool {
	found := make([]*machine, 0, fewMax)
	for slot := range few.all() {
		if s.passes(slot) {
			found = append(found, s.c.bySlot[slot])
		}
	}
	for _, slot := range s.fits {
		found = append(found, s.c.bySlot[slot])
	}
	slices.SortFunc(found, byLoad)
	return slices.ContainsFunc(found, visit)
}

func (s *search) passes(slot int32) bool {
	for _, x := range s.in {
		if !x.has(slot) {
			return false
		}
	}
	for _, x := range s.also {
		if !x.has(slot) {
			return false
		}
	}
	for _, x := range s.out {
		if x.has(slot) {
			return false
		}
	}
	return s.free(slot)
}

// free says whether a machine that is in and out of the wide sets suits.
func (s *search) free(slot int32) bool {
	for _, x := range s.bar {
		if x.has(slot) {
			return false
		}
	}
	return !slices.Contains(s.own, slot)
}

// eachAt visits those at one level that suit.
func (s *search) eachAt(level *set, visit func(m *machine) bool) bool {
	fits := s.fits
	meet := func(slot int32) bool {
		for len(fits) > 0 && fits[0] < slot {
			fit := fits[0]
			fits = fits[1:]
			if level.has(fit) && visit(s.c.bySlot[fit]) {
				return true
			}
		}
		return int(slot) < len(s.c.bySlot) && visit(s.c.bySlot[slot])
	}
	for i, sum := range level.sum {
		for _, x := range s.in {
			sum &= x.summary(i)
		}
		for ; sum != 0; sum &= sum - 1 {
			at := i<<6 + bits.TrailingZeros64(sum)
			w := level.words[at]
			for _, x := range s.in {
				w &= x.word(at)
			}
			for _, x := range s.out {
				w &^= x.word(at)
			}
			for ; w != 0; w &= w - 1 {
				slot := int32(at<<6 + bits.TrailingZeros64(w))
				if s.free(slot) && meet(slot) {
					return true
				}
			}
		}
	}
	return len(fits) > 0 && meet(int32(len(s.c.bySlot)))
}

// byLoad orders machines from the least to the most loaded.
func byLoad(a, b *machine) int {
	return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.slot, b.slot))
}

// choose returns the best machine other than not, or why there is none. A
// machine where the unit's followers fit, too, is better than any other.
func (c *Cluster) choose(u *member, not *machine) (*machine, []Refusal) {
	followers := c.Followers(u.name)
	var best *machine
	left := 0 // how many followers would be left behind
	s := &c.search
	if s.start(c, u, not) {
		s.each(func(m *machine) bool {
			if m == not {
				return false
			}
			if n := c.leftBehind(followers, m); best == nil || n < left {
				best, left = m, n
			}
			return left == 0
		})
	}
	if best != nil {
		return best, nil
	}
	return nil, c.refusals(u)
}

// leftBehind counts the followers that could not go to m.
func (c *Cluster) leftBehind(followers []unit.Name, m *machine) int {
	n := 0
	for _, name := range followers {
		f := c.units.get(name)
		k := &checks{first: true}
		ok := f.class.options.Global || c.machineID(k, f, m, false) && c.metadata(k, f, m) &&
			c.conflicting(k, f, m) && c.nameTaken(k, f, m) && c.suits(k, f, m)
		if !ok {
			n++
		}
	}
	return n
}
