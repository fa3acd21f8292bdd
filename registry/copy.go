package registry

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry/packed"
)

// Copy mirrors ranges of the registry in memory, for those who read much. It
// compares itself with the registry now and then. It is safe for use by many goroutines.
type Copy struct {
	store  Store
	ranges []Range
	log    *slog.Logger

	mu       sync.Mutex
	records  *packed.Map
	revision []Revision // one for each range; 0 until it was listed
	seen     time.Time  // when it was last known to be complete
	err      error
	changed  chan struct{}
}

// NewCopy makes an empty copy of ranges, which must not overlap; Run fills it.
func NewCopy(store Store, ranges []Range, log *slog.Logger) *Copy {
	return &Copy{
		store:    store,
		ranges:   ranges,
		log:      log,
		records:  packed.New(),
		revision: make([]Revision, len(ranges)),
		changed:  make(chan struct{}),
	}
}

// Run keeps the copy up to date until ctx ends, and returns ctx's error.
func (c *Copy) Run(ctx context.Context) error {
	return Follow(ctx, c.store, c.ranges, Following{
		Snapshot: func(r Range, p Part) {
			changes := make([]packed.Change, len(p.Records))
			for i, rec := range p.Records {
				changes[i].Entry = entry(rec)
			}
			told := Revision(0)
			if p.Last {
				told = p.Revision
			}
			c.apply(r, changes, told)
		},
		Changes: func(r Range, news Changes) {
			changes := make([]packed.Change, len(news.Events))
			for i, e := range news.Events {
				changes[i] = packed.Change{Entry: entry(e.Record), Delete: e.Deleted}
			}
			c.apply(r, changes, news.Revision)
		},
		Known: func(r Range) iter.Seq2[string, Revision] {
			view := c.View()
			return func(yield func(string, Revision) bool) {
				for rec := range view.Range(r) {
					if !yield(rec.Key, rec.Modified) {
						return
					}
				}
			}
		},
		Audit: AuditTime,
		State: func(err error) {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
		},
	}, c.log)
}

func entry(rec Record) packed.Entry {
	return packed.Entry{Key: rec.Key, Value: rec.Value, Created: int64(rec.Created), Modified: int64(rec.Modified), Lease: int64(rec.Lease)}
}

func record(e packed.Entry) Record {
	return Record{Key: e.Key, Value: e.Value, Created: Revision(e.Created), Modified: Revision(e.Modified), Lease: LeaseID(e.Lease)}
}

func (c *Copy) apply(r Range, changes []packed.Change, told Revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records.Apply(changes)
	for i := range c.ranges {
		if c.ranges[i] == r {
			c.revision[i] = told
		}
	}
	c.seen = time.Now()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Get returns one record.
func (c *Copy) Get(key string) (Record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.records.Get(key)
	return record(e), ok
}

// View returns the copy as it is now; it never changes and costs next to nothing.
func (c *Copy) View() View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return View{records: c.records.Clone(), revision: c.lowest()}
}

// Revision is the one up to which all ranges are known; 0 before they are.
func (c *Copy) Revision() Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lowest()
}

func (c *Copy) lowest() Revision {
	lowest := c.revision[0]
	for _, r := range c.revision {
		lowest = min(lowest, r)
	}
	return lowest
}

// Age is how long ago the registry last confirmed or changed the copy. In
// an idle cluster only Fresh makes it small again.
func (c *Copy) Age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.seen)
}

// Err says why the copy is not being kept up to date; nil while it is.
func (c *Copy) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Changed returns a channel that is closed at the next change or confirmation.
// Take it before looking at the copy, so that none is missed.
func (c *Copy) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Fresh waits until the copy has everything that was in the registry when it
// was called. Without an answer it returns ErrNoAnswer or ctx's error, and the
// copy may be used as what it is: old, by Age.
func (c *Copy) Fresh(ctx context.Context) error {
	now, err := c.store.Range(ctx, Single(ClusterKey))
	if err != nil {
		return fmt.Errorf("refresh the copy of the registry: %w", err)
	}
	pause := 10 * time.Millisecond
	for {
		changed := c.Changed()
		if c.Revision() >= now.Revision {
			c.mu.Lock()
			c.seen = time.Now()
			c.mu.Unlock()
			return nil
		}
		// A registry tells progress only to watches that are not behind.
		if err := c.store.Progress(ctx); err != nil {
			return fmt.Errorf("refresh the copy of the registry: %w", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
			pause = min(pause*2, time.Second)
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("refresh the copy of the registry: it is at revision %d of %d: %w", c.Revision(), now.Revision, ctx.Err())
		}
		timer.Stop()
	}
}

// View is a Copy at one moment.
type View struct {
	records  *packed.Map
	revision Revision
}

// Revision is the one up to which the view is complete.
func (v View) Revision() Revision { return v.revision }

// Get returns one record.
func (v View) Get(key string) (Record, bool) {
	e, ok := v.records.Get(key)
	return record(e), ok
}

// Range goes through the records of r, sorted by key.
func (v View) Range(r Range) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		to := r.To
		if to == "" {
			to = r.From + "\x00"
		}
		for e := range v.records.Range(r.From, to) {
			if !yield(record(e)) {
				return
			}
		}
	}
}
