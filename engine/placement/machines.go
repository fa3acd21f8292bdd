package placement

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// State says whether a machine takes units, and what becomes of those it has.
type State int

const (
	Ready State = iota // takes units, keeps those it has
	Held               // takes none, keeps those it has: it may well be running them
	Lost               // takes none, and its units are to move
)

// Machine is what placement knows of a machine.
type Machine struct {
	ID       registry.MachineID
	Hostname string
	Metadata map[string]string // in force: see registry.EffectiveMetadata
	State    State
	Why      string // why it isn't Ready, such as "is dead"
	Cordoned bool   // takes no new units
	Drained  bool   // takes no new units, and those it has move if they can
	Systemd  string // the version of its systemd; empty: not known
	Memory   uint64 // bytes; 0: not known, and then not counted
	CPU      uint64 // thousandths; the same
	Tasks    uint64 // the same
}

// machine is a machine with what is on it. One that has units but isn't
// registered is kept, and takes nothing.
type machine struct {
	Machine
	registered bool
	slot       int32                // its place in the table; -1: none yet
	systemd    int                  // the number of its version; 0: not known
	units      []*member            // everything placed here, leaving or not
	taken      map[unit.Name]string // names it has for itself, with their path
	load       int                  // how many are placed and not leaving
	whole      amounts              // what it has
	used       amounts              // what is given away, also to those leaving
	listening  []*member            // those that have ports
}

// table is the machines in the order of their ids, and what they have in
// common as sets of their slots there. Since the order is that of the ids, it
// does not matter which machine came first.
type table struct {
	bySlot  []*machine // nil: that one is gone
	joining []*machine // those without a slot; see seat

	registered set
	ready      set            // registered, and State Ready
	cordoned   set            // those ready that are cordoned and not drained
	drained    set            // those ready that are being drained
	open       set            // those ready that are neither
	unready    map[string]set // those registered and not ready, by Why
	metadata   map[string]*attribute
	versions   map[string]*set // by version of systemd
	hostnames  map[string]*set // by host name
	load       levels          // by how many units they have
	share      levels          // by how much of their scarcest resource is given away

	// changed are the slots of machines whose facts changed since epoch began;
	// masks take them in when they are next asked. A new epoch makes them all anew.
	changed []int32
	epoch   int
}

// attribute is what machines have for one key of their metadata.
type attribute struct {
	has    set
	values map[string]*set
}

func newTable() table {
	t := table{
		unready: map[string]set{}, metadata: map[string]*attribute{},
		versions: map[string]*set{}, hostnames: map[string]*set{}, epoch: 1,
	}
	t.open.widen()
	return t
}

func (c *Cluster) machine(id registry.MachineID) *machine {
	m := c.machines[id]
	if m == nil {
		m = &machine{Machine: unregistered(id), slot: -1, taken: map[unit.Name]string{}}
		c.machines[id] = m
		c.joining = append(c.joining, m)
	}
	return m
}

func unregistered(id registry.MachineID) Machine {
	return Machine{ID: id, State: Lost, Why: "is not registered"}
}

// SetMachine registers a machine or changes what is known of it.
func (c *Cluster) SetMachine(to Machine) {
	m := c.machine(to.ID)
	c.note(m, false)
	m.Machine, m.systemd, m.registered = to, registry.SystemdNumber(to.Systemd), true
	c.resize(m)
	c.room++
	c.note(m, true)
}

// DropMachine takes a machine's registration back. Places on it stay until
// they are taken away.
func (c *Cluster) DropMachine(id registry.MachineID) {
	m := c.machines[id]
	if m == nil || !m.registered {
		return
	}
	c.note(m, false)
	c.untake(m)
	m.registered = false
	m.Machine = unregistered(id)
	c.resize(m)
	c.room++
	c.forget(m)
}

// forget drops a machine that nothing is known of any more.
func (c *Cluster) forget(m *machine) {
	if m.registered || len(m.units) > 0 {
		return
	}
	c.untake(m)
	delete(c.machines, m.ID)
	if m.slot >= 0 {
		c.bySlot[m.slot] = nil
	} else {
		c.joining = slices.DeleteFunc(c.joining, func(other *machine) bool { return other == m })
	}
}

// note puts what is known of a registered machine into the sets, or takes it out.
func (t *table) note(m *machine, in bool) {
	if !m.registered || m.slot < 0 {
		return // it will be noted when it gets a slot
	}
	t.change(m.slot)
	t.registered.set(m.slot, in)
	t.ready.set(m.slot, in && m.State == Ready)
	t.drained.set(m.slot, in && m.State == Ready && m.Drained)
	t.cordoned.set(m.slot, in && m.State == Ready && m.Cordoned && !m.Drained)
	t.open.set(m.slot, in && m.State == Ready && !m.Cordoned && !m.Drained)
	if m.State != Ready {
		s := t.unready[m.Why]
		s.set(m.slot, in)
		if t.unready[m.Why] = s; s.n == 0 {
			delete(t.unready, m.Why)
		}
	}
	noteIn(t.versions, m.Systemd, m.slot, in)
	noteIn(t.hostnames, m.Hostname, m.slot, in)
	for key, value := range m.Metadata {
		a := t.metadata[key]
		if a == nil {
			a = &attribute{values: map[string]*set{}}
			t.metadata[key] = a
		}
		a.has.set(m.slot, in)
		noteIn(a.values, value, m.slot, in)
		if a.has.n == 0 {
			delete(t.metadata, key)
		}
	}
	load, share := int32(-1), int32(-1)
	if in {
		load, share = int32(m.load), m.share()
	}
	t.load.put(m.slot, load)
	t.share.put(m.slot, share)
}

func noteIn(sets map[string]*set, value string, slot int32, in bool) {
	s := sets[value]
	if s == nil {
		s = &set{}
		sets[value] = s
	}
	if s.set(slot, in); s.n == 0 {
		delete(sets, value)
	}
}

// change remembers that a machine's facts changed.
func (t *table) change(slot int32) {
	if len(t.changed) > 2*len(t.bySlot) {
		t.changed = nil
		t.epoch++
	}
	t.changed = append(t.changed, slot)
}

// settle does what was put off until something is to be decided.
func (c *Cluster) settle() {
	if len(c.joining) > 0 {
		c.seat()
	}
	for _, r := range c.relations() {
		if len(r.fresh) > 0 {
			c.compile(r)
		}
	}
}

// seat gives the machines that joined their slots. Unless they come last, the
// others have to move up: that takes a while, which is why it is put off until
// all that join at once are here.
func (c *Cluster) seat() {
	joining := c.joining
	c.joining = nil
	c.seated++
	c.room++
	slices.SortFunc(joining, byID)
	last := len(c.bySlot) - 1
	if last >= 0 && (c.bySlot[last] == nil || byID(c.bySlot[last], joining[0]) > 0) {
		c.makeRoom(joining)
	} else {
		for _, m := range joining {
			m.slot = int32(len(c.bySlot))
			c.bySlot = append(c.bySlot, m)
		}
	}
	for _, m := range joining {
		c.note(m, true)
		for _, u := range m.units {
			c.tally(u, *u.on(m), 1)
			c.openDoors(u, m, 1)
		}
	}
}

func byID(a, b *machine) int { return cmp.Compare(a.ID, b.ID) }

// makeRoom gives all machines new slots, those that are joining included.
func (c *Cluster) makeRoom(joining []*machine) {
	to := make([]int32, len(c.bySlot))
	var all []*machine
	for slot, m := range c.bySlot {
		to[slot] = -1
		if m == nil {
			continue
		}
		for len(joining) > 0 && byID(joining[0], m) < 0 {
			all, joining = append(all, joining[0]), joining[1:]
		}
		to[slot] = int32(len(all))
		all = append(all, m)
	}
	all = append(all, joining...)
	for slot, m := range all {
		m.slot = int32(slot)
	}
	c.bySlot = all
	c.table.move(to)
	for _, t := range c.doors {
		t.move(to)
	}
	for _, r := range c.relations() {
		r.move(to)
	}
}

func (t *table) move(to []int32) {
	for _, s := range []*set{&t.registered, &t.ready, &t.cordoned, &t.drained, &t.open} {
		s.move(to)
	}
	for why, s := range t.unready {
		s.move(to)
		t.unready[why] = s
	}
	for _, sets := range []map[string]*set{t.versions, t.hostnames} {
		for _, s := range sets {
			s.move(to)
		}
	}
	for _, a := range t.metadata {
		a.has.move(to)
		for _, s := range a.values {
			s.move(to)
		}
	}
	t.load.move(to)
	t.share.move(to)
	t.changed = nil
	t.epoch++
}

func (l *levels) move(to []int32) {
	old := l.of
	*l = levels{}
	for slot, level := range old {
		if level >= 0 && to[slot] >= 0 {
			l.put(to[slot], level)
		}
	}
}

func (r *relation) move(to []int32) {
	for _, p := range r.named {
		p.matching.move(to)
		p.carrying.move(to)
	}
	for _, list := range r.globs {
		for _, p := range list {
			p.matching.move(to)
			p.carrying.move(to)
		}
	}
}

// called returns the registered machines whose ids begin with prefix, two at most.
func (t *table) called(prefix string) []*machine {
	// Gone machines have no id to compare with, so the search is over those there.
	var found []*machine
	i := sort.Search(len(t.bySlot), func(i int) bool {
		for ; i < len(t.bySlot); i++ {
			if m := t.bySlot[i]; m != nil {
				return string(m.ID) >= prefix
			}
		}
		return true
	})
	for ; i < len(t.bySlot) && len(found) < 2; i++ {
		m := t.bySlot[i]
		if m != nil && !strings.HasPrefix(string(m.ID), prefix) {
			break
		}
		if m != nil && m.registered {
			found = append(found, m)
		}
	}
	return found
}

// SetTaken says that a machine has a unit's name for itself, in the file path;
// an empty path takes that back. Of a machine that isn't registered nothing is kept.
func (c *Cluster) SetTaken(id registry.MachineID, name unit.Name, path string) {
	m := c.machines[id]
	if m == nil || !m.registered {
		return
	}
	if path == "" {
		c.free(m, name)
		return
	}
	m.taken[name] = path
	if c.taken[name] == nil {
		c.taken[name] = map[*machine]bool{}
	}
	c.taken[name][m] = true
}

// Untake forgets all names a machine has for itself.
func (c *Cluster) Untake(id registry.MachineID) {
	if m := c.machines[id]; m != nil {
		c.untake(m)
	}
}

func (c *Cluster) untake(m *machine) {
	for name := range m.taken {
		c.free(m, name)
	}
}

func (c *Cluster) free(m *machine, name unit.Name) {
	delete(m.taken, name)
	delete(c.taken[name], m)
	if len(c.taken[name]) == 0 {
		delete(c.taken, name)
	}
}
