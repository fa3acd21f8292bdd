package api

import (
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// trace is what machines have of a unit, for one whose own record is lost: such
// a record written anew must not stop what runs, nor count its changes again
// from one, which machines would take for changes long carried out.
type trace struct {
	target     registry.Target // the most that any machine has of it
	generation uint64          // the highest that any machine was told
}

// traces finds what machines have of these units.
func traces(view registry.View, names map[unit.Name]bool) map[unit.Name]trace {
	// Past a few, going through everything once is cheaper than looking for each.
	const few = 10
	found := map[unit.Name]trace{}
	if len(names) == 0 {
		return found
	}
	if len(names) <= few {
		for _, m := range newPicture(view, nil, health{}, time.Time{}).machinesWithUnits() {
			for name := range names {
				found[name] = found[name].with(view, m, name)
			}
		}
		return found
	}
	for _, prefix := range []string{registry.AssignmentsPrefix, registry.ObservedPrefix} {
		for rec := range view.Range(registry.Prefix(prefix)) {
			m, name, ok := registry.CutMachineUnit(strings.TrimPrefix(rec.Key, prefix))
			if ok && names[name] {
				found[name] = found[name].with(view, m, name)
			}
		}
	}
	return found
}

// with is t with what one machine has, too.
func (t trace) with(view registry.View, m registry.MachineID, name unit.Name) trace {
	if rec, ok := view.Get(registry.AssignmentKey(m, name)); ok {
		if a, err := registry.Decode[registry.Assignment](rec); err == nil {
			t.generation = max(t.generation, a.GetGeneration())
			if a.GetTarget() != registry.Target_GONE {
				t.target = max(t.target, a.GetTarget())
			}
			return t
		}
	}
	rec, ok := view.Get(registry.ObservedKey(m, name))
	if !ok {
		return t
	}
	o, err := registry.Decode[registry.Observed](rec)
	if err != nil || o.GetGone() || !livesAs(view, m, o.GetIncarnation()) {
		return t
	}
	t.generation = max(t.generation, o.GetGeneration())
	switch o.GetActive() {
	case "active", "activating", "reloading":
		t.target = registry.Target_LAUNCHED
	case "":
	default:
		t.target = max(t.target, registry.Target_LOADED)
	}
	return t
}

// livesAs says whether a machine is alive in this incarnation.
func livesAs(view registry.View, m registry.MachineID, incarnation string) bool {
	rec, ok := view.Get(registry.AliveKey(m))
	if !ok {
		return false
	}
	alive, err := registry.Decode[registry.Alive](rec)
	return err == nil && alive.GetIncarnation() == incarnation
}
