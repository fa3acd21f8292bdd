package engine

import (
	"github.com/clusterd/clusterd/registry"
)

// refusal is what a machine said of a unit; empty once it was taken back.
type refusal struct {
	detail     string
	generation uint64
}

// noteRefusal remembers what a machine has against a unit. It is taken back by an
// operator's next change of the unit, or by the machine as it carries out what it
// was assigned; not by what it says of the unit while that is leaving.
func (x *index) noteRefusal(m *machineEntry, u *unitEntry, o observation) {
	rule, detail, _ := registry.CutRefusal(o.GetReason())
	a := u.assigned.at(m.id)
	switch {
	case rule == registry.RuleUnfit:
		if u.unfit == nil {
			u.unfit = map[string]refusal{}
		}
		u.unfit[m.rec.GetFacts()[registry.FactSystemd]] = refusal{detail, o.Generation}
	case rule == registry.RuleNameTaken:
		if x.taken[u.name] == nil {
			x.taken[u.name] = map[registry.MachineID]refusal{}
		}
		x.taken[u.name][m.id] = refusal{detail, o.Generation}
	case x.taken[u.name][m.id].detail != "" && a.Assignment != nil && a.Target != registry.Target_GONE &&
		o.Generation >= a.Generation && o.File == a.File:
		x.taken[u.name][m.id] = refusal{}
	}
}

// syncTaken tells placement of the names machines have for themselves. An
// operator's next change of the unit makes the engine try again.
func (x *index) syncTaken(u *unitEntry) {
	for id, t := range x.taken[u.name] {
		if t.detail == "" || u.rec.GetGeneration() > t.generation {
			delete(x.taken[u.name], id)
			t.detail = ""
		}
		x.cluster.SetTaken(id, u.name, t.detail)
	}
	if len(x.taken[u.name]) == 0 {
		delete(x.taken, u.name)
	}
}

// untake forgets what a machine had for itself before it was booted again.
func (x *index) untake(id registry.MachineID) {
	x.cluster.Untake(id)
	for name, machines := range x.taken {
		if _, ok := machines[id]; ok {
			delete(machines, id)
			x.dirty[name] = true
		}
	}
}

// unfitNow is what systemds have against the unit as it is now, by version.
func (u *unitEntry) unfitNow() map[string]string {
	var now map[string]string
	for version, r := range u.unfit {
		if u.rec.GetGeneration() > r.generation {
			delete(u.unfit, version)
			continue
		}
		if now == nil {
			now = map[string]string{}
		}
		now[version] = r.detail
	}
	return now
}
