package placement

import (
	"fmt"
	"path"
	"slices"
	"strings"

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
)

// KeepsOld says whether a rule is about what a unit's file asks of systemd. A
// unit that has an older file there may go on with that, for want of a better
// place.
func KeepsOld(rule string) bool { return rule == RuleUnfit || rule == RuleSystemd }

// problem is one rule that keeps one unit off one machine.
type problem struct{ rule, detail string }

func isGlob(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

func matches(pattern string, name unit.Name) bool {
	if !isGlob(pattern) {
		return pattern == string(name)
	}
	ok, err := path.Match(pattern, string(name))
	return ok && err == nil
}

// Conflict says whether one of two units names the other in Conflicts=.
func Conflict(a, b Unit) bool {
	return a.Name != b.Name && (bars(a.Options, b.Name) || bars(b.Options, a.Name))
}

func bars(o unit.Options, name unit.Name) bool {
	return slices.ContainsFunc(o.Conflicts, func(p string) bool { return matches(p, name) })
}

// checks collects what keeps a unit off a machine, or with first set only the
// first thing found.
type checks struct {
	first bool
	found []problem
}

// add reports whether to go on.
func (k *checks) add(rule, detail string) bool {
	k.found = append(k.found, problem{rule, detail})
	return !k.first
}

// refuse says what keeps u off m as a machine to go to.
func (c *Cluster) refuse(u *member, m *machine, first bool) []problem {
	k := &checks{first: first}
	if m.State != Ready {
		return []problem{{RuleState, m.Why}}
	}
	switch {
	case m.Drained:
		k.add(RuleDrain, "is being drained")
	case m.Cordoned:
		k.add(RuleCordon, "is cordoned")
	}
	if first && len(k.found) > 0 {
		return k.found
	}
	_ = c.machineID(k, u, m, false) && c.metadata(k, u, m) && c.machineOf(k, u, m) &&
		c.conflicts(k, u, m) && c.taken(k, u, m) && c.suits(k, u, m)
	return k.found
}

// expel says what keeps u from staying on m. Less does than from coming there:
// neither a cordon, nor a peer that is placed nowhere, nor what is on its way out.
func (c *Cluster) expel(u *member, m *machine) []problem {
	k := &checks{first: true}
	_ = c.machineID(k, u, m, true) && c.metadata(k, u, m) && c.peersElsewhere(k, u, m) &&
		c.yields(k, u, m) && c.taken(k, u, m) && c.suits(k, u, m)
	return k.found
}

func (c *Cluster) machineID(k *checks, u *member, m *machine, stays bool) bool {
	want := u.Options.MachineID
	switch {
	case want == "" || want == string(m.ID) || want == m.Hostname:
		return true
	case c.hostnames[want] > 0 || !strings.HasPrefix(string(m.ID), want):
		return k.add(RuleMachineID, "is not MachineID="+want)
	case !stays && c.ambiguous(want):
		return k.add(RuleMachineID, "MachineID="+want+" fits other machines, too")
	}
	return true
}

func (c *Cluster) ambiguous(prefix string) bool {
	found := 0
	for _, m := range c.order {
		if strings.HasPrefix(string(m.ID), prefix) {
			found++
		}
	}
	return found > 1
}

func (c *Cluster) metadata(k *checks, u *member, m *machine) bool {
	for _, r := range u.Options.Requirements {
		if lacks := r.Lacks(m.Metadata); lacks != "" {
			return k.add(RuleMetadata, lacks)
		}
	}
	return true
}

// machineOf wants each peer on m, or all peers of a circle nowhere yet.
func (c *Cluster) machineOf(k *checks, u *member, m *machine) bool {
	for _, peer := range u.Options.MachineOf {
		if c.peerOn(peer, u, m) {
			continue
		}
		detail := peer + " is not placed"
		if on := c.peerMachines(peer, u); len(on) > 0 {
			detail = peer + " is on " + c.name(on[0])
		} else if c.circle(peer, u) {
			continue
		}
		if !k.add(RuleMachineOf, detail) {
			return false
		}
	}
	return true
}

func (c *Cluster) peersElsewhere(k *checks, u *member, m *machine) bool {
	for _, peer := range u.Options.MachineOf {
		if c.peerOn(peer, u, m) {
			continue
		}
		if on := c.peerMachines(peer, u); len(on) > 0 && !k.add(RuleMachineOf, peer+" is on "+c.name(on[0])) {
			return false
		}
	}
	return true
}

func (c *Cluster) peerOn(peer string, u *member, m *machine) bool {
	if !isGlob(peer) {
		leaving, ok := m.units[unit.Name(peer)]
		return ok && !leaving
	}
	for name, leaving := range m.units {
		if !leaving && name != u.Name && matches(peer, name) {
			return true
		}
	}
	return false
}

// peerMachines returns where the units that peer means are placed.
func (c *Cluster) peerMachines(peer string, u *member) []registry.MachineID {
	if !isGlob(peer) {
		return c.PlacedOn(unit.Name(peer))
	}
	var ids []registry.MachineID
	for id, m := range c.machines {
		if c.peerOn(peer, u, m) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// circle says whether a wanted peer in turn, by MachineOf=, waits for u.
func (c *Cluster) circle(peer string, u *member) bool {
	if isGlob(peer) {
		return false
	}
	seen := map[string]bool{}
	var reaches func(name string) bool
	reaches = func(name string) bool {
		p := c.units[unit.Name(name)]
		if p == nil || !p.Wanted || seen[name] {
			return false
		}
		seen[name] = true
		return slices.ContainsFunc(p.Options.MachineOf, func(next string) bool {
			return next == string(u.Name) || reaches(next)
		})
	}
	return reaches(peer)
}

// conflicts looks at all that is on m, also what is leaving: it may still run.
func (c *Cluster) conflicts(k *checks, u *member, m *machine) bool {
	for _, name := range c.rivals(u, m) {
		detail := "runs the conflicting " + string(name)
		if m.units[name] {
			detail = "is still stopping the conflicting " + string(name)
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
	for _, name := range c.rivals(u, m) {
		rival := c.units[name]
		if m.units[name] || c.first(u, rival, m.ID) {
			continue
		}
		if !k.add(RuleConflicts, "runs the conflicting "+string(name)) {
			return false
		}
	}
	return true
}

// first says which of two units on a machine was there first.
func (c *Cluster) first(a, b *member, on registry.MachineID) bool {
	if a.Changed != b.Changed {
		return b.Changed
	}
	if x, y := a.places[on].Since, b.places[on].Since; x != y {
		return x < y
	}
	return a.Name < b.Name
}

// rivals returns the units on m that conflict with u, sorted.
func (c *Cluster) rivals(u *member, m *machine) []unit.Name {
	var found []unit.Name
	add := func(name unit.Name) {
		if name != u.Name && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	for _, pattern := range u.Options.Conflicts {
		if !isGlob(pattern) {
			if _, ok := m.units[unit.Name(pattern)]; ok {
				add(unit.Name(pattern))
			}
			continue
		}
		for name := range m.units {
			if matches(pattern, name) {
				add(name)
			}
		}
	}
	for name := range m.picky {
		if bars(c.units[name].Options, u.Name) {
			add(name)
		}
	}
	slices.Sort(found)
	return found
}

func (c *Cluster) taken(k *checks, u *member, m *machine) bool {
	if path, ok := m.taken[u.Name]; ok {
		return k.add(RuleNameTaken, "has the name for itself in "+path)
	}
	return true
}

// suits looks at m's systemd: whether it knows what is in u's file, and whether
// one of its version was seen to have something against that.
func (c *Cluster) suits(k *checks, u *member, m *machine) bool {
	if u.Systemd > m.systemd && m.systemd > 0 {
		return k.add(RuleSystemd, fmt.Sprintf("runs systemd %d, and the unit needs %d", m.systemd, u.Systemd))
	}
	if why, ok := u.Unfit[m.Systemd]; ok {
		return k.add(RuleUnfit, why)
	}
	return true
}

// name is what texts call a machine.
func (c *Cluster) name(id registry.MachineID) string {
	if m := c.machines[id]; m != nil && m.Hostname != "" {
		return m.Hostname
	}
	return id.Short()
}
