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
	p := planning{cluster: c, queue: c.inOrder(names)}
	p.decisions = make([]Decision, 0, len(p.queue))
	for i := 0; i < len(p.queue); i++ {
		p.decide(p.queue[i])
	}
	return p.decisions
}

// inOrder returns units sorted by name, each after those that its MachineOf= names.
func (c *Cluster) inOrder(names []unit.Name) []*member {
	if !slices.IsSorted(names) {
		names = slices.Sorted(slices.Values(names))
	}
	sorted := make([]*member, 0, len(names))
	follow := false
	for _, name := range names {
		if u := c.units[name]; u != nil && u.known {
			sorted = append(sorted, u)
			follow = follow || len(u.class.peers) > 0
		}
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
			visit(c.units[unit.Name(peer.text)])
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

type planning struct {
	cluster   *Cluster
	queue     []*member
	decisions []Decision
}

func (p *planning) decide(u *member) {
	c := p.cluster
	if u.decided == int32(c.pass) {
		return
	}
	u.decided = int32(c.pass)
	var d Decision
	before := u.placed()
	switch {
	case !u.wanted:
		d = Decision{Off: before}
	case u.class.options.Global:
		d = c.everywhere(u)
	default:
		d = c.somewhere(u, before)
	}
	d.Unit = u.name
	c.take(u, d)
	p.decisions = append(p.decisions, d)
	if !slices.Equal(before, d.On) {
		for _, name := range c.Followers(u.name) {
			p.queue = append(p.queue, c.units[name])
		}
	}
}

// take makes a decision true in the index.
func (c *Cluster) take(u *member, d Decision) {
	for _, id := range d.Off {
		s := u.on(c.machine(id))
		c.Put(id, u.name, Place{Since: s.since, Leaving: true})
	}
	for _, id := range d.On {
		if s := u.on(c.machine(id)); s == nil || s.leaving {
			c.Put(id, u.name, Place{Since: newest})
		}
	}
}

// newest is after every revision.
const newest = registry.Revision(1<<63 - 1)

// everywhere decides about a global unit.
func (c *Cluster) everywhere(u *member) Decision {
	var d Decision
	for s := range u.spots() {
		if !s.leaving && !s.m.registered {
			d.Off = append(d.Off, s.m.ID)
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
			d.On = append(d.On, m.ID)
		case here:
			d.Off = append(d.Off, m.ID)
		}
	}
	slices.Sort(d.Off)
	if len(d.On) == 0 {
		d.Refusals = c.refusals(u)
	}
	return d
}

// somewhere decides about a unit that is to be on one machine.
func (c *Cluster) somewhere(u *member, placed []registry.MachineID) Decision {
	switch len(placed) {
	case 0:
		return c.fresh(u)
	case 1:
		return c.keepOrMove(u, c.machine(placed[0]))
	}
	keep := slices.MinFunc(placed, func(a, b registry.MachineID) int {
		x, y := c.machine(a), c.machine(b)
		return cmp.Or(cmp.Compare(c.hold(u, x), c.hold(u, y)),
			cmp.Compare(u.on(x).since, u.on(y).since), cmp.Compare(a, b))
	})
	d := c.keepOrMove(u, c.machine(keep))
	for _, id := range placed {
		if id != keep {
			d.Off = append(d.Off, id)
		}
	}
	slices.Sort(d.Off)
	return d
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

func (c *Cluster) keepOrMove(u *member, m *machine) Decision {
	here := []registry.MachineID{m.ID}
	hold := c.hold(u, m)
	if hold == stays || hold == waits {
		return Decision{On: here}
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
	switch {
	case to != nil:
		return Decision{On: []registry.MachineID{to.ID}, Off: here, Reason: reason}
	case hold == misfits && !keeps:
		return Decision{Off: here, Reason: reason, Refusals: refused}
	}
	return Decision{On: here, Refusals: refused} // better there than nowhere
}

// fresh decides about a unit that is placed nowhere: where it runs already,
// else where it was last, else on the best machine.
func (c *Cluster) fresh(u *member) Decision {
	if u.more != nil {
		for _, id := range u.more.running {
			if m := c.machines[id]; m != nil && m.State == Ready && m.registered && len(c.expel(u, m)) == 0 {
				return Decision{On: []registry.MachineID{id}, Reason: "it runs there already"}
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
		return Decision{On: []registry.MachineID{last.ID}, Reason: "it was there last"}
	}
	to, refused := c.choose(u, nil)
	if to == nil {
		return Decision{Refusals: refused}
	}
	return Decision{On: []registry.MachineID{to.ID}, Reason: "least loaded of those that fit"}
}
