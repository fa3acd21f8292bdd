package engine

import (
	"context"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// reign is one leadership's work: an index that begins empty, and the loop
// over it. Nothing is decided before the registry was listed completely.
type reign struct {
	engine *Engine
	index  *index
	commit committer
	inbox  inbox

	seen   registry.Revision // what the index has been told up to
	await  registry.Revision // decide nothing before that was seen: it is our own last write
	undone map[unit.Name]bool
	retry  time.Time     // when undone is decided again; zero: nothing is
	pause  time.Duration // before that; grows as long as nothing commits
}

func newReign(e *Engine, leader registry.Guard) *reign {
	return &reign{
		engine: e,
		index:  newIndex(e.log, e.timing, e.config.Gossip, e.first),
		commit: committer{store: e.config.Store, leader: leader, log: e.log},
		inbox:  inbox{arrived: make(chan struct{}, 1)},
		undone: map[unit.Name]bool{},
	}
}

// run works until ctx ends or another engine leads.
func (r *reign) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	following.Go(func() {
		all := []registry.Range{registry.Everything()}
		_ = registry.Follow(ctx, r.engine.config.Store, all, r.inbox.following(), r.engine.log) // ends with ctx only
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next, deposed := r.pass(ctx)
		if deposed {
			r.engine.log.Warn("another engine leads: this one's late writes were refused")
			return
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-r.inbox.arrived:
		case <-r.engine.wake:
		case <-timer.C:
		}
	}
}

// pass takes in what arrived, decides, and writes. It returns when to look
// again at the latest.
func (r *reign) pass(ctx context.Context) (next time.Time, deposed bool) {
	now := time.Now()
	failing := r.takeIn(now)
	switch {
	case !r.index.listed || failing:
		return time.Time{}, false
	case r.seen < r.await:
		// The watch is behind our own write. Should it stay so, it is asked.
		_ = r.engine.config.Store.Progress(ctx)
		return now.Add(r.engine.timing.Retry), false
	}
	if !r.retry.IsZero() && !now.Before(r.retry) {
		for name := range r.undone {
			r.index.dirty[name] = true
		}
		clear(r.undone)
		r.retry = time.Time{}
	}
	changes := r.index.decide(now)
	if len(changes) > 0 {
		o := r.commit.commit(ctx, changes)
		if o.deposed {
			return time.Time{}, true
		}
		r.await = max(r.await, o.revision)
		for _, name := range o.undone {
			r.undone[name] = true
		}
		r.index.revert(o.undone)
		r.again(o)
	}
	return earlier(r.index.deadline(now), r.retry), false
}

// again sets when what did not commit is decided again.
func (r *reign) again(o outcome) {
	first := r.engine.timing.Retry
	switch {
	case o.revision != 0 || len(r.undone) == 0:
		r.pause = first
	default:
		r.pause = min(max(2*r.pause, first), retryMax*first)
	}
	if len(r.undone) > 0 {
		r.retry = time.Now().Add(r.pause)
	}
}

// retryMax is how many times as long as the first the longest pause is.
const retryMax = 16

// takeIn applies what arrived to the index. It reports whether the registry
// can't be followed just now: then the index may be old.
func (r *reign) takeIn(now time.Time) (failing bool) {
	arrived, failing := r.inbox.take()
	for _, c := range arrived {
		for _, e := range c.Events {
			r.index.apply(e, now)
		}
		r.seen, r.index.listed = max(r.seen, c.Revision), true
	}
	r.engine.first = identity{id: r.index.identity.id, epoch: r.index.identity.epoch}
	return failing
}

// inbox hands changes from the following goroutine over to the reign.
type inbox struct {
	mu      sync.Mutex
	waiting []registry.Changes
	failing bool
	arrived chan struct{}
}

func (b *inbox) following() registry.Following {
	return registry.Following{
		Snapshot: func(_ registry.Range, s registry.Snapshot) {
			events := make([]registry.Event, 0, len(s.Records))
			for _, rec := range s.Records {
				events = append(events, registry.Event{Record: rec})
			}
			b.add(registry.Changes{Events: events, Revision: s.Revision})
		},
		Changes: func(_ registry.Range, c registry.Changes) { b.add(c) },
		State: func(err error) {
			b.mu.Lock()
			b.failing = err != nil
			b.mu.Unlock()
			b.poke()
		},
	}
}

func (b *inbox) add(c registry.Changes) {
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	b.poke()
}

func (b *inbox) poke() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

func (b *inbox) take() ([]registry.Changes, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.waiting
	b.waiting = nil
	return all, b.failing
}
