package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// running is an engine at work.
type running struct {
	*Engine
	stop func()
}

func (w *world) run(store registry.Store, machine registry.MachineID, gossip Gossip) running {
	w.t.Helper()
	e, err := New(Config{Store: store, Machine: machine, Incarnation: "boot1", Log: w.log, Gossip: gossip})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	return running{e, func() { cancel(); wg.Wait() }}
}

// assignments tells all assignments in words.
func (w *world) assignments() string {
	var lines []string
	for _, rec := range w.records(registry.Prefix(registry.AssignmentsPrefix)) {
		a, err := registry.Decode[registry.Assignment](rec)
		if err != nil {
			w.t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %s", strings.TrimPrefix(rec.Key, registry.AssignmentsPrefix), strings.ToLower(a.Target.String())))
	}
	return strings.Join(lines, ", ")
}

// settles lets all goroutines of the bubble come to rest, with the machines
// doing as they are told, and compares the assignments.
func (w *world) settles(want string) {
	w.t.Helper()
	for range 20 {
		synctest.Wait()
		if !machinesWork(w) {
			break
		}
	}
	if got := w.assignments(); got != want {
		w.t.Fatalf("assignments are %q, want %q", got, want)
	}
}

func TestEngineFollowsTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2\nmachine m3\nunit a.service launched")
		e := w.run(w.store, "m1", nil)
		defer e.stop()
		w.settles("m1/a.service launched")
		w.say("unit b.service launched\nunit g.service launched Global=yes")
		w.settles("m1/a.service launched, m1/g.service launched, m2/b.service launched, m2/g.service launched, m3/g.service launched")
		w.say("unit g.service gone g2")
		w.settles("m1/a.service launched, m2/b.service launched")
		w.say("dies m1")
		time.Sleep(29 * time.Second)
		w.settles("m1/a.service launched, m2/b.service launched")
		time.Sleep(2 * time.Second)
		w.settles("m2/b.service launched, m3/a.service launched")
		w.say("unit a.service gone g2\nunit b.service gone g2")
		w.settles("")
		if n := len(w.records(registry.Prefix(registry.UnitsPrefix))); n != 1 {
			t.Fatalf("%d unit records, want 1: a may still be on m1", n)
		}
		w.say("returns m1 boot2")
		w.settles("")
		for _, p := range []string{registry.UnitsPrefix, registry.ObservedPrefix, registry.PendingPrefix} {
			if left := w.records(registry.Prefix(p)); len(left) > 0 {
				t.Fatalf("%s is left", left[0].Key)
			}
		}
	})
}

func TestWhileLeadingEndsBeforeTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1")
		ctx, stop := context.WithCancel(t.Context())
		refused := make(chan error, 1)
		e, err := New(Config{Store: w.store, Machine: "m1", Log: w.log, WhileLeading: func(ctx context.Context, guard registry.Guard) {
			<-ctx.Done()
			_, err := w.store.Commit(context.WithoutCancel(ctx), []registry.Guard{guard}, []registry.Op{{Key: "events/1"}})
			refused <- err
		}})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if err := <-refused; err != nil {
			t.Fatalf("the leadership ended first: %v", err)
		}
		if left := w.records(registry.Single(registry.LeaderKey)); len(left) > 0 {
			t.Fatal("the leadership was not given up")
		}
	})
}

func TestC13_AnIdleEngineWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2\nunit a.service launched\nunit b.service launched MachineID=m9")
		e := w.run(w.store, "m1", nil)
		defer e.stop()
		w.settles("m1/a.service launched")
		before, err := w.store.Range(context.Background(), registry.Single(registry.LeaderKey))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		after, err := w.store.Range(context.Background(), registry.Single(registry.LeaderKey))
		if err != nil {
			t.Fatal(err)
		}
		if before.Revision != after.Revision {
			t.Fatalf("%d revisions in an idle hour", after.Revision-before.Revision)
		}
	})
}

func TestAnotherEngineTakesOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2")
		first := w.run(w.store, "m1", nil)
		synctest.Wait()
		second := w.run(w.store, "m2", nil)
		defer second.stop()
		synctest.Wait()
		if !first.Leading() || second.Leading() {
			t.Fatal("the first engine should lead")
		}
		begin := time.Now()
		first.stop()
		synctest.Wait()
		if !second.Leading() {
			t.Fatal("the second engine should lead")
		}
		if took := time.Since(begin); took > 10*time.Millisecond {
			t.Fatalf("it took %v", took)
		}
		w.say("unit a.service launched")
		w.settles("m1/a.service launched")
	})
}

// slow is a store whose commits of assignments wait until they are let go, as
// those of a process that was paused do.
type slow struct {
	registry.Store
	mu     sync.Mutex
	paused chan struct{} // closed: go on
	held   int
}

func (s *slow) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	if strings.HasPrefix(ops[0].Key, registry.AssignmentsPrefix) {
		s.mu.Lock()
		s.held++
		s.mu.Unlock()
		<-s.paused
	}
	return s.Store.Commit(context.WithoutCancel(ctx), guards, ops)
}

func TestC06_AStaleLeadersWritesDoNotCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2")
		frozen := &slow{Store: w.store, paused: make(chan struct{})}
		first := w.run(frozen, "m1", nil)
		synctest.Wait()
		w.say("unit a.service launched")
		synctest.Wait()
		if frozen.held != 1 {
			t.Fatalf("%d writes held, want 1", frozen.held)
		}
		w.remove(registry.LeaderKey) // as its lease's end does
		second := w.run(w.store, "m2", nil)
		defer second.stop()
		w.settles("m1/a.service launched")
		w.say("unit a.service inactive g2")
		w.settles("")
		close(frozen.paused)
		w.settles("")
		first.stop()
		w.settles("")
	})
}

func TestC01_ARegistryThatIsSilentMovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2\nunit a.service launched")
		e := w.run(w.store, "m1", says{"m1": Dead, "m2": Dead})
		defer e.stop()
		w.settles("m1/a.service launched")
		w.store.Cut()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.store.Heal()
		time.Sleep(10 * time.Second)
		w.settles("m1/a.service launched")
		w.say("unit b.service launched")
		w.settles("m1/a.service launched, m2/b.service launched")
	})
}

func TestManyUnitsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2\nmachine m3")
		e := w.run(w.store, "m1", nil)
		defer e.stop()
		for i := range 1000 {
			w.unit(fmt.Sprintf("web@%d.service", i), "launched", nil)
		}
		synctest.Wait()
		perMachine := map[registry.MachineID]int{}
		for _, rec := range w.records(registry.Prefix(registry.AssignmentsPrefix)) {
			m, _, _ := registry.CutMachineUnit(strings.TrimPrefix(rec.Key, registry.AssignmentsPrefix))
			perMachine[m]++
		}
		for _, m := range []registry.MachineID{"m1", "m2", "m3"} {
			if n := perMachine[m]; n < 333 || n > 334 {
				t.Fatalf("A-27: %s has %d of 1000 units: %v", m, n, perMachine)
			}
		}
	})
}

// TestOutdatedChangesAreHalvedAway writes a batch of which two changes are
// outdated: all others commit.
func TestOutdatedChangesAreHalvedAway(t *testing.T) {
	w := newWorld(t, "machine m1")
	w.put(registry.LeaderKey, &registry.Leader{Machine: "m1"})
	leader := registry.Guard{Key: registry.LeaderKey, Created: w.records(registry.Single(registry.LeaderKey))[0].Created}
	k := committer{store: w.store, leader: leader, log: w.log}
	var changes []change
	for i := range 100 {
		name := unit.Name(fmt.Sprintf("u%02d.service", i))
		c := change{unit: name, machine: "m1", note: "unit placed"}
		c.put(registry.AssignmentKey("m1", name), &registry.Assignment{Target: registry.Target_LAUNCHED}, 0)
		changes = append(changes, c)
	}
	w.say("assigned m1 u17.service loaded\nassigned m1 u80.service loaded")
	o := k.commit(t.Context(), changes)
	if got := fmt.Sprint(o.undone); got != "[u17.service u80.service]" || o.deposed || o.revision == 0 {
		t.Fatalf("outcome %+v", o)
	}
	if n := len(w.records(registry.Prefix(registry.AssignmentsPrefix))); n != 100 {
		t.Fatalf("%d assignments, want 100", n)
	}
}

func TestBatchesStayWithinATransaction(t *testing.T) {
	var changes []change
	for i := range 500 {
		c := change{unit: unit.Name(fmt.Sprintf("u%d.service", i)), machine: registry.MachineID(fmt.Sprintf("m%d", i%3))}
		for n := range 1 + i%4 {
			c.put(fmt.Sprintf("k/%d/%d", i, n), &registry.Pending{}, 0)
		}
		changes = append(changes, c)
	}
	machines, total := 0, 0
	for _, b := range batches(changes) {
		guards, ops := 1, 0
		seen := map[registry.MachineID]bool{}
		for _, c := range b {
			guards, ops = guards+len(c.guards), ops+len(c.ops)
			seen[c.machine] = true
		}
		machines, total = machines+len(seen), total+len(b)
		if guards > registry.OpsMax || ops > registry.OpsMax {
			t.Fatalf("a batch has %d guards and %d operations", guards, ops)
		}
	}
	if total != len(changes) || machines > len(batches(changes))+2 {
		t.Fatalf("%d changes in batches, machines cut %d times", total, machines)
	}
}
