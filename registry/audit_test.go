package registry_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
)

// lossy is a store whose watches lose the events of some keys, or end telling
// anything.
type lossy struct {
	registry.Store
	lost  map[string]bool
	stuck map[int]bool // watches, by when they were made
	made  int
}

func (s *lossy) Watch(ctx context.Context, r registry.Range, after registry.Revision) <-chan registry.Changes {
	out := make(chan registry.Changes)
	number := s.made
	s.made++
	go func() {
		defer close(out)
		for c := range s.Store.Watch(ctx, r, after) {
			c.Events = slices.DeleteFunc(slices.Clone(c.Events), func(e registry.Event) bool { return s.lost[e.Key] })
			if s.stuck[number] && c.Err == nil {
				continue
			}
			select {
			case out <- c:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// audited follows a/ and b/ of a store with an audit every ten minutes, and
// writes down what it tells and logs.
func audited(t *testing.T, store registry.Store) (*diary, *strings.Builder) {
	told, log := &diary{}, &strings.Builder{}
	to := told.following()
	to.Audit = 10 * time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ranges := []registry.Range{registry.Prefix("a/"), registry.Prefix("b/")}
		_ = registry.Follow(ctx, store, ranges, to, slog.New(slog.NewTextHandler(log, nil)))
	}()
	t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
	return told, log
}

func TestAudit_MendsWhatAWatchLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lossy{Store: mem.New(mem.Options{}), lost: map[string]bool{"b/2": true, "b/3": true, "b/4": true}}
		commit(t, store, put("a/1", "x"), put("b/1", "x"), put("b/2", "x"), put("b/3", "x"))
		told, log := audited(t, store)
		told.take()
		commit(t, store, put("b/2", "y"), remove("b/3"), put("b/4", "y"), put("b/1", "y"))
		told.want(t, "b/1=y")
		time.Sleep(30 * time.Minute)
		told.want(t, "b/2=y", "-b/3", "b/4=y")
		for _, want := range []string{"key=b/2 known_revision=2 registry_revision=3", "key=b/3 known_revision=2 registry_revision=0", "key=b/4 known_revision=0 registry_revision=3"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, log)
			}
		}
		log.Reset()
		time.Sleep(time.Hour)
		told.want(t)
		if log.Len() != 0 {
			t.Errorf("what was mended is found again:\n%s", log)
		}
	})
}

// TestAudit_FindsNothing where all is well, however much changes.
func TestAudit_FindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		random := rand.New(rand.NewPCG(3, 3))
		key := func() string { return fmt.Sprintf("%c/%d", 'a'+random.IntN(2), random.IntN(5000)) }
		for range 3000 {
			commit(t, store, put(key(), "x"))
		}
		slow := &slowAnswers{Store: store, takes: func() time.Duration { return time.Duration(1+len(key())) * time.Second }}
		told, log := audited(t, slow)
		known := map[string]string{}
		for range 20_000 {
			if k := key(); random.IntN(3) == 0 {
				commit(t, store, registry.Op{Delete: registry.Single(k)})
			} else {
				commit(t, store, put(k, "y"))
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, line := range told.take() {
			known[line] = ""
		}
		if log.Len() != 0 || len(known) < 5000 {
			t.Errorf("told of %d things; the audit says:\n%s", len(known), log)
		}
		if slow.lists < 4 {
			t.Errorf("only %d looks were taken in half an hour", slow.lists)
		}
	})
}

// slowAnswers lists in no time what it hands over late.
type slowAnswers struct {
	registry.Store
	takes func() time.Duration
	lists int
}

func (s *slowAnswers) List(ctx context.Context, r registry.Range, how registry.Listing, each func(registry.Part)) error {
	s.lists++
	var parts []registry.Part
	err := s.Store.List(ctx, r, how, func(p registry.Part) { parts = append(parts, p) })
	time.Sleep(time.Duration(s.lists%7) * time.Second)
	for _, p := range parts {
		each(p)
	}
	return err
}

func TestAudit_WatchesAnewWhereAWatchIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lossy{Store: mem.New(mem.Options{}), stuck: map[int]bool{1: true}} // the watch of b/
		commit(t, store, put("b/1", "x"))
		told, log := audited(t, store)
		told.take()
		commit(t, store, put("b/1", "y"))
		told.want(t)
		time.Sleep(30 * time.Minute)
		told.want(t, "b/1=y")
		if !strings.Contains(log.String(), "watch of the registry is stuck") {
			t.Errorf("the log doesn't tell:\n%s", log)
		}
		commit(t, store, put("b/1", "z"))
		told.want(t, "b/1=z")
	})
}

// breaking is a store whose first list breaks off after its first part.
type breaking struct {
	registry.Store
	broke bool
	then  func()
}

func (s *breaking) List(ctx context.Context, r registry.Range, how registry.Listing, each func(registry.Part)) error {
	if s.broke {
		return s.Store.List(ctx, r, how, each)
	}
	s.broke = true
	first := true
	_ = s.Store.List(ctx, r, how, func(p registry.Part) {
		if first {
			each(p)
		}
		first = false
	})
	s.then()
	return fmt.Errorf("broken off: %w", registry.ErrNoAnswer)
}

// TestFollow_FirstListBreaksOff: it goes on where it was, or tells what changed
// meanwhile when the registry no longer knows how it was.
func TestFollow_FirstListBreaksOff(t *testing.T) {
	for _, change := range []bool{false, true} {
		t.Run(fmt.Sprintf("changed %t", change), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := mem.New(mem.Options{})
				for i := range 250 {
					commit(t, store, put(fmt.Sprintf("a/%03d", i), "x"))
				}
				broken := &breaking{Store: store, then: func() {
					if change {
						commit(t, store, put("a/000", "y"), remove("a/001"), put("a/200", "y"))
					}
				}}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				known, records, last := map[string]string{}, 0, 0
				go registry.Follow(ctx, broken, []registry.Range{registry.Prefix("a/")}, registry.Following{
					Snapshot: func(_ registry.Range, p registry.Part) {
						for _, rec := range p.Records {
							known[rec.Key] = string(rec.Value)
						}
						records += len(p.Records)
						if p.Last {
							last++
						}
					},
					Changes: func(_ registry.Range, c registry.Changes) {
						for _, e := range c.Events {
							if known[e.Key] = string(e.Value); e.Deleted {
								delete(known, e.Key)
							}
						}
					},
				}, quiet)
				time.Sleep(time.Minute)
				synctest.Wait()
				want := 250
				if change {
					want = 249
				}
				if len(known) != want || last != 1 || !change && records != 250 {
					t.Errorf("%d records are known, %d were listed, %d last parts", len(known), records, last)
				}
				if change && (known["a/000"] != "y" || known["a/200"] != "y" || known["a/001"] != "") {
					t.Errorf("known are %s and %s, and %q of what was deleted", known["a/000"], known["a/200"], known["a/001"])
				}
			})
		})
	}
}
