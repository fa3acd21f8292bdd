package placement

import (
	"cmp"
	"maps"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// The oracle is the plain way of deciding what oracle decides with indexes:
// maps, and loops over everything. Tests hold the two against each other.

// oracle is the index. The zero value is not usable, New makes one.
type oracle struct {
	machines  map[registry.MachineID]*omachine
	order     []*omachine // the registered ones, by load, then id
	hostnames map[string]int
	units     map[unit.Name]*omember
	followers map[string]map[unit.Name]bool // units by what they name in MachineOf=, patterns too
	globs     map[string]int                // the patterns among those, with how many name them
}

// machine is a machine with what is on it. One that has units but isn't
// registered is kept, and takes nothing.
type omachine struct {
	Machine
	registered bool
	systemd    int                  // the number of its version; 0: not known
	units      map[unit.Name]bool   // everything placed here; true: leaving
	picky      map[unit.Name]bool   // those of them that have Conflicts=
	taken      map[unit.Name]string // names it has for itself, with their path
	load       int                  // how many are placed and not leaving
}

// member is a unit with its places.
type omember struct {
	Unit
	known  bool // SetUnit was called for it
	places map[registry.MachineID]Place
}

func newOracle() *oracle {
	return &oracle{
		machines:  map[registry.MachineID]*omachine{},
		hostnames: map[string]int{},
		units:     map[unit.Name]*omember{},
		followers: map[string]map[unit.Name]bool{},
		globs:     map[string]int{},
	}
}

func (c *oracle) machine(id registry.MachineID) *omachine {
	m := c.machines[id]
	if m == nil {
		m = &omachine{
			Machine: Machine{ID: id, State: Lost, Why: "is not registered"},
			units:   map[unit.Name]bool{},
			picky:   map[unit.Name]bool{},
			taken:   map[unit.Name]string{},
		}
		c.machines[id] = m
	}
	return m
}

func (c *oracle) unit(name unit.Name) *omember {
	u := c.units[name]
	if u == nil {
		u = &omember{Unit: Unit{Name: name}, places: map[registry.MachineID]Place{}}
		c.units[name] = u
	}
	return u
}

// SetMachine registers a machine or changes what is known of it.
func (c *oracle) SetMachine(to Machine) {
	m := c.machine(to.ID)
	if m.registered {
		c.hostnames[m.Hostname]--
	}
	c.hostnames[to.Hostname]++
	m.Machine, m.systemd = to, registry.SystemdNumber(to.Systemd)
	if !m.registered {
		m.registered = true
		i, _ := slices.BinarySearchFunc(c.order, m, oByLoad)
		c.order = slices.Insert(c.order, i, m)
	}
}

// DropMachine takes a machine's registration back. Places on it stay until
// they are taken away.
func (c *oracle) DropMachine(id registry.MachineID) {
	m := c.machines[id]
	if m == nil || !m.registered {
		return
	}
	c.hostnames[m.Hostname]--
	i, _ := slices.BinarySearchFunc(c.order, m, oByLoad)
	c.order = slices.Delete(c.order, i, i+1)
	m.registered = false
	m.Machine = Machine{ID: id, State: Lost, Why: "is not registered"}
	clear(m.taken)
	c.forget(m)
}

func (c *oracle) forget(m *omachine) {
	if !m.registered && len(m.units) == 0 {
		delete(c.machines, m.ID)
	}
}

// oByLoad orders machines from the least to the most loaded.
func oByLoad(a, b *omachine) int {
	return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.ID, b.ID))
}

// addLoad changes a machine's load and keeps the order.
func (c *oracle) addLoad(m *omachine, by int) {
	if !m.registered {
		m.load += by
		return
	}
	from, _ := slices.BinarySearchFunc(c.order, m, oByLoad)
	m.load += by
	if by > 0 {
		n, _ := slices.BinarySearchFunc(c.order[from+1:], m, oByLoad)
		copy(c.order[from:from+n], c.order[from+1:])
		c.order[from+n] = m
		return
	}
	to, _ := slices.BinarySearchFunc(c.order[:from], m, oByLoad)
	copy(c.order[to+1:from+1], c.order[to:from])
	c.order[to] = m
}

// SetUnit makes a unit known or changes what is known of it.
func (c *oracle) SetUnit(to Unit) {
	u := c.unit(to.Name)
	c.follow(u, false)
	u.Unit, u.known = to, true
	c.follow(u, true)
	for id := range u.places {
		m := c.machine(id)
		delete(m.picky, u.Name)
		if len(u.Options.Conflicts) > 0 {
			m.picky[u.Name] = true
		}
	}
}

// DropUnit forgets a unit; its places stay until they are taken away.
func (c *oracle) DropUnit(name unit.Name) {
	if u := c.units[name]; u != nil {
		c.SetUnit(Unit{Name: name})
		u.known = false
		if len(u.places) == 0 {
			delete(c.units, name)
		}
	}
}

func (c *oracle) follow(u *omember, on bool) {
	for _, peer := range u.Options.MachineOf {
		set := c.followers[peer]
		switch {
		case !on:
			delete(set, u.Name)
		case set == nil:
			c.followers[peer] = map[unit.Name]bool{u.Name: true}
		default:
			set[u.Name] = true
		}
		if len(c.followers[peer]) == 0 {
			delete(c.followers, peer)
		}
		if isGlob(peer) {
			if c.globs[peer] = len(c.followers[peer]); c.globs[peer] == 0 {
				delete(c.globs, peer)
			}
		}
	}
}

// Put places a unit on a machine, or changes its place there.
func (c *oracle) Put(id registry.MachineID, name unit.Name, p Place) {
	m, u := c.machine(id), c.unit(name)
	was, ok := u.places[id]
	u.places[id] = p
	m.units[name] = p.Leaving
	if len(u.Options.Conflicts) > 0 {
		m.picky[name] = true
	}
	counted, counts := ok && !was.Leaving, !p.Leaving
	switch {
	case counts && !counted:
		c.addLoad(m, 1)
	case counted && !counts:
		c.addLoad(m, -1)
	}
}

// Take takes a unit's place on a machine away.
func (c *oracle) Take(id registry.MachineID, name unit.Name) {
	u := c.units[name]
	if u == nil {
		return
	}
	p, ok := u.places[id]
	if !ok {
		return
	}
	m := c.machine(id)
	delete(u.places, id)
	delete(m.units, name)
	delete(m.picky, name)
	if !p.Leaving {
		c.addLoad(m, -1)
	}
	c.forget(m)
	if !u.known && len(u.places) == 0 {
		delete(c.units, name)
	}
}

// SetTaken says that a machine has a unit's name for itself, in the file path;
// an empty path takes that back.
func (c *oracle) SetTaken(id registry.MachineID, name unit.Name, path string) {
	m := c.machines[id]
	if m == nil || !m.registered {
		return
	}
	if path == "" {
		delete(m.taken, name)
	} else {
		m.taken[name] = path
	}
}

// Untake forgets all names a machine has for itself.
func (c *oracle) Untake(id registry.MachineID) {
	if m := c.machines[id]; m != nil {
		clear(m.taken)
	}
}

// PlacedOn returns the machines a unit is on and not leaving, sorted.
func (c *oracle) PlacedOn(name unit.Name) []registry.MachineID {
	u := c.units[name]
	if u == nil {
		return nil
	}
	return u.placed()
}

func (u *omember) placed() []registry.MachineID {
	var ids []registry.MachineID
	for id, p := range u.places {
		if !p.Leaving {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Followers returns the wanted units whose MachineOf= means name, sorted.
func (c *oracle) Followers(name unit.Name) []unit.Name {
	found := map[unit.Name]bool{}
	maps.Copy(found, c.followers[string(name)])
	for pattern := range c.globs {
		if matches(pattern, name) {
			maps.Copy(found, c.followers[pattern])
		}
	}
	maps.DeleteFunc(found, func(f unit.Name, _ bool) bool { return f == name || !c.units[f].Wanted })
	return slices.Sorted(maps.Keys(found))
}

// Unit returns what is known of a unit; its Name is always set.
func (c *oracle) Unit(name unit.Name) Unit {
	if u := c.units[name]; u != nil {
		return u.Unit
	}
	return Unit{Name: name}
}

// Places returns a copy of a unit's places.
func (c *oracle) Places(name unit.Name) map[registry.MachineID]Place {
	if u := c.units[name]; u != nil {
		return maps.Clone(u.places)
	}
	return nil
}
