package placement

import (
	"iter"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Unit is what placement knows of a unit.
type Unit struct {
	Name    unit.Name
	Options unit.Options
	// Wanted units are to be placed; others take up room until they are gone.
	Wanted bool
	// Needs are what it takes of a machine's memory, CPUs and tasks, and Ports
	// those that nothing else on its machine may have.
	Needs unit.Resources
	Ports []unit.Port
	// Systemd is the oldest systemd that does for it; 0: any.
	Systemd int
	// Unfit is what systemds of these versions have against it.
	Unfit map[string]string
	// Changed says that its file is newer than its assignment. In a conflict
	// between two units that are placed, the changed one yields.
	Changed bool
	// Running are the machines that run it without an assignment, best first.
	Running []registry.MachineID
	// Launched says that it is to run, and Active that it is seen to, where it is
	// placed. MinAvailable= counts them.
	Launched, Active bool
	// Wish is where an operator wants it, this once; empty: anywhere.
	Wish registry.MachineID
}

// Place is a unit's place on a machine.
type Place struct {
	Since   registry.Revision // of two conflicting units the older one stays
	Leaving bool              // it is to be gone, and may still be running
}

// relations is how many a Cluster has.
const relations = 3

// Cluster is the index. The zero value is not usable, New makes one.
type Cluster struct {
	table
	machines map[registry.MachineID]*machine
	units    names
	families map[string]*family
	classes  map[string]*class
	masks    map[string]*mask
	taken    map[unit.Name]map[*machine]bool // machines that have a name for themselves

	conflicts, peers, victims relation
	replacing                 map[*member]bool // units with Replaces=
	following                 map[*member]bool // units with MachineOf=
	doors                     map[door]*tally
	parked                    map[*class]map[*member]bool // units that wait for something

	pass     int32  // of Plan
	quiet    bool   // whether there are refusals matters, not what they say
	resting  bool   // all that is to be active counts as active
	buffer   []byte // memory for keys
	room     int    // changes whenever a machine has more or less left
	seated   int    // how often machines got their slots
	listed   int    // when listings were made, by seated
	listings map[problem]listing
	one      []*machine // memory for just
	search   search
}

// member is a unit with its places. There are a million of them, so that what
// few have is kept apart.
type member struct {
	name    unit.Name
	class   *class
	family  *family
	kin     int32 // its index among the family's members
	decided int32 // the pass of Plan that decided it
	place   spot  // the only one that most have; without a machine there is none
	known   bool  // SetUnit was called for it
	wanted  bool
	changed bool
	waits   bool // it is parked

	launched, active bool // see Unit
	more             *extras
}

// extras are what few units have.
type extras struct {
	places  map[*machine]*spot // beyond the first
	unfit   map[string]string
	running []registry.MachineID
	wish    registry.MachineID
	// declined is what was found against the wish when the unit was decided last.
	declined []string
}

// spot is a unit's place on a machine.
type spot struct {
	m       *machine
	since   registry.Revision
	index   int32 // in the machine's units
	leaving bool
}

// New makes an empty index.
func New() *Cluster {
	relate := func(index int, leaving bool) relation {
		return relation{index: index, leaving: leaving, named: map[string]*pattern{}, globs: map[string][]*pattern{}}
	}
	return &Cluster{
		table:     newTable(),
		room:      1,
		machines:  map[registry.MachineID]*machine{},
		units:     newNames(),
		families:  map[string]*family{},
		classes:   map[string]*class{},
		masks:     map[string]*mask{},
		taken:     map[unit.Name]map[*machine]bool{},
		conflicts: relate(0, true),
		peers:     relate(1, false),
		victims:   relate(2, false),
		replacing: map[*member]bool{},
		following: map[*member]bool{},
		doors:     map[door]*tally{},
		parked:    map[*class]map[*member]bool{},
	}
}

func (c *Cluster) relations() [relations]*relation {
	return [...]*relation{&c.conflicts, &c.peers, &c.victims}
}

// spots yields a unit's places, in no order.
func (u *member) spots() iter.Seq[*spot] {
	return func(yield func(*spot) bool) {
		if u.place.m != nil && !yield(&u.place) || u.more == nil {
			return
		}
		for _, s := range u.more.places {
			if !yield(s) {
				return
			}
		}
	}
}

// on returns a unit's place on a machine; nil when there is none.
func (u *member) on(m *machine) *spot {
	if u.place.m == m {
		return &u.place
	}
	if u.more != nil {
		return u.more.places[m]
	}
	return nil
}

// extra returns what few units have, to be changed.
func (u *member) extra() *extras {
	if u.more == nil {
		u.more = &extras{}
	}
	return u.more
}

func (u *member) unfit() map[string]string {
	if u.more == nil {
		return nil
	}
	return u.more.unfit
}

// unit returns a unit, which is new when there was none of that name.
func (c *Cluster) unit(name unit.Name) *member {
	u := c.units.get(name)
	if u == nil {
		u = &member{name: name, class: c.classOf(wants{})}
		key := opening(string(name))
		u.family = c.families[key]
		if u.family == nil {
			u.family = &family{key: key}
			c.families[key] = u.family
		}
		u.kin = int32(len(u.family.members))
		u.family.members = append(u.family.members, u)
		c.units.add(u)
	}
	return u
}

// leave drops a unit of which nothing is known any more.
func (c *Cluster) leave(u *member) {
	if u.known || u.place.m != nil || u.more != nil && len(u.more.places) > 0 {
		return
	}
	c.park(u, false)
	delete(c.replacing, u)
	delete(c.following, u)
	c.release(u.class)
	f := u.family
	last := f.members[len(f.members)-1]
	f.members[u.kin], last.kin = last, u.kin
	f.members[len(f.members)-1] = nil
	f.members = f.members[:len(f.members)-1]
	if len(f.members) == 0 {
		delete(c.families, f.key)
	}
	c.units.remove(u.name)
}

// SetUnit makes a unit known or changes what is known of it.
func (c *Cluster) SetUnit(to Unit) {
	u := c.unit(to.Name)
	k := c.classOf(to.wants())
	if k == u.class {
		c.release(k)
	} else {
		c.reclass(u, k)
	}
	u.known, u.wanted, u.changed = true, to.Wanted, to.Changed
	u.serve(to.Launched, to.Active)
	if u.more != nil || len(to.Unfit) > 0 || len(to.Running) > 0 || to.Wish != "" {
		e := u.extra()
		e.unfit, e.running, e.wish = to.Unfit, to.Running, to.Wish
		if len(e.places) == 0 && len(e.unfit) == 0 && len(e.running) == 0 && e.wish == "" {
			u.more = nil
		}
	}
}

// reclass makes a unit one of another class.
func (c *Cluster) reclass(u *member, k *class) {
	for s := range u.spots() {
		c.carry(u, *s, -1)
		c.occupy(u, s.m, -1)
		c.use(u, s.m, -1)
	}
	for _, p := range u.class.peers {
		delete(p.followers, u)
	}
	waits := u.waits
	c.park(u, false)
	c.release(u.class)
	u.class = k
	c.park(u, waits)
	for _, p := range k.peers {
		if p.followers == nil {
			p.followers = map[*member]bool{}
		}
		p.followers[u] = true
	}
	setMember(c.replacing, u, len(k.victims) > 0)
	setMember(c.following, u, len(k.peers) > 0)
	for s := range u.spots() {
		c.carry(u, *s, 1)
		c.occupy(u, s.m, 1)
		c.use(u, s.m, 1)
	}
}

func setMember(set map[*member]bool, u *member, in bool) {
	if in {
		set[u] = true
	} else {
		delete(set, u)
	}
}

// DropUnit forgets a unit; its places stay until they are taken away.
func (c *Cluster) DropUnit(name unit.Name) {
	if u := c.units.get(name); u != nil {
		c.SetUnit(Unit{Name: name})
		u.known = false
		c.leave(u)
	}
}

// Put places a unit on a machine, or changes its place there.
func (c *Cluster) Put(id registry.MachineID, name unit.Name, p Place) {
	c.put(c.machine(id), c.unit(name), p)
}

func (c *Cluster) put(m *machine, u *member, p Place) {
	s := u.on(m)
	if s != nil {
		c.count(u, *s, -1)
	} else {
		s = &u.place
		if u.place.m != nil {
			e := u.extra()
			if e.places == nil {
				e.places = map[*machine]*spot{}
			}
			s = &spot{}
			e.places[m] = s
		}
		s.m, s.index = m, int32(len(m.units))
		m.units = append(m.units, u)
	}
	s.since, s.leaving = p.Since, p.Leaving
	c.count(u, *s, 1)
}

// Take takes a unit's place on a machine away.
func (c *Cluster) Take(id registry.MachineID, name unit.Name) {
	m, u := c.machines[id], c.units.get(name)
	if m == nil || u == nil {
		return
	}
	s := u.on(m)
	if s == nil {
		return
	}
	c.count(u, *s, -1)
	last := m.units[len(m.units)-1]
	last.on(m).index, m.units[s.index] = s.index, last
	m.units[len(m.units)-1] = nil
	m.units = m.units[:len(m.units)-1]
	if s == &u.place {
		*s = spot{}
	} else {
		delete(u.more.places, m)
	}
	c.forget(m)
	c.leave(u)
}

// count adds what a unit's place means for others, or takes it back.
func (c *Cluster) count(u *member, s spot, by int) {
	if !s.leaving {
		s.m.load += by
		if s.m.registered && s.m.slot >= 0 {
			c.load.put(s.m.slot, int32(s.m.load))
		}
	}
	c.use(u, s.m, by)
	c.occupy(u, s.m, by)
	c.tally(u, s, by)
}

// tally counts a unit where it is placed in the patterns it matches and carries.
// Where the machine has no slot yet, seat does it.
func (c *Cluster) tally(u *member, s spot, by int) {
	if s.m.slot < 0 {
		return
	}
	c.carry(u, s, by)
	c.scatterAll(u, s, by)
	var few [8]*pattern
	for _, r := range c.relations() {
		if s.leaving && !r.leaving || r.empty() {
			continue
		}
		for _, p := range r.of(u, few[:0]) {
			if !p.fresh {
				p.matching.change(s.m.slot, by)
			}
		}
	}
}

// carry adds what the file of a unit says of others where it is placed.
func (c *Cluster) carry(u *member, s spot, by int) {
	if s.m.slot < 0 {
		return
	}
	for _, p := range u.class.conflicts {
		p.carrying.change(s.m.slot, by)
	}
	if s.leaving {
		return
	}
	for _, p := range u.class.victims {
		p.carrying.change(s.m.slot, by)
	}
}

// PlacedOn returns the machines a unit is on and not leaving, sorted.
func (c *Cluster) PlacedOn(name unit.Name) []registry.MachineID {
	u := c.units.get(name)
	if u == nil {
		return nil
	}
	var ids []registry.MachineID
	for _, m := range u.placed(nil) {
		ids = append(ids, m.ID)
	}
	return ids
}

// placed appends the machines a unit is on and not leaving, sorted.
func (u *member) placed(to []*machine) []*machine {
	if u.more == nil {
		if u.place.m != nil && !u.place.leaving {
			to = append(to, u.place.m)
		}
		return to
	}
	for s := range u.spots() {
		if !s.leaving {
			to = append(to, s.m)
		}
	}
	slices.SortFunc(to, byID)
	return to
}

// Followers returns the wanted units whose MachineOf= means name, sorted.
func (c *Cluster) Followers(name unit.Name) []unit.Name {
	if c.peers.empty() {
		return nil
	}
	u := c.units.get(name)
	if u == nil { // nothing is known of it, but others may name it
		u = &member{name: name, family: &family{key: opening(string(name))}}
	}
	var few [8]*pattern
	var found []unit.Name
	for _, p := range c.peers.of(u, few[:0]) {
		for f := range p.followers {
			if f != u && f.wanted {
				found = append(found, f.name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Unit returns what is known of a unit; its Name is always set.
func (c *Cluster) Unit(name unit.Name) Unit {
	u := c.units.get(name)
	if u == nil {
		return Unit{Name: name}
	}
	k := u.class
	to := Unit{Name: name, Options: k.options, Needs: k.needs, Ports: k.ports, Systemd: k.systemd, Wanted: u.wanted, Changed: u.changed, Launched: u.launched, Active: u.active}
	if u.more != nil {
		to.Unfit, to.Running, to.Wish = u.more.unfit, u.more.running, u.more.wish
	}
	return to
}

// Places returns a copy of a unit's places.
func (c *Cluster) Places(name unit.Name) map[registry.MachineID]Place {
	u := c.units.get(name)
	if u == nil {
		return nil
	}
	places := map[registry.MachineID]Place{}
	for s := range u.spots() {
		places[s.m.ID] = Place{Since: s.since, Leaving: s.leaving}
	}
	return places
}

// TakesUp says whether to, the same unit as it is now, keeps others off its
// machine in another way than u.
func (u Unit) TakesUp(to Unit) bool {
	return u.Needs != to.Needs || !slices.Equal(u.Ports, to.Ports) ||
		!slices.Equal(u.Options.Conflicts, to.Options.Conflicts) || !slices.Equal(u.Options.Replaces, to.Options.Replaces)
}
