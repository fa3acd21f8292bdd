package packed

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// check compares a map with what it should hold.
func check(t *testing.T, what string, m *Map, want map[string]Entry, from, to string) {
	t.Helper()
	var got []string
	for e := range m.Range(from, to) {
		got = append(got, e.Key)
		if !reflect.DeepEqual(e, want[e.Key]) {
			t.Fatalf("%s: got %+v, want %+v", what, e, want[e.Key])
		}
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if from <= key && key < to {
			all = append(all, key)
		}
	}
	if !slices.Equal(got, all) {
		t.Fatalf("%s: %q to %q: got %q, want %q", what, from, to, got, all)
	}
}

// TestMap_IsAMap does random batches of changes to a Map and to Go's own.
func TestMap_IsAMap(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 0))
		m, want := New(), map[string]Entry{}
		keys := 1 + r.IntN(2000)
		key := func() string { return fmt.Sprintf("%s/%d", []string{"units", "a", ""}[r.IntN(3)], r.IntN(keys)) }
		for round := range 30 {
			before, kept := maps.Clone(want), m.Clone()
			var batch []Change
			for range 1 + r.IntN(1+r.IntN(400)) {
				c := Change{Entry: Entry{Key: key()}, Delete: r.IntN(3) == 0}
				if !c.Delete {
					c.Created, c.Modified, c.Lease = r.Int64(), int64(round), -r.Int64N(9)
					if n := r.IntN(60) * r.IntN(1+r.IntN(9)); n > 0 {
						c.Value = slices.Repeat([]byte{byte('a' + r.IntN(3))}, n)
						c.Value[r.IntN(n)] = '!'
					}
				}
				batch = append(batch, c)
				if want[c.Key] = c.Entry; c.Delete {
					delete(want, c.Key)
				}
			}
			m.Apply(batch)
			what := fmt.Sprintf("seed %d, round %d", seed, round)
			check(t, what, m, want, "", "\xff")
			check(t, what, m, want, key(), key())
			check(t, what+", clone", kept, before, "", "\xff")
			if m.Len() != len(want) {
				t.Fatalf("%s: Len is %d, want %d", what, m.Len(), len(want))
			}
			k := key()
			if e, ok := m.Get(k); ok != (want[k].Key != "") || !reflect.DeepEqual(e, want[k]) {
				t.Fatalf("%s: Get(%q) is %+v, %t, want %+v", what, k, e, ok, want[k])
			}
		}
	}
}

func TestMap_LongValues(t *testing.T) {
	m, want := New(), map[string]Entry{}
	for i := range 100 {
		e := Entry{Key: fmt.Sprintf("files/%02d", i), Value: slices.Repeat([]byte{byte(i)}, 1+i*1000), Created: 1, Modified: int64(i)}
		want[e.Key] = e
		m.Apply([]Change{{Entry: e}})
	}
	check(t, "long values", m, want, "", "\xff")
}

func BenchmarkPut(b *testing.B) {
	m := New()
	var all []Change
	for i := range 100_000 {
		all = append(all, Change{Entry: Entry{Key: fmt.Sprintf("units/web@%06d.service", i), Value: []byte("some value of a unit"), Created: int64(i), Modified: int64(i)}})
	}
	m.Apply(all)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i * 7919 % len(all)
		m.Apply(all[at : at+1])
	}
}

func BenchmarkGet(b *testing.B) {
	m := New()
	var all []Change
	for i := range 100_000 {
		all = append(all, Change{Entry: Entry{Key: fmt.Sprintf("units/web@%06d.service", i), Value: []byte("some value of a unit"), Created: int64(i), Modified: int64(i)}})
	}
	m.Apply(all)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Get(all[i*7919%len(all)].Key)
	}
}

func BenchmarkGetNothing(b *testing.B) {
	m := New()
	var all []Change
	for i := range 100_000 {
		all = append(all, Change{Entry: Entry{Key: fmt.Sprintf("units/web@%06d.service", 2*i), Value: []byte("some value of a unit"), Created: int64(i), Modified: int64(i)}})
	}
	m.Apply(all)
	key := fmt.Sprintf("units/web@%06d.service", 77_777)
	b.ReportAllocs()
	for b.Loop() {
		m.Get(key)
	}
}
