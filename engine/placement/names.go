package placement

import (
	"hash/maphash"
	"iter"

	"github.com/clusterd/clusterd/unit"
)

// names finds units by name: a hash table with open addressing that holds
// pointers alone, since the members have the names. A map would take three
// times the memory, at a million units.
type names struct {
	seed  maphash.Seed
	slots []*member // a power of two, at most three quarters used
	n     int
}

func newNames() names { return names{seed: maphash.MakeSeed(), slots: make([]*member, 16)} }

// at is the slot of a name, or the empty one where it would be.
func (t *names) at(name unit.Name) int {
	i := t.start(name)
	for t.slots[i] != nil && t.slots[i].name != name {
		i = (i + 1) & (len(t.slots) - 1)
	}
	return i
}

func (t *names) start(name unit.Name) int {
	return int(maphash.String(t.seed, string(name))) & (len(t.slots) - 1)
}

func (t *names) get(name unit.Name) *member { return t.slots[t.at(name)] }

// add adds a unit whose name is not in the table.
func (t *names) add(u *member) {
	if 4*(t.n+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]*member, 2*len(old))
		for _, v := range old {
			if v != nil {
				t.slots[t.at(v.name)] = v
			}
		}
	}
	t.slots[t.at(u.name)] = u
	t.n++
}

// remove takes a name out, and moves up those that stand further from their
// start because it was there.
func (t *names) remove(name unit.Name) {
	i := t.at(name)
	if t.slots[i] == nil {
		return
	}
	t.n--
	mask := len(t.slots) - 1
	for next := (i + 1) & mask; t.slots[next] != nil; next = (next + 1) & mask {
		if start := t.start(t.slots[next].name); (next-start)&mask >= (next-i)&mask {
			t.slots[i] = t.slots[next]
			i = next
		}
	}
	t.slots[i] = nil
}

// all yields the units, in no order.
func (t *names) all() iter.Seq[*member] {
	return func(yield func(*member) bool) {
		for _, u := range t.slots {
			if u != nil && !yield(u) {
				return
			}
		}
	}
}
