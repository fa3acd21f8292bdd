package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
)

const (
	ttl       = 5 * time.Second
	keepAlive = 1500 * time.Millisecond
)

var quiet = slog.New(slog.DiscardHandler)

func campaign(t *testing.T, ctx context.Context, store registry.Store, machine string) *registry.Leadership {
	t.Helper()
	l, err := registry.Campaign(ctx, store, &registry.Leader{Machine: machine}, ttl, keepAlive, quiet)
	if err != nil {
		t.Fatalf("campaign of %s: %v", machine, err)
	}
	return l
}

func over(l *registry.Leadership) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

func TestCampaign_OnlyOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		leaders := make(chan *registry.Leadership)
		for range 3 {
			go func() { leaders <- campaign(t, t.Context(), store, "m") }()
		}
		for i := range 3 {
			leader := <-leaders
			time.Sleep(time.Minute)
			select {
			case <-leaders:
				t.Fatal("a second one leads")
			default:
			}
			if over(leader) {
				t.Fatalf("leadership %d ended while it was kept alive", i)
			}
			if err := leader.Resign(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !over(leader) {
				t.Fatal("Resign returned before Done was closed")
			}
		}
	})
}

// unkept is a store whose keep-alives go unanswered while the candidate is
// paused, as happens to a frozen process.
type unkept struct {
	registry.Store
	paused atomic.Bool
}

func (s *unkept) KeepAlive(ctx context.Context, id registry.LeaseID) (time.Duration, error) {
	if s.paused.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.Store.KeepAlive(ctx, id)
}

func TestC06_LateWriteOfAPausedLeaderFailsItsGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		first := &unkept{Store: store}
		old := campaign(t, t.Context(), first, "m1")
		write := func(l *registry.Leadership, value string) error {
			_, err := store.Commit(t.Context(), []registry.Guard{l.Guard()}, []registry.Op{{Key: "assignments/m1/a.service", Value: []byte(value)}})
			return err
		}
		if err := write(old, "old"); err != nil {
			t.Fatal(err)
		}
		first.paused.Store(true)
		next := campaign(t, t.Context(), store, "m2")
		if !over(old) {
			t.Error("the second leads before the first knows that it doesn't")
		}
		if err := write(old, "late"); !errors.Is(err, registry.ErrGuard) {
			t.Errorf("late write: got %v, want ErrGuard", err)
		}
		if err := write(next, "new"); err != nil {
			t.Error(err)
		}
		if err := old.Resign(t.Context()); err != nil {
			t.Error(err)
		}
		if err := next.Resign(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCampaign_DoneCountsFromBeforeTheLastAnsweredKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		leader := campaign(t, t.Context(), store, "m1")
		time.Sleep(keepAlive + time.Millisecond)
		store.Cut()
		last := time.Now()
		<-leader.Done()
		if got := time.Since(last); got > ttl {
			t.Errorf("led for %v after the last keep-alive, want less than the lease's %v", got, ttl)
		}
	})
}

func TestCampaign_EndsWhenItsRecordIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		leader := campaign(t, t.Context(), store, "m1")
		if _, err := store.Commit(t.Context(), nil, []registry.Op{{Delete: registry.Everything()}}); err != nil {
			t.Fatal(err)
		}
		<-leader.Done()
	})
}

func TestCampaign_WaitsForASilentRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		store.Cut()
		time.AfterFunc(time.Minute, store.Heal)
		leader := campaign(t, t.Context(), store, "m1")
		if err := leader.Resign(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		store.Cut()
		if _, err := registry.Campaign(ctx, store, &registry.Leader{}, ttl, keepAlive, quiet); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}
