package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"
)

// Following is what Follow tells its caller, and what it asks of it. The functions
// are called one at a time; those that are nil are left out.
type Following struct {
	// Snapshot is called first of all with what a range holds, in parts; the one that
	// is Last completes it.
	Snapshot func(r Range, p Part)
	// Changes is called with all other changes of a range, also those found by
	// listing again; Err is never set, and no events means progress only. Of two
	// ranges, either may be told first.
	Changes func(r Range, c Changes)
	// State is called with an error when the registry can't be followed, and with nil
	// when it is followed again. Meanwhile, what was told stays as it is.
	State func(err error)
	// Known returns the keys of a range that the caller has from what it was told,
	// sorted, and the revisions that modified them last. If it is nil,
	// Follow keeps a list of its own, of some 20 bytes a record.
	Known func(r Range) iter.Seq2[string, Revision]
	// Audit is how long it takes to compare all that is known with the registry
	// once; then it begins again. 0 is never.
	Audit time.Duration
}

// AuditTime is a good Following.Audit for those who follow everything.
const AuditTime = 10 * time.Minute

// Reader is what following needs of a Store.
type Reader interface {
	List(ctx context.Context, r Range, how Listing, each func(Part)) error
	Watcher
}

// Follow lists ranges, hands over what they hold, and goes on telling what
// changes there, until ctx ends; it returns ctx's error then, and no other. An
// unanswered call is tried again, with growing pauses; it is never taken for
// an empty list. When history was lost (ErrCompacted) it lists again and tells
// the difference, deletions included.
func Follow(ctx context.Context, store Reader, ranges []Range, to Following, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{store: store, to: to, log: log, arrived: make(chan arrival)}
	defer f.others.Wait()
	defer cancel()
	for _, r := range ranges {
		s := newSpan(r, to.Known)
		if err := f.begin(ctx, s); err != nil {
			return fmt.Errorf("follow the registry: %w", err)
		}
		f.spans = append(f.spans, s)
	}
	f.state(nil)
	for _, s := range f.spans {
		f.watch(ctx, s)
	}
	f.audit = newAudit(f)
	defer f.audit.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("follow the registry: %w", ctx.Err())
		case <-f.audit.timer.C:
			f.audit.due(ctx)
		case a := <-f.arrived:
			if err := f.take(ctx, a); err != nil {
				return fmt.Errorf("follow the registry: %w", err)
			}
		}
	}
}

type follower struct {
	store   Reader
	to      Following
	log     *slog.Logger
	arrived chan arrival
	spans   []*span
	audit   *audit
	failing bool
	pause   backoff
	others  sync.WaitGroup
}

// arrival is what another goroutine found out: a watch, or an audit.
type arrival struct {
	span    *span
	watch   int // which watch of the span
	changes Changes
	look    *look // of an audit; then the rest is empty
}

// begin lists a range for the first time, as often as it takes; what was
// told already is not told again. The error is ctx's.
func (f *follower) begin(ctx context.Context, s *span) error {
	rest, at := s.Range, Revision(0)
	for {
		err := f.store.List(ctx, rest, Listing{At: at}, func(p Part) {
			rest.From, at = p.Range.To, p.Revision
			if p.Last {
				s.revision = p.Revision
			}
			s.learn(p)
			if f.to.Snapshot != nil {
				f.to.Snapshot(s.Range, p)
			}
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case at != 0 && errors.Is(err, ErrCompacted):
			return f.beginLate(ctx, s, rest)
		}
		f.state(err)
		f.pause.wait(ctx)
	}
}

// beginLate completes a first list that took longer than history is kept.
func (f *follower) beginLate(ctx context.Context, s *span, rest Range) error {
	c, err := f.compare(ctx, s)
	if err != nil {
		return err
	}
	f.tell(s, c)
	if f.to.Snapshot != nil {
		f.to.Snapshot(s.Range, Part{Range: rest, Revision: c.Revision, Last: true})
	}
	return nil
}

func (f *follower) watch(ctx context.Context, s *span) {
	ctx, s.endWatch = context.WithCancel(ctx)
	s.watches++
	number := s.watches
	changes := f.store.Watch(ctx, s.Range, s.revision)
	f.others.Go(func() {
		last := Changes{Err: ErrNoAnswer} // should a watch end without saying why
		for c := range changes {
			if c.Err != nil {
				last = c
				continue
			}
			select {
			case f.arrived <- arrival{span: s, watch: number, changes: c}:
			case <-ctx.Done():
			}
		}
		select {
		case f.arrived <- arrival{span: s, watch: number, changes: last}:
		case <-ctx.Done():
		}
	})
}

// take handles what arrived; an error means that ctx ended.
func (f *follower) take(ctx context.Context, a arrival) error {
	if a.look != nil {
		f.audit.take(ctx, a.look)
		return nil
	}
	if a.watch != a.span.watches {
		return nil // of a watch that was given up
	}
	if a.changes.Err == nil {
		f.pause.reset()
		f.state(nil)
		f.tell(a.span, a.changes)
		f.audit.proceed(ctx)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.state(a.changes.Err)
	f.pause.wait(ctx)
	a.span.endWatch()
	c, err := f.compare(ctx, a.span)
	if err != nil {
		return err
	}
	f.tell(a.span, c)
	f.state(nil)
	f.watch(ctx, a.span)
	f.audit.proceed(ctx)
	return nil
}

func (f *follower) tell(s *span, c Changes) {
	if c.Revision < s.revision {
		return // an answer from before what is known
	}
	s.apply(c)
	if f.audit != nil {
		f.audit.touch(s, c.Events)
	}
	if f.to.Changes != nil {
		f.to.Changes(s.Range, c)
	}
}

// compare lists a range, as often as it takes, and returns what differs from
// what is known of it. The error is ctx's.
func (f *follower) compare(ctx context.Context, s *span) (Changes, error) {
	for {
		var c Changes
		err := f.store.List(ctx, s.Range, Listing{}, func(p Part) {
			c.Revision = p.Revision
			c.Events = append(c.Events, s.diff(p)...)
		})
		if err == nil && c.Revision >= s.revision {
			return c, nil
		}
		if ctx.Err() != nil {
			return Changes{}, ctx.Err()
		}
		if err == nil {
			err = fmt.Errorf("the registry is at revision %d, before the known %d; was it restored from a backup?", c.Revision, s.revision)
		}
		f.state(err)
		f.pause.wait(ctx)
	}
}

func (f *follower) state(err error) {
	if err == nil && !f.failing {
		return
	}
	if f.failing = err != nil; f.failing {
		f.log.Debug("registry not followed", "error", err)
	}
	if f.to.State != nil {
		f.to.State(err)
	}
}
