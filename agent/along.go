package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// takenAlong keeps, before a unit is stopped to get a new text, which others
// stop with it. Those of an earlier stop whose start never came stay in the list.
func (a *Agent) takenAlong(u unit.Name, units []unit.Name) error {
	e, _ := a.ledger.get(u)
	e.Unit = u
	kept := slices.DeleteFunc(slices.Clone(e.Along), func(l along) bool { return slices.Contains(units, l.Unit) })
	for _, name := range units {
		if other, ours := a.ledger.get(name); ours {
			kept = append(kept, along{Unit: name, Begun: other.Begun, At: time.Now()})
		}
	}
	if len(kept) == 0 && len(e.Along) == 0 {
		return nil
	}
	e.Along = kept
	return a.ledger.put(e)
}

// alongWith are the units that stopped with u and were not started again yet.
func (a *Agent) alongWith(u unit.Name) []unit.Name {
	e, _ := a.ledger.get(u)
	var names []unit.Name
	for _, l := range e.Along {
		names = append(names, l.Unit)
	}
	return names
}

// stopped takes in how units are that stopped along with another one. What
// Watch tells of them may come later than the end of that one's steps.
func (a *Agent) stopped(units []unit.Name, states map[unit.Name]State) {
	for _, name := range units {
		if m := a.units[name]; m != nil && !m.working {
			m.set(states[name])
		}
	}
}

// startAgain has what stopped along with one of the dirty units started again,
// as a restart by systemd itself would, once that unit runs.
func (a *Agent) startAgain() {
	if a.frozen != "" {
		return
	}
	maps.Copy(a.dirty, a.owing)
	for _, u := range slices.Sorted(maps.Keys(a.dirty)) { // in order: what is marked below is looked at in a later round
		m := a.units[u]
		e, _ := a.ledger.get(u)
		if len(e.Along) == 0 || m == nil || m.working || !m.known || !m.started(e) {
			delete(a.owing, u)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(e.Along), func(l along) bool { return a.settled(u, l) })
		if delete(a.owing, u); len(rest) > 0 {
			a.owing[u] = true
		}
		if len(rest) == len(e.Along) {
			continue
		}
		e.Along = rest
		if err := a.ledger.put(e); err != nil {
			a.Log.Warn("what stopped along with a unit not crossed off", "unit", u, "error", err)
		}
	}
}

// started says that a unit is to run and its start is done. One that failed is
// waited for: it may be given a text that does, or come up by itself.
func (m *managed) started(e entry) bool {
	if m.want == nil || m.want.Target != registry.Target_LAUNCHED || Fresh(*m.want, Observed{File: m.hash, Done: e.Done}) {
		return false
	}
	ended := m.state.Active == "" || m.state.Active == "inactive"
	return m.state.Active == "active" || ended && e.Reason == ""
}

// settled marks a unit that stopped along with u for a start if nothing else
// happened to it since: it is still to run, and neither the agent nor anybody
// else has started it, whatever became of it then. It returns false for one
// that is at work, of which that can't be said yet.
func (a *Agent) settled(u unit.Name, l along) bool {
	m := a.units[l.Unit]
	e, ours := a.ledger.get(l.Unit)
	switch {
	case m == nil || !ours || m.want == nil || m.want.Target != registry.Target_LAUNCHED || e.Begun != l.Begun:
		return true
	case m.working || !m.known:
		return false
	case running(m.state.Active) && m.state.Active != "deactivating", m.ran.After(l.At), m.state.MainStart.After(l.At):
		return true
	}
	e.Again = "it was stopped along with " + string(u)
	if err := a.ledger.put(e); err != nil {
		a.Log.Warn("unit not started again", "unit", l.Unit, "error", err)
		return false
	}
	a.dirty[l.Unit] = true
	return true
}

// saw takes note of a unit that begins to run: others may wait for it, and it
// need not be started again itself.
func (a *Agent) saw(u unit.Name, m *managed, s Status) {
	if (s.Active == "active" || s.Active == "activating") && !running(m.state.Active) {
		m.ran = s.Since // not now: what is told may be from before it was stopped
	}
	if e, _ := a.ledger.get(u); s.Active == "active" && len(e.Along) > 0 {
		a.dirty[u] = true
	}
}
