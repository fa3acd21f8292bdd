package api

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// The words of Machine.State.
const (
	StateAlive   = "alive"   // it keeps its lease
	StateSuspect = "suspect" // it does, but gossip can't reach it
	StateAway    = "away"    // its clusterd was stopped; its units are held
	StateSilent  = "silent"  // its lease is gone, not yet long enough to be dead
	StateDead    = "dead"
)

// The words of Unit.Target and UnitState.Assigned.
const (
	TargetInactive = "inactive"
	TargetLoaded   = "loaded"
	TargetLaunched = "launched"
	TargetGone     = "gone"
)

var targetWords = map[registry.Target]string{
	registry.Target_INACTIVE: TargetInactive,
	registry.Target_LOADED:   TargetLoaded,
	registry.Target_LAUNCHED: TargetLaunched,
	registry.Target_GONE:     TargetGone,
}

// parseTarget reads a word of Change.Target.
func parseTarget(word string) (registry.Target, bool) {
	for t, w := range targetWords {
		if w == word {
			return t, true
		}
	}
	return registry.Target_TARGET_UNSPECIFIED, false
}

// picture is the cluster as one view of the registry shows it, in the API's
// words. It reads no clock and asks nobody.
type picture struct {
	view     registry.View
	files    *fileCache
	now      time.Time
	health   health
	machines map[registry.MachineID]*machineInfo // what was looked at so far
	leader   registry.MachineID
	loaded   []registry.MachineID // machinesWithUnits, once it was asked for
}

// health is what is known of machines beside the registry.
type health struct {
	awayLimit time.Duration
	suspected func(registry.MachineID) bool // by gossip
	dead      func(registry.MachineID) bool // for a machine whose lease is gone
}

// machineInfo is one machine as far as units' states need it.
type machineInfo struct {
	known       bool
	broken      error
	record      *registry.Machine
	state       string
	why         string
	incarnation string // empty unless it is alive
}

func newPicture(view registry.View, files *fileCache, h health, now time.Time) *picture {
	p := &picture{view: view, files: files, now: now, health: h, machines: map[registry.MachineID]*machineInfo{}}
	if rec, ok := view.Get(registry.LeaderKey); ok {
		if l, err := registry.Decode[registry.Leader](rec); err == nil {
			p.leader = registry.MachineID(l.GetMachine())
		}
	}
	return p
}

// machine looks a machine up; one without a record is not known, but may be
// alive all the same.
func (p *picture) machine(m registry.MachineID) *machineInfo {
	if info, ok := p.machines[m]; ok {
		return info
	}
	info := &machineInfo{record: &registry.Machine{}}
	if rec, ok := p.view.Get(registry.MachineKey(m)); ok {
		info.known = true
		if r, err := registry.Decode[registry.Machine](rec); err != nil {
			info.broken = err
		} else {
			info.record = r
		}
	}
	info.state, info.why, info.incarnation = p.state(m)
	p.machines[m] = info
	return info
}

// state is the machine's state word, what more there is to say, and its
// incarnation while it keeps a lease. An away mark counts for more than the
// lease, which outlives the clusterd that left the mark by some seconds.
func (p *picture) state(m registry.MachineID) (state, why, incarnation string) {
	living := false
	if rec, ok := p.view.Get(registry.AliveKey(m)); ok {
		living = true
		if a, err := registry.Decode[registry.Alive](rec); err == nil {
			incarnation = a.GetIncarnation()
		}
	}
	if rec, ok := p.view.Get(registry.AwayKey(m)); ok {
		state, why = p.away(rec, living)
		return state, why, incarnation
	}
	switch {
	case living && p.health.suspected != nil && p.health.suspected(m):
		return StateSuspect, "other machines can't reach it", incarnation
	case living:
		return StateAlive, "", incarnation
	case p.health.dead != nil && p.health.dead(m):
		return StateDead, "it keeps no lease", ""
	}
	return StateSilent, "its lease ran out", ""
}

// away is the state of a machine that left the mark rec.
func (p *picture) away(rec registry.Record, living bool) (state, why string) {
	a, err := registry.Decode[registry.Away](rec)
	if err != nil {
		return StateAway, err.Error()
	}
	since := time.UnixMilli(a.GetSinceUnixMs())
	switch until := since.Add(p.health.awayLimit); {
	case a.GetConfirmedBy() != "" && !living:
		return StateDead, a.GetConfirmedBy() + " confirmed it"
	case a.GetShutdown() && living:
		return StateAway, "shutting down since " + clock(since)
	case a.GetShutdown():
		return StateDead, "shut down at " + clock(since)
	case living || p.now.Before(until):
		return StateAway, fmt.Sprintf("clusterd stopped at %s; its units are held until %s", clock(since), clock(until))
	}
	return StateDead, fmt.Sprintf("clusterd stopped at %s, longer ago than AwayLimit=%v", clock(since), p.health.awayLimit)
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 MST") }

// lives says whether what the machine last reported may still be so.
func (i *machineInfo) lives() bool { return i.state != StateDead }

// reachable says whether the machine can be asked how its units are.
func (i *machineInfo) reachable() bool { return i.state == StateAlive || i.state == StateSuspect }

// units are the units whose names match one of the globs, or all, by name.
func (p *picture) units(globs []string) []Unit {
	wanted := newFilter(globs)
	states := p.statesByUnit(wanted)
	names := make(map[unit.Name]bool, len(states))
	for name := range states {
		names[name] = true
	}
	for rec := range p.view.Range(registry.Prefix(registry.UnitsPrefix)) {
		if name := unit.Name(strings.TrimPrefix(rec.Key, registry.UnitsPrefix)); wanted.takes(name) {
			names[name] = true
		}
	}
	out := make([]Unit, 0, len(names))
	for name := range names {
		if u := p.describe(name, states[name]); u.Known || len(u.States) > 0 {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b Unit) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return out
}

// several are the units of these names, known or not, in this order. Past a
// few, going through everything once is cheaper than looking for each.
func (p *picture) several(names []unit.Name) []Unit {
	const few = 100
	var states map[unit.Name][]UnitState
	if len(names) > few {
		f := filter{names: make(map[unit.Name]bool, len(names))}
		for _, name := range names {
			f.names[name] = true
		}
		states = p.statesByUnit(f)
	}
	out := make([]Unit, len(names))
	for i, name := range names {
		if states != nil {
			out[i] = p.describe(name, states[name])
		} else {
			out[i], _ = p.unit(name)
		}
	}
	return out
}

// unit is one unit; false when nothing knows of it.
func (p *picture) unit(name unit.Name) (Unit, bool) {
	var states []UnitState
	for _, m := range p.machinesWithUnits() {
		if s, ok := p.unitState(m, name); ok {
			states = append(states, s)
		}
	}
	u := p.describe(name, states)
	return u, u.Known || len(u.States) > 0
}

// filter is a set of names and patterns of names; an empty one takes all.
type filter struct {
	names    map[unit.Name]bool
	patterns []string
}

// plain takes a pattern that matches one name only for that name.
var plain = strings.NewReplacer(`\\`, `\`)

func newFilter(globs []string) filter {
	f := filter{names: make(map[unit.Name]bool, len(globs))}
	for _, g := range globs {
		f.names[unit.Name(g)] = true
		f.names[unit.Name(plain.Replace(g))] = true // a backslash may be the name's own
		if strings.ContainsAny(g, `*?[`) {
			f.patterns = append(f.patterns, g)
		}
	}
	return f
}

func (f filter) takes(name unit.Name) bool {
	if len(f.names) == 0 || f.names[name] {
		return true
	}
	return slices.ContainsFunc(f.patterns, func(g string) bool {
		ok, _ := path.Match(g, string(name))
		return ok
	})
}

// statesByUnit goes through assignments and observations once.
func (p *picture) statesByUnit(names filter) map[unit.Name][]UnitState {
	type place struct {
		machine registry.MachineID
		unit    unit.Name
	}
	places := map[place]bool{}
	for _, prefix := range []string{registry.AssignmentsPrefix, registry.ObservedPrefix} {
		for rec := range p.view.Range(registry.Prefix(prefix)) {
			m, name, ok := registry.CutMachineUnit(strings.TrimPrefix(rec.Key, prefix))
			if ok && names.takes(name) {
				places[place{m, name}] = true
			}
		}
	}
	states := map[unit.Name][]UnitState{}
	for at := range places {
		if s, ok := p.unitState(at.machine, at.unit); ok {
			states[at.unit] = append(states[at.unit], s)
		}
	}
	for _, list := range states {
		slices.SortFunc(list, func(a, b UnitState) int { return strings.Compare(string(a.Machine), string(b.Machine)) })
	}
	return states
}

// machinesWithUnits are the machines that have assignments or observations,
// found by skipping from one to the next, sorted.
func (p *picture) machinesWithUnits() []registry.MachineID {
	if p.loaded != nil {
		return p.loaded
	}
	out := []registry.MachineID{}
	for _, prefix := range []string{registry.AssignmentsPrefix, registry.ObservedPrefix} {
		rest := registry.Prefix(prefix)
		for {
			m, ok := "", false
			for rec := range p.view.Range(rest) {
				m, _, _ = strings.Cut(strings.TrimPrefix(rec.Key, prefix), "/")
				ok = true
				break
			}
			if !ok {
				break
			}
			out = append(out, registry.MachineID(m))
			rest.From = registry.Prefix(prefix + m + "/").To
		}
	}
	slices.Sort(out)
	p.loaded = slices.Compact(out)
	return p.loaded
}

// unitState is the unit on one machine; false when it is neither to be there
// nor seen there.
func (p *picture) unitState(m registry.MachineID, name unit.Name) (UnitState, bool) {
	info := p.machine(m)
	s := UnitState{Machine: m, Hostname: info.record.GetHostname(), Address: info.record.GetAddress(), MachineIs: info.state}
	assigned := p.readAssignment(&s, name)
	observed := p.readObserved(&s, name, info)
	switch {
	case s.Assigned == TargetGone && (!info.lives() || observed.GetGone()):
		return s, false // nothing of it is there, or ever will be again
	case !assigned && (!s.Reported || observed.GetGone()):
		return s, false
	case !assigned && !info.reachable():
		return s, false // it has moved away, and what it was here is hearsay
	}
	s.Unclaimed = !assigned
	return s, true
}

func (p *picture) readAssignment(s *UnitState, name unit.Name) bool {
	rec, ok := p.view.Get(registry.AssignmentKey(s.Machine, name))
	if !ok {
		return false
	}
	a, err := registry.Decode[registry.Assignment](rec)
	if err != nil {
		s.Assigned, s.Reason = "unreadable", err.Error()
		return true
	}
	s.Assigned, s.Generation = targetWords[a.GetTarget()], a.GetGeneration()
	return true
}

// readObserved fills in what the machine reported, unless that can't be so any
// more: reported in an earlier life of the machine, or by one that is dead.
func (p *picture) readObserved(s *UnitState, name unit.Name, info *machineInfo) *registry.Observed {
	rec, ok := p.view.Get(registry.ObservedKey(s.Machine, name))
	if !ok {
		return nil
	}
	o, err := registry.Decode[registry.Observed](rec)
	if err != nil {
		s.Reported, s.Reason = true, err.Error()
		return nil
	}
	if !info.lives() || info.incarnation != "" && o.GetIncarnation() != info.incarnation {
		return nil
	}
	s.Reported = true
	s.Load, s.Active, s.Sub = o.GetLoad(), o.GetActive(), o.GetSub()
	s.Hash = unit.Hash(o.GetFile())
	s.MainPID = o.GetMainPid()
	s.Result, s.ExitStatus, s.Reason = o.GetResult(), o.GetExitStatus(), o.GetReason()
	s.Done = o.GetGeneration()
	if us := o.GetSinceUnixUs(); us != 0 {
		s.Since = time.UnixMicro(us)
	}
	return o
}

// describe adds what the registry has of the unit itself.
func (p *picture) describe(name unit.Name, states []UnitState) Unit {
	u := Unit{Name: name, States: states, Template: name.IsTemplate()}
	rec, ok := p.view.Get(registry.UnitKey(name))
	if !ok {
		return u
	}
	u.Known = true
	r, err := registry.Decode[registry.Unit](rec)
	if err != nil {
		u.Broken = err.Error()
		return u
	}
	u.Hash = unit.Hash(r.GetFile())
	u.Target = targetWords[r.GetTarget()]
	u.Generation = r.GetGeneration()
	u.Who, u.Why, u.Wish, u.Revision = r.GetWho(), r.GetWhy(), p.wishOf(r), rec.Modified
	if ms := r.GetChangedUnixMs(); ms != 0 {
		u.Changed = time.UnixMilli(ms)
	}
	about := p.files.about(p.view, u.Hash, name)
	u.Description, u.Global, u.Broken = about.description, about.global, about.broken
	if u.Target != TargetInactive && u.Target != TargetGone {
		u.Pending = p.pending(name)
	}
	if u.Target == TargetGone && len(states) == 0 {
		// Its record is a note for machines that may yet come back with it.
		return Unit{Name: name, Template: u.Template}
	}
	return u
}

func (p *picture) pending(name unit.Name) *Pending {
	rec, ok := p.view.Get(registry.PendingKey(name))
	if !ok {
		return nil
	}
	r, err := registry.Decode[registry.Pending](rec)
	if err != nil {
		return &Pending{Text: err.Error()}
	}
	out := &Pending{Text: r.GetText(), Generation: r.GetGeneration()}
	for _, refusal := range r.GetRefusals() {
		entry := Refusal{Rule: refusal.GetRule(), Detail: refusal.GetDetail(), Others: int(refusal.GetOthers())}
		for _, m := range refusal.GetMachines() {
			entry.Machines = append(entry.Machines, registry.MachineID(m))
		}
		out.Refusals = append(out.Refusals, entry)
	}
	return out
}

// allMachines are the machines of the cluster, by id.
func (p *picture) allMachines() []Machine {
	counts := map[registry.MachineID]int{}
	for rec := range p.view.Range(registry.Prefix(registry.AssignmentsPrefix)) {
		m, _, ok := registry.CutMachineUnit(strings.TrimPrefix(rec.Key, registry.AssignmentsPrefix))
		a, err := registry.Decode[registry.Assignment](rec)
		if ok && (err != nil || a.GetTarget() != registry.Target_GONE) {
			counts[m]++
		}
	}
	var out []Machine
	for rec := range p.view.Range(registry.Prefix(registry.MachinesPrefix)) {
		m := registry.MachineID(strings.TrimPrefix(rec.Key, registry.MachinesPrefix))
		out = append(out, p.describeMachine(m, counts[m]))
	}
	return out
}

func (p *picture) describeMachine(id registry.MachineID, units int) Machine {
	info := p.machine(id)
	r := info.record
	m := Machine{
		ID: id, Hostname: r.GetHostname(), Address: r.GetAddress(), API: r.GetApi(), Gate: r.GetGate(),
		State: info.state, Why: info.why, Leader: p.leader == id,
		Facts: r.GetFacts(), Memory: r.GetMemoryBytes(), CPUs: r.GetCpus(), Software: r.GetSoftware(), Units: units,
	}
	if info.broken != nil {
		m.Why = info.broken.Error()
	}
	_, m.Member = p.view.Get(registry.MemberKey(id))
	var settings *registry.Settings
	if rec, ok := p.view.Get(registry.SettingsKey(id)); ok {
		var err error
		if settings, err = registry.Decode[registry.Settings](rec); err != nil {
			m.Why = err.Error()
		}
	}
	m.Cordon, m.Drain = settings.GetCordon(), settings.GetDrain()
	m.Metadata = registry.EffectiveMetadata(r, settings)
	m.Own, m.Set, m.Unset = r.GetMetadata(), settings.GetMetadata(), settings.GetMetadataRemoved()
	return m
}

// find returns the machine meant by its id, an unambiguous prefix of it, or
// its host name.
func (p *picture) find(text string) (registry.MachineID, error) {
	if _, ok := p.view.Get(registry.MachineKey(registry.MachineID(text))); ok {
		return registry.MachineID(text), nil
	}
	var found []string
	for rec := range p.view.Range(registry.Prefix(registry.MachinesPrefix)) {
		m := strings.TrimPrefix(rec.Key, registry.MachinesPrefix)
		if strings.HasPrefix(m, text) || p.machine(registry.MachineID(m)).record.GetHostname() == text {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 1:
		return registry.MachineID(found[0]), nil
	case len(found) > 1:
		return "", badRequest("machine %s: it could be any of %s; give more of its id", text, strings.Join(found, ", "))
	}
	return "", notFound("machine %s: no such machine; see clusterctl list-machines", text)
}
