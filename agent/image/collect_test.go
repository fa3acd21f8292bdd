package image

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// names lists what is here.
func names(t *testing.T, s *Store) string {
	t.Helper()
	images, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, img := range images {
		ref, err := ParseReference(img.Ref)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ref.FamiliarName())
	}
	return strings.Join(all, " ")
}

func TestCollectGoesByUse(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name string
		o    Collection
		want string
	}{
		{"nothing unnamed", Collection{}, "held new old older"},
		{"all that is not held", Collection{All: true}, "held"},
		{"by age", Collection{All: true, Before: now.Add(-36 * time.Hour)}, "held new old"},
		{"by size: shared layers count once", Collection{All: true, KeepMax: 21}, "held new"},
		{"by size: enough room", Collection{All: true, KeepMax: 1000}, "held new old older"},
		{"by size: what is held stays", Collection{All: true, KeepMax: 1}, "held"},
		{"chosen", Collection{All: true, Accept: func(img *Image, _ time.Time) bool { return strings.Contains(img.Ref, "/old:") }}, "held new older"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store, put := newStore(t) // each layer says it has 7 bytes
			held := put("held", "base", "h")
			put("older", "base", "o")
			put("old", "base", "p")
			put("new", "base", "n")
			if err := store.Hold(t.Context(), "web", held); err != nil {
				t.Fatal(err)
			}
			for name, age := range map[string]time.Duration{"held": 99 * time.Hour, "older": 48 * time.Hour, "old": 24 * time.Hour, "new": time.Hour} {
				ref, _ := ParseReference(name)
				if err := os.Chtimes(store.refPath(ref), time.Time{}, now.Add(-age)); err != nil {
					t.Fatal(err)
				}
			}
			removed, err := store.Collect(t.Context(), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if got := names(t, store); got != tt.want {
				t.Errorf("left %s, want %s; removed %+v", got, tt.want, removed)
			}
			if n := int64(4 - len(strings.Fields(tt.want))); int64(len(removed.Layers)) != n || removed.Bytes < 7*n {
				t.Errorf("removed %+v", removed)
			}
		})
	}
}

func TestReleaseCountsAsUse(t *testing.T) {
	store, put := newStore(t)
	img := put("a", "x")
	ref, _ := ParseReference("a")
	if err := os.Chtimes(store.refPath(ref), time.Time{}, time.Now().Add(-100*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := store.Hold(t.Context(), "web", img); err != nil {
		t.Fatal(err)
	}
	if err := store.Release("web"); err != nil {
		t.Fatal(err)
	}
	policy := &Policy{MaxAge: 24 * time.Hour}
	if _, err := store.KeepBudget(t.Context(), policy, time.Now().Add(23*time.Hour)); err != nil || names(t, store) != "a" {
		t.Errorf("left %q, %v", names(t, store), err)
	}
	if _, err := store.KeepBudget(t.Context(), policy, time.Now().Add(25*time.Hour), img.ConfigID); err != nil || names(t, store) != "a" {
		t.Errorf("what is to be kept: left %q, %v", names(t, store), err)
	}
	if _, err := store.KeepBudget(t.Context(), policy, time.Now().Add(25*time.Hour)); err != nil || names(t, store) != "" {
		t.Errorf("left %q, %v", names(t, store), err)
	}
}

func TestBudgetLeavesWhatIsNewOrBeingPulled(t *testing.T) {
	store, put := newStore(t)
	put("a", "x")
	policy := &Policy{MaxBytes: 1}
	if _, err := store.KeepBudget(t.Context(), policy, time.Now()); err != nil || names(t, store) != "a" {
		t.Errorf("just pulled: left %q, %v", names(t, store), err)
	}
	x, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removed, err := store.KeepBudget(t.Context(), policy, time.Now().Add(time.Hour))
	if err != nil || !removed.Later || names(t, store) != "a" {
		t.Errorf("during a pull: %+v, left %q, %v", removed, names(t, store), err)
	}
	x.Close()
	removed, err = store.KeepBudget(t.Context(), policy, time.Now().Add(time.Hour))
	if err != nil || fmt.Sprint(removed.Untagged) != "[docker.io/library/a:latest]" {
		t.Errorf("%+v, %v", removed, err)
	}
}

func TestFindAndRemoveByID(t *testing.T) {
	store, put := newStore(t)
	img := put("a:1", "x")
	put("a:2", "x")
	put("b", "x")
	if got, err := store.Find(img.ConfigID.Short()); err != nil || got.ConfigID != img.ConfigID {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := store.Find("0000"); err == nil || !strings.Contains(err.Error(), "not here") {
		t.Errorf("got %v", err)
	}
	if _, err := store.Remove(t.Context(), img.ConfigID.Short(), false); err == nil || !strings.Contains(err.Error(), "it has several names") {
		t.Errorf("got %v", err)
	}
	if removed, err := store.Remove(t.Context(), string(img.ConfigID), true); err != nil || len(removed.Untagged) != 3 || len(removed.Layers) != 1 {
		t.Errorf("removed %+v, %v", removed, err)
	}
}

// While what was removed goes from the disk others have begun, and think that it
// is a dead process's.
func TestRemovedContentDisturbsNobody(t *testing.T) {
	store, put := newStore(t)
	done := make(chan error)
	go func() {
		var err error
		for range 50 {
			session, bad := store.Begin(t.Context())
			if err = errors.Join(err, bad); bad == nil {
				session.Close()
			}
		}
		done <- err
	}()
	for i := range 50 {
		put("a", "base", fmt.Sprint("layer", i))
		if _, err := store.Collect(t.Context(), Collection{All: true}); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(store.Dir() + "/tmp"); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
