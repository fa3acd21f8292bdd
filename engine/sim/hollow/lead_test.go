package hollow

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/registry"
)

// candidate is an engine over a store of its own, so that what each asks of
// etcd is counted apart.
type candidate struct {
	*engine.Engine
	store *counting
	stop  func()
}

func (c *control) candidate(machine registry.MachineID, over registry.Store, timing engine.Timing) candidate {
	c.Helper()
	s := &counting{Store: over, committed: newStamps(10)}
	e, err := engine.New(engine.Config{Store: s, Machine: machine, Incarnation: "boot", Log: c.log, Timing: timing})
	check(c, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		check(c, <-done)
	})
	c.Cleanup(stop)
	return candidate{e, s, stop}
}

// machineUp registers a machine that is up.
func (c *control) machineUp(id registry.MachineID) {
	c.Helper()
	c.write(registry.Op{Key: registry.MachineKey(id), Value: registry.Encode(&registry.Machine{Hostname: string(id)})},
		registry.Op{Key: registry.AliveKey(id), Value: registry.Encode(&registry.Alive{Incarnation: "boot"})})
}

func (c *control) until(what string, ok func() bool) {
	c.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("not so after a minute: %s", what)
		}
	}
}

// frozen is the store of a process that is stopped in the middle: keep-alives
// aren't sent, and what it writes of assignments arrives once it goes on.
type frozen struct {
	registry.Store
	goOn chan struct{}
	held chan struct{} // a write waits
	late chan error    // what became of it
}

func (s *frozen) KeepAlive(ctx context.Context, id registry.LeaseID) (time.Duration, error) {
	select {
	case <-s.goOn:
		return s.Store.KeepAlive(ctx, id)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *frozen) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	if !strings.HasPrefix(ops[0].Key, registry.AssignmentsPrefix) {
		return s.Store.Commit(ctx, guards, ops)
	}
	s.held <- struct{}{}
	<-s.goOn
	r, err := s.Store.Commit(context.WithoutCancel(ctx), guards, ops)
	s.late <- err
	return r, err
}

// TestC06_PausedLeaderOverEtcd: the lease of a leader that is paused in the
// middle of a write really runs out; another leads and decides; the late write
// is refused.
func TestC06_PausedLeaderOverEtcd(t *testing.T) {
	c := newControl(t, 10)
	c.machineUp("m1")
	timing := engine.Timing{Lease: 2 * time.Second, KeepAlive: 500 * time.Millisecond}
	pause := &frozen{Store: c.store.Store, goOn: make(chan struct{}), held: make(chan struct{}, 1), late: make(chan error, 10)}
	first := c.candidate("c1", pause, timing)
	c.until("the first engine leads", first.Leading)
	second := c.candidate("c2", c.store.Store, timing)
	c.write(unitOf(1, c.file("[Service]\nExecStart=/bin/true\n")))
	<-pause.held
	c.until("the second engine leads and decides", func() bool { return second.Leading() && c.count(registry.AssignmentsPrefix) == 1 })
	before := c.count("")
	revision := c.revision()
	close(pause.goOn)
	if err := <-pause.late; !errors.Is(err, registry.ErrGuard) {
		t.Fatalf("the late write: %v, want %v", err, registry.ErrGuard)
	}
	if after := c.revision(); after != revision || c.count("") != before {
		t.Fatalf("revision %d after the late write, %d before", after, revision)
	}
	c.until("the first engine knows that it no longer leads", func() bool { return !first.Leading() })
}

// TestC13_HandOverAndOneChangeCounted: a leader that resigns is followed by one
// that lists nothing, and one new unit costs the cluster two transactions, the
// client's and the leader's; a cluster at rest none at all.
func TestC13_HandOverAndOneChangeCounted(t *testing.T) {
	c := newControl(t, 10)
	c.machineUp("m1")
	c.machineUp("m2")
	file := c.file("[Service]\nExecStart=/bin/true\n")
	first := c.candidate("c1", c.store.Store, engine.Timing{})
	c.until("the first engine leads", first.Leading)
	second := c.candidate("c2", c.store.Store, engine.Timing{})
	c.write(unitOf(1, file))
	c.until("the unit is placed", func() bool { return c.count(registry.AssignmentsPrefix) == 1 })
	time.Sleep(500 * time.Millisecond) // what the standby has to learn of it

	listed, written := second.store.listings.Load(), second.store.commits.Load()
	begun := time.Now()
	first.stop()
	c.until("the second engine leads", second.Leading)
	leads := time.Since(begun)
	c.write(unitOf(2, file))
	c.until("the second unit is placed", func() bool { return c.count(registry.AssignmentsPrefix) == 2 })
	t.Logf("led after %v, placed the next unit after %v; %d listings, %d transactions", leads.Round(100*time.Microsecond),
		time.Since(begun).Round(100*time.Microsecond), second.store.listings.Load()-listed, second.store.commits.Load()-written)
	if n := second.store.listings.Load() - listed; n > 2 { // of the election's own key only
		t.Errorf("the new leader asked %d times for records", n)
	}
	if leads > 2*time.Second { // a lease's end takes 5 s
		t.Errorf("it took %v to lead after the other resigned", leads)
	}

	time.Sleep(time.Second)
	revision, commits := c.revision(), second.store.commits.Load()
	c.write(unitOf(3, file))
	c.until("the third unit is placed", func() bool { return c.count(registry.AssignmentsPrefix) == 3 })
	time.Sleep(time.Second)
	if n := c.revision() - revision; n != 2 || second.store.commits.Load()-commits != 1 {
		t.Errorf("one new unit took %d revisions, want 2, and %d transactions of the engine, want 1", n, second.store.commits.Load()-commits)
	}
	revision = c.revision()
	time.Sleep(3 * time.Second)
	if n := c.revision() - revision; n != 0 {
		t.Errorf("%d writes while nothing happened", n)
	}
}
