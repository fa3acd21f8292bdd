package placement

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

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

// Refusal is one rule that keeps a unit off some machines.
type Refusal struct {
	Rule     string
	Detail   string
	Machines []registry.MachineID // sorted
}

// Plan decides where units are to be, and takes them as placed there. Units
// that must be on another's machine are decided after that one; when it
// moves, they are decided too, though they were not asked for. Names that are
// not known to the cluster are left out.
func (c *Cluster) Plan(names []unit.Name) []Decision {
	p := planning{cluster: c, done: map[unit.Name]bool{}, queue: c.inOrder(names)}
	for i := 0; i < len(p.queue); i++ {
		p.decide(p.queue[i])
	}
	return p.decisions
}

// inOrder sorts names, each after those that its MachineOf= names.
func (c *Cluster) inOrder(names []unit.Name) []unit.Name {
	sorted := slices.Compact(slices.Sorted(slices.Values(names)))
	asked := make(map[unit.Name]bool, len(sorted))
	for _, name := range sorted {
		asked[name] = true
	}
	ordered := make([]unit.Name, 0, len(sorted))
	var visit func(name unit.Name)
	visit = func(name unit.Name) {
		if !asked[name] {
			return
		}
		asked[name] = false
		if u := c.units[name]; u != nil {
			for _, peer := range u.Options.MachineOf {
				visit(unit.Name(peer))
			}
		}
		ordered = append(ordered, name)
	}
	var late []unit.Name // those that follow patterns, after all others
	for _, name := range sorted {
		if u := c.units[name]; u != nil && slices.ContainsFunc(u.Options.MachineOf, isGlob) {
			late = append(late, name)
			continue
		}
		visit(name)
	}
	for _, name := range late {
		visit(name)
	}
	return ordered
}

type planning struct {
	cluster   *Cluster
	queue     []unit.Name
	done      map[unit.Name]bool
	decisions []Decision
}

func (p *planning) decide(name unit.Name) {
	u := p.cluster.units[name]
	if u == nil || !u.known || p.done[name] {
		return
	}
	p.done[name] = true
	var d Decision
	before := u.placed()
	switch {
	case !u.Wanted:
		d = Decision{Off: before}
	case u.Options.Global:
		d = p.cluster.everywhere(u)
	default:
		d = p.cluster.somewhere(u)
	}
	d.Unit = name
	p.cluster.take(d)
	p.decisions = append(p.decisions, d)
	if !slices.Equal(before, d.On) {
		p.queue = append(p.queue, p.cluster.Followers(name)...)
	}
}

// take makes a decision true in the index.
func (c *Cluster) take(d Decision) {
	u := c.units[d.Unit]
	for _, id := range d.Off {
		place := u.places[id]
		place.Leaving = true
		c.Put(id, d.Unit, place)
	}
	for _, id := range d.On {
		if place, ok := u.places[id]; !ok || place.Leaving {
			c.Put(id, d.Unit, Place{Since: newest})
		}
	}
}

// newest is after every revision.
const newest = registry.Revision(1<<63 - 1)

// everywhere decides about a global unit.
func (c *Cluster) everywhere(u *member) Decision {
	var d Decision
	var why refusals
	for _, id := range u.placed() {
		if !c.machine(id).registered {
			d.Off = append(d.Off, id)
		}
	}
	for _, m := range c.order {
		place, here := u.places[m.ID]
		var problems []problem
		switch {
		case here && !place.Leaving && m.State != Ready:
		case here && !place.Leaving:
			if problems = c.expel(u, m); len(problems) > 0 && KeepsOld(problems[0].rule) {
				d.On = append(d.On, m.ID)
			} else if len(problems) > 0 {
				d.Off = append(d.Off, m.ID)
			}
		default:
			problems = c.refuse(u, m, false)
		}
		if len(problems) == 0 {
			d.On = append(d.On, m.ID)
		}
		why.add(m.ID, problems)
	}
	slices.Sort(d.On)
	slices.Sort(d.Off)
	if len(d.On) == 0 {
		d.Refusals = why.list()
	}
	return d
}

// somewhere decides about a unit that is to be on one machine.
func (c *Cluster) somewhere(u *member) Decision {
	placed := u.placed()
	if len(placed) == 0 {
		return c.fresh(u)
	}
	keep := slices.MinFunc(placed, func(a, b registry.MachineID) int {
		return cmp.Or(cmp.Compare(c.hold(u, a), c.hold(u, b)),
			cmp.Compare(u.places[a].Since, u.places[b].Since), cmp.Compare(a, b))
	})
	d := c.keepOrMove(u, keep)
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

func (c *Cluster) hold(u *member, id registry.MachineID) int {
	m := c.machine(id)
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

func (c *Cluster) keepOrMove(u *member, id registry.MachineID) Decision {
	hold := c.hold(u, id)
	if hold == stays || hold == waits {
		return Decision{On: []registry.MachineID{id}}
	}
	m := c.machine(id)
	reason := c.name(id) + " " + m.Why
	keeps := false
	switch {
	case hold == drains:
		reason = c.name(id) + " is being drained"
	case hold == misfits && m.registered:
		p := c.expel(u, m)[0]
		reason, keeps = c.name(id)+" "+p.detail, KeepsOld(p.rule)
	}
	to, refused := c.choose(u, m)
	switch {
	case to != nil:
		return Decision{On: []registry.MachineID{to.ID}, Off: []registry.MachineID{id}, Reason: reason}
	case hold == misfits && !keeps:
		return Decision{Off: []registry.MachineID{id}, Reason: reason, Refusals: refused}
	}
	return Decision{On: []registry.MachineID{id}, Refusals: refused} // better there than nowhere
}

// fresh decides about a unit that is placed nowhere: where it runs already,
// else where it was last, else on the best machine.
func (c *Cluster) fresh(u *member) Decision {
	for _, id := range u.Running {
		if m := c.machines[id]; m != nil && m.State == Ready && m.registered && len(c.expel(u, m)) == 0 {
			return Decision{On: []registry.MachineID{id}, Reason: "it runs there already"}
		}
	}
	var last []registry.MachineID
	for id := range u.places {
		if m := c.machine(id); m.registered && len(c.refuse(u, m, true)) == 0 {
			last = append(last, id)
		}
	}
	if len(last) > 0 {
		return Decision{On: []registry.MachineID{slices.Min(last)}, Reason: "it was there last"}
	}
	to, refused := c.choose(u, nil)
	if to == nil {
		return Decision{Refusals: refused}
	}
	return Decision{On: []registry.MachineID{to.ID}, Reason: "least loaded of those that fit"}
}

// choose returns the best machine other than not, or why there is none. A
// machine where the unit's followers fit, too, is better than any other.
func (c *Cluster) choose(u *member, not *machine) (*machine, []Refusal) {
	followers := c.Followers(u.Name)
	var best *machine
	left := 0 // how many followers would be left behind
	for _, m := range c.candidates(u) {
		if m == not || len(c.refuse(u, m, true)) > 0 {
			continue
		}
		if n := c.leftBehind(u, followers, m); best == nil || n < left {
			best, left = m, n
		}
		if left == 0 {
			return best, nil
		}
	}
	if best != nil {
		return best, nil
	}
	var why refusals
	for _, m := range c.order {
		why.add(m.ID, c.refuse(u, m, false))
	}
	return nil, why.list()
}

// candidates returns the machines worth a look, least loaded first.
func (c *Cluster) candidates(u *member) []*machine {
	for _, peer := range u.Options.MachineOf {
		if isGlob(peer) {
			continue
		}
		if on := c.PlacedOn(unit.Name(peer)); len(on) > 0 {
			few := make([]*machine, 0, len(on))
			for _, id := range on {
				if m := c.machine(id); m.registered {
					few = append(few, m)
				}
			}
			slices.SortFunc(few, byLoad)
			return few
		}
	}
	return c.order
}

// leftBehind counts the followers of u that could not go with it to m.
func (c *Cluster) leftBehind(u *member, followers []unit.Name, m *machine) int {
	n := 0
	for _, name := range followers {
		f := c.units[name]
		k := &checks{first: true}
		ok := f.Options.Global || c.machineID(k, f, m, false) && c.metadata(k, f, m) &&
			c.conflicts(k, f, m) && c.taken(k, f, m) && c.suits(k, f, m)
		if !ok {
			n++
		}
	}
	return n
}

// refusals groups problems by what they say, so that a thousand machines that
// lack the same thing are one line.
type refusals struct {
	at   map[problem]int
	said []Refusal
}

func (r *refusals) add(id registry.MachineID, problems []problem) {
	for _, p := range problems {
		i, ok := r.at[p]
		if !ok {
			if r.at == nil {
				r.at = map[problem]int{}
			}
			i = len(r.said)
			r.at[p] = i
			r.said = append(r.said, Refusal{Rule: p.rule, Detail: p.detail})
		}
		r.said[i].Machines = append(r.said[i].Machines, id)
	}
}

// list returns the refusals, the one about the most machines first.
func (r *refusals) list() []Refusal {
	for _, said := range r.said {
		slices.Sort(said.Machines)
	}
	slices.SortFunc(r.said, func(a, b Refusal) int {
		return cmp.Or(-cmp.Compare(len(a.Machines), len(b.Machines)),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Detail, b.Detail))
	})
	return r.said
}

// namesMax is how many machines a text names; of more it gives the number.
const namesMax = 5

// Explain puts refusals in words.
func (c *Cluster) Explain(said []Refusal) string {
	if len(c.order) == 0 {
		return "no machine is registered"
	}
	parts := make([]string, 0, len(said))
	for _, r := range said {
		parts = append(parts, r.Detail+" ("+c.list(r.Machines)+")")
	}
	return "no machine fits: " + strings.Join(parts, "; ")
}

func (c *Cluster) list(ids []registry.MachineID) string {
	if len(ids) > namesMax {
		return strconv.Itoa(len(ids)) + " machines"
	}
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, c.name(id))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
