package registry

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/google/btree"
)

// Copy mirrors ranges of the registry in memory, for those who read much. Its
// records must not be modified. It is safe for use by many goroutines.
type Copy struct {
	store  Store
	ranges []Range
	log    *slog.Logger

	mu       sync.Mutex
	records  *btree.BTreeG[Record]
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
		records:  btree.NewG(32, func(a, b Record) bool { return a.Key < b.Key }),
		revision: make([]Revision, len(ranges)),
		changed:  make(chan struct{}),
	}
}

// Run keeps the copy up to date until ctx ends, and returns ctx's error.
func (c *Copy) Run(ctx context.Context) error {
	return Follow(ctx, c.store, c.ranges, Following{
		Snapshot: func(r Range, s Snapshot) {
			events := make([]Event, len(s.Records))
			for i, rec := range s.Records {
				events[i].Record = rec
			}
			c.apply(r, Changes{Events: events, Revision: s.Revision})
		},
		Changes: c.apply,
		State: func(err error) {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
		},
	}, c.log)
}

func (c *Copy) apply(r Range, changes Changes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range changes.Events {
		if e.Deleted {
			c.records.Delete(e.Record)
		} else {
			c.records.ReplaceOrInsert(e.Record)
		}
	}
	for i := range c.ranges {
		if c.ranges[i] == r {
			c.revision[i] = changes.Revision
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
	return c.records.Get(Record{Key: key})
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
	records  *btree.BTreeG[Record]
	revision Revision
}

// Revision is the one up to which the view is complete.
func (v View) Revision() Revision { return v.revision }

// Get returns one record.
func (v View) Get(key string) (Record, bool) { return v.records.Get(Record{Key: key}) }

// Range goes through the records of r, sorted by key.
func (v View) Range(r Range) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		if r.To == "" {
			if rec, ok := v.Get(r.From); ok {
				yield(rec)
			}
			return
		}
		v.records.AscendRange(Record{Key: r.From}, Record{Key: r.To}, yield)
	}
}
