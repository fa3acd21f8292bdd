package placement

import (
	"slices"

	"github.com/clusterd/clusterd/unit"
)

// A port that most units want is one number, on all addresses. Where such are
// taken is kept in sets; all else is compared with what the machine has.

// door is a port number of a protocol, on all addresses.
type door struct {
	protocol string
	number   uint16
}

func simplePort(p unit.Port) (door, bool) {
	return door{p.Protocol, p.Number}, p.Address == "" && p.Last == p.Number
}

// occupy notes a unit's ports on a machine, or takes that back.
func (c *Cluster) occupy(u *member, m *machine, by int) {
	if len(u.class.ports) == 0 {
		return
	}
	if by > 0 {
		m.listening = append(m.listening, u)
	} else if i := slices.Index(m.listening, u); i >= 0 {
		m.listening = slices.Delete(m.listening, i, i+1)
	}
	c.openDoors(u, m, by)
}

func (c *Cluster) openDoors(u *member, m *machine, by int) {
	if m.slot < 0 {
		return
	}
	for _, p := range u.class.ports {
		d, ok := simplePort(p)
		if !ok {
			continue
		}
		t := c.doors[d]
		if t == nil {
			t = &tally{set: set{long: true}}
			c.doors[d] = t
		}
		if t.change(m.slot, by); t.total == 0 {
			delete(c.doors, d)
		}
	}
}

// portsTaken returns the units on m, other than u, that have ports which u
// wants, by name, each with the port.
func (c *Cluster) portsTaken(u *member, m *machine) []portTaken {
	var found []portTaken
	if len(u.class.ports) == 0 {
		return nil
	}
	for _, other := range m.listening {
		if other == u {
			continue
		}
		if port, clash := portClash(u, other); clash {
			found = append(found, portTaken{other, port})
		}
	}
	slices.SortFunc(found, func(a, b portTaken) int { return byName(a.by, b.by) })
	return found
}

type portTaken struct {
	by   *member
	port unit.Port
}

func (p portTaken) String() string {
	return "port " + p.port.String() + " is taken by " + string(p.by.name)
}

// portClash returns the first port of a's that b has, too.
func portClash(a, b *member) (unit.Port, bool) {
	for _, p := range a.class.ports {
		for _, q := range b.class.ports {
			if p.Clashes(q) {
				return p, true
			}
		}
	}
	return unit.Port{}, false
}
