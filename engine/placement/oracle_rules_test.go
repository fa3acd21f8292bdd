package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// refuse says what keeps u off m as a machine to go to.
func (c *oracle) refuse(u *omember, m *omachine, first bool) []problem {
	return c.refuseBy(&checks{first: first}, u, m)
}

func (c *oracle) refuseBy(k *checks, u *omember, m *omachine) []problem {
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
	_ = c.machineID(k, u, m, false) && c.metadata(k, u, m) && c.machineOf(k, u, m) &&
		c.conflicts(k, u, m) &&
		c.room(k, u, m) && c.ports(k, u, m) && c.resources(k, u, m) && c.taken(k, u, m) && c.suits(k, u, m)
	return k.found
}

// expel says what keeps u from staying on m. Less does than from coming there:
// neither a cordon, nor a peer that is placed nowhere, nor what is on its way out.
func (c *oracle) expel(u *omember, m *omachine) []problem {
	k := &checks{first: true}
	_ = c.machineID(k, u, m, true) && c.metadata(k, u, m) && c.peersElsewhere(k, u, m) &&
		c.yields(k, u, m) && c.ousted(k, u, m) && c.portsYield(k, u, m) && c.taken(k, u, m) && c.suits(k, u, m)
	return k.found
}

func (c *oracle) machineID(k *checks, u *omember, m *omachine, stays bool) bool {
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

func (c *oracle) ambiguous(prefix string) bool {
	found := 0
	for _, m := range c.order {
		if strings.HasPrefix(string(m.ID), prefix) {
			found++
		}
	}
	return found > 1
}

func (c *oracle) metadata(k *checks, u *omember, m *omachine) bool {
	for _, r := range u.Options.Requirements {
		if lacks := r.Lacks(m.Metadata); lacks != "" && !k.add(RuleMetadata, lacks) {
			return false
		}
	}
	return true
}

// machineOf wants each peer on m, or all peers of a circle nowhere yet.
func (c *oracle) machineOf(k *checks, u *omember, m *omachine) bool {
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

func (c *oracle) peersElsewhere(k *checks, u *omember, m *omachine) bool {
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

func (c *oracle) peerOn(peer string, u *omember, m *omachine) bool {
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
func (c *oracle) peerMachines(peer string, u *omember) []registry.MachineID {
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
func (c *oracle) circle(peer string, u *omember) bool {
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
func (c *oracle) conflicts(k *checks, u *omember, m *omachine) bool {
	for _, name := range c.rivals(u, m) {
		if k.over && c.ousts(u, c.units[name]) {
			continue
		}
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
func (c *oracle) yields(k *checks, u *omember, m *omachine) bool {
	for _, name := range c.rivals(u, m) {
		rival := c.units[name]
		if m.units[name] || c.ousts(u, rival) || !c.ousts(rival, u) && c.first(u, rival, m.ID) {
			continue
		}
		if !k.add(RuleConflicts, "runs the conflicting "+string(name)) {
			return false
		}
	}
	return true
}

// first says which of two units on a machine was there first.
func (c *oracle) first(a, b *omember, on registry.MachineID) bool {
	if a.Changed != b.Changed {
		return b.Changed
	}
	since := func(u *omember) registry.Revision {
		if p, ok := u.places[on]; ok {
			return p.Since
		}
		return newest
	}
	if x, y := since(a), since(b); x != y {
		return x < y
	}
	return a.Name < b.Name
}

// rivals returns the units on m that conflict with u, sorted.
func (c *oracle) rivals(u *omember, m *omachine) []unit.Name {
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

func (c *oracle) taken(k *checks, u *omember, m *omachine) bool {
	if path, ok := m.taken[u.Name]; ok {
		return k.add(RuleNameTaken, "has the name for itself in "+path)
	}
	return true
}

// suits looks at m's systemd: whether it knows what is in u's file, and whether
// one of its version was seen to have something against that.
func (c *oracle) suits(k *checks, u *omember, m *omachine) bool {
	if u.Systemd > m.systemd && m.systemd > 0 &&
		!k.add(RuleSystemd, fmt.Sprintf("runs systemd %d, and the unit needs %d", m.systemd, u.Systemd)) {
		return false
	}
	if why, ok := u.Unfit[m.Systemd]; ok {
		return k.add(RuleUnfit, why)
	}
	return true
}

// name is what texts call a machine.
func (c *oracle) name(id registry.MachineID) string {
	if m := c.machines[id]; m != nil && m.Hostname != "" {
		return m.Hostname
	}
	return id.Short()
}
