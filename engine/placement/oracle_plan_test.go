package placement

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Plan decides where units are to be, and takes them as placed there. Units
// that must be on another's machine are decided after that one; when it
// moves, they are decided too, though they were not asked for. Names that are
// not known to the cluster are left out.
func (c *oracle) Plan(names []unit.Name) []Decision {
	p := oplanning{cluster: c, done: map[unit.Name]bool{}, was: map[unit.Name]map[registry.MachineID]Place{}, times: map[unit.Name]int{}, queue: c.inOrder(names)}
	for i := 0; i < len(p.queue); i++ {
		p.decide(p.queue[i])
	}
	return p.decisions
}

// inOrder sorts names, each after those that its MachineOf= names.
func (c *oracle) inOrder(names []unit.Name) []unit.Name {
	sorted := slices.Compact(slices.Sorted(slices.Values(names)))
	asked := make(map[unit.Name]bool, len(sorted))
	for _, name := range sorted {
		asked[name] = true
	}
	slices.SortStableFunc(sorted, func(a, b unit.Name) int {
		x, y := c.Unit(a).Options, c.Unit(b).Options
		return cmp.Or(cmp.Compare(flag(len(y.Replaces) > 0), flag(len(x.Replaces) > 0)), cmp.Compare(y.Priority, x.Priority))
	})
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

type oplanning struct {
	cluster   *oracle
	queue     []unit.Name
	done      map[unit.Name]bool
	was       map[unit.Name]map[registry.MachineID]Place
	times     map[unit.Name]int
	decisions []Decision
}

func (p *oplanning) decide(name unit.Name) {
	u := p.cluster.units[name]
	if u == nil || !u.known || p.done[name] {
		return
	}
	p.done[name] = true
	if _, ok := p.was[name]; !ok {
		p.was[name] = p.cluster.Places(name)
	}
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
	if len(u.Options.Replaces) > 0 {
		p.again(u, d.On)
	}
}

// take makes a decision true in the index.
func (c *oracle) take(d Decision) {
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

// everywhere decides about a global unit.
func (c *oracle) everywhere(u *omember) Decision {
	var d Decision
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
	}
	slices.Sort(d.On)
	slices.Sort(d.Off)
	if len(d.On) == 0 {
		d.Refusals = c.refusals(u)
	}
	return d
}

// somewhere decides about a unit that is to be on one machine.
func (c *oracle) somewhere(u *omember) Decision {
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

func (c *oracle) hold(u *omember, id registry.MachineID) int {
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

func (c *oracle) keepOrMove(u *omember, id registry.MachineID) Decision {
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
	if to == nil {
		to, _ = c.takeOver(u, m)
	}
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
func (c *oracle) fresh(u *omember) Decision {
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
	if to, victim := c.takeOver(u, nil); to != nil {
		return Decision{On: []registry.MachineID{to.ID}, Reason: "it takes the place of " + string(victim.Name)}
	}
	to, refused := c.choose(u, nil)
	if to == nil {
		return Decision{Refusals: refused}
	}
	return Decision{On: []registry.MachineID{to.ID}, Reason: c.reason(u)}
}

// choose returns the best machine other than not, or why there is none. A
// machine where the unit's followers fit, too, is better than any other.
func (c *oracle) choose(u *omember, not *omachine) (*omachine, []Refusal) {
	followers := c.Followers(u.Name)
	var best *omachine
	left := 0 // how many followers would be left behind
	var better func(a, b *omachine) int
	ranks := map[*omachine][]int{}
	better = func(a, b *omachine) int { return cmp.Or(slices.Compare(ranks[a], ranks[b]), oByLoad(a, b)) }
	all := slices.Clone(c.candidates(u))
	for _, m := range all {
		ranks[m] = c.rank(u, m)
	}
	slices.SortFunc(all, better)
	for _, m := range all {
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
	return nil, c.refusals(u)
}

// candidates returns the machines worth a look, least loaded first.
func (c *oracle) candidates(u *omember) []*omachine {
	for _, peer := range u.Options.MachineOf {
		if isGlob(peer) {
			continue
		}
		if on := c.PlacedOn(unit.Name(peer)); len(on) > 0 {
			few := make([]*omachine, 0, len(on))
			for _, id := range on {
				if m := c.machine(id); m.registered {
					few = append(few, m)
				}
			}
			slices.SortFunc(few, oByLoad)
			return few
		}
	}
	return c.order
}

// leftBehind counts the followers of u that could not go with it to m.
func (c *oracle) leftBehind(u *omember, followers []unit.Name, m *omachine) int {
	n := 0
	used := c.used(m)
	if _, on := m.units[u.Name]; !on {
		for i, n := range oNeed(u, m) {
			used[i] += n
		}
	}
	for _, name := range followers {
		f := c.units[name]
		k := &checks{first: true}
		ok := f.Options.Global || c.machineID(k, f, m, false) && c.metadata(k, f, m) &&
			c.conflicts(k, f, m) && c.room(k, f, m) && c.ports(k, f, m)
		if _, on := m.units[f.Name]; ok && !on && !f.Options.Global {
			for i, n := range oNeed(f, m) {
				ok = ok && (n == 0 || wholeOf(m.Machine)[i] == 0 || used[i]+n <= wholeOf(m.Machine)[i])
			}
			if ok {
				for i, n := range oNeed(f, m) {
					used[i] += n
				}
			}
		}
		ok = ok && (f.Options.Global || c.taken(k, f, m) && c.suits(k, f, m))
		if !ok {
			n++
		}
	}
	return n
}

// orefusals groups problems by what they say, so that a thousand machines that
// lack the same thing are one line.
type orefusals struct {
	at   map[problem]int
	said []Refusal
}

func (r *orefusals) add(id registry.MachineID, problems []problem) {
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

// list returns the orefusals, the one about the most machines first.
func (r *orefusals) list() []Refusal {
	for _, said := range r.said {
		slices.Sort(said.Machines)
	}
	slices.SortFunc(r.said, func(a, b Refusal) int {
		return cmp.Or(-cmp.Compare(len(a.Machines), len(b.Machines)),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Detail, b.Detail))
	})
	return r.said
}

// Explain puts orefusals in words.
func (c *oracle) Explain(said []Refusal) string {
	if len(c.order) == 0 {
		return "no machine is registered"
	}
	parts := make([]string, 0, len(said))
	for _, r := range said {
		parts = append(parts, r.Detail+" ("+c.list(r.Machines)+")")
	}
	return "no machine fits: " + strings.Join(parts, "; ")
}

func (c *oracle) list(ids []registry.MachineID) string {
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

// refusals are what all machines have against u. Where many have a conflict, it
// is by the patterns, not the units.
func (c *oracle) refusals(u *omember) []Refusal {
	var why orefusals
	conflicted, said := 0, map[string]int{}
	is := func(p problem) bool { return p.rule == RuleConflicts }
	for _, m := range c.order {
		problems := c.refuse(u, m, false)
		if slices.ContainsFunc(problems, is) {
			conflicted++
		}
		for _, p := range problems {
			said[p.rule]++
		}
	}
	for _, m := range c.order {
		problems := c.refuse(u, m, false)
		if conflicted > rivalsMax && slices.ContainsFunc(problems, is) {
			problems = slices.DeleteFunc(problems, is)
			for pattern := range c.patterns(u, m) {
				problems = append(problems, problem{RuleConflicts, "has a unit in conflict by Conflicts=" + pattern})
			}
		}
		for i, p := range problems {
			switch {
			case said[p.rule] <= rivalsMax:
			case p.rule == RuleReplaces:
				problems[i].detail = "runs a unit that replaces it, or that it replaces"
			case p.rule == RulePorts:
				problems[i].detail, _, _ = strings.Cut(p.detail, " by ")
			}
		}
		slices.SortFunc(problems, func(a, b problem) int { return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.detail, b.detail)) })
		why.add(m.ID, slices.Compact(problems))
	}
	return why.list()
}

// patterns are those by which u conflicts with units on m.
func (c *oracle) patterns(u *omember, m *omachine) map[string]bool {
	found := map[string]bool{}
	for name := range m.units {
		for _, pattern := range u.Options.Conflicts {
			if name != u.Name && matches(pattern, name) {
				found[pattern] = true
			}
		}
		for _, pattern := range c.units[name].Options.Conflicts {
			if name != u.Name && matches(pattern, u.Name) {
				found[pattern] = true
			}
		}
	}
	return found
}
