package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// index is the registry as the engine sees it. Events are applied to it and
// mark what has to be decided again; decide does so. It reads no clock.
type index struct {
	log    *slog.Logger
	timing Timing
	gossip Gossip

	cluster  *placement.Cluster
	units    map[unit.Name]*unitEntry
	machines map[registry.MachineID]*machineEntry
	files    map[unit.Hash]*fileEntry
	identity identity
	listed   bool // the whole registry was applied; what comes now is news

	dirty    map[unit.Name]bool               // to be decided again
	due      map[unit.Name]bool               // to be decided first when this engine is elected
	sweep    []unit.Name                      // to be decided, for certainty, when there is time
	sweeping bool                             // some of sweep are dirty: there is time now
	restless map[registry.MachineID]bool      // to be judged again: changed, or a matter of time
	unplaced map[unit.Name]bool               // wanted, and refused by machines
	globals  map[unit.Name]bool               // wanted on each machine
	lacking  map[unit.Hash]map[unit.Name]bool // units whose file isn't there
	unused   map[unit.Hash]time.Time          // files nobody uses, since when
	braked   bool
	limit    limiter
	late     bool                             // the limit kept units where they are
	kept     map[unit.Name]map[unit.Name]bool // by MinAvailable=, by template

	// taken are the names machines have for themselves, with the path of the
	// file and the generation of the unit that met it. They are remembered after
	// the unit went elsewhere, so that it isn't sent back.
	taken map[unit.Name]map[registry.MachineID]refusal
}

// unitEntry is all that the registry has about one unit.
type unitEntry struct {
	name     unit.Name
	rec      *registry.Unit // nil when there is none, or it isn't readable
	modified registry.Revision
	assigned perMachine[assignment]
	observed perMachine[observation]
	pending  *registry.Pending
	pended   registry.Revision // the pending record's modification; 0 none
	trouble  string            // why its wanted state can't be decided
	// unfit is what systemds of these versions were seen to have against its
	// file. What one machine said holds for all of the same version.
	unfit map[string]refusal

	// asked is the file whose wishes placement has. They are kept there alone,
	// once for all units that wish the same.
	asked unit.Hash
}

// asks is what a unit's file asks of machines.
type asks struct {
	options unit.Options
	needs   unit.Resources
	ports   []unit.Port
}

type assignment struct {
	*registry.Assignment // nil when it isn't readable
	created, modified    registry.Revision
}

type observation struct {
	*registry.Observed // nil when it isn't readable
	modified           registry.Revision
}

func (u *unitEntry) wanted() bool {
	t := u.rec.GetTarget()
	return t == registry.Target_LOADED || t == registry.Target_LAUNCHED
}

// fileEntry is one unit file. References may come before the file does.
type fileEntry struct {
	modified registry.Revision // 0: not there
	src      []byte
	parsed   *unit.File
	runs     *unit.File // what systemd gets of it: its limits and ports count
	err      error
	refs     int
	// same is what the file asks for each instance of the template sameOf, once
	// that is known; specific says that it may differ, as it has specifiers.
	same     *asks
	sameOf   unit.Name
	specific bool
}

// identity is the cluster the registry belongs to.
type identity struct {
	id    string
	epoch uint64
	// frozen says why nothing may be decided; empty when all is well.
	frozen string
}

func newIndex(log *slog.Logger, timing Timing, gossip Gossip) *index {
	return &index{
		log: log, timing: timing, gossip: gossip, identity: identity{frozen: "the registry has no cluster record"},
		cluster:  placement.New(),
		units:    map[unit.Name]*unitEntry{},
		machines: map[registry.MachineID]*machineEntry{},
		files:    map[unit.Hash]*fileEntry{},
		dirty:    map[unit.Name]bool{},
		due:      map[unit.Name]bool{},
		restless: map[registry.MachineID]bool{},
		unplaced: map[unit.Name]bool{},
		globals:  map[unit.Name]bool{},
		lacking:  map[unit.Hash]map[unit.Name]bool{},
		unused:   map[unit.Hash]time.Time{},
		taken:    map[unit.Name]map[registry.MachineID]refusal{},
		kept:     map[unit.Name]map[unit.Name]bool{},
		limit:    limiter{perSecond: timing.EvictionsPerSecond},
	}
}

func (x *index) unit(name unit.Name) *unitEntry {
	u := x.units[name]
	if u == nil {
		u = &unitEntry{name: name}
		x.units[name] = u
	}
	x.dirty[name] = true
	return u
}

func (x *index) machine(id registry.MachineID) *machineEntry {
	m := x.machines[id]
	if m == nil {
		m = &machineEntry{id: id, units: map[unit.Name]int{}}
		x.machines[id] = m
	}
	return m
}

// apply takes one record or its deletion. now is when it was learnt.
func (x *index) apply(e registry.Event, now time.Time) {
	prefix, rest, _ := strings.Cut(e.Key, "/")
	switch prefix + "/" {
	case registry.ClusterPrefix:
		if e.Key == registry.ClusterKey {
			x.applyCluster(e)
		}
	case registry.UnitsPrefix:
		x.applyUnit(x.unit(unit.Name(rest)), e)
	case registry.FilesPrefix:
		x.applyFile(unit.Hash(rest), e, now)
	case registry.PendingPrefix:
		u := x.unit(unit.Name(rest))
		u.pended = modified(e)
		u.pending = read[registry.Pending](x, e)
	case registry.MachinesPrefix, registry.AlivePrefix, registry.SettingsPrefix:
		x.applyMachine(prefix+"/", rest, e, now)
	case registry.AssignmentsPrefix, registry.ObservedPrefix:
		m, name, ok := registry.CutMachineUnit(rest)
		if !ok {
			return
		}
		if prefix+"/" == registry.AssignmentsPrefix {
			x.applyAssignment(x.machine(m), x.unit(name), e)
		} else {
			x.applyObserved(x.machine(m), x.unit(name), e)
		}
	}
}

// modified is the guard of a record after e: 0 when it is gone.
func modified(e registry.Event) registry.Revision {
	if e.Deleted {
		return 0
	}
	return e.Modified
}

// read decodes a record; nil when it is gone, or unreadable, which is named
// and stops nothing else.
func read[T any, P interface {
	*T
	registry.Message
}](x *index, e registry.Event) P {
	if e.Deleted {
		return nil
	}
	m, err := registry.Decode[T, P](e.Record)
	if err != nil {
		x.log.Warn("record passed over", "key", e.Key, "error", err)
		return nil
	}
	return m
}

func (x *index) applyCluster(e registry.Event) {
	now := &x.identity
	rec, err := registry.Decode[registry.Cluster](e.Record)
	before := now.frozen
	switch {
	case e.Deleted:
		now.frozen = "the registry has no cluster record"
	case err != nil: // garbage, or a newer clusterd's
		now.frozen = err.Error()
	case now.id != "" && rec.Id != now.id:
		now.frozen = fmt.Sprintf("the registry is cluster %s's, not %s's", rec.Id, now.id)
	case rec.Epoch < now.epoch:
		now.frozen = fmt.Sprintf("the registry is at epoch %d, after %d; raise the epoch after restoring a backup", rec.Epoch, now.epoch)
	default:
		*now = identity{id: rec.Id, epoch: rec.Epoch}
	}
	if now.frozen != before && now.frozen != "" {
		x.log.Warn("engine decides nothing", "reason", now.frozen)
	}
}

func (x *index) applyUnit(u *unitEntry, e registry.Event) {
	for _, h := range filesOf(u.rec) {
		x.refer(h, -1)
	}
	u.modified = modified(e)
	u.rec = read[registry.Unit](x, e)
	for _, h := range filesOf(u.rec) {
		x.refer(h, 1)
	}
}

// filesOf lists the files a unit uses or could go back to.
func filesOf(rec *registry.Unit) []unit.Hash {
	if rec == nil {
		return nil
	}
	files := []unit.Hash{unit.Hash(rec.File)}
	for _, v := range rec.History {
		files = append(files, unit.Hash(v.File))
	}
	return files
}

func (x *index) file(h unit.Hash) *fileEntry {
	f := x.files[h]
	if f == nil {
		f = &fileEntry{}
		x.files[h] = f
	}
	return f
}

func (x *index) refer(h unit.Hash, by int) {
	if h == "" {
		return
	}
	f := x.file(h)
	f.refs += by
	x.useOf(h, f)
}

// useOf keeps the list of files nobody uses. When that began is filled in by
// the next decision, which knows the time.
func (x *index) useOf(h unit.Hash, f *fileEntry) {
	switch {
	case f.modified == 0 && f.refs == 0:
		delete(x.files, h)
		delete(x.unused, h)
	case f.modified == 0 || f.refs > 0:
		delete(x.unused, h)
	default:
		if _, ok := x.unused[h]; !ok {
			x.unused[h] = time.Time{}
		}
	}
}

func (x *index) applyFile(h unit.Hash, e registry.Event, now time.Time) {
	f := x.file(h)
	f.modified, f.src, f.parsed, f.runs, f.err, f.same = modified(e), e.Value, nil, nil, nil, nil
	delete(x.unused, h) // written again: its time starts anew
	x.useOf(h, f)
	for name := range x.lacking[h] {
		x.dirty[name] = true
	}
	delete(x.lacking, h)
}

func (x *index) applyAssignment(m *machineEntry, u *unitEntry, e registry.Event) {
	old, had := u.assigned.get(m.id)
	if had {
		x.refer(unit.Hash(old.GetFile()), -1)
		m.forget(u.name)
	}
	if e.Deleted {
		u.assigned.remove(m.id)
		return
	}
	a := assignment{read[registry.Assignment](x, e), e.Created, e.Modified}
	u.assigned.set(m.id, a)
	m.units[u.name]++
	x.refer(unit.Hash(a.GetFile()), 1)
}

func (x *index) applyObserved(m *machineEntry, u *unitEntry, e registry.Event) {
	if _, had := u.observed.get(m.id); had {
		m.forget(u.name)
	}
	if e.Deleted {
		u.observed.remove(m.id)
		return
	}
	o := observation{read[registry.Observed](x, e), e.Modified}
	u.observed.set(m.id, o)
	m.units[u.name]++
	x.noteRefusal(m, u, o)
}

// asks reads what a unit's file asks, and parses it if need be. What placement
// has of the same file already, before, is not read again.
func (x *index) asks(u *unitEntry, before placement.Unit) (asks, error) {
	h := unit.Hash(u.rec.GetFile())
	if u.asked == h {
		return asks{before.Options, before.Needs, before.Ports}, nil
	}
	f := x.files[h]
	if f == nil || f.modified == 0 {
		if x.lacking[h] == nil {
			x.lacking[h] = map[unit.Name]bool{}
		}
		x.lacking[h][u.name] = true
		return asks{}, fmt.Errorf("its file %s is not in the registry; submit it again", h.Short())
	}
	if f.parsed == nil && f.err == nil {
		f.parse(u.name)
	}
	if f.err != nil {
		return asks{}, f.err
	}
	a, err := f.asksOf(u.name)
	if err == nil {
		u.asked = h
	}
	return a, err
}

// asksOf is what a file that was parsed asks for a unit.
func (f *fileEntry) asksOf(name unit.Name) (asks, error) {
	template, instance := name.Template()
	if instance && f.same != nil && f.sameOf == template {
		return *f.same, nil
	}
	options, err := f.parsed.Options(name)
	if err != nil {
		return asks{}, err
	}
	needs, err := f.runs.Resources(name)
	if err != nil {
		return asks{}, err
	}
	a := asks{options, needs, f.runs.Ports(name)}
	if instance && !f.specific {
		f.same, f.sameOf = &a, template
	}
	return a, nil
}

// parse parses a file, and renders it if need be. One that can't be rendered
// asks for what it says itself: the machines will tell what is wrong with it.
func (f *fileEntry) parse(name unit.Name) {
	f.parsed, f.err = unit.Parse(string(name), f.src)
	f.runs = f.parsed
	if loaded, err := container.Load(name, f.src); err == nil {
		f.runs = loaded.File
	}
	f.specific = bytes.ContainsRune(f.src, '%')
	f.src = nil
}

// syncUnit brings the placement index up to what the registry has of a unit,
// and marks the units that this concerns.
func (x *index) syncUnit(name unit.Name) {
	u := x.units[name]
	before := x.cluster.Unit(name)
	was := x.cluster.Places(name)
	after := x.understand(u, before)
	if u.rec == nil && u.modified == 0 {
		x.cluster.DropUnit(name)
		u.asked = ""
	} else {
		x.cluster.SetUnit(after)
	}
	for id := range was {
		if _, ok := u.assigned.get(id); !ok {
			x.cluster.Take(id, name)
		}
	}
	for id, a := range u.assigned.all() {
		x.cluster.Put(id, name, placement.Place{Since: a.created, Leaving: a.GetTarget() == registry.Target_GONE})
	}
	x.syncTaken(u)
	if before.Launched != after.Launched || before.Active != after.Active {
		x.wakeSiblings(name)
	}
	setMember(x.globals, name, after.Wanted && after.Options.Global)
	if !after.Wanted {
		delete(x.unplaced, name)
	}
	is := x.cluster.Places(name)
	same := func(a, b placement.Place) bool { return a.Leaving == b.Leaving }
	if !maps.EqualFunc(was, is, same) {
		for _, f := range x.cluster.Followers(name) {
			x.dirty[f] = true
		}
	}
	less := before.TakesUp(after)
	for id := range was {
		if _, there := is[id]; !there || less {
			x.wake(id)
		}
	}
	if len(u.assigned) == 0 && len(u.observed) == 0 && u.modified == 0 && u.pended == 0 {
		delete(x.units, name)
	}
}

// understand makes of a unit's records what placement has to know. What can't
// be read leaves things as they were.
func (x *index) understand(u *unitEntry, before placement.Unit) placement.Unit {
	to := placement.Unit{Name: u.name, Options: before.Options, Needs: before.Needs, Ports: before.Ports}
	u.trouble = ""
	switch {
	case u.rec == nil && u.modified != 0:
		u.trouble = "its record is not readable"
		return before
	case u.rec == nil || !u.wanted():
		return to
	case u.name.IsTemplate():
		u.trouble = "it is a template; start an instance of it"
		return to
	}
	to.Launched, to.Active = u.rec.Target == registry.Target_LAUNCHED, x.active(u)
	if wish := u.rec.Wish; wish != nil && len(wish.Declined) == 0 {
		to.Wish = registry.MachineID(wish.Machine)
	}
	asks, err := x.asks(u, before)
	if err != nil {
		u.trouble = err.Error()
		to.Wanted = before.Wanted
		return to
	}
	to.Options, to.Needs, to.Ports, to.Wanted = asks.options, asks.needs, asks.ports, true
	to.Systemd, to.Unfit = int(u.rec.NeedsSystemd), u.unfitNow()
	for _, a := range u.assigned.all() {
		if a.Assignment != nil && a.Target != registry.Target_GONE && a.File != u.rec.File {
			to.Changed = true
		}
	}
	to.Running = x.runningUnclaimed(u)
	return to
}

// active says whether a unit does what it is to where it is placed.
func (x *index) active(u *unitEntry) bool {
	for id, a := range u.assigned.all() {
		o := u.observed.at(id)
		if a.GetTarget() == registry.Target_LAUNCHED && x.counts(id, o) && o.Generation >= a.Generation &&
			(o.Active == "active" || o.Active == "reloading" || o.Active == "refreshing") {
			return true
		}
	}
	return false
}

// runningUnclaimed lists the machines that run a unit without an assignment,
// the one that has run it longest first.
func (x *index) runningUnclaimed(u *unitEntry) []registry.MachineID {
	var found []registry.MachineID
	for id, o := range u.observed.all() {
		_, assigned := u.assigned.get(id)
		if !assigned && x.counts(id, o) && (o.Active == "active" || o.Active == "activating" || o.Active == "reloading") {
			found = append(found, id)
		}
	}
	slices.SortFunc(found, func(a, b registry.MachineID) int {
		older := u.observed.at(a).MainStartUnixUs - u.observed.at(b).MainStartUnixUs
		switch {
		case older < 0:
			return -1
		case older > 0:
			return 1
		}
		return strings.Compare(string(a), string(b))
	})
	return found
}

// counts says whether an observation is of the machine as it is now.
func (x *index) counts(id registry.MachineID, o observation) bool {
	m := x.machines[id]
	return o.Observed != nil && m != nil && m.alive != nil && m.alive.Incarnation == o.Incarnation
}

func setMember[K comparable](set map[K]bool, key K, in bool) {
	if in {
		set[key] = true
	} else {
		delete(set, key)
	}
}
