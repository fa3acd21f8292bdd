package mem

import (
	"bytes"
	"context"
	"fmt"
	"sort"

	"github.com/clusterd/clusterd/registry"
)

// watch is one caller's view of the history, as far as it was told.
type watch struct {
	store    *Store
	span     registry.Range
	told     registry.Revision
	progress bool // a Changes without events is due
	woken    chan struct{}
	out      chan registry.Changes
}

// Watch is registry.Watcher's.
func (s *Store) Watch(ctx context.Context, r registry.Range, after registry.Revision) <-chan registry.Changes {
	w := &watch{store: s, span: r, told: after, woken: make(chan struct{}, 1), out: make(chan registry.Changes)}
	s.mu.Lock()
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	w.wake()
	go w.run(ctx)
	return w.out
}

// Progress is registry.Watcher's.
func (s *Store) Progress(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answers(ctx); err != nil {
		return fmt.Errorf("ask for progress: %w", err)
	}
	for w := range s.watches {
		w.progress = true
		w.wake()
	}
	return nil
}

// wake makes the watch look again; it never blocks.
func (w *watch) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *watch) run(ctx context.Context) {
	defer close(w.out)
	defer w.leave()
	for {
		select {
		case <-ctx.Done():
			w.end(ctx, ctx.Err())
			return
		case <-w.woken:
		}
		for {
			changes, ok := w.next()
			if !ok {
				break
			}
			if changes.Err != nil {
				w.end(ctx, changes.Err)
				return
			}
			select {
			case w.out <- changes:
			case <-ctx.Done():
				w.end(ctx, ctx.Err())
				return
			}
		}
	}
}

// end delivers the last Changes, unless the caller is gone.
func (w *watch) end(ctx context.Context, err error) {
	w.store.mu.Lock()
	told := w.told
	w.store.mu.Unlock()
	last := registry.Changes{Revision: told, Err: fmt.Errorf("watch %s: %w", name(w.span), err)}
	if ctx.Err() == nil {
		select {
		case w.out <- last:
		case <-ctx.Done():
		}
		return
	}
	select {
	case w.out <- last:
	default:
	}
}

func (w *watch) leave() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.watches, w)
}

// next takes what is to be told next out of the history: one revision.
func (w *watch) next() (registry.Changes, bool) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return registry.Changes{}, false
	}
	if w.told < s.lost {
		return registry.Changes{Err: registry.ErrCompacted}, true
	}
	from := sort.Search(len(s.history), func(i int) bool { return s.history[i].revision > w.told })
	for _, past := range s.history[from:] {
		w.told = past.revision
		if events := within(w.span, past.events); len(events) > 0 {
			return registry.Changes{Events: events, Revision: past.revision}, true
		}
	}
	if w.progress && w.told <= s.revision {
		w.progress = false
		return registry.Changes{Revision: s.revision}, true
	}
	return registry.Changes{}, false
}

func concerns(span registry.Range, events []registry.Event) bool {
	for _, e := range events {
		if span.Contains(e.Key) {
			return true
		}
	}
	return false
}

func within(span registry.Range, all []registry.Event) []registry.Event {
	var some []registry.Event
	for _, e := range all {
		if span.Contains(e.Key) {
			e.Value = bytes.Clone(e.Value)
			some = append(some, e)
		}
	}
	return some
}
