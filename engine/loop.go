package engine

import (
	"context"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// loop owns the index and is the only one to touch it. It takes in what the
// registry tells whether this engine leads or not, so that one that is elected
// begins at once; while it leads, it decides. Nothing is decided before the
// registry was listed completely.
type loop struct {
	engine *Engine
	index  *index
	inbox  inbox
	seen   registry.Revision // what the index has been told up to
	reigns chan leading
	now    *leading // nil: another engine leads, or none
}

// leading is a reign, and how long it lasts.
type leading struct {
	*reign
	ctx   context.Context
	over  chan struct{} // closed by the loop once it has ended
	begun bool
}

func newLoop(e *Engine) *loop {
	return &loop{
		engine: e,
		index:  newIndex(e.log, e.timing, e.config.Gossip),
		inbox:  inbox{arrived: make(chan struct{}, 1)},
		reigns: make(chan leading),
	}
}

// reign has the loop decide until ctx ends or another engine leads.
func (l *loop) reign(ctx context.Context, r *reign) {
	now := leading{reign: r, ctx: ctx, over: make(chan struct{})}
	select {
	case l.reigns <- now:
		<-now.over
	case <-ctx.Done():
	}
}

// run works until ctx ends.
func (l *loop) run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		all := []registry.Range{registry.Everything()}
		_ = registry.Follow(ctx, l.engine.config.Store, all, l.inbox.following(), l.engine.log) // ends with ctx only
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next := l.pass(ctx)
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-l.inbox.arrived:
		case <-l.engine.wake:
		case <-timer.C:
		case <-l.ended():
		case now := <-l.reigns:
			l.now = &now
		case look := <-l.engine.looks:
			if !l.index.listed {
				look.done <- errUnread
				continue
			}
			look.f(l.index.cluster)
			look.done <- nil
		}
	}
	l.endReign()
}

// ended is closed when the reign has to end; nil when there is none.
func (l *loop) ended() <-chan struct{} {
	if l.now == nil {
		return nil
	}
	return l.now.ctx.Done()
}

// endReign leaves what the reign did not finish for the next one, be it here or
// elsewhere.
func (l *loop) endReign() {
	if l.now == nil {
		return
	}
	l.index.rest()
	for name := range l.now.undone {
		l.index.dirty[name] = true
	}
	close(l.now.over)
	l.now = nil
}

// pass takes in what arrived, and acts on it if this engine leads. It returns
// when to look again at the latest; zero: when something happens.
func (l *loop) pass(ctx context.Context) (next time.Time) {
	now := time.Now()
	failing := l.takeIn(now)
	if l.now != nil && l.now.ctx.Err() != nil {
		l.endReign()
	}
	switch {
	case !l.index.listed || failing:
		return time.Time{}
	case l.now == nil:
		l.index.keepUp(now)
		return l.index.deadline(now)
	case l.seen < l.now.await:
		// The watch is behind. Should it stay so, it is asked.
		_ = l.engine.config.Store.Progress(ctx)
		return now.Add(l.engine.timing.Retry)
	}
	if !l.now.begun {
		l.index.keepUp(now)
		l.index.begin()
		l.now.begun = true
	}
	next, deposed := l.now.act(l.now.ctx, l.index, now)
	if deposed {
		l.engine.log.Warn("another engine leads: this one's late writes were refused")
		l.endReign()
	}
	return next
}

// takeIn applies what arrived to the index. It reports whether the registry
// can't be followed just now: then the index may be old.
func (l *loop) takeIn(now time.Time) (failing bool) {
	arrived, failing := l.inbox.take()
	for _, c := range arrived {
		for _, e := range c.Events {
			l.index.apply(e, now)
		}
		l.seen = max(l.seen, c.Revision)
		l.index.listed = l.seen > 0 // parts of the first list have no revision, but the last
	}
	return failing
}
