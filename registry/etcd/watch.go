package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/clusterd/clusterd/registry"
)

const (
	watchPauseFirst = 50 * time.Millisecond
	watchPauseLast  = 2 * time.Second
)

// Watch is registry.Watcher's. etcd's client takes a lost connection up again by itself,
// from where it was; when it gives a watch up all the same, as when the member
// it talks to has no leader, a new one goes on from the revision told last.
func (s *Store) Watch(ctx context.Context, r registry.Range, after registry.Revision) <-chan registry.Changes {
	w := &watch{store: s, span: r, told: after, out: make(chan registry.Changes)}
	go w.run(ctx)
	return w.out
}

// Progress is registry.Watcher's.
func (s *Store) Progress(ctx context.Context) error {
	c := s.begin(ctx)
	defer c.cancel()
	if err := s.conn.Client.RequestProgress(c); err != nil {
		return c.failed("ask for progress", err)
	}
	return nil
}

type watch struct {
	store *Store
	span  registry.Range
	told  registry.Revision
	out   chan registry.Changes
}

func (w *watch) run(ctx context.Context) {
	defer close(w.out)
	wait := watchPauseFirst
	for ctx.Err() == nil {
		before := w.told
		err := w.once(ctx)
		if err != nil {
			w.deliver(ctx, registry.Changes{Revision: w.told, Err: fmt.Errorf("watch %s: %w", name(w.span), err)})
			return
		}
		if w.told != before {
			wait = watchPauseFirst
		}
		pause(ctx, wait)
		wait = min(wait*2, watchPauseLast)
	}
	select {
	case w.out <- registry.Changes{Revision: w.told, Err: fmt.Errorf("watch %s: %w", name(w.span), ctx.Err())}:
	default:
	}
}

// once watches until etcd's client gives up. An error ends the whole watch.
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	key, end := w.store.bounds(w.span)
	opts := []clientv3.OpOption{clientv3.WithRev(int64(w.told) + 1), clientv3.WithFragment()}
	if end != "" {
		opts = append(opts, clientv3.WithRange(end))
	}
	for resp := range w.store.conn.Client.Watch(ctx, key, opts...) {
		if err := resp.Err(); err != nil {
			sentinel := classify(err)
			if ctx.Err() != nil || sentinel == registry.ErrNoAnswer {
				return nil
			}
			if errors.Is(sentinel, registry.ErrCompacted) {
				return sentinel
			}
			return fmt.Errorf("%w: %s", sentinel, reason(err))
		}
		changes, news := w.changes(resp)
		if !news {
			continue
		}
		if !w.deliver(ctx, changes) {
			return nil
		}
		w.told = changes.Revision
	}
	return nil
}

// changes reads a response: its events, or how far it says that all is told.
func (w *watch) changes(resp clientv3.WatchResponse) (c registry.Changes, news bool) {
	if len(resp.Events) == 0 {
		c.Revision = registry.Revision(resp.Header.GetRevision())
		return c, resp.IsProgressNotify() && c.Revision >= w.told
	}
	c.Events = make([]registry.Event, len(resp.Events))
	for i, e := range resp.Events {
		c.Events[i].Record = w.store.record(e.Kv)
		c.Events[i].Value = bytes.Clone(e.Kv.Value) // in-process, etcd's other watchers share it
		if e.Type == clientv3.EventTypeDelete {
			gone := registry.Record{Key: c.Events[i].Key, Modified: c.Events[i].Modified}
			c.Events[i] = registry.Event{Record: gone, Deleted: true}
		}
		c.Revision = c.Events[i].Modified
	}
	return c, true
}

func (w *watch) deliver(ctx context.Context, c registry.Changes) bool {
	select {
	case w.out <- c:
		return true
	case <-ctx.Done():
		return false
	}
}
