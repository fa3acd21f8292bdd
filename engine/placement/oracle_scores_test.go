package placement

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// The oracle's resources, ports, scores and Replaces=.

func oNeed(u *omember, m *omachine) amounts {
	var a amounts
	for i, r := range [resources]unit.Resource{u.Needs.Memory, u.Needs.CPU, u.Needs.Tasks} {
		a[i] = min(r.Of(wholeOf(m.Machine)[i]), amountMax)
	}
	return a
}

func (c *oracle) used(m *omachine) amounts {
	var used amounts
	for name := range m.units {
		for i, n := range oNeed(c.units[name], m) {
			used[i] += n
		}
	}
	return used
}

func (c *oracle) resources(k *checks, u *omember, m *omachine) bool {
	used, need, whole := c.used(m), oNeed(u, m), wholeOf(m.Machine)
	for name := range m.units {
		other := c.units[name]
		if name != u.Name && !(k.over && !m.units[name] && c.ousts(u, other)) {
			continue
		}
		for i, n := range oNeed(other, m) {
			used[i] -= n
		}
	}
	for i := range whole {
		if whole[i] > 0 && need[i] > 0 && used[i]+need[i] > whole[i] &&
			!k.add(RuleResources, lack{i, whole[i] - min(used[i], whole[i]), need[i]}.String()) {
			return false
		}
	}
	return true
}

func oClash(a, b *omember) (unit.Port, bool) {
	for _, p := range a.Ports {
		for _, q := range b.Ports {
			if p.Clashes(q) {
				return p, true
			}
		}
	}
	return unit.Port{}, false
}

func (c *oracle) ports(k *checks, u *omember, m *omachine) bool {
	for _, name := range slices.Sorted(maps.Keys(m.units)) {
		other := c.units[name]
		p, clash := oClash(u, other)
		if name == u.Name || !clash || k.over && c.ousts(u, other) {
			continue
		}
		if !k.add(RulePorts, "port "+p.String()+" is taken by "+string(name)) {
			return false
		}
	}
	return true
}

func (c *oracle) portsYield(k *checks, u *omember, m *omachine) bool {
	for _, name := range slices.Sorted(maps.Keys(m.units)) {
		other := c.units[name]
		p, clash := oClash(u, other)
		if name == u.Name || !clash || m.units[name] || c.ousts(u, other) || !c.ousts(other, u) && c.first(u, other, m.ID) {
			continue
		}
		if !k.add(RulePorts, "port "+p.String()+" is taken by "+string(name)) {
			return false
		}
	}
	return true
}

func oReplaces(a, b *omember) bool {
	return a != b && slices.ContainsFunc(a.Options.Replaces, func(p string) bool { return matches(p, b.Name) })
}

func (c *oracle) ousts(a, b *omember) bool {
	if !oReplaces(a, b) || !b.known || b.Options.Global {
		return false
	}
	// Whatever b reaches, step by step.
	reached := []*omember{b}
	for i := 0; i < len(reached); i++ {
		if !reached[i].Wanted {
			continue
		}
		for _, next := range c.units {
			if oReplaces(reached[i], next) && !slices.Contains(reached, next) {
				reached = append(reached, next)
			}
		}
	}
	if slices.Contains(reached, a) {
		return false
	}
	// Whomever a follows.
	followed := []*omember{a}
	for i := 0; i < len(followed); i++ {
		for _, next := range c.units {
			means := func(p string) bool { return matches(p, next.Name) }
			if next != followed[i] && !slices.Contains(followed, next) && slices.ContainsFunc(followed[i].Options.MachineOf, means) {
				followed = append(followed, next)
			}
		}
	}
	return !slices.Contains(followed, b)
}

func (c *oracle) apart(u *omember, m *omachine) []*omember {
	var found []*omember
	for _, name := range slices.Sorted(maps.Keys(m.units)) {
		other := c.units[name]
		if !m.units[name] && (oReplaces(u, other) || oReplaces(other, u)) {
			found = append(found, other)
		}
	}
	return found
}

func (c *oracle) room(k *checks, u *omember, m *omachine) bool {
	for _, other := range c.apart(u, m) {
		if k.over && c.ousts(u, other) {
			continue
		}
		detail := ", which it replaces"
		if oReplaces(other, u) {
			detail = ", which replaces it"
		}
		if !k.add(RuleReplaces, "runs "+string(other.Name)+detail) {
			return false
		}
	}
	return true
}

func (c *oracle) ousted(k *checks, u *omember, m *omachine) bool {
	for _, other := range c.apart(u, m) {
		if c.ousts(u, other) || !c.ousts(other, u) && c.first(u, other, m.ID) {
			continue
		}
		if !k.add(RuleReplaces, "runs "+string(other.Name)+", which replaces it") {
			return false
		}
	}
	return true
}

func (c *oracle) takeOver(u *omember, not *omachine) (*omachine, *omember) {
	for _, m := range c.order {
		if m == not || len(c.refuseBy(&checks{first: true, over: true}, u, m)) > 0 {
			continue
		}
		for _, other := range c.apart(u, m) {
			if c.ousts(u, other) {
				return m, other
			}
		}
	}
	return nil, nil
}

func (p *oplanning) again(u *omember, on []registry.MachineID) {
	c := p.cluster
	for _, id := range on {
		for _, other := range c.apart(u, c.machine(id)) {
			if !c.ousts(u, other) {
				continue
			}
			if p.done[other.Name] {
				if p.times[other.Name]++; p.times[other.Name] > againMax {
					continue
				}
				for at := range c.Places(other.Name) {
					c.Take(at, other.Name)
				}
				for at, place := range p.was[other.Name] {
					c.Put(at, other.Name, place)
				}
				p.decisions = slices.DeleteFunc(p.decisions, func(d Decision) bool { return d.Unit == other.Name })
				p.done[other.Name] = false
			}
			p.queue = append(p.queue, other.Name)
		}
	}
}

// rank is a machine's score for a unit; less is better.
func (c *oracle) rank(u *omember, m *omachine) []int {
	rank := []int{0}
	for _, r := range u.Options.Prefer {
		if !r.Matches(m.Metadata) {
			rank[0]++
		}
	}
	template, instance, _ := strings.Cut(string(u.Name), "@")
	for _, key := range u.Options.Spread {
		value, ok := m.Metadata[key]
		if instance == "" {
			continue
		}
		n := 0
		for id, on := range c.machines {
			for name, leaving := range on.units {
				t, _, _ := strings.Cut(string(name), "@")
				if has, there := c.machines[id].Metadata[key]; on.registered && there && has == value && name != u.Name && !leaving &&
					t == template && strings.Contains(string(name), "@") && typeOf(name) == typeOf(u.Name) {
					n++
				}
			}
		}
		if !ok {
			n = 1 << 30
		}
		rank = append(rank, n)
	}
	if oNeed(u, m) != (amounts{}) || u.Needs.Memory.Share+u.Needs.Tasks.Share+u.Needs.CPU.Share > 0 {
		most := 0
		for i, whole := range wholeOf(m.Machine) {
			if whole > 0 {
				most = max(most, int((min(c.used(m)[i], whole)*shares+whole-1)/whole))
			}
		}
		rank = append(rank, most)
	}
	return rank
}

func (c *oracle) reason(u *omember) string {
	o := u.Options
	switch by := cmp.Or(len(o.Prefer), 0); {
	case by > 0 && len(o.Spread) > 0:
		return "best by Prefer= and Spread= of those that fit"
	case by > 0:
		return "best by Prefer= of those that fit"
	case len(o.Spread) > 0:
		return "best by Spread= of those that fit"
	case u.Needs != unit.Resources{}:
		return "has most left of those that fit"
	}
	return "least loaded of those that fit"
}

func bars(o unit.Options, name unit.Name) bool {
	return slices.ContainsFunc(o.Conflicts, func(p string) bool { return matches(p, name) })
}
