package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Refusal is one rule that keeps a unit off some machines. Their list may be
// shared by many refusals, and is not to be changed.
type Refusal struct {
	Rule     string
	Detail   string
	Machines []registry.MachineID // sorted
}

// refusals collects what keeps a unit off machines, each thing with the set of
// them, so that a thousand machines that lack the same are one line.
type refusals struct {
	c     *Cluster
	u     *member
	at    map[problem]int
	said  []problem
	sets  []*set
	ready *set
}

// refusals says for each registered machine what keeps u off it, as rules would.
func (c *Cluster) refusals(u *member) []Refusal {
	if c.quiet {
		return []Refusal{{}} // that there are some is all that is asked
	}
	r := refusals{c: c, u: u, at: map[problem]int{}, ready: &c.ready}
	for why, s := range c.unready {
		r.add(RuleState, why, &s)
	}
	r.add(RuleDrain, "is being drained", &c.drained)
	r.add(RuleCordon, "is cordoned", &c.cordoned)
	r.pin()
	for _, need := range u.class.options.Requirements {
		s := c.lacking(need)
		for slot := range s.all() {
			r.add(RuleMetadata, need.Lacks(c.bySlot[slot].Metadata), &s)
			break
		}
	}
	r.peers()
	r.rivals()
	r.neighbours()
	for _, line := range c.shortageOf(u).lines {
		r.add(RuleResources, line.detail, &line.set)
	}
	for m := range c.taken[u.name] {
		r.one(RuleNameTaken, "has the name for itself in "+m.taken[u.name], m)
	}
	r.systemd()
	return r.list()
}

// add says that a rule refuses the machines of a set that are ready.
func (r *refusals) add(rule, detail string, s *set) {
	if s.n == 0 {
		return
	}
	p := problem{rule, detail}
	i, ok := r.at[p]
	if !ok {
		i = len(r.said)
		r.at[p] = i
		r.said, r.sets = append(r.said, p), append(r.sets, &set{})
	}
	if rule == RuleState || s.n == 1 && r.ready.has(s.first()) {
		r.sets[i].union(s)
		return
	}
	ready := s.clone()
	ready.within(r.ready)
	r.sets[i].union(&ready)
}

func (r *refusals) one(rule, detail string, m *machine) {
	r.add(rule, detail, &set{few: []int32{m.slot}, n: 1})
}

func (r *refusals) pin() {
	pin := r.u.class.options.MachineID
	if pin == "" {
		return
	}
	var others, many set
	for slot := range r.ready.all() {
		switch m := r.c.bySlot[slot]; {
		case r.c.isPinned(pin, m, false):
		case r.c.isPinned(pin, m, true):
			many.add(slot)
		default:
			others.add(slot)
		}
	}
	r.add(RuleMachineID, "MachineID="+pin+" fits other machines, too", &many)
	r.add(RuleMachineID, "is not MachineID="+pin, &others)
}

// lacking returns the machines that are ready and don't meet a requirement.
func (t *table) lacking(need unit.Requirement) set {
	var found set
	a := t.metadata[need.Key]
	if need.Op != unit.NotEqual {
		found = t.ready.clone()
	}
	if a == nil {
		return found
	}
	for value, s := range a.values {
		switch meets := need.Matches(map[string]string{need.Key: value}); {
		case need.Op == unit.NotEqual && !meets:
			found.union(s)
		case need.Op != unit.NotEqual && meets:
			found.minus(s)
		}
	}
	return found
}

func (r *refusals) peers() {
	for _, p := range r.u.class.peers {
		elsewhere := r.c.elsewhere(p, r.u)
		switch {
		case elsewhere != nil:
			s := r.ready.clone()
			for slot := range p.matching.all() {
				if r.c.peersOn(p, r.u, r.c.bySlot[slot]) > 0 {
					s.remove(slot)
				}
			}
			r.add(RuleMachineOf, p.text+" is on "+r.c.name(elsewhere), &s)
		case !r.c.circle(p, r.u):
			r.add(RuleMachineOf, p.text+" is not placed", r.ready)
		}
	}
}

// rivalsMax is on how many machines the conflicting units are named; on more
// it is the patterns.
const rivalsMax = 100

func (r *refusals) rivals() {
	c, u := r.c, r.u
	if c.conflicts.empty() {
		return
	}
	var few [8]*pattern
	matched := c.conflicts.of(u, few[:0])
	var all set
	for _, p := range u.class.conflicts {
		all.union(&p.matching.set)
	}
	for _, p := range matched {
		all.union(&p.carrying.set)
	}
	for slot := range all.all() {
		if m := c.bySlot[slot]; !r.ready.has(slot) || u.on(m) != nil && !c.hasRivals(u, m) {
			all.remove(slot)
		}
	}
	if all.n <= rivalsMax {
		for slot := range all.all() {
			k := &checks{}
			c.conflicting(k, u, c.bySlot[slot])
			for _, p := range k.found {
				r.one(p.rule, p.detail, c.bySlot[slot])
			}
		}
		return
	}
	for _, p := range u.class.conflicts {
		r.both(p, &p.matching, &all, p.matches(u.name))
	}
	for _, p := range matched {
		r.both(p, &p.carrying, &all, slices.Contains(u.class.conflicts, p))
	}
}

// neighbours says what units on machines have against u by Replaces= or ports.
// On many machines it is said of all of them at once, without the units.
func (r *refusals) neighbours() {
	c, u := r.c, r.u
	if c.victims.empty() && len(u.class.ports) == 0 {
		return
	}
	var all [2][]problemOn
	for slot := range r.ready.all() {
		m := c.bySlot[slot]
		if len(m.units) == 0 {
			continue
		}
		var k checks
		c.roomMade(&k, u, m)
		for _, p := range k.found {
			all[0] = append(all[0], problemOn{p, m, "runs a unit that replaces it, or that it replaces"})
		}
		for _, taken := range c.portsTaken(u, m) {
			all[1] = append(all[1], problemOn{problem{RulePorts, taken.String()}, m, "port " + taken.port.String() + " is taken"})
		}
	}
	for _, list := range all {
		for _, p := range list {
			if len(list) > rivalsMax {
				p.detail = p.short
			}
			r.one(p.rule, p.detail, p.m)
		}
	}
}

// problemOn is a problem with one machine.
type problemOn struct {
	problem
	m     *machine
	short string // said when there are many
}

// both says that a pattern keeps u off the machines that are in both sets. With
// self the tally counts u, too, where it is.
func (r *refusals) both(p *pattern, t *tally, all *set, self bool) {
	found := t.clone()
	found.within(all)
	for s := range r.u.spots() {
		if self && t.count(s.m.slot) == 1 {
			found.remove(s.m.slot)
		}
	}
	r.add(RuleConflicts, "has a unit in conflict by Conflicts="+p.text, &found)
}

func (r *refusals) systemd() {
	need := r.u.class.systemd
	for version, s := range r.c.versions {
		if has := registry.SystemdNumber(version); need > has && has > 0 {
			r.add(RuleSystemd, fmt.Sprintf("runs systemd %d, and the unit needs %d", has, need), s)
		}
		if why, ok := r.u.unfit()[version]; ok {
			r.add(RuleUnfit, why, s)
		}
	}
}

// list returns the refusals, the one about the most machines first.
func (r *refusals) list() []Refusal {
	var all []Refusal
	for i, p := range r.said {
		if r.sets[i].n > 0 {
			all = append(all, Refusal{Rule: p.rule, Detail: p.detail, Machines: r.c.listOf(p, r.sets[i])})
		}
	}
	slices.SortFunc(all, func(a, b Refusal) int {
		return cmp.Or(-cmp.Compare(len(a.Machines), len(b.Machines)),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Detail, b.Detail))
	})
	return all
}

// listing is the machines that something was last said of.
type listing struct {
	set set
	ids []registry.MachineID
}

// listingsMax bounds how many are remembered.
const listingsMax = 100

// listOf returns the machines of a set, of which p is said. Where many units
// wait for the same, they share one list.
func (c *Cluster) listOf(p problem, s *set) []registry.MachineID {
	was, ok := c.listings[p]
	if ok && c.listed == c.seated && was.set.equal(s) {
		return was.ids
	}
	if c.listings == nil || len(c.listings) >= listingsMax || c.listed != c.seated {
		c.listings, c.listed = map[problem]listing{}, c.seated
	}
	ids := c.ids(s)
	c.listings[p] = listing{s.clone(), ids}
	return ids
}

func (c *Cluster) ids(s *set) []registry.MachineID {
	ids := make([]registry.MachineID, 0, s.n)
	for slot := range s.all() {
		ids = append(ids, c.bySlot[slot].ID)
	}
	return ids
}

// namesMax is how many machines a text names; of more it gives the number.
const namesMax = 5

// Explain puts refusals in words.
func (c *Cluster) Explain(said []Refusal) string {
	if c.settle(); c.registered.n == 0 {
		return "no machine is registered"
	}
	if len(said) == 1 && Keeps(said[0].Rule) {
		return said[0].Detail
	}
	parts := make([]string, 0, len(said))
	for _, r := range said {
		parts = append(parts, r.Detail+" ("+c.names(r.Machines)+")")
	}
	return "no machine fits: " + strings.Join(parts, "; ")
}

func (c *Cluster) names(ids []registry.MachineID) string {
	if len(ids) > namesMax {
		return strconv.Itoa(len(ids)) + " machines"
	}
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, c.name(c.machine(id)))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
