package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Config is what an Agent works with.
type Config struct {
	Store   registry.Store
	Manager Manager
	// ID is this machine's identity, Machine its record; the agent writes it
	// when it differs from what the registry has.
	ID      registry.MachineID
	Machine *registry.Machine
	// Incarnation is the boot id.
	Incarnation string
	// ClusterID is the cluster this machine joined. Empty takes that of the
	// registry's, as long as RunDir knows no other.
	ClusterID string
	// RunDir is where the agent keeps what it has done until the machine is
	// rebooted; empty is /run/clusterd.
	RunDir string
	// UnitDir is where Manager keeps the cluster's unit files; empty is
	// /run/systemd/system. It is only for reports.
	UnitDir string
	// IsNsrun says whether a program, as written in a unit, is nsrun on this
	// machine; nil means that none is. See [ResolveNsrun].
	IsNsrun func(program string) bool
	// Pull gets the images of units with a [Container] section before they start;
	// nil leaves that to the start.
	Pull Puller
	// Stopping says whether the whole machine is going down; nil means no.
	Stopping func(ctx context.Context) bool
	// LeaseTTL is how long the machine counts as alive without a word; 0 is 5 s.
	// KeepAlive is how often it gives word; 0 is 1.5 s.
	LeaseTTL, KeepAlive time.Duration
	// Log is required.
	Log *slog.Logger
}

// Agent runs one machine's share of the units. Make it with New.
type Agent struct {
	Config
	ledger    *ledger
	reporter  *reporter
	presence  *presence
	cluster   clusterCheck
	inbox     chan func()
	workers   sync.WaitGroup
	dirty     map[unit.Name]bool
	owing     map[unit.Name]bool // took others along that are at work now; see startAgain
	units     map[unit.Name]*managed
	files     map[unit.Hash][]byte
	asked     map[unit.Hash]bool  // files to be fetched; true while that is under way
	missing   map[unit.Hash]error // files that the registry does not have
	synced    bool                // the cluster's record and the assignments were read
	admitOnce sync.Once
	admitted  chan struct{} // closed once the registry is known not to be another cluster's
	verified  bool
	frozen    string
	later     *time.Timer // the next round, when one is put off
	roundAt   time.Time   // when later is set to; zero: it isn't
	heldUntil time.Time   // until when units to be started wait for files of others; zero: none does
}

// managed is what the loop knows of one unit. Only the loop touches it.
type managed struct {
	want    *Desired
	broken  string // why its assignment can't be used
	state   State
	known   bool      // state was observed
	source  []byte    // the cluster's file that state.File is, or was rendered from
	hash    unit.Hash // of source
	reason  string
	tried   uint64
	gone    bool
	recheck bool // a look at a name that is taken is due
	working bool
	cancel  context.CancelFunc
	planned Desired   // what the steps under way lead to
	ran     time.Time // since when, as it was last seen to come up
	retry   time.Duration
}

// New returns an Agent over what an earlier one left in RunDir.
func New(c Config) (*Agent, error) {
	if c.Store == nil || c.Manager == nil || c.Log == nil || c.Machine == nil || c.ID == "" || c.Incarnation == "" {
		return nil, errors.New("make agent: Store, Manager, ID, Machine, Incarnation and Log must be set")
	}
	if c.RunDir == "" {
		c.RunDir = "/run/clusterd"
	}
	if c.UnitDir == "" {
		c.UnitDir = "/run/systemd/system"
	}
	if c.IsNsrun == nil {
		c.IsNsrun = func(string) bool { return false }
	}
	if c.Stopping == nil {
		c.Stopping = func(context.Context) bool { return false }
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = 5 * time.Second
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 1500 * time.Millisecond
	}
	l, err := openLedger(filepath.Join(c.RunDir, "units"))
	if err != nil {
		return nil, err
	}
	a := &Agent{
		Config:   c,
		ledger:   l,
		reporter: newReporter(c.Store, c.ID, c.Log),
		presence: &presence{
			store: c.Store, id: c.ID, machine: c.Machine, incarnation: c.Incarnation,
			leasePath: filepath.Join(c.RunDir, "lease"), ttl: c.LeaseTTL, every: c.KeepAlive, log: c.Log,
			again: make(chan struct{}, 1),
		},
		cluster:  openClusterCheck(filepath.Join(c.RunDir, "cluster"), c.ClusterID),
		inbox:    make(chan func()),
		dirty:    map[unit.Name]bool{},
		owing:    map[unit.Name]bool{},
		units:    map[unit.Name]*managed{},
		files:    map[unit.Hash][]byte{},
		asked:    map[unit.Hash]bool{},
		missing:  map[unit.Hash]error{},
		admitted: make(chan struct{}),
		frozen:   "the registry was not read yet",
	}
	for u := range l.entries {
		a.units[u] = &managed{}
	}
	return a, nil
}

// ErrHandover is the cause to end an agent's context with when another agent
// takes its place on this machine at once: the machine is not away then.
var ErrHandover = errors.New("another agent takes over")

// Run works until ctx ends, then tells the cluster that it left, unless
// ErrHandover is the cause, and returns nil. No unit is stopped by that. It
// returns ErrDuplicate when another machine is in the cluster under this one's
// identity.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var side sync.WaitGroup
	side.Go(func() { a.follow(ctx) })
	side.Go(func() { a.watchManager(ctx) })
	side.Go(func() { a.reporter.run(ctx) })
	side.Go(func() {
		select {
		case <-a.admitted:
		case <-ctx.Done():
			return
		}
		if err := a.presence.verify(ctx); err != nil {
			stop(err)
			return
		}
		a.tell(ctx, func() { a.verified = true; a.admit(ctx) })
		a.presence.run(ctx)
	})
	a.observeAll(ctx)
	a.loop(ctx)
	a.workers.Wait()
	side.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrDuplicate) {
		return err
	}
	a.leave(ctx)
	return nil
}

// loop is the only goroutine that touches the agent's state.
func (a *Agent) loop(ctx context.Context) {
	a.later = time.NewTimer(time.Hour)
	a.later.Stop()
	defer a.later.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case do := <-a.inbox:
			do()
			a.drain()
			a.startRound(ctx)
		case <-a.later.C:
			a.round(ctx)
		}
	}
}

// drain takes what else has come meanwhile, so that one round serves it all.
func (a *Agent) drain() {
	for {
		select {
		case do := <-a.inbox:
			do()
		default:
			return
		}
	}
}

// tell hands the loop something to do.
func (a *Agent) tell(ctx context.Context, do func()) {
	select {
	case a.inbox <- do:
	case <-ctx.Done():
	}
}

// leave writes what is left to be told, in the little time there is.
func (a *Agent) leave(ctx context.Context) {
	handover := errors.Is(context.Cause(ctx), ErrHandover)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if !a.verified || a.cluster.foreign {
		return
	}
	_ = a.reporter.flush(ctx) // logged there; the next clusterd reports anew
	if handover {
		return
	}
	shutdown := a.Stopping(ctx)
	if err := a.presence.leave(ctx, shutdown); err != nil {
		a.Log.Warn("machine not marked away", "error", err)
		return
	}
	a.Log.Info("machine away", "machine", a.ID, "shutdown", shutdown)
}

// follow keeps the agent's copy of its assignments.
func (a *Agent) follow(ctx context.Context) {
	assignments, cluster := registry.Prefix(registry.AssignmentsOf(a.ID)), registry.Single(registry.ClusterKey)
	ranges := []registry.Range{cluster, assignments}
	for _, own := range []string{registry.MachineKey(a.ID), registry.AliveKey(a.ID), registry.AwayKey(a.ID)} {
		ranges = append(ranges, registry.Single(own))
	}
	take := func(r registry.Range, records []registry.Event) {
		for _, e := range records {
			switch r {
			case assignments:
				a.assign(e)
			case cluster:
				a.see(e)
			default:
				a.presence.see(e)
			}
		}
	}
	_ = registry.Follow(ctx, a.Store, ranges, registry.Following{ // its only error is ctx's
		Snapshot: func(r registry.Range, p registry.Part) {
			var events []registry.Event
			for _, rec := range p.Records {
				events = append(events, registry.Event{Record: rec})
			}
			if r != assignments && r != cluster {
				events = nil // presence reads them for itself
			}
			if r == cluster && len(events) == 0 {
				events = []registry.Event{{Record: registry.Record{Key: registry.ClusterKey}, Deleted: true}}
			}
			a.tell(ctx, func() { take(r, events); a.synced = a.synced || r == assignments && p.Last; a.admit(ctx) })
		},
		Changes: func(r registry.Range, c registry.Changes) {
			if len(c.Events) > 0 {
				a.tell(ctx, func() { take(r, c.Events); a.admit(ctx) })
			}
		},
		State: func(err error) {
			if err != nil {
				a.Log.Warn("registry does not answer; units stay as they are", "error", err)
			} else {
				a.Log.Info("registry followed")
			}
		},
	}, a.Log)
}

// see takes the cluster's own record in.
func (a *Agent) see(e registry.Event) {
	before := a.cluster.frozen
	a.cluster.take(e)
	if a.cluster.frozen == before {
		return
	}
	if a.cluster.frozen != "" {
		a.Log.Warn("frozen: units stay as they are", "reason", a.cluster.frozen)
		return
	}
	a.reporter.forget() // the registry may be another than before
	if a.verified {
		a.presence.lookAgain()
	}
}

// admit decides whether anything may be done now, and looks at all units again
// when that changed.
func (a *Agent) admit(ctx context.Context) {
	frozen := ""
	switch {
	case !a.synced:
		frozen = "the registry was not read yet"
	case a.cluster.foreign:
		frozen = "frozen: " + a.cluster.frozen
	case !a.verified:
		a.admitOnce.Do(func() { close(a.admitted) })
		frozen = "the machine's identity was not verified yet"
	case a.cluster.frozen != "":
		frozen = "frozen: " + a.cluster.frozen
	}
	if frozen == a.frozen {
		return
	}
	a.frozen = frozen
	for u := range a.units {
		a.dirty[u] = true
	}
}

// assign takes one assignment's change in.
func (a *Agent) assign(e registry.Event) {
	_, u, ok := registry.CutMachineUnit(strings.TrimPrefix(e.Key, registry.AssignmentsPrefix))
	if name, err := unit.ParseName(string(u)); !ok || err != nil || name != u {
		a.Log.Warn("assignment ignored: its key names no unit", "key", e.Key)
		return
	}
	m := a.units[u]
	if m == nil {
		m = &managed{}
		a.units[u] = m
	}
	a.dirty[u] = true
	m.broken, m.retry = "", 0
	if e.Deleted {
		m.want, m.gone = nil, false
		return
	}
	r, err := registry.Decode[registry.Assignment](e.Record)
	if err != nil {
		a.Log.Warn("assignment not readable; the unit stays as it is", "unit", u, "error", err)
		m.want, m.broken = nil, err.Error()
		return
	}
	want := Desired{
		File: unit.Hash(r.File), Target: r.Target, Generation: r.Generation, Restart: r.RestartGeneration,
		AllowUnknown: r.AllowUnknown, VerifiedBy: r.VerifiedBy,
	}
	if m.want == nil || *m.want != want {
		m.gone, m.reason, m.tried = false, "", 0
	}
	m.want = &want
	if m.working && m.planned != want {
		m.cancel() // its steps no longer lead where they should
	}
}

// observeAll learns how the units of the ledger are, before anything else.
func (a *Agent) observeAll(ctx context.Context) {
	names := slices.Sorted(maps.Keys(a.units))
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		states, err := a.Manager.Observe(ctx, names)
		if err == nil {
			for u, s := range states {
				a.units[u].set(s)
				a.dirty[u] = true
			}
			return
		}
		a.Log.Warn("service manager does not answer", "error", fmt.Errorf("observe %d units: %w", len(names), err))
		if !wait(ctx, pause) {
			return
		}
	}
}

func (a *Agent) watchManager(ctx context.Context) {
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		err := a.Manager.Watch(ctx, func(u unit.Name, s Status) {
			a.tell(ctx, func() {
				if m := a.units[u]; m != nil && m.state.Status != s {
					a.saw(u, m, s)
					m.state.Status = s
					a.publish(u, m)
				}
			})
		})
		if ctx.Err() != nil {
			return
		}
		a.Log.Warn("service manager not watched", "error", err)
		if !wait(ctx, pause) {
			return
		}
	}
}
