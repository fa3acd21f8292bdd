package mem

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/clusterd/clusterd/registry"
)

// Options say how a Store behaves. The zero value is a good one.
type Options struct {
	// Keep is how many of the last revisions a watch may start from; 0 keeps all.
	Keep int
	// First is the revision of an empty store; 0 means 1, as in etcd.
	First registry.Revision
}

// Store is a registry in memory. It is safe for use by many goroutines.
type Store struct {
	keep int

	mu       sync.Mutex
	records  *btree.BTreeG[registry.Record]
	revision registry.Revision
	history  []revisionEvents // ascending
	lost     registry.Revision
	watches  map[*watch]struct{}
	leases   map[registry.LeaseID]*lease
	granted  registry.LeaseID
	cut      bool
}

type revisionEvents struct {
	revision registry.Revision
	events   []registry.Event
}

var _ registry.Store = (*Store)(nil)

// New makes an empty store.
func New(o Options) *Store {
	return &Store{
		keep:     o.Keep,
		records:  btree.NewG(32, func(a, b registry.Record) bool { return a.Key < b.Key }),
		revision: max(o.First, 1),
		watches:  make(map[*watch]struct{}),
		leases:   make(map[registry.LeaseID]*lease),
	}
}

// Range is registry.Records'.
func (s *Store) Range(ctx context.Context, r registry.Range) (registry.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answers(ctx); err != nil {
		return registry.Snapshot{}, fmt.Errorf("read %s: %w", name(r), err)
	}
	snapshot := registry.Snapshot{Revision: s.revision}
	s.ascend(r, func(rec registry.Record) {
		rec.Value = bytes.Clone(rec.Value)
		snapshot.Records = append(snapshot.Records, rec)
	})
	return snapshot, nil
}

// partRecords is how many records a part of a list has here: few, so that
// tests have many.
const partRecords = 100

// List is registry.Records'. What was deleted or replaced is not kept here: any
// revision but the present one is registry.ErrCompacted.
func (s *Store) List(ctx context.Context, r registry.Range, how registry.Listing, each func(registry.Part)) error {
	s.mu.Lock()
	err := s.answers(ctx)
	if err == nil && how.At != 0 && how.At != s.revision {
		err = registry.ErrCompacted
	}
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("list %s: %w", name(r), err)
	}
	part := registry.Part{Range: r, Revision: s.revision}
	moment := &Store{records: s.records.Clone()}
	s.mu.Unlock()
	moment.ascend(r, func(rec registry.Record) {
		if len(part.Records) == partRecords {
			whole := part
			whole.Range.To = rec.Key
			each(whole)
			part.Range.From, part.Records = rec.Key, nil
		}
		if rec.Value = bytes.Clone(rec.Value); how.KeysOnly {
			rec.Value = nil
		}
		part.Records = append(part.Records, rec)
	})
	part.Last = true
	each(part)
	return nil
}

// Commit is registry.Records'.
func (s *Store) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	if err := registry.CheckTransaction(guards, ops); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answers(ctx); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	for _, g := range guards {
		if !s.holds(g) {
			return 0, fmt.Errorf("write: %s: %w", g.Key, registry.ErrGuard)
		}
	}
	for _, op := range ops {
		if op.Delete == (registry.Range{}) && op.Lease != 0 && s.leases[op.Lease] == nil {
			return 0, fmt.Errorf("write %s: %w", op.Key, registry.ErrLeaseGone)
		}
	}
	s.apply(ops)
	return s.revision, nil
}

// Compact forgets the history up to and including revision: watches that have
// not been told it yet, and those that start before it, end with ErrCompacted.
func (s *Store) Compact(revision registry.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(min(revision, s.revision))
}

// Cut makes the store silent, as a registry without quorum is: calls return
// ErrNoAnswer, watches tell nothing, and no lease runs out.
func (s *Store) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	for _, l := range s.leases {
		l.timer.Stop()
	}
}

// Heal ends Cut. All leases start their time anew, as with a new etcd leader.
func (s *Store) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = false
	for _, l := range s.leases {
		l.start(s)
	}
	for w := range s.watches {
		w.wake()
	}
}

var errCut = fmt.Errorf("store was cut off: %w", registry.ErrNoAnswer)

func (s *Store) answers(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.cut {
		return errCut
	}
	return nil
}

func (s *Store) holds(g registry.Guard) bool {
	rec, ok := s.records.Get(registry.Record{Key: g.Key})
	if g.Created != 0 {
		return ok && rec.Created == g.Created
	}
	return rec.Modified == g.Modified
}

func (s *Store) ascend(r registry.Range, each func(registry.Record)) {
	from, to := registry.Record{Key: r.From}, registry.Record{Key: r.To}
	if r.To == "" {
		if rec, ok := s.records.Get(from); ok {
			each(rec)
		}
		return
	}
	s.records.AscendRange(from, to, func(rec registry.Record) bool {
		each(rec)
		return true
	})
}

// apply does ops as one revision; if they change nothing there is none.
func (s *Store) apply(ops []registry.Op) {
	next := s.revision + 1
	var events []registry.Event
	for _, op := range ops {
		if op.Delete != (registry.Range{}) {
			events = append(events, s.remove(op.Delete, next)...)
			continue
		}
		events = append(events, s.put(op, next))
	}
	if len(events) == 0 {
		return
	}
	for w := range s.watches {
		if w.told == s.revision && !concerns(w.span, events) {
			w.told = next // whom a change doesn't concern it doesn't wake
			continue
		}
		w.wake()
	}
	s.revision = next
	s.history = append(s.history, revisionEvents{next, events})
	if s.keep > 0 && len(s.history) > s.keep {
		s.forget(s.history[len(s.history)-s.keep].revision - 1)
	}
}

func (s *Store) put(op registry.Op, revision registry.Revision) registry.Event {
	rec, existed := s.records.Get(registry.Record{Key: op.Key})
	if existed {
		s.detach(rec)
	} else {
		rec.Created = revision
	}
	rec.Key, rec.Value, rec.Lease, rec.Modified = op.Key, bytes.Clone(op.Value), op.Lease, revision
	if l := s.leases[op.Lease]; l != nil {
		l.keys[op.Key] = struct{}{}
	}
	s.records.ReplaceOrInsert(rec)
	return registry.Event{Record: rec}
}

func (s *Store) remove(r registry.Range, revision registry.Revision) []registry.Event {
	var doomed []registry.Record
	s.ascend(r, func(rec registry.Record) { doomed = append(doomed, rec) })
	events := make([]registry.Event, 0, len(doomed))
	for _, rec := range doomed {
		s.detach(rec)
		s.records.Delete(rec)
		gone := registry.Record{Key: rec.Key, Modified: revision}
		events = append(events, registry.Event{Record: gone, Deleted: true})
	}
	return events
}

func (s *Store) detach(rec registry.Record) {
	if l := s.leases[rec.Lease]; l != nil {
		delete(l.keys, rec.Key)
	}
}

func (s *Store) forget(upTo registry.Revision) {
	s.lost = max(s.lost, upTo)
	first := 0
	for first < len(s.history) && s.history[first].revision <= s.lost {
		first++
	}
	s.history = s.history[first:]
	for w := range s.watches {
		if w.told < s.lost {
			w.wake()
		}
	}
}

func name(r registry.Range) string {
	if r.To == "" {
		return r.From
	}
	return fmt.Sprintf("%q to %q", r.From, r.To)
}

// lease is what Grant made.
type lease struct {
	id    registry.LeaseID
	ttl   time.Duration
	keys  map[string]struct{}
	timer *time.Timer
	round int // tells a timer that fired from the one that counts
}

func (l *lease) start(s *Store) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.round++
	round := l.round
	l.timer = time.AfterFunc(l.ttl, func() { s.expire(l, round) })
}

func (s *Store) expire(l *lease, round int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut || l.round != round || s.leases[l.id] != l {
		return
	}
	s.end(l)
}

// end deletes a lease and its records as one revision.
func (s *Store) end(l *lease) {
	l.timer.Stop()
	delete(s.leases, l.id)
	ops := make([]registry.Op, 0, len(l.keys))
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		ops = append(ops, registry.Op{Delete: registry.Single(key)})
	}
	s.apply(ops)
}

// Grant is registry.Leases'.
func (s *Store) Grant(ctx context.Context, id registry.LeaseID, ttl time.Duration) (registry.LeaseID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answers(ctx); err != nil {
		return 0, fmt.Errorf("make a lease: %w", err)
	}
	if ttl <= 0 || id < 0 {
		return 0, fmt.Errorf("make lease %d of %v: %w", id, ttl, registry.ErrInvalid)
	}
	if known := s.leases[id]; known != nil {
		known.start(s)
		return id, nil
	}
	for id == 0 {
		s.granted++
		if s.leases[s.granted] == nil {
			id = s.granted
		}
	}
	l := &lease{id: id, ttl: ttl, keys: make(map[string]struct{})}
	s.leases[id] = l
	l.start(s)
	return id, nil
}

// KeepAlive is registry.Leases'.
func (s *Store) KeepAlive(ctx context.Context, id registry.LeaseID) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.lease(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("keep lease %x: %w", int64(id), err)
	}
	l.start(s)
	return l.ttl, nil
}

// Revoke is registry.Leases'.
func (s *Store) Revoke(ctx context.Context, id registry.LeaseID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.lease(ctx, id)
	if err != nil {
		return fmt.Errorf("end lease %x: %w", int64(id), err)
	}
	s.end(l)
	return nil
}

func (s *Store) lease(ctx context.Context, id registry.LeaseID) (*lease, error) {
	if err := s.answers(ctx); err != nil {
		return nil, err
	}
	if l := s.leases[id]; l != nil {
		return l, nil
	}
	return nil, registry.ErrLeaseGone
}
