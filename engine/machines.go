package engine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// machineEntry is all that the registry has about one machine.
type machineEntry struct {
	id         registry.MachineID
	rec        *registry.Machine
	modified   registry.Revision // of machines/<id>; 0: not registered
	settings   *registry.Settings
	unreadable bool // the settings are there, but not readable
	away       *registry.Away
	left       time.Time // when it was seen to go away; zero: before this reign
	alive      *registry.Alive
	living     bool              // alive/<id> is there
	missing    time.Time         // since when it is known not to be
	units      map[unit.Name]int // assigned to it, or observed on it: how many records

	known  placement.Machine // as the placement index has it
	boot   string            // the incarnation it was last alive in
	braked bool              // only the brake keeps its units there
}

func (m *machineEntry) registered() bool { return m.modified != 0 }

func (m *machineEntry) forget(name unit.Name) {
	if m.units[name]--; m.units[name] <= 0 {
		delete(m.units, name)
	}
}

// name is what logs and texts call a machine.
func (m *machineEntry) name() string {
	if h := m.rec.GetHostname(); h != "" {
		return h
	}
	return m.id.Short()
}

func (x *index) applyMachine(prefix, rest string, e registry.Event, now time.Time) {
	id, which := rest, ""
	if prefix == registry.SettingsPrefix {
		first, name, ok := registry.CutMachineUnit(rest)
		if !ok {
			return
		}
		id, which = string(first), string(name)
	}
	m := x.machine(registry.MachineID(id))
	x.restless[m.id] = true
	switch {
	case prefix == registry.MachinesPrefix:
		m.modified = modified(e)
		m.rec = read[registry.Machine](x, e)
	case prefix == registry.AlivePrefix:
		m.living = !e.Deleted
		m.missing = now
		m.alive = read[registry.Alive](x, e)
	case which == "away":
		m.away, m.left = read[registry.Away](x, e), time.Time{}
		if x.listed {
			m.left = now
		}
	case which == "operator":
		m.settings = read[registry.Settings](x, e)
		m.unreadable = m.settings == nil && !e.Deleted
	}
}

// fate is what becomes of a machine's units, and until when that holds; a zero
// until means until something changes.
type fate struct {
	state placement.State
	why   string
	until time.Time
}

// judge says what becomes of a machine's units at a moment. since is when this
// engine learnt that the machine is missing.
func (t Timing) judge(m *machineEntry, gossip Liveness, now time.Time) fate {
	since := m.missing
	switch {
	case m.living && (m.rec == nil || m.unreadable):
		return fate{state: placement.Held, why: "has a record that can't be read"}
	case m.living && m.away != nil:
		return fate{state: placement.Held, why: "is away"}
	case m.living:
		return fate{}
	case m.away.GetConfirmedBy() != "":
		return fate{state: placement.Lost, why: "is dead, as " + m.away.ConfirmedBy + " confirmed"}
	case m.away != nil && m.away.Shutdown:
		return fate{state: placement.Lost, why: "is shut down"}
	case m.away != nil:
		// The machine's own clock counts only when there is no other.
		if left := time.UnixMilli(m.away.SinceUnixMs); m.left.IsZero() && left.Before(since) {
			since = left
		} else if !m.left.IsZero() && m.left.Before(since) {
			since = m.left
		}
		if until := since.Add(t.AwayLimit); now.Before(until) {
			return fate{placement.Held, "is away", until}
		}
		return fate{state: placement.Lost, why: fmt.Sprintf("is away for more than %v", t.AwayLimit)}
	}
	until := since.Add(t.Grace)
	if settled := since.Add(t.Settle); gossip == Dead && settled.Before(until) {
		until = settled
	}
	if now.Before(until) {
		return fate{placement.Held, "is silent", until}
	}
	return fate{state: placement.Lost, why: "is dead"}
}

// judgeMachines brings the placement index up to what becomes of each machine
// at this moment, and marks the units that this concerns.
func (x *index) judgeMachines(now time.Time) {
	if len(x.restless) == 0 {
		return
	}
	x.judgeBrake(now)
	for _, id := range slices.Sorted(maps.Keys(x.restless)) {
		m := x.machines[id]
		x.judgeMachine(m, now)
		setMember(x.restless, id, m.registered() && !m.living)
	}
}

func (x *index) judgeMachine(m *machineEntry, now time.Time) {
	if !m.registered() {
		x.dropMachine(m)
		return
	}
	f := x.timing.judge(m, x.gossip.Liveness(m.id), now)
	braked := x.braked && f.state == placement.Lost && m.away.GetConfirmedBy() == ""
	if braked {
		f.state = placement.Held
	}
	to := placement.Machine{
		ID: m.id, Hostname: m.name(), State: f.state, Why: f.why,
		Metadata: registry.Selectable(m.rec, m.settings),
		Cordoned: m.settings.GetCordon(), Drained: m.settings.GetDrain(),
		Systemd: m.rec.GetFacts()[registry.FactSystemd],
		Memory:  m.rec.GetMemoryBytes(), CPU: 1000 * uint64(m.rec.GetCpus()), Tasks: m.rec.GetTasksMax(),
	}
	if m.rec == nil || m.unreadable {
		to.Metadata, to.Memory, to.CPU, to.Tasks = m.known.Metadata, m.known.Memory, m.known.CPU, m.known.Tasks
	}
	booted := m.living && m.alive.GetIncarnation() != m.boot
	if booted {
		if m.boot != "" {
			x.untake(m.id)
		}
		m.boot = m.alive.GetIncarnation()
	}
	if m.known.ID == m.id && equal(m.known, to) && braked == m.braked && !booted {
		return
	}
	if m.known.State != to.State || m.known.Why != to.Why {
		x.log.Info("machine judged", "machine", m.id, "hostname", m.name(), "state", describe(to), "braked", braked)
	}
	m.known, m.braked = to, braked
	x.cluster.SetMachine(to)
	x.stirMachine(m)
}

func (x *index) dropMachine(m *machineEntry) {
	if m.known.ID != "" {
		x.log.Info("machine removed", "machine", m.id, "units", len(m.units))
	}
	m.known = placement.Machine{}
	m.boot = ""
	x.cluster.DropMachine(m.id)
	x.stirMachine(m)
	if !m.living && m.away == nil && m.settings == nil && !m.unreadable && len(m.units) == 0 {
		delete(x.machines, m.id)
	}
}

func equal(a, b placement.Machine) bool {
	return a.Hostname == b.Hostname && a.State == b.State && a.Why == b.Why && a.Cordoned == b.Cordoned &&
		a.Drained == b.Drained && a.Systemd == b.Systemd && a.Memory == b.Memory && a.CPU == b.CPU && a.Tasks == b.Tasks && maps.Equal(a.Metadata, b.Metadata)
}

func describe(m placement.Machine) string {
	if m.State == placement.Ready {
		return "is ready"
	}
	return m.Why
}

// stirMachine marks the units that a machine's change concerns.
func (x *index) stirMachine(m *machineEntry) {
	for name := range m.units {
		x.dirty[name] = true
	}
	for name := range x.globals {
		x.dirty[name] = true
	}
	x.wake(m.id)
	if len(x.unplaced) <= refreshMax {
		for name := range x.unplaced {
			x.dirty[name] = true
		}
	}
}

// refreshMax is how many units may wait for their reasons to be brought up to
// date whenever a machine changes. When more wait, only those are decided again
// that the change helps: a write for each of the others would be too many.
const refreshMax = 1000

// wake marks the waiting units that a change of or on a machine may help.
func (x *index) wake(id registry.MachineID) {
	for _, name := range x.cluster.Wakes(id) {
		x.dirty[name] = true
	}
}

// judgeBrake stops moves when more than half, or another share, of the registered
// machines are missing: then it is rather this side that is cut off, or a power failure
// that will end. Machines that gossip doubts count as missing for as long as a
// machine's grace lasts, since leases that end together are not seen to end at
// once; later on, a lease that holds counts for more than gossip.
func (x *index) judgeBrake(now time.Time) {
	registered, missing, doubted := 0, 0, 0
	doubt := false
	for id := range x.restless {
		m := x.machines[id]
		if !m.living && m.missing.IsZero() {
			m.missing = now // it was so when this reign began
		}
		doubt = doubt || m.registered() && !m.living && now.Before(m.missing.Add(x.timing.Grace))
	}
	for id, m := range x.machines {
		if !m.registered() {
			continue
		}
		registered++
		if !m.living {
			missing++
		} else if !doubt {
			continue
		} else if l := x.gossip.Liveness(id); l == Suspect || l == Dead {
			doubted++
		}
	}
	on := missing > 0 && float64(missing+doubted) > x.timing.Brake*float64(registered)
	if on != x.braked {
		x.braked = on
		for id, m := range x.machines {
			if !m.living {
				x.restless[id] = true
			}
		}
		if on {
			x.log.Warn("too many machines are missing: units stay where they are until machines return, or an operator confirms that they are dead",
				"missing", missing, "doubted", doubted, "registered", registered)
		} else {
			x.log.Info("enough machines are back: units may move again", "missing", missing, "registered", registered)
		}
	}
}

// nextJudgement is the earliest moment at which a machine's fate changes by
// itself; zero when there is none.
func (x *index) nextJudgement(now time.Time) time.Time {
	var next time.Time
	for id := range x.restless {
		m := x.machines[id]
		if f := x.timing.judge(m, x.gossip.Liveness(id), now); !f.until.IsZero() {
			next = earlier(next, f.until)
		}
		if sure := m.missing.Add(x.timing.Grace); m.braked && now.Before(sure) {
			next = earlier(next, sure)
		}
	}
	return next
}

// earlier returns the earlier of two moments, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
