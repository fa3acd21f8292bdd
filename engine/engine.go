package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
)

// Liveness is what gossip says of a machine.
type Liveness int

const (
	Unknown Liveness = iota // never heard of since this clusterd started
	Alive
	Suspect
	Dead // was alive, and its peers agree that it no longer is
)

func (l Liveness) String() string {
	return [...]string{"unknown", "alive", "suspect", "dead"}[l]
}

// Gossip tells how machines see each other. It can delay a move, never cause one.
type Gossip interface {
	Liveness(m registry.MachineID) Liveness
}

// Timing holds how patient and how careful the engine is. A zero field means its default.
type Timing struct {
	Lease     time.Duration // how long a silent leader leads; 5 s
	KeepAlive time.Duration // 1.5 s; less than half of Lease
	// Grace is how long a machine whose lease ran out is waited for when gossip
	// does not agree that it is dead; 30 s.
	Grace time.Duration
	// Settle is how long one is waited for at least, so that machines that
	// vanish together are counted together; 2 s.
	Settle time.Duration
	// AwayLimit is how long a machine whose clusterd was stopped keeps its
	// units; 15 min.
	AwayLimit time.Duration
	// Brake is the share of registered machines, above 0 and up to 1, past which
	// so many are missing that nothing moves; a half.
	Brake float64
	// FileGrace is how long a unit file nobody uses is kept; 1 min.
	FileGrace time.Duration
	// Retry is when an unanswered or outdated change is decided again; 1 s.
	Retry time.Duration
	// EvictionsPerSecond bounds how fast units leave lost machines, beyond a
	// first five seconds' worth; 100.
	EvictionsPerSecond int
}

func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&t.Lease, 5*time.Second)
	set(&t.KeepAlive, 1500*time.Millisecond)
	set(&t.Grace, 30*time.Second)
	set(&t.Settle, 2*time.Second)
	set(&t.AwayLimit, 15*time.Minute)
	set(&t.FileGrace, time.Minute)
	set(&t.Retry, time.Second)
	if t.Brake == 0 {
		t.Brake = 0.5
	}
	if t.EvictionsPerSecond == 0 {
		t.EvictionsPerSecond = 100
	}
	return t
}

// Config is what an Engine needs.
type Config struct {
	Store       registry.Store
	Machine     registry.MachineID // this machine, for the leader's record
	Incarnation string             // its boot id
	Log         *slog.Logger
	Gossip      Gossip // nil: nothing is known of any machine
	Timing      Timing
	// WhileLeading is other work that only the leader does. It is called each
	// time this engine is elected, with the guard that every write of it must
	// carry, and returns when ctx ends; nil: there is none.
	WhileLeading func(ctx context.Context, guard registry.Guard)
}

// Engine is a candidate for the cluster's leadership, and leads when elected.
type Engine struct {
	config  Config
	timing  Timing
	log     *slog.Logger
	wake    chan struct{}
	looks   chan look
	leading atomic.Bool
}

type silent struct{}

func (silent) Liveness(registry.MachineID) Liveness { return Unknown }

// New checks config and makes an engine.
func New(config Config) (*Engine, error) {
	if config.Store == nil || config.Machine == "" || config.Log == nil {
		return nil, errors.New("make engine: it needs a store, a machine and a logger")
	}
	if config.Gossip == nil {
		config.Gossip = silent{}
	}
	return &Engine{
		config: config,
		timing: config.Timing.withDefaults(),
		log:    config.Log,
		wake:   make(chan struct{}, 1),
		looks:  make(chan look),
	}, nil
}

// Wake tells the engine that gossip may say something else of a machine than
// before. It never blocks.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Leading says whether this engine leads just now.
func (e *Engine) Leading() bool { return e.leading.Load() }

// Run follows the registry, stands for election, and leads when elected, until
// ctx ends. It then resigns, so that another engine leads within milliseconds:
// that one has followed the registry all the time, too.
func (e *Engine) Run(ctx context.Context) error {
	l := newLoop(e)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var side sync.WaitGroup
	side.Go(func() { l.run(ctx) })
	err := e.stand(ctx, l)
	cancel()
	side.Wait()
	return err
}

// stand stands for election until ctx ends.
func (e *Engine) stand(ctx context.Context, l *loop) error {
	me := &registry.Leader{Machine: string(e.config.Machine), Incarnation: e.config.Incarnation}
	for {
		leadership, err := registry.Campaign(ctx, e.config.Store, me, e.timing.Lease, e.timing.KeepAlive, e.log)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("run engine: %w", err)
		}
		e.log.Info("engine leads", "machine", e.config.Machine)
		e.leading.Store(true)
		e.lead(ctx, l, leadership)
		e.leading.Store(false)
		e.log.Info("engine no longer leads", "machine", e.config.Machine)
	}
}

// lead reigns until the leadership or ctx ends.
func (e *Engine) lead(ctx context.Context, l *loop, leadership *registry.Leadership) {
	work, cancel := leadership.Context(ctx)
	defer cancel()
	var side sync.WaitGroup
	if also := e.config.WhileLeading; also != nil {
		side.Go(func() { also(work, leadership.Guard()) })
	}
	l.reign(work, newReign(e, leadership.Guard()))
	cancel()
	side.Wait()
	rest, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := leadership.Resign(rest); err != nil {
		e.log.Debug("leadership left to run out", "error", err)
	}
}

// Look calls f with the placement index of this engine, be it the leader or
// not, and returns when f does. f may change the index as long as it takes all
// of it back, as Cluster.ExplainUnit does, and must not keep it; nothing is
// decided meanwhile, so what takes long is better done with a clone. The index
// may be behind the registry by what is on its way. The error says that nothing
// is known yet, as before the registry was first read, or is ctx's.
func (e *Engine) Look(ctx context.Context, f func(*placement.Cluster)) error {
	l := look{f, make(chan error, 1)}
	select {
	case e.looks <- l:
		return <-l.done
	case <-ctx.Done():
		return fmt.Errorf("look at the engine's index: %w", ctx.Err())
	}
}

type look struct {
	f    func(*placement.Cluster)
	done chan error
}

// errUnread says that there is nothing to look at.
var errUnread = fmt.Errorf("look at the engine's index: the registry was not read yet: %w", registry.ErrNoAnswer)
