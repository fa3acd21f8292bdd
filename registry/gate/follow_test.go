package gate_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// wire is a network connection's way to an address, which can be cut.
type wire struct {
	listener net.Listener
	mu       sync.Mutex
	cut      bool
	open     map[net.Conn]bool
	running  sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{listener: l, open: map[net.Conn]bool{}}
	w.running.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp", to)
			if err != nil || !w.take(front, behind) {
				front.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{front, behind}, {behind, front}} {
				w.running.Go(func() {
					_, _ = io.Copy(way[0], way[1]) // until either side ends
					front.Close()
					behind.Close()
				})
			}
		}
	})
	t.Cleanup(func() { l.Close(); w.set(true); w.running.Wait() })
	return w
}

func (w *wire) take(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.open[c] = true; w.cut {
			c.Close()
		}
	}
	return !w.cut
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		c.Close()
	}
	clear(w.open)
	w.cut = cut
}

// followed is what a follower was told, and its picture.
type followed struct {
	mu     sync.Mutex
	lists  int
	events []string
	errs   []string
	known  map[string]string
}

func (f *followed) following() registry.Following {
	return registry.Following{
		Snapshot: func(_ registry.Range, p registry.Part) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.lists++
			for _, rec := range p.Records {
				f.known[rec.Key] = string(rec.Value)
			}
		},
		Changes: func(_ registry.Range, c registry.Changes) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, e := range c.Events {
				key := e.Key[strings.LastIndexByte(e.Key, '/')+1:]
				if e.Deleted {
					delete(f.known, e.Key)
					f.events = append(f.events, "-"+key)
				} else {
					f.known[e.Key] = string(e.Value)
					f.events = append(f.events, key+"="+string(e.Value))
				}
			}
		},
		State: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if err != nil {
				f.errs = append(f.errs, err.Error())
			}
		},
	}
}

func (f *followed) take() (events, errs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	events, errs = f.events, f.errs
	f.events, f.errs = nil, nil
	return events, errs
}

// await waits until one more event was told, and returns all.
func (f *followed) await(t *testing.T, last string) (all, errs []string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !slices.Contains(all, last) {
		if time.Now().After(deadline) {
			t.Fatalf("told %q, want %q at last; %q", all, last, errs)
		}
		time.Sleep(10 * time.Millisecond)
		more, why := f.take()
		all, errs = append(all, more...), append(errs, why...)
	}
	return all, errs
}

// TestFollow_ThroughABrokenWire: what happened meanwhile is told event by event
// while etcd keeps it, else as the difference; deletions are, too.
func TestFollow_ThroughABrokenWire(t *testing.T) {
	c := newCluster(t)
	w := newWire(t, c.open(t, c.member.Connection(), nil))
	store := c.as(t, machineA, w.listener.Addr().String())
	put := func(name, value string) registry.Op {
		return registry.Op{Key: registry.AssignmentsOf(machineA) + name, Value: []byte(value)}
	}
	gone := func(name string) registry.Op {
		return registry.Op{Delete: registry.Single(registry.AssignmentsOf(machineA) + name)}
	}
	write := func(op registry.Op) registry.Revision {
		t.Helper()
		at, err := c.inside.Commit(t.Context(), nil, []registry.Op{op})
		must(t, err)
		return at
	}
	write(put("same", "1"))
	write(put("a", "1"))
	write(put("b", "1"))
	write(put("c", "1"))
	told := &followed{known: map[string]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		own := []registry.Range{registry.Prefix(registry.AssignmentsOf(machineA))}
		_ = registry.Follow(ctx, store, own, told.following(), logger(t))
	})
	defer following.Wait()
	defer cancel()
	write(put("begin", ""))
	deadline := time.Now().Add(20 * time.Second)
	for seen := false; !seen; {
		time.Sleep(10 * time.Millisecond)
		told.mu.Lock()
		_, seen = told.known[registry.AssignmentsOf(machineA)+"begin"]
		told.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("nothing is followed")
		}
	}
	told.take()

	w.set(true)
	write(put("a", "2"))
	write(put("a", "3"))
	write(gone("b"))
	w.set(false)
	write(put("end", "1"))
	events, errs := told.await(t, "end=1")
	if got, want := strings.Join(events, " "), "a=2 a=3 -b end=1"; got != want || len(errs) != 0 {
		t.Errorf("a broken connection: told %s, %q; want %s, without an error", got, errs, want)
	}

	w.set(true)
	write(put("a", "4"))
	write(put("a", "5"))
	write(gone("c"))
	write(put("d", "1"))
	write(put("e", "1"))
	at := write(gone("e"))
	compactable{c.inside, t, c.member}.Compact(at)
	w.set(false)
	write(put("end", "2"))
	events, errs = told.await(t, "end=2")
	slices.Sort(events)
	if got, want := strings.Join(events, " "), "-c a=5 d=1 end=2"; got != want || len(errs) == 0 || !strings.Contains(errs[0], registry.ErrCompacted.Error()) {
		t.Errorf("history was lost: told %s, %q; want %s, and to hear of it", got, errs, want)
	}
	if told.lists != 1 {
		t.Errorf("the first list was told %d times", told.lists)
	}
}

// TestCopy_ThroughGate: a copy asked for what is now has it, however idle its
// own ranges are, and its watch survives a broken connection.
func TestCopy_ThroughGate(t *testing.T) {
	c := newCluster(t)
	w := newWire(t, c.open(t, c.member.Connection(), everything))
	store := c.as(t, machineA, w.listener.Addr().String())
	mirror := registry.NewCopy(store, []registry.Range{registry.Prefix(registry.UnitsPrefix), registry.Prefix(registry.FilesPrefix)}, logger(t))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = mirror.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for i := range 6 {
		if i == 3 {
			w.set(true)
			w.set(false)
		}
		key := registry.UnitsPrefix + "a"
		if i%2 == 1 {
			key = registry.TokensPrefix + "b" // in no range of the copy
		}
		at, err := c.inside.Commit(t.Context(), nil, []registry.Op{{Key: key, Value: fmt.Append(nil, i)}})
		must(t, err)
		fresh, end := context.WithTimeout(t.Context(), 20*time.Second)
		for err = mirror.Fresh(fresh); err != nil && fresh.Err() == nil; {
			err = mirror.Fresh(fresh)
		}
		end()
		must(t, err)
		if mirror.Revision() < at {
			t.Errorf("write %d was at revision %d, the copy is at %d", i, at, mirror.Revision())
		}
	}
	if rec, _ := mirror.Get(registry.UnitsPrefix + "a"); string(rec.Value) != "4" {
		t.Errorf("the copy has %q, want the last value", rec.Value)
	}
}
