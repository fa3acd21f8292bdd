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
	over []*set  // the rungs it stands on; they are in in, list or also, too
}

// start gathers the sets. It is false when no machine can be it.
func (s *search) start(c *Cluster, u *member, not *machine) bool {
	s.c, s.u, s.not, s.list = c, u, not, nil
	s.in, s.also, s.out, s.bar = s.in[:0], s.also[:0], s.out[:0], s.bar[:0]
	s.own, s.fits, s.over = s.own[:0], s.fits[:0], s.over[:0]
	if u.place.m != nil || u.more != nil {
		s.home()
	}
	s.within(&c.open)
	if k := u.class.mask; k != nil {
		s.within(c.fit(k))
	}
	for _, p := range u.class.peers {
		if c.elsewhere(p, u) != nil {
			s.within(&p.matching.set)
		} else if !c.circle(p, u) {
			return false
		}
	}
	s.withoutRivals()
	if len(c.taken) > 0 {
		for m := range c.taken[u.name] {
			s.own = append(s.own, m.slot)
		}
	}
	return true
}

// home looks at the machines the unit is on by the rules, since the sets count
// the unit itself, and keeps away from those whose systemd it doesn't suit.
func (s *search) home() {
	c, u := s.c, s.u
	for spot := range u.spots() {
		s.own = append(s.own, spot.m.slot)
	}
	slices.Sort(s.own)
	for _, slot := range s.own {
		if m := c.bySlot[slot]; m != s.not && m.registered && len(c.refuse(u, m, true)) == 0 {
			s.fits = append(s.fits, slot)
		}
	}
	for version := range u.unfit() {
		if on := c.versions[version]; on != nil {
			s.without(on)
		}
	}
}

// withoutRivals keeps away from those that conflict with the unit, replace it,
// are replaced by it, or have its ports.
func (s *search) withoutRivals() {
	c, k := s.c, s.u.class
	var few [8]*pattern
	if !c.conflicts.empty() {
		for _, p := range k.conflicts {
			s.without(&p.matching.set)
		}
		for _, p := range c.conflicts.of(s.u, few[:0]) {
			s.without(&p.carrying.set)
		}
	}
	if !c.victims.empty() {
		for _, p := range k.victims {
			s.without(&p.matching.set)
		}
		for _, p := range c.victims.of(s.u, few[:0]) {
			s.without(&p.carrying.set)
		}
	}
	if k.needy && k.shortage.version == c.room {
		s.without(&k.shortage.all)
	}
	for _, p := range k.ports {
		if d, ok := simplePort(p); ok && c.doors[d] != nil {
			s.without(&c.doors[d].set)
		}
	}
}

// climb visits the machines that suit, those on the better rungs of the first
// ladder first, then by the next.
func (s *search) climb(ladders [][]*set, visit func(m *machine) bool) bool {
	if len(ladders) == 0 {
		return s.each(visit)
	}
	for _, rung := range ladders[0] {
		if rung.n == 0 {
			continue
		}
		in, list, also, over := s.in, s.list, s.also, s.over
		s.within(rung)
		s.over = append(s.over, rung)
		if s.climb(ladders[1:], visit) {
			return true
		}
		s.in, s.list, s.also, s.over = in, list, also, over
	}
	return false
}

func (s *search) onRungs(slot int32) bool {
	for _, rung := range s.over {
		if !rung.has(slot) {
			return false
		}
	}
	return true
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
	if !s.u.class.needy {
		return s.byLoad(visit)
	}
	share := &s.c.share
	for level := share.lowest(); level < len(share.at); level++ {
		switch at := share.at[level]; {
		case at.n == 0:
		case at.n <= fewMax:
			if s.eachOf(at, visit) {
				return true
			}
		default:
			s.in, s.over = append(s.in, at), append(s.over, at)
			if s.byLoad(visit) {
				return true
			}
			s.in, s.over = s.in[:len(s.in)-1], s.over[:len(s.over)-1]
		}
	}
	return false
}

func (s *search) byLoad(visit func(m *machine) bool) bool {
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
		if s.onRungs(slot) && (few == s.list || few.has(slot)) {
			found = append(found, s.c.bySlot[slot])
		}
	}
	order := byLoad
	if s.u.class.needy {
		order = byShare
	}
	slices.SortFunc(found, order)
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
	if slices.Contains(s.own, slot) {
		return false
	}
	k, m := s.u.class, s.c.bySlot[slot]
	return (len(k.ports) == 0 || len(s.c.portsTaken(s.u, m)) == 0) && len(s.c.lacks(s.u, m, amounts{})) == 0
}

// eachAt visits those at one level that suit.
func (s *search) eachAt(level *set, visit func(m *machine) bool) bool {
	fits := s.fits
	meet := func(slot int32) bool {
		for len(fits) > 0 && fits[0] < slot {
			fit := fits[0]
			fits = fits[1:]
			if level.has(fit) && s.onRungs(fit) && visit(s.c.bySlot[fit]) {
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

// byShare orders them by how much of their scarcest resource is given away.
func byShare(a, b *machine) int {
	return cmp.Or(cmp.Compare(a.share(), b.share()), byLoad(a, b))
}

// choose returns the best machine other than not, or why there is none. A
// machine where the unit's followers fit, too, is better than any other.
func (c *Cluster) choose(u *member, not *machine) (*machine, []Refusal) {
	var best *machine
	if u.place.m == nil && u.more == nil {
		best = c.best(u, not)
	} else {
		best = c.bestOther(u, not)
	}
	if best != nil {
		return best, nil
	}
	return nil, c.refusals(u)
}

// bestOther is best for a unit that has places: it doesn't crowd itself.
func (c *Cluster) bestOther(u *member, not *machine) *machine {
	c.ladders(u) // what they count is up to date now, and can be changed
	placed := u.placed(nil)
	for _, m := range placed {
		c.scatterAll(u, *u.on(m), -1)
	}
	best := c.best(u, not)
	for _, m := range placed {
		c.scatterAll(u, *u.on(m), 1)
	}
	return best
}

func (c *Cluster) best(u *member, not *machine) *machine {
	s := &c.search
	if !s.start(c, u, not) {
		return nil
	}
	followers := c.Followers(u.name)
	var best *machine
	left := 0 // how many followers would be left behind
	s.climb(c.ladders(u), func(m *machine) bool {
		if m == not {
			return false
		}
		if n := c.leftBehind(u, followers, m); best == nil || n < left {
			best, left = m, n
		}
		return left == 0
	})
	return best
}

// leftBehind counts the followers that could not go to m.
func (c *Cluster) leftBehind(u *member, followers []unit.Name, m *machine) int {
	if len(followers) == 0 {
		return 0
	}
	n := 0
	free := m.left()
	free.give(u, m)
	for _, name := range followers {
		f := c.units.get(name)
		k := &checks{first: true}
		ok := f.class.options.Global || c.machineID(k, f, m, false) && c.meets(k, f, m) &&
			c.conflicting(k, f, m) && c.roomMade(k, f, m) && c.portsFree(k, f, m) && free.give(f, m) &&
			c.nameTaken(k, f, m) && c.suits(k, f, m)
		if !ok {
			n++
		}
	}
	return n
}
