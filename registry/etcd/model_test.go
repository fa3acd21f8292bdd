package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/mem"
)

// TestStore_MemoryBehavesAsEtcd does the same random calls to both stores and
// compares every answer, and all that a watch told in the end. Revisions count
// from each store's own start.
func TestStore_MemoryBehavesAsEtcd(t *testing.T) {
	member := startMember(t, newAuthority(t).member(t, "m1", 0))
	awaitReady(t, member)
	for seed := range uint64(60) {
		real := subject{Store: etcd.NewStore(member.Connection(), fmt.Sprintf("/%d/", seed))}
		model := subject{Store: mem.New(mem.Options{})}
		want := real.play(t, rand.New(rand.NewPCG(seed, 0)))
		got := model.play(t, rand.New(rand.NewPCG(seed, 0)))
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("seed %d, call %d:\nmemory %s\netcd   %s", seed, i, got[i], want[i])
			}
		}
	}
}

// subject is a store whose answers are written down.
type subject struct {
	registry.Store
	zero   registry.Revision
	leases []registry.LeaseID
	said   []string
}

func (s *subject) play(t *testing.T, random *rand.Rand) []string {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start, err := s.Range(ctx, registry.Everything())
	must(t, err)
	s.zero = start.Revision
	watch := s.Watch(ctx, registry.Range{From: "b", To: "e"}, s.zero)
	for range 40 {
		s.call(ctx, random)
	}
	_, err = s.Commit(ctx, nil, []registry.Op{{Key: "d/last"}})
	must(t, err)
	for c := range watch {
		must(t, c.Err)
		for _, e := range c.Events {
			s.said = append(s.said, fmt.Sprintf("told %v deleted %v", s.text(e.Record), e.Deleted))
			if e.Key == "d/last" {
				return s.said
			}
		}
	}
	t.Fatal("the watch ended early")
	return nil
}

func (s *subject) call(ctx context.Context, random *rand.Rand) {
	key := func() string { return string(rune('a'+random.IntN(6))) + []string{"", "/1", "/2"}[random.IntN(3)] }
	span := func() registry.Range {
		if random.IntN(2) == 0 {
			return registry.Single(key())
		}
		return registry.Prefix(key())
	}
	switch random.IntN(6) {
	case 0:
		id, err := s.Grant(ctx, 0, time.Hour)
		s.leases = append(s.leases, id)
		s.say("grant", 0, err)
	case 1:
		if len(s.leases) > 0 {
			i := random.IntN(len(s.leases))
			s.say("revoke", 0, s.Revoke(ctx, s.leases[i]))
		}
	case 2:
		got, err := s.Range(ctx, span())
		for _, rec := range got.Records {
			s.said = append(s.said, s.text(rec))
		}
		s.say("range", got.Revision, err)
	default:
		var guards []registry.Guard
		for range random.IntN(2) {
			g := registry.Guard{Key: key()}
			if random.IntN(2) == 0 {
				at, err := s.Range(ctx, registry.Single(g.Key))
				if err == nil && len(at.Records) > 0 {
					g.Modified = at.Records[0].Modified
				}
			}
			guards = append(guards, g)
		}
		var ops []registry.Op
		for range random.IntN(4) {
			if random.IntN(3) == 0 {
				ops = append(ops, registry.Op{Delete: span()})
				continue
			}
			op := registry.Op{Key: key(), Value: fmt.Append(nil, random.IntN(100))}
			if len(s.leases) > 0 && random.IntN(3) == 0 {
				op.Lease = s.leases[random.IntN(len(s.leases))]
			}
			ops = append(ops, op)
		}
		revision, err := s.Commit(ctx, guards, ops)
		s.say("commit", revision, err)
	}
}

func (s *subject) say(call string, at registry.Revision, err error) {
	var kinds []string
	for _, kind := range []error{registry.ErrGuard, registry.ErrInvalid, registry.ErrLeaseGone, registry.ErrNoAnswer, registry.ErrRefused} {
		if errors.Is(err, kind) {
			kinds = append(kinds, kind.Error())
		}
	}
	if err == nil && at > 0 {
		at -= s.zero
	}
	s.said = append(s.said, fmt.Sprintf("%s at %d: %s", call, at, strings.Join(kinds, ", ")))
}

// text names a lease by its place among those granted.
func (s *subject) text(rec registry.Record) string {
	lease := 0
	for i, id := range s.leases {
		if id == rec.Lease && id != 0 {
			lease = i + 1
		}
	}
	created := rec.Created
	if created > 0 {
		created -= s.zero
	}
	return fmt.Sprintf("%s=%s created %d modified %d lease %d", rec.Key, rec.Value, created, rec.Modified-s.zero, lease)
}
