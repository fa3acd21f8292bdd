package placement

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// The names of the rules, as they appear in refusals.
const (
	RuleState     = "machine-state"
	RuleCordon    = "cordon"
	RuleDrain     = "drain"
	RuleMachineID = "machine-id"
	RuleMetadata  = "metadata"
	RuleMachineOf = "machine-of"
	RuleConflicts = "conflicts"
	RuleNameTaken = registry.RuleNameTaken
	RuleUnfit     = registry.RuleUnfit
	RuleSystemd   = "systemd"
	RuleReplaces  = "replaces"
	RulePorts     = "ports"
	RuleResources = "resources"
	// These keep a unit where it is, for a while or for good.
	RuleMinAvailable = registry.RuleMinAvailable
	RuleTooFew       = registry.RuleTooFew
)

// KeepsOld says whether a rule is about what a unit's file asks of systemd. A
// unit that has an older file there may go on with that, for want of a better
// place.
func KeepsOld(rule string) bool { return rule == RuleUnfit || rule == RuleSystemd }

// Keeps says whether a rule keeps a unit where it is for the sake of others.
func Keeps(rule string) bool { return rule == RuleMinAvailable || rule == RuleTooFew }

// problem is one rule that keeps one unit off one machine.
type problem struct{ rule, detail string }

// checks collects what keeps a unit off a machine, or with first set only the
// first thing found.
type checks struct {
	first bool
	all   bool // a machine that isn't ready may have other problems, too
	over  bool // as if those that the unit ousts were gone
	found []problem
}

// add reports whether to go on.
func (k *checks) add(rule, detail string) bool {
	k.found = append(k.found, problem{rule, detail})
	return !k.first
}

// refuse says what keeps u off m as a machine to go to.
func (c *Cluster) refuse(u *member, m *machine, first bool) []problem {
	return c.refuseBy(&checks{first: first}, u, m)
}

func (c *Cluster) refuseBy(k *checks, u *member, m *machine) []problem {
	if m.State != Ready {
		if k.add(RuleState, m.Why); !k.all {
			return k.found
		}
	}
	switch {
	case m.Drained:
		k.add(RuleDrain, "is being drained")
	case m.Cordoned:
		k.add(RuleCordon, "is cordoned")
	}
	if k.first && len(k.found) > 0 {
		return k.found
	}
	_ = c.machineID(k, u, m, false) && c.meets(k, u, m) && c.machineOf(k, u, m) &&
		c.conflicting(k, u, m) &&
		c.roomMade(k, u, m) && c.portsFree(k, u, m) && c.suffices(k, u, m) && c.nameTaken(k, u, m) && c.suits(k, u, m)
	return k.found
}

// expel says what keeps u from staying on m. Less does than from coming there:
// neither a cordon, nor a peer that is placed nowhere, nor what is on its way
// out. Nor does want of memory: units are not moved because of sums.
func (c *Cluster) expel(u *member, m *machine) []problem {
	return c.expelBy(&checks{first: true}, u, m)
}

func (c *Cluster) expelBy(k *checks, u *member, m *machine) []problem {
	_ = c.machineID(k, u, m, true) && c.meets(k, u, m) && c.peersElsewhere(k, u, m) &&
		c.yields(k, u, m) && c.ousted(k, u, m) && c.portsYield(k, u, m) && c.nameTaken(k, u, m) && c.suits(k, u, m)
	return k.found
}

func (c *Cluster) machineID(k *checks, u *member, m *machine, stays bool) bool {
	pin := u.class.options.MachineID
	switch {
	case c.isPinned(pin, m, stays):
		return true
	case c.isPinned(pin, m, true):
		return k.add(RuleMachineID, "MachineID="+pin+" fits other machines, too")
	}
	return k.add(RuleMachineID, "is not MachineID="+pin)
}

func (c *Cluster) meets(k *checks, u *member, m *machine) bool {
	for _, r := range u.class.options.Requirements {
		if lacks := r.Lacks(m.Metadata); lacks != "" && !k.add(RuleMetadata, lacks) {
			return false
		}
	}
	return true
}

// machineOf wants each peer on m, or all peers of a circle nowhere yet.
func (c *Cluster) machineOf(k *checks, u *member, m *machine) bool {
	for _, p := range u.class.peers {
		if c.peersOn(p, u, m) > 0 {
			continue
		}
		detail := p.text + " is not placed"
		if elsewhere := c.elsewhere(p, u); elsewhere != nil {
			detail = p.text + " is on " + c.name(elsewhere)
		} else if c.circle(p, u) {
			continue
		}
		if !k.add(RuleMachineOf, detail) {
			return false
		}
	}
	return true
}

func (c *Cluster) peersElsewhere(k *checks, u *member, m *machine) bool {
	for _, p := range u.class.peers {
		if c.peersOn(p, u, m) > 0 {
			continue
		}
		if elsewhere := c.elsewhere(p, u); elsewhere != nil && !k.add(RuleMachineOf, p.text+" is on "+c.name(elsewhere)) {
			return false
		}
	}
	return true
}

// peersOn counts the units on m that p means, other than u.
func (c *Cluster) peersOn(p *pattern, u *member, m *machine) int {
	n := int(p.matching.count(m.slot))
	if s := u.on(m); s != nil && !s.leaving && p.matches(u.name) {
		n--
	}
	return n
}

// elsewhere returns the first machine with a unit that p means; nil when there is none.
func (c *Cluster) elsewhere(p *pattern, u *member) *machine {
	for slot := range p.matching.all() {
		if m := c.bySlot[slot]; c.peersOn(p, u, m) > 0 {
			return m
		}
	}
	return nil
}

// circle says whether a wanted peer in turn, by MachineOf=, waits for u.
func (c *Cluster) circle(peer *pattern, u *member) bool {
	if isGlob(peer.text) {
		return false
	}
	seen := map[string]bool{}
	var reaches func(name string) bool
	reaches = func(name string) bool {
		p := c.units.get(unit.Name(name))
		if p == nil || !p.wanted || seen[name] {
			return false
		}
		seen[name] = true
		return slices.ContainsFunc(p.class.peers, func(next *pattern) bool {
			return next.text == string(u.name) || reaches(next.text)
		})
	}
	return reaches(peer.text)
}

// conflicts looks at all that is on m, also what is leaving: it may still run.
func (c *Cluster) conflicting(k *checks, u *member, m *machine) bool {
	for _, rival := range c.rivals(u, m) {
		if k.over && c.ousts(u, rival) {
			continue
		}
		detail := "runs the conflicting " + string(rival.name)
		if rival.on(m).leaving {
			detail = "is still stopping the conflicting " + string(rival.name)
		}
		if !k.add(RuleConflicts, detail) {
			return false
		}
	}
	return true
}

// yields says that u has to go because of a conflict on m: the other unit is
// there to stay, and was there before u, or before u's file changed.
func (c *Cluster) yields(k *checks, u *member, m *machine) bool {
	for _, rival := range c.rivals(u, m) {
		if rival.on(m).leaving || c.ousts(u, rival) || !c.ousts(rival, u) && first(u, rival, m) {
			continue
		}
		if !k.add(RuleConflicts, "runs the conflicting "+string(rival.name)) {
			return false
		}
	}
	return true
}

// first says which of two units on a machine was there first.
func first(a, b *member, on *machine) bool {
	if a.changed != b.changed {
		return b.changed
	}
	if x, y := a.since(on), b.since(on); x != y {
		return x < y
	}
	return a.name < b.name
}

// since is when a unit came to a machine. One that only runs there comes now:
// were it adopted as the oldest, it would have to go in the next pass.
func (u *member) since(m *machine) registry.Revision {
	if s := u.on(m); s != nil {
		return s.since
	}
	return newest
}

// rivals returns the units on m that conflict with u, sorted.
func (c *Cluster) rivals(u *member, m *machine) []*member {
	if c.conflicts.empty() || !c.hasRivals(u, m) {
		return nil
	}
	var found []*member
	for _, other := range m.units {
		if other != u && conflict(u, other) {
			found = append(found, other)
		}
	}
	slices.SortFunc(found, byName)
	return found
}

func byName(a, b *member) int { return cmp.Compare(a.name, b.name) }

func conflict(a, b *member) bool {
	names := func(a, b *member) bool {
		return slices.ContainsFunc(a.class.conflicts, func(p *pattern) bool { return p.matches(b.name) })
	}
	return names(a, b) || names(b, a)
}

// hasRivals says whether there are any, by the tallies.
func (c *Cluster) hasRivals(u *member, m *machine) bool {
	here := u.on(m) != nil
	for _, p := range u.class.conflicts {
		if n := p.matching.count(m.slot); n > 1 || n == 1 && !(here && p.matches(u.name)) {
			return true
		}
	}
	var few [8]*pattern
	for _, p := range c.conflicts.of(u, few[:0]) {
		if n := p.carrying.count(m.slot); n > 1 || n == 1 && !(here && slices.Contains(u.class.conflicts, p)) {
			return true
		}
	}
	return false
}

func (c *Cluster) portsFree(k *checks, u *member, m *machine) bool {
	for _, taken := range c.portsTaken(u, m) {
		if k.over && c.ousts(u, taken.by) {
			continue
		}
		if !k.add(RulePorts, taken.String()) {
			return false
		}
	}
	return true
}

// portsYield says that u has to go because another has its port, and is there
// to stay, as in a conflict.
func (c *Cluster) portsYield(k *checks, u *member, m *machine) bool {
	for _, taken := range c.portsTaken(u, m) {
		if s := taken.by.on(m); s.leaving || c.ousts(u, taken.by) || !c.ousts(taken.by, u) && first(u, taken.by, m) {
			continue
		}
		if !k.add(RulePorts, taken.String()) {
			return false
		}
	}
	return true
}

// suffices looks at what is left of m's memory, CPUs and tasks.
func (c *Cluster) suffices(k *checks, u *member, m *machine) bool {
	if !u.class.needy {
		return true
	}
	var gone amounts
	if k.over {
		for _, other := range c.apart(u, m) {
			if c.ousts(u, other) {
				for i, n := range other.class.need(m) {
					gone[i] += n
				}
			}
		}
	}
	for _, l := range c.lacks(u, m, gone) {
		if !k.add(RuleResources, l.String()) {
			return false
		}
	}
	return true
}

func (c *Cluster) nameTaken(k *checks, u *member, m *machine) bool {
	if path, ok := m.taken[u.name]; ok {
		return k.add(RuleNameTaken, "has the name for itself in "+path)
	}
	return true
}

// suits looks at m's systemd: whether it knows what is in u's file, and whether
// one of its version was seen to have something against that.
func (c *Cluster) suits(k *checks, u *member, m *machine) bool {
	if need := u.class.systemd; need > m.systemd && m.systemd > 0 &&
		!k.add(RuleSystemd, fmt.Sprintf("runs systemd %d, and the unit needs %d", m.systemd, need)) {
		return false
	}
	if why, ok := u.unfit()[m.Systemd]; ok {
		return k.add(RuleUnfit, why)
	}
	return true
}

// name is what texts call a machine.
func (c *Cluster) name(m *machine) string {
	if m.Hostname != "" {
		return m.Hostname
	}
	return m.ID.Short()
}
