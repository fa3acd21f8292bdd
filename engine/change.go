package engine

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// change is what is written together or not at all.
type change struct {
	unit    unit.Name          // empty for files
	machine registry.MachineID // the one it is for; empty for none
	guards  []registry.Guard
	ops     []registry.Op
	note    string // for the log
	reason  string
}

func (c *change) guard(key string, modified registry.Revision) {
	c.guards = append(c.guards, registry.Guard{Key: key, Modified: modified})
}

func (c *change) put(key string, m registry.Message, modified registry.Revision) {
	c.guard(key, modified)
	c.ops = append(c.ops, registry.Op{Key: key, Value: registry.Encode(m)})
}

func (c *change) delete(key string, modified registry.Revision) {
	c.guard(key, modified)
	c.ops = append(c.ops, registry.Op{Delete: registry.Single(key)})
}

func (c change) String() string {
	return fmt.Sprintf("%s %s %s", c.note, c.unit, c.machine.Short())
}

// changesOf returns what has to be written about a unit, given where it is to be.
func (x *index) changesOf(u *unitEntry, d placement.Decision) []change {
	var changes []change
	add := func(c change) {
		if len(c.ops) > 0 {
			c.unit = u.name
			changes = append(changes, c)
		}
	}
	if u.rec != nil && u.trouble == "" {
		main := change{note: "unit decided", reason: d.Reason}
		for _, id := range d.On {
			x.putOn(u, id, &main)
			if len(d.On) > 1 {
				add(x.guarded(u, main))
				main = change{note: main.note, reason: d.Reason}
			}
		}
		for _, id := range d.Off {
			x.takeOff(u, id, &main)
			if len(d.Off) > 1 {
				add(x.guarded(u, main))
				main = change{note: main.note, reason: d.Reason}
			}
		}
		x.pend(u, x.pendingOf(u, d), &main)
		x.grant(u, d, &main)
		add(x.guarded(u, main))
	} else if u.trouble != "" && u.wanted() {
		c := change{note: "unit can't be decided", reason: u.trouble}
		x.pend(u, &registry.Pending{Version: registry.RecordVersion, Generation: u.rec.GetGeneration(), Text: u.trouble}, &c)
		add(x.guarded(u, c))
	}
	if u.modified == 0 && u.pended != 0 {
		c := change{note: "pending record collected"}
		c.guard(registry.UnitKey(u.name), 0)
		c.delete(registry.PendingKey(u.name), u.pended)
		add(c)
	}
	for _, id := range u.machines() {
		add(x.cleanUp(u, id, d))
	}
	if u.rec.GetTarget() == registry.Target_GONE && len(u.assigned) == 0 && !u.evidence() {
		c := change{note: "unit destroyed"}
		c.delete(registry.UnitKey(u.name), u.modified)
		if u.pended != 0 {
			c.delete(registry.PendingKey(u.name), u.pended)
		}
		changes = slices.DeleteFunc(changes, func(other change) bool { return other.touches(registry.PendingKey(u.name)) })
		add(c)
	}
	return changes
}

func (c *change) touches(key string) bool {
	return slices.ContainsFunc(c.ops, func(op registry.Op) bool { return op.Key == key || op.Delete.From == key })
}

// guarded adds the condition that the unit's record is still the one decided on.
func (x *index) guarded(u *unitEntry, c change) change {
	if len(c.ops) > 0 {
		c.guard(registry.UnitKey(u.name), u.modified)
	}
	return c
}

// machines lists where the unit is assigned or observed, sorted.
func (u *unitEntry) machines() []registry.MachineID {
	ids := make([]registry.MachineID, 0, len(u.assigned)+len(u.observed))
	for id := range u.assigned.all() {
		ids = append(ids, id)
	}
	for id := range u.observed.all() {
		if _, ok := u.assigned.get(id); !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// evidence says that some machine may still have the unit.
func (u *unitEntry) evidence() bool {
	for _, o := range u.observed.all() {
		if o.Observed != nil && !o.Gone {
			return true
		}
	}
	return false
}

// putOn writes the assignment of u to a machine, if it is not as it should be.
func (x *index) putOn(u *unitEntry, id registry.MachineID, c *change) {
	want := &registry.Assignment{
		Version: registry.RecordVersion, File: u.rec.File, Target: u.rec.Target,
		Generation: u.rec.Generation, RestartGeneration: u.rec.RestartGeneration,
		Global:       x.cluster.Unit(u.name).Options.Global,
		AllowUnknown: u.rec.AllowUnknown, VerifiedBy: u.rec.VerifiedBy,
	}
	has := u.assigned.at(id)
	if has.Assignment != nil && proto.Equal(has.Assignment, want) {
		return
	}
	switch {
	case has.modified == 0:
		c.note = "unit placed"
	case has.GetTarget() == registry.Target_GONE:
		c.note = "unit placed again"
	default:
		c.note = "assignment updated"
	}
	c.machine = id
	c.put(registry.AssignmentKey(id, u.name), want, has.modified)
}

// takeOff writes that a machine is to stop u. A machine that is down can't; its
// assignment is taken away, on condition that it is still down. Should it come
// back with u running, that copy is unclaimed.
func (x *index) takeOff(u *unitEntry, id registry.MachineID, c *change) {
	has, m := u.assigned.at(id), x.machine(id)
	c.machine = cmp.Or(c.machine, id)
	if c.note = "unit taken off"; len(c.ops) > 0 {
		c.note = "unit moved"
	}
	wanted := u.rec.GetTarget() != registry.Target_GONE && u.rec.GetTarget() != registry.Target_INACTIVE
	switch {
	case !m.registered():
		c.delete(registry.AssignmentKey(id, u.name), has.modified)
		c.guard(registry.MachineKey(id), 0)
	case m.known.State == placement.Lost && wanted:
		c.delete(registry.AssignmentKey(id, u.name), has.modified)
		c.guard(registry.AliveKey(id), 0)
	default:
		c.put(registry.AssignmentKey(id, u.name), x.gone(u), has.modified)
	}
}

func (x *index) gone(u *unitEntry) *registry.Assignment {
	return &registry.Assignment{
		Version: registry.RecordVersion, File: u.rec.File, Target: registry.Target_GONE, Generation: u.rec.Generation,
	}
}

// cleanUp returns what has to be written about what is left of u on a machine
// where it is not to be.
func (x *index) cleanUp(u *unitEntry, id registry.MachineID, d placement.Decision) change {
	a, assigned := u.assigned.get(id)
	o, observed := u.observed.get(id)
	m := x.machine(id)
	c := change{machine: id}
	if slices.Contains(d.On, id) || slices.Contains(d.Off, id) {
		return c
	}
	switch {
	case assigned && !m.registered():
		c.note = "assignment to a removed machine taken away"
		c.guard(registry.MachineKey(id), 0)
		c.delete(registry.AssignmentKey(id, u.name), a.modified)
	case assigned && a.GetTarget() == registry.Target_GONE && o.GetGone() && o.Generation >= a.Generation:
		c.note = "unit is gone"
		c.delete(registry.AssignmentKey(id, u.name), a.modified)
		c.delete(registry.ObservedKey(id, u.name), o.modified)
	case assigned || !observed:
	case !m.registered() && !m.living:
		c.note = "observation of a removed machine collected"
		c.guard(registry.MachineKey(id), 0)
		c.delete(registry.ObservedKey(id, u.name), o.modified)
	case o.Observed == nil || !m.living || !m.registered():
	case o.Incarnation != m.alive.GetIncarnation() || !holdsUnit(o):
		c.note = "observation of the past collected"
		c.delete(registry.ObservedKey(id, u.name), o.modified)
	case x.unneeded(u, id, d):
		c.note, c.reason = "unclaimed unit taken off", "the registry knows better"
		c.put(registry.AssignmentKey(id, u.name), x.gone(u), 0)
		return x.guarded(u, c)
	}
	return c
}

// holdsUnit says whether the machine has the unit, in an observation without
// an assignment.
func holdsUnit(o observation) bool {
	if rule, _, _ := registry.CutRefusal(o.Reason); rule == registry.RuleNameTaken || o.Gone {
		return false
	}
	return o.Unclaimed || o.Load == "loaded" || o.Active != "" && o.Active != "inactive" && o.Active != "failed"
}

// unneeded says whether it is known for certain that an unclaimed unit has no
// business on a machine: nobody wants it, or it runs where it should.
func (x *index) unneeded(u *unitEntry, id registry.MachineID, d placement.Decision) bool {
	switch {
	case u.rec == nil || u.trouble != "":
		return false
	case !u.wanted():
		return true
	case x.cluster.Unit(u.name).Options.Global:
		return x.machines[id].known.State == placement.Ready
	case len(d.On) != 1 || d.On[0] == id:
		return false
	}
	return x.confirmed(u, d.On[0])
}

// confirmed says whether a machine has done what it was assigned about u.
func (x *index) confirmed(u *unitEntry, id registry.MachineID) bool {
	a, o := u.assigned.at(id), u.observed.at(id)
	if a.Assignment == nil || !x.counts(id, o) || o.Generation < a.Generation || o.Reason != "" || o.File != a.File {
		return false
	}
	switch a.Target {
	case registry.Target_LOADED:
		return true
	case registry.Target_LAUNCHED:
		return o.Active == "active" || o.Active == "reloading" || o.Active == "inactive" && o.Result == "success"
	}
	return false
}

// refusedMax is how many machines one refusal names in its record. The others
// are counted: a record that names a cluster's machines would be written, and
// sent to all who follow, for each unit that waits. Explain names all of them.
const refusedMax = 20

// pendingOf returns why a unit is not where it should be; nil when it is.
func (x *index) pendingOf(u *unitEntry, d placement.Decision) *registry.Pending {
	p := &registry.Pending{Version: registry.RecordVersion, Generation: u.rec.GetGeneration()}
	switch {
	case !u.wanted():
		return nil
	case len(d.On) == 1 && x.machines[d.On[0]].braked:
		m := x.machines[d.On[0]]
		p.Text = fmt.Sprintf("%s %s, as are too many others: nothing moves until machines return, or are said to be dead with clusterctl machine confirm-dead",
			m.name(), m.known.Why)
		return p
	case len(d.On) > 0 && len(d.Refusals) == 0:
		return nil
	}
	p.Text = x.cluster.Explain(d.Refusals)
	unfit := func(r placement.Refusal) bool {
		return placement.KeepsOld(r.Rule) && slices.Contains(r.Machines, d.On[0])
	}
	if len(d.On) == 1 && !slices.ContainsFunc(d.Refusals, unfit) { // what is unfit there stays as it is
		p.Text = fmt.Sprintf("it should leave %s, but %s", x.machines[d.On[0]].name(), p.Text)
	}
	p.Refusals = refusals(d.Refusals)
	return p
}

func refusals(said []placement.Refusal) []*registry.Refusal {
	var all []*registry.Refusal
	for _, r := range said {
		refusal := &registry.Refusal{Rule: r.Rule, Detail: r.Detail}
		named := r.Machines[:min(len(r.Machines), refusedMax)]
		for _, id := range named {
			refusal.Machines = append(refusal.Machines, string(id))
		}
		refusal.Others = uint32(len(r.Machines) - len(named))
		all = append(all, refusal)
	}
	return all
}

// pend writes a unit's pending record, or takes it away, if that changes it.
func (x *index) pend(u *unitEntry, want *registry.Pending, c *change) {
	key := registry.PendingKey(u.name)
	switch {
	case want == nil && u.pended != 0:
		c.delete(key, u.pended)
	case want != nil && (u.pending == nil || !proto.Equal(u.pending, want)):
		if len(c.ops) == 0 {
			c.note, c.reason = "unit pending", want.Text
		}
		c.put(key, want, u.pended)
	}
}
