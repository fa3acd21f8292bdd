package placement

import (
	"fmt"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Moves that nobody is forced to: a drain, and an operator's wish. They leave as
// many instances of a template active as MinAvailable= says, and wait until a
// moved one is active again. A dead machine, and a rule that says no, don't wait.

// stock is how many instances of a template are to run, and how many do.
type stock struct{ launched, active int }

// stockOf counts the instances of u's template. It is counted once, then kept up.
func (c *Cluster) stockOf(u *member) *stock {
	f, typ := u.family, u.name.Type()
	if s := f.stocks[typ]; s != nil {
		return s
	}
	s := &stock{}
	for _, other := range f.members {
		if other.name.Type() == typ {
			s.count(other, 1)
		}
	}
	if f.stocks == nil {
		f.stocks = map[string]*stock{}
	}
	f.stocks[typ] = s
	return s
}

func (s *stock) count(u *member, by int) {
	if u.launched {
		s.launched += by
	}
	if u.launched && u.active {
		s.active += by
	}
}

// serve notes whether a unit is to run, and whether it does.
func (u *member) serve(launched, active bool) {
	if u.launched == launched && u.active == active {
		return
	}
	var s *stock
	if len(u.family.stocks) > 0 {
		s = u.family.stocks[u.name.Type()]
	}
	if s != nil {
		s.count(u, -1)
	}
	u.launched, u.active = launched, active
	if s != nil {
		s.count(u, 1)
	}
}

// spared says why u may not be moved just now; nil when it may.
func (c *Cluster) spared(u *member) *problem {
	least := u.class.options.MinAvailable
	if !least.IsSet() || !u.launched || !u.active && !c.resting {
		return nil
	}
	s := c.stockOf(u)
	need, template := least.Of(s.launched), templateOf(u.name)
	switch {
	case s.launched-1 < need:
		fix := fmt.Sprintf("one more is needed: clusterctl scale %s %d", template, s.launched+1)
		if least.Of(s.launched+1) > s.launched {
			fix = "it has to be lowered"
		}
		return &problem{RuleTooFew, fmt.Sprintf("MinAvailable=%v keeps it, and %d of %s are to run: %s", least, s.launched, template, fix)}
	case !c.resting && s.active-1 < need:
		return &problem{RuleMinAvailable, fmt.Sprintf("MinAvailable=%v keeps it for now: %d of %d of %s are active", least, s.active, s.launched, template)}
	}
	return nil
}

func templateOf(name unit.Name) unit.Name {
	template, _ := name.Template()
	return template
}

// kept is the verdict on a unit that MinAvailable= keeps where it is.
func (c *Cluster) kept(u *member, here []*machine, why *problem) verdict {
	return verdict{on: here, refusals: []Refusal{{Rule: why.rule, Detail: why.detail, Machines: []registry.MachineID{here[0].ID}}}}
}

// Declined says why the wish of a unit is not to be, as Plan found when it decided
// the unit last; empty when it is granted, or waits for MinAvailable=.
func (c *Cluster) Declined(name unit.Name) []string {
	if u := c.units.get(name); u != nil && u.more != nil && u.more.wish != "" {
		return u.more.declined
	}
	return nil
}

// wish decides about a unit that an operator wishes on another machine. Where it
// can't be there, that is declined, with the reasons, and the unit is decided as
// any other.
func (c *Cluster) wish(u *member, placed []*machine) (v verdict, granted bool) {
	m := c.machines[u.more.wish]
	u.more.declined = nil
	switch {
	case m == nil || !m.registered:
		u.more.declined = []string{"the machine is not registered"}
	case len(placed) == 1 && placed[0] == m:
		return v, false
	case len(placed) == 1 && placed[0].State == Held:
		u.more.declined = []string{fmt.Sprintf("%s %s, and may still run it", c.name(placed[0]), placed[0].Why)}
	default:
		for _, p := range c.refuse(u, m, false) {
			u.more.declined = append(u.more.declined, p.detail)
		}
	}
	if len(u.more.declined) > 0 {
		return v, false
	}
	if len(placed) == 1 && placed[0].State == Ready {
		if why := c.spared(u); why != nil {
			return c.kept(u, placed, why), true
		}
	}
	off := slices.DeleteFunc(slices.Clone(placed), func(p *machine) bool { return p == m })
	return verdict{on: c.just(m), off: off, reason: "it was asked to move to " + c.name(m)}, true
}
