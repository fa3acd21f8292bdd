package registry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
)

// Following is what Follow tells its caller. The functions are called one at a
// time; those that are nil are left out.
type Following struct {
	// Snapshot is called once for each range, first of all.
	Snapshot func(r Range, s Snapshot)
	// Changes is called with all later changes of a range, also those found by
	// listing again; Err is never set, and no events means progress only. Of two
	// ranges, either may be told first.
	Changes func(r Range, c Changes)
	// State is called with an error when the registry can't be followed, and with nil
	// when it is followed again. Meanwhile, what was told stays as it is.
	State func(err error)
}

// Reader is what following needs of a Store.
type Reader interface {
	Range(ctx context.Context, r Range) (Snapshot, error)
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
	defer f.watches.Wait()
	defer cancel()
	spans := make([]*span, 0, len(ranges))
	for _, r := range ranges {
		s := &span{Range: r}
		snapshot, err := f.list(ctx, s)
		if err != nil {
			return fmt.Errorf("follow the registry: %w", err)
		}
		s.learn(snapshot)
		spans = append(spans, s)
		if to.Snapshot != nil {
			to.Snapshot(r, snapshot)
		}
	}
	f.state(nil)
	for _, s := range spans {
		f.watch(ctx, s)
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("follow the registry: %w", ctx.Err())
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
	failing bool
	pause   backoff
	watches sync.WaitGroup
}

// span is one range, with what is needed to tell what changed unseen.
type span struct {
	Range
	known    map[string]Revision // key to its last modification
	revision Revision
}

type arrival struct {
	span    *span
	changes Changes
}

func (s *span) learn(snapshot Snapshot) {
	s.known = make(map[string]Revision, len(snapshot.Records))
	for _, rec := range snapshot.Records {
		s.known[rec.Key] = rec.Modified
	}
	s.revision = snapshot.Revision
}

// diff returns as changes what snapshot has otherwise than s knew it.
func (s *span) diff(snapshot Snapshot) Changes {
	c := Changes{Revision: snapshot.Revision}
	vanished := maps.Clone(s.known)
	for _, rec := range snapshot.Records {
		if known, ok := s.known[rec.Key]; !ok || known != rec.Modified {
			c.Events = append(c.Events, Event{Record: rec})
		}
		delete(vanished, rec.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(vanished)) {
		gone := Record{Key: key, Modified: snapshot.Revision}
		c.Events = append(c.Events, Event{Record: gone, Deleted: true})
	}
	return c
}

func (s *span) apply(c Changes) {
	for _, e := range c.Events {
		if e.Deleted {
			delete(s.known, e.Key)
		} else {
			s.known[e.Key] = e.Modified
		}
	}
	s.revision = c.Revision
}

func (f *follower) watch(ctx context.Context, s *span) {
	changes := f.store.Watch(ctx, s.Range, s.revision)
	f.watches.Go(func() {
		last := Changes{Err: ErrNoAnswer} // should a watch end without saying why
		for c := range changes {
			if c.Err != nil {
				last = c
				continue
			}
			select {
			case f.arrived <- arrival{s, c}:
			case <-ctx.Done():
			}
		}
		select {
		case f.arrived <- arrival{s, last}:
		case <-ctx.Done():
		}
	})
}

// take handles what a watch brought; an error means that ctx ended.
func (f *follower) take(ctx context.Context, a arrival) error {
	if a.changes.Err == nil {
		f.pause.reset()
		f.state(nil)
		f.tell(a.span, a.changes)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.state(a.changes.Err)
	f.pause.wait(ctx)
	snapshot, err := f.list(ctx, a.span)
	if err != nil {
		return err
	}
	f.tell(a.span, a.span.diff(snapshot))
	f.state(nil)
	f.watch(ctx, a.span)
	return nil
}

func (f *follower) tell(s *span, c Changes) {
	if c.Revision < s.revision {
		return // an answer from before what is known
	}
	s.apply(c)
	if f.to.Changes != nil {
		f.to.Changes(s.Range, c)
	}
}

// list reads a range, as often as it takes; the error is ctx's.
func (f *follower) list(ctx context.Context, s *span) (Snapshot, error) {
	for {
		snapshot, err := f.store.Range(ctx, s.Range)
		if err == nil && snapshot.Revision >= s.revision {
			return snapshot, nil
		}
		if ctx.Err() != nil {
			return Snapshot{}, ctx.Err()
		}
		if err == nil {
			err = fmt.Errorf("the registry is at revision %d, before the known %d; was it restored from a backup?", snapshot.Revision, s.revision)
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
