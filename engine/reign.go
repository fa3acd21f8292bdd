package engine

import (
	"context"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// reign is one leadership's work over the loop's index.
type reign struct {
	commit committer
	first  time.Duration // the shortest pause before what did not commit is decided again
	await  registry.Revision
	undone map[unit.Name]bool
	retry  time.Time     // when undone is decided again; zero: nothing is
	pause  time.Duration // before that; grows as long as nothing commits
}

// newReign begins with nothing but the leader's guard. await is a revision
// before which nothing is decided: at first that of the election, since the
// last leader's writes are all older, then that of our own last write.
func newReign(e *Engine, leader registry.Guard) *reign {
	return &reign{
		commit: committer{store: e.config.Store, leader: leader, log: e.log},
		first:  e.timing.Retry,
		await:  leader.Created,
		undone: map[unit.Name]bool{},
	}
}

// act decides and writes. It returns when to look again at the latest.
func (r *reign) act(ctx context.Context, x *index, now time.Time) (next time.Time, deposed bool) {
	if !r.retry.IsZero() && !now.Before(r.retry) {
		for name := range r.undone {
			x.dirty[name] = true
		}
		clear(r.undone)
		r.retry = time.Time{}
	}
	changes := x.decide(now)
	if len(changes) > 0 {
		o := r.commit.commit(ctx, changes)
		r.await = max(r.await, o.revision)
		for _, name := range o.undone {
			r.undone[name] = true
		}
		x.revert(o.undone)
		if o.deposed {
			return time.Time{}, true
		}
		r.again(o)
	}
	return earlier(x.deadline(now), r.retry), false
}

// again sets when what did not commit is decided again.
func (r *reign) again(o outcome) {
	switch {
	case o.revision != 0 || len(r.undone) == 0:
		r.pause = r.first
	default:
		r.pause = min(max(2*r.pause, r.first), retryMax*r.first)
	}
	if len(r.undone) > 0 {
		r.retry = time.Now().Add(r.pause)
	}
}

// retryMax is how many times as long as the first the longest pause is.
const retryMax = 16

// inbox hands changes from the following goroutine over to the reign.
type inbox struct {
	mu      sync.Mutex
	waiting []registry.Changes
	failing bool
	arrived chan struct{}
}

func (b *inbox) following() registry.Following {
	return registry.Following{
		Snapshot: func(_ registry.Range, p registry.Part) {
			c := registry.Changes{Events: make([]registry.Event, len(p.Records))}
			for i, rec := range p.Records {
				c.Events[i].Record = rec
			}
			if p.Last {
				c.Revision = p.Revision
			}
			b.add(c)
		},
		Changes: func(_ registry.Range, c registry.Changes) { b.add(c) },
		Audit:   registry.AuditTime,
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
