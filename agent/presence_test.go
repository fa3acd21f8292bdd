package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
)

// A disk that was copied has the first host's certificate, too.
func TestA17_CopyOfAMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		twin := &world{t: t, store: w.store, manager: newFakeManager(), boot: "boot2", dir: t.TempDir(), cluster: "c1"}
		if err := twin.agent().Run(t.Context()); !errors.Is(err, ErrDuplicate) {
			t.Errorf("copy: %v", err)
		}
		w.want("first host", w.alive(), "boot1")
		_ = w.stop()
	})
}

// A machine that crashed and was booted again before its lease ran out waits
// for that, and is itself.
func TestBootedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		_ = w.stop()
		if err := os.Remove(filepath.Join(w.dir, "lease")); err != nil { // with all of /run
			t.Fatal(err)
		}
		w.boot = "boot2"
		w.start()
		time.Sleep(10 * time.Second)
		w.want("booted again", w.alive(), "boot2")
		_ = w.stop()
	})
}

func TestMachineSetsItsRecordsRight(t *testing.T) {
	gone := func(key string) registry.Op { return registry.Op{Delete: registry.Single(key)} }
	for _, test := range []struct {
		name string
		op   registry.Op
	}{
		{"an away mark that comes late", registry.Op{Key: registry.AwayKey(me), Value: registry.Encode(&registry.Away{SinceUnixMs: 1})}},
		{"its record is lost", gone(registry.MachineKey(me))},
		{"its sign of life is lost, not its lease", gone(registry.AliveKey(me))},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				w.commit(test.op)
				w.settle()
				away, _, err := readRecord[registry.Away](t.Context(), w.store, registry.AwayKey(me))
				if err != nil || away != nil {
					t.Errorf("away: %v, %v", away, err)
				}
				if m, _, err := readRecord[registry.Machine](t.Context(), w.store, registry.MachineKey(me)); err != nil || m == nil {
					t.Errorf("machine: %v, %v", m, err)
				}
				w.want("alive", w.alive(), "boot1")
				_ = w.stop()
			})
		})
	}
}

func TestC03_UnreadableRecordOfTheMachineItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.commit(registry.Op{Key: registry.MachineKey(me), Value: []byte("garbage")},
			registry.Op{Key: registry.AliveKey(me), Value: []byte("garbage")})
		w.start()
		w.want("alive", w.alive(), "boot1")
		if m, _, err := readRecord[registry.Machine](t.Context(), w.store, registry.MachineKey(me)); err != nil || m.GetHostname() != "m1" {
			t.Errorf("machine: %v, %v", m, err)
		}
		_ = w.stop()
	})
}

// answersLate lets something happen between a commit and its answer.
type answersLate struct {
	*mem.Store
	meanwhile func()
}

func (s *answersLate) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	revision, err := s.Store.Commit(ctx, guards, ops)
	if s.meanwhile != nil {
		s.meanwhile()
		s.meanwhile = nil
	}
	return revision, err
}

// The leader may see that a unit is gone, and delete the record, before the
// machine hears that it was written. The next unit of that name must be told
// of all the same.
func TestC09_GoneIsToldOfEachTime(t *testing.T) {
	store := &answersLate{Store: mem.New(mem.Options{})}
	r := newReporter(store, me, slog.New(slog.DiscardHandler))
	gone := &registry.Observed{Gone: true, Generation: 2}
	key := registry.Single(registry.ObservedKey(me, web))
	store.meanwhile = func() {
		if _, err := store.Store.Commit(t.Context(), nil, []registry.Op{{Delete: key}}); err != nil {
			t.Error(err)
		}
		r.set(web, nil, false)
	}
	for round := range 2 {
		r.set(web, gone, true)
		if err := r.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		snapshot, err := store.Range(t.Context(), key)
		if err != nil || len(snapshot.Records) != round {
			t.Errorf("round %d: %v, %v", round, snapshot.Records, err)
		}
	}
}
