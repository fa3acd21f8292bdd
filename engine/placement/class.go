package placement

import (
	"encoding/binary"
	"slices"

	"github.com/clusterd/clusterd/unit"
)

// class is what units have in common that ask for the same. A million
// instances of a few templates have a few classes.
type class struct {
	key     string
	refs    int
	options unit.Options
	systemd int
	mask    *mask // nil: any machine does

	conflicts []*pattern
	peers     []*pattern
	victims   []*pattern

	needs      unit.Resources
	needy      bool // it needs some
	ports      []unit.Port
	preference preference
	shortage   shortage
}

// wants are the part of a Unit that makes its class.
type wants struct {
	options unit.Options
	systemd int
	needs   unit.Resources
	ports   []unit.Port
}

func (u Unit) wants() wants { return wants{u.Options, u.Systemd, u.Needs, u.Ports} }

// key tells classes apart. Line numbers and warnings don't.
func (w wants) key(to []byte) []byte {
	o := &w.options
	to = append(to, flag(o.Global))
	to = appendInt(appendInt(to, w.systemd), o.Priority)
	to = appendText(to, o.MachineID)
	for _, list := range [][]string{o.MachineOf, o.Conflicts, o.Replaces, o.Spread} {
		to = appendTexts(to, list)
	}
	to = appendRequirements(appendRequirements(to, o.Requirements), o.Prefer)
	to = appendInt(appendInt(to, o.MinAvailable.Count), o.MinAvailable.Percent)
	for _, r := range []unit.Resource{w.needs.Memory, w.needs.CPU, w.needs.Tasks} {
		to = binary.AppendUvarint(binary.AppendUvarint(to, r.Amount), r.Share)
	}
	for _, p := range w.ports {
		to = appendText(appendText(to, p.Protocol), p.Address)
		to = appendInt(appendInt(to, int(p.Number)), int(p.Last))
	}
	return to
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func appendInt(to []byte, n int) []byte { return binary.AppendVarint(to, int64(n)) }

func appendText(to []byte, s string) []byte { return append(appendInt(to, len(s)), s...) }

func appendTexts(to []byte, list []string) []byte {
	to = appendInt(to, len(list))
	for _, s := range list {
		to = appendText(to, s)
	}
	return to
}

func appendRequirements(to []byte, list []unit.Requirement) []byte {
	to = appendInt(to, len(list))
	for _, r := range list {
		to = appendTexts(appendText(appendText(to, r.Key), string(r.Op)), r.Values)
	}
	return to
}

// classOf returns the class of units that want this, for one more of them.
func (c *Cluster) classOf(w wants) *class {
	c.buffer = w.key(c.buffer[:0])
	k := c.classes[string(c.buffer)]
	if k == nil {
		k = &class{key: string(c.buffer), options: w.options, systemd: w.systemd, needs: w.needs, ports: w.ports}
		k.needy = needy(w.needs)
		k.mask = c.maskOf(k)
		for _, text := range w.options.Conflicts {
			k.conflicts = append(k.conflicts, c.conflicts.acquire(text))
		}
		for _, text := range w.options.MachineOf {
			k.peers = append(k.peers, c.peers.acquire(text))
		}
		for _, text := range w.options.Replaces {
			k.victims = append(k.victims, c.victims.acquire(text))
		}
		c.classes[k.key] = k
	}
	k.refs++
	return k
}

func (c *Cluster) release(k *class) {
	if k.refs--; k.refs > 0 {
		return
	}
	delete(c.classes, k.key)
	for _, p := range k.conflicts {
		c.conflicts.release(p)
	}
	for _, p := range k.peers {
		c.peers.release(p)
	}
	for _, p := range k.victims {
		c.victims.release(p)
	}
	if k.mask != nil {
		if k.mask.refs--; k.mask.refs == 0 {
			delete(c.masks, k.mask.key)
		}
	}
}

// mask is the machines that have all that some requirements ask of a machine's
// own facts: its id, metadata and systemd.
type mask struct {
	set
	key     string
	refs    int // by classes
	pin     string
	systemd int
	needs   []unit.Requirement
	epoch   int // of the table
	seen    int // how many of its changes are in
}

func (c *Cluster) maskOf(k *class) *mask {
	o := &k.options
	if o.MachineID == "" && k.systemd == 0 && len(o.Requirements) == 0 {
		return nil
	}
	key := appendRequirements(appendText(appendInt(nil, k.systemd), o.MachineID), o.Requirements)
	m := c.masks[string(key)]
	if m == nil {
		m = &mask{key: string(key), pin: o.MachineID, systemd: k.systemd, needs: o.Requirements}
		c.masks[m.key] = m
	}
	m.refs++
	return m
}

// fit returns the machines of a mask as they are now.
func (t *table) fit(m *mask) *set {
	switch {
	case m.epoch == t.epoch && m.seen == len(t.changed):
		return &m.set
	case m.epoch != t.epoch || m.pin != "":
		m.set = t.made(m)
	default:
		for _, slot := range t.changed[m.seen:] {
			on := t.bySlot[slot]
			m.set.set(slot, on != nil && on.registered && m.takes(on))
		}
	}
	m.epoch, m.seen = t.epoch, len(t.changed)
	return &m.set
}

// takes says whether a machine has what m asks of metadata and systemd.
func (m *mask) takes(on *machine) bool {
	if m.systemd > on.systemd && on.systemd > 0 {
		return false
	}
	for _, r := range m.needs {
		if !r.Matches(on.Metadata) {
			return false
		}
	}
	return true
}

// made makes a mask's set anew.
func (t *table) made(m *mask) set {
	if m.pin != "" {
		return t.pinned(m)
	}
	from := &t.registered
	for _, r := range m.needs {
		if has := t.having(r); has != nil && has.n < from.n {
			from = has
		}
	}
	var found set
	for slot := range from.all() {
		if m.takes(t.bySlot[slot]) {
			found.add(slot)
		}
	}
	return found
}

func (t *table) pinned(m *mask) set {
	var found set
	named := t.called(m.pin)
	if s := t.hostnames[m.pin]; s != nil {
		for slot := range s.all() {
			named = append(named, t.bySlot[slot])
		}
	}
	for _, on := range named {
		if t.isPinned(m.pin, on, false) && m.takes(on) {
			found.add(on.slot)
		}
	}
	return found
}

// isPinned says whether MachineID=pin means a machine. To one that has the unit
// it does so though it fits others, too.
func (t *table) isPinned(pin string, on *machine, stays bool) bool {
	switch {
	case pin == "" || pin == string(on.ID) || pin == on.Hostname:
		return true
	case t.hostnames[pin] != nil || len(pin) > len(on.ID) || string(on.ID[:len(pin)]) != pin:
		return false
	}
	return stays || len(t.called(pin)) < 2
}

// having returns machines among which are all that meet a requirement; nil
// when it can't tell.
func (t *table) having(r unit.Requirement) *set {
	a := t.metadata[r.Key]
	switch {
	case r.Op == unit.NotEqual:
		return nil
	case a == nil:
		return &set{}
	case r.Op != unit.In:
		return &a.has
	case len(r.Values) == 1 && a.values[r.Values[0]] != nil:
		return a.values[r.Values[0]]
	}
	var found set
	for value, s := range a.values {
		if slices.Contains(r.Values, value) {
			found.union(s)
		}
	}
	return &found
}
