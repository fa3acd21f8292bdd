package placement

import (
	"hash/maphash"
	"iter"

	"github.com/clusterd/clusterd/unit"
)

// names finds units by name: a hash table with open addressing that holds
// pointers alone, since the members have the names. A map would take three
// times the memory, at a million units. Beside each pointer stands a part of
// the name's hash, so that other units that are met on the way need not be
// fetched from memory: that is what takes the time.
type names struct {
	seed  maphash.Seed
	slots []*member // a power of two, at most three quarters used
	tags  []uint8
	n     int
}

func newNames() names {
	return names{seed: maphash.MakeSeed(), slots: make([]*member, 16), tags: make([]uint8, 16)}
}

// at is the slot of a name, or the empty one where it would be, and its tag.
func (t *names) at(name unit.Name) (int, uint8) {
	i, tag := t.start(name)
	for {
		if u := t.slots[i]; u == nil || t.tags[i] == tag && u.name == name {
			return i, tag
		}
		i = (i + 1) & (len(t.slots) - 1)
	}
}

func (t *names) start(name unit.Name) (int, uint8) {
	h := maphash.String(t.seed, string(name))
	return int(h) & (len(t.slots) - 1), uint8(h >> 56)
}

func (t *names) get(name unit.Name) *member {
	i, _ := t.at(name)
	return t.slots[i]
}

// add adds a unit whose name is not in the table.
func (t *names) add(u *member) {
	if 4*(t.n+1) > 3*len(t.slots) {
		old := t.slots
		t.slots, t.tags = make([]*member, 2*len(old)), make([]uint8, 2*len(old))
		for _, v := range old {
			if v != nil {
				t.set(v)
			}
		}
	}
	t.set(u)
	t.n++
}

func (t *names) set(u *member) {
	i, tag := t.at(u.name)
	t.slots[i], t.tags[i] = u, tag
}

// remove takes a name out, and moves up those that stand further from their
// start because it was there.
func (t *names) remove(name unit.Name) {
	i, _ := t.at(name)
	if t.slots[i] == nil {
		return
	}
	t.n--
	mask := len(t.slots) - 1
	for next := (i + 1) & mask; t.slots[next] != nil; next = (next + 1) & mask {
		if start, _ := t.start(t.slots[next].name); (next-start)&mask >= (next-i)&mask {
			t.slots[i], t.tags[i] = t.slots[next], t.tags[next]
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
