package packed

import (
	"iter"
	"slices"
	"strings"

	"github.com/google/btree"
)

// Entry is one record. Created, Modified and Lease are numbers of the caller's.
type Entry struct {
	Key                      string
	Value                    []byte
	Created, Modified, Lease int64
}

// Change is a record to keep, or the key of one to delete.
type Change struct {
	Entry
	Delete bool
}

// Map is records by key. It is not safe for use while it is changed. The zero
// value is not usable; see New.
type Map struct {
	runs *btree.BTreeG[run]
	size int
}

// New makes an empty map.
func New() *Map {
	return &Map{runs: btree.NewG(32, func(a, b run) bool { return a.first < b.first })}
}

// Len is how many records there are.
func (m *Map) Len() int { return m.size }

// Clone returns a copy that later changes of m don't reach, nor the other way
// round. Both may be used by different goroutines.
func (m *Map) Clone() *Map { return &Map{runs: m.runs.Clone(), size: m.size} }

// Get returns one record; its value is the caller's.
func (m *Map) Get(key string) (Entry, bool) {
	at := run{first: key}
	m.runs.DescendLessOrEqual(at, func(r run) bool { at = r; return false })
	n, found := at.find(key)
	if !found {
		return Entry{}, false
	}
	s := at.scan()
	for range n {
		s.next()
	}
	return s.entry(), true
}

// Range goes through the records from one key up to, not including, another,
// sorted. The map must not be changed meanwhile.
func (m *Map) Range(from, to string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		start := run{first: from}
		m.runs.DescendLessOrEqual(start, func(r run) bool { start = r; return false })
		m.runs.AscendGreaterOrEqual(start, func(r run) bool {
			if r.first >= to {
				return false
			}
			for s := r.scan(); s.next(); {
				if s.below(from) {
					continue
				}
				if !s.below(to) || !yield(s.entry()) {
					return false
				}
			}
			return true
		})
	}
}

// Apply does changes in their order. It keeps nothing of them but strings.
// Changes of keys that lie side by side are done much faster together.
func (m *Map) Apply(changes []Change) {
	if !slices.IsSortedFunc(changes, byKey) {
		changes = slices.Clone(changes)
		slices.SortStableFunc(changes, byKey)
	}
	for len(changes) > 0 {
		old, found := m.runFor(changes[0].Key)
		next, bounded := m.runAfter(changes[0].Key)
		n := 1
		for n < len(changes) && (!bounded || changes[n].Key < next) {
			n++
		}
		runs := merge(old, changes[:n])
		if found {
			m.runs.Delete(old)
			m.size -= old.n
		}
		for _, r := range runs {
			m.runs.ReplaceOrInsert(r)
			m.size += r.n
		}
		changes = changes[n:]
	}
}

func byKey(a, b Change) int { return strings.Compare(a.Key, b.Key) }

// runFor is the run that has key, or would have it.
func (m *Map) runFor(key string) (r run, found bool) {
	m.runs.DescendLessOrEqual(run{first: key}, func(at run) bool { r, found = at, true; return false })
	if !found {
		r, found = m.runs.Min()
	}
	return r, found
}

// runAfter is where the run after the one for key begins.
func (m *Map) runAfter(key string) (first string, found bool) {
	of, ok := m.runFor(key)
	if !ok {
		return "", false
	}
	m.runs.AscendGreaterOrEqual(run{first: of.first + "\x00"}, func(r run) bool { first, found = r.first, true; return false })
	return first, found
}

// merge returns what becomes of a run by changes, which are sorted by key.
func merge(old run, changes []Change) []run {
	p := newPacker(old.n + len(changes))
	s := old.scan()
	more := s.next()
	keep := func() {
		p.add(s.key, s.value, s.created, s.modified, s.lease)
		more = s.next()
	}
	for i, c := range changes {
		for more && s.below(c.Key) {
			keep()
		}
		if more && string(s.key) == c.Key {
			more = s.next()
		}
		if last := i == len(changes)-1 || changes[i+1].Key != c.Key; last && !c.Delete {
			p.add([]byte(c.Key), c.Value, c.Created, c.Modified, c.Lease)
		}
	}
	for more {
		keep()
	}
	p.end()
	return p.runs
}
