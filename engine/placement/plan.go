package placement

import (
	"cmp"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Decision says where one unit is to be.
type Decision struct {
	Unit unit.Name
	// On are the machines it is to be on, sorted; one at most unless it is global.
	On []registry.MachineID
	// Off are those it is on and has to leave, sorted.
	Off []registry.MachineID
	// Reason says in words why it changes place; empty when it stays.
	Reason string
	// Refusals say why it is nowhere, or why it can't move as it should.
	Refusals []Refusal
}

// Plan decides where units are to be, and takes them as placed there. Units
// that must be on another's machine are decided after that one; when it
// moves, they are decided too, though they were not asked for. Names that are
// not known to the cluster are left out.
func (c *Cluster) Plan(names []unit.Name) []Decision {
	c.settle()
	c.pass++
	p := planning{cluster: c, queue: c.inOrder(names), was: map[*member]before{}}
	p.decisions = make([]Decision, 0, len(p.queue))
	for i := 0; i < len(p.queue); i++ {
		p.decide(p.queue[i])
	}
	return p.decisions
}

// inOrder returns units by rank, then name, but each after those that its MachineOf= names.
func (c *Cluster) inOrder(names []unit.Name) []*member {
	if !slices.IsSorted(names) {
		names = slices.Sorted(slices.Values(names))
	}
	sorted := make([]*member, 0, len(names))
	follow := false
	for _, name := range names {
		if u := c.units.get(name); u != nil && u.known {
			sorted = append(sorted, u)
			follow = follow || len(u.class.peers) > 0
		}
	}
	if !slices.IsSortedFunc(sorted, byRank) {
		slices.SortStableFunc(sorted, byRank)
	}
	if !follow {
		return sorted
	}
	asked := make(map[*member]bool, len(sorted))
	for _, u := range sorted {
		asked[u] = true
	}
	ordered := make([]*member, 0, len(sorted))
	var visit func(u *member)
	visit = func(u *member) {
		if u == nil || !asked[u] {
			return
		}
		asked[u] = false
		for _, peer := range u.class.peers {
			visit(c.units.get(unit.Name(peer.text)))
		}
		ordered = append(ordered, u)
	}
	var late []*member // those that follow patterns, after all others
	for _, u := range sorted {
		if slices.ContainsFunc(u.class.peers, func(p *pattern) bool { return isGlob(p.text) }) {
			late = append(late, u)
			continue
		}
		visit(u)
	}
	for _, u := range late {
		visit(u)
	}
	return ordered
}

// byRank puts first those that replace others, so that these are placed but
// once, then those with the higher Priority=.
func byRank(a, b *member) int {
	return cmp.Or(cmp.Compare(flag(len(b.class.victims) > 0), flag(len(a.class.victims) > 0)),
		cmp.Compare(b.class.options.Priority, a.class.options.Priority))
}

type planning struct {
	cluster   *Cluster
	queue     []*member
	decisions []Decision
	before    []*machine           // memory for what the unit at hand is on
	ids       []registry.MachineID // memory for On and Off
	was       map[*member]before   // where units were; only where some replace others
}

// verdict is a decision in the making.
type verdict struct {
	on, off  []*machine
	reason   string
	refusals []Refusal
}

func (p *planning) decide(u *member) {
	c := p.cluster
	if u.decided == c.pass || !u.known {
		return
	}
	u.decided = c.pass
	var v verdict
	p.before = u.placed(p.before[:0])
	if _, ok := p.was[u]; !ok && c.isVictim(u) {
		p.was[u] = before{places: c.Places(u.name)}
	}
	switch {
	case !u.wanted:
		v.off = p.before
	case u.class.options.Global:
		v = c.everywhere(u)
	default:
		v = c.somewhere(u, p.before)
	}
	c.take(u, v)
	c.park(u, u.wanted && (len(v.on) == 0 || len(v.refusals) > 0 || v.on[0].Drained)) // one adopted there is to move
	p.decisions = append(p.decisions, Decision{
		Unit: u.name, On: p.list(v.on), Off: p.list(v.off), Reason: v.reason, Refusals: v.refusals,
	})
	if !slices.Equal(p.before, v.on) {
		for _, name := range c.Followers(u.name) {
			p.queue = append(p.queue, c.units.get(name))
		}
	}
	if len(u.class.victims) > 0 {
		p.again(u, v.on)
	}
}

// list returns machines' ids. They lie side by side with those of other
// decisions, which saves an allocation for each.
func (p *planning) list(machines []*machine) []registry.MachineID {
	if len(machines) == 0 {
		return nil
	}
	if len(machines) > cap(p.ids)-len(p.ids) {
		p.ids = make([]registry.MachineID, 0, max(len(machines), min(len(p.queue), 1024)))
	}
	first := len(p.ids)
	for _, m := range machines {
		p.ids = append(p.ids, m.ID)
	}
	return p.ids[first:len(p.ids):len(p.ids)]
}

// take makes a decision true in the index.
func (c *Cluster) take(u *member, v verdict) {
	for _, m := range v.off {
		c.put(m, u, Place{Since: u.on(m).since, Leaving: true})
		u.serve(u.launched, false)
	}
	for _, m := range v.on {
		if s := u.on(m); s == nil || s.leaving {
			c.put(m, u, Place{Since: newest})
		}
	}
}

// newest is after every revision.
const newest = registry.Revision(1<<63 - 1)

// everywhere decides about a global unit.
func (c *Cluster) everywhere(u *member) verdict {
	var v verdict
	for s := range u.spots() {
		if !s.leaving && !s.m.registered {
			v.off = append(v.off, s.m)
		}
	}
	for slot := range c.registered.all() {
		m := c.bySlot[slot]
		s := u.on(m)
		here := s != nil && !s.leaving
		var problems []problem
		switch {
		case here && m.State == Ready:
			problems = c.expel(u, m)
		case !here:
			problems = c.refuse(u, m, true)
		}
		switch {
		case len(problems) == 0 || here && KeepsOld(problems[0].rule):
			v.on = append(v.on, m)
		case here:
			v.off = append(v.off, m)
		}
	}
	slices.SortFunc(v.off, byID)
	if len(v.on) == 0 {
		v.refusals = c.refusals(u)
	}
	return v
}

// somewhere decides about a unit that is to be on one machine.
func (c *Cluster) somewhere(u *member, placed []*machine) verdict {
	if u.more != nil && u.more.wish != "" {
		if v, granted := c.wish(u, placed); granted {
			return v
		}
	}
	return c.unwished(u, placed)
}

func (c *Cluster) unwished(u *member, placed []*machine) verdict {
	switch len(placed) {
	case 0:
		return c.fresh(u)
	case 1:
		return c.keepOrMove(u, placed)
	}
	keep := slices.MinFunc(placed, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(c.hold(u, a), c.hold(u, b)),
			cmp.Compare(u.on(a).since, u.on(b).since), byID(a, b))
	})
	v := c.keepOrMove(u, []*machine{keep})
	for _, m := range placed {
		if m != keep {
			v.off = append(v.off, m)
		}
	}
	slices.SortFunc(v.off, byID)
	return v
}

// How firmly a unit is held by a place it has, firmest first.
const (
	stays   = iota
	waits   // its machine is held
	drains  // it fits, its machine is being drained
	strands // its machine is lost
	misfits // a rule says no
)

func (c *Cluster) hold(u *member, m *machine) int {
	switch {
	case !m.registered:
		return misfits
	case m.State == Held:
		return waits
	case m.State == Lost:
		return strands
	case len(c.expel(u, m)) > 0:
		return misfits
	case m.Drained:
		return drains
	}
	return stays
}

// keepOrMove decides about a unit that is on one machine, which here lists.
func (c *Cluster) keepOrMove(u *member, here []*machine) verdict {
	m := here[0]
	hold := c.hold(u, m)
	if hold == stays || hold == waits {
		return verdict{on: here}
	}
	reason := c.name(m) + " " + m.Why
	keeps := false
	switch {
	case hold == drains:
		reason = c.name(m) + " is being drained"
	case hold == misfits && m.registered:
		p := c.expel(u, m)[0]
		reason, keeps = c.name(m)+" "+p.detail, KeepsOld(p.rule)
	}
	to, refused := c.choose(u, m)
	if to == nil {
		to, _ = c.takeOver(u, m)
	}
	if to != nil && hold == drains {
		if why := c.spared(u); why != nil {
			return c.kept(u, here, why)
		}
	}
	switch {
	case to != nil:
		return verdict{on: c.just(to), off: slices.Clone(here), reason: reason}
	case hold == misfits && !keeps:
		return verdict{off: slices.Clone(here), reason: reason, refusals: refused}
	}
	return verdict{on: here, refusals: refused} // better there than nowhere
}

// just lists one machine, until the next decision.
func (c *Cluster) just(m *machine) []*machine {
	c.one = append(c.one[:0], m)
	return c.one
}

// fresh decides about a unit that is placed nowhere: where it runs already,
// else where it was last, else on the best machine.
func (c *Cluster) fresh(u *member) verdict {
	if u.more != nil {
		for _, id := range u.more.running {
			if m := c.machines[id]; m != nil && m.State == Ready && m.registered && len(c.expel(u, m)) == 0 {
				return verdict{on: c.just(m), reason: "it runs there already"}
			}
		}
	}
	var last *machine
	for s := range u.spots() {
		if (last == nil || byID(s.m, last) < 0) && s.m.registered && len(c.refuse(u, s.m, true)) == 0 {
			last = s.m
		}
	}
	if last != nil {
		return verdict{on: c.just(last), reason: "it was there last"}
	}
	if to, victim := c.takeOver(u, nil); to != nil {
		return verdict{on: c.just(to), reason: "it takes the place of " + string(victim.name)}
	}
	to, refused := c.choose(u, nil)
	if to == nil {
		return verdict{refusals: refused}
	}
	return verdict{on: c.just(to), reason: c.reason(u)}
}

// reason says by what a machine was chosen among those that fit.
func (c *Cluster) reason(u *member) string {
	o := &u.class.options
	switch {
	case len(o.Prefer) > 0 && len(o.Spread) > 0:
		return "best by Prefer= and Spread= of those that fit"
	case len(o.Prefer) > 0:
		return "best by Prefer= of those that fit"
	case len(o.Spread) > 0:
		return "best by Spread= of those that fit"
	case u.class.needy:
		return "has most left of those that fit"
	}
	return "least loaded of those that fit"
}
