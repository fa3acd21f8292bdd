package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
)

func commit(t *testing.T, store registry.Store, ops ...registry.Op) registry.Revision {
	t.Helper()
	revision, err := store.Commit(t.Context(), nil, ops)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func put(key, value string) registry.Op { return registry.Op{Key: key, Value: []byte(value)} }

func remove(prefix string) registry.Op { return registry.Op{Delete: registry.Prefix(prefix)} }

// diary writes down what Follow tells.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// take returns what was written since the last time.
func (d *diary) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

func (d *diary) following() registry.Following {
	return registry.Following{
		Snapshot: func(r registry.Range, p registry.Part) {
			line := "list " + r.From + ":"
			for _, rec := range p.Records {
				line += " " + rec.Key + "=" + string(rec.Value)
			}
			d.write(line)
		},
		Changes: func(_ registry.Range, c registry.Changes) {
			for _, e := range c.Events {
				if e.Deleted {
					d.write("-" + e.Key)
				} else {
					d.write(e.Key + "=" + string(e.Value))
				}
			}
		},
		State: func(err error) {
			switch {
			case err == nil:
				d.write("follows")
			case errors.Is(err, registry.ErrNoAnswer):
				d.write("no answer")
			case errors.Is(err, registry.ErrCompacted):
				d.write("compacted")
			}
		},
	}
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	if got, w := strings.Join(d.take(), "; "), strings.Join(want, "; "); got != w {
		t.Fatalf("told %s\nwant %s", got, w)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		commit(t, store, put("a/1", "x"), put("a/2", "x"), put("b/1", "x"), put("c/1", "x"))
		ctx, cancel := context.WithCancel(t.Context())
		var told diary
		ended := make(chan error, 1)
		go func() {
			ended <- registry.Follow(ctx, store, []registry.Range{registry.Prefix("a/"), registry.Prefix("b/")}, told.following(), quiet)
		}()
		told.want(t, "list a/: a/1=x a/2=x", "list b/: b/1=x")
		commit(t, store, put("a/3", "y"), put("c/1", "y"))
		told.want(t, "a/3=y")
		commit(t, store, remove("b/"))
		told.want(t, "-b/1")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

// late is a store whose watches see nothing while it is held up, as behind a
// slow connection.
type late struct {
	registry.Store
	hold chan struct{}
}

func (s *late) Watch(ctx context.Context, r registry.Range, after registry.Revision) <-chan registry.Changes {
	out := make(chan registry.Changes)
	go func() {
		defer close(out)
		<-s.hold
		for c := range s.Store.Watch(ctx, r, after) {
			select {
			case out <- c:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func TestFollow_AfterCompactionTellsTheDifference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		commit(t, store, put("a/1", "x"), put("a/2", "x"), put("a/3", "x"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told diary
		slow := &late{store, make(chan struct{})}
		go registry.Follow(ctx, slow, []registry.Range{registry.Prefix("a/")}, told.following(), quiet)
		told.want(t, "list a/: a/1=x a/2=x a/3=x")
		commit(t, store, registry.Op{Delete: registry.Single("a/1")}, put("a/2", "y"), put("a/4", "y"))
		store.Compact(commit(t, store, put("b", "")))
		close(slow.hold)
		time.Sleep(10 * time.Second)
		told.want(t, "compacted", "-a/1", "a/2=y", "a/4=y", "follows")
		commit(t, store, put("a/3", "z"))
		told.want(t, "a/3=z")
	})
}

func TestC03_FollowNeverTakesAnErrorForAnEmptyList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		commit(t, store, put("a/1", "x"))
		store.Cut()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var told diary
		go registry.Follow(ctx, store, []registry.Range{registry.Prefix("a/")}, told.following(), quiet)
		told.want(t, "no answer")
		time.Sleep(time.Minute)
		for _, line := range told.take() {
			if line != "no answer" {
				t.Fatalf("a silent registry made it tell %q", line)
			}
		}
		store.Heal()
		time.Sleep(time.Minute)
		told.want(t, "list a/: a/1=x", "follows")
	})
}

func TestCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		commit(t, store, put("a/1", "x"), put("a/2", "x"), put("b/1", "x"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		mirror := registry.NewCopy(store, []registry.Range{registry.Everything()}, quiet)
		go mirror.Run(ctx)
		for i := range 100 {
			commit(t, store, put(fmt.Sprintf("a/%d", i%10), fmt.Sprint(i)))
			if err := mirror.Fresh(ctx); err != nil {
				t.Fatal(err)
			}
			if rec, _ := mirror.Get(fmt.Sprintf("a/%d", i%10)); string(rec.Value) != fmt.Sprint(i) {
				t.Fatalf("write %d isn't in the copy after Fresh: %+v", i, rec)
			}
		}
		before := mirror.View()
		commit(t, store, remove("a/"))
		if err := mirror.Fresh(ctx); err != nil {
			t.Fatal(err)
		}
		count := func(v registry.View) (n int) {
			for range v.Range(registry.Prefix("a/")) {
				n++
			}
			return n
		}
		if was, is := count(before), count(mirror.View()); was != 10 || is != 0 {
			t.Errorf("got %d records before and %d after the deletion, want 10 and 0", was, is)
		}
		time.Sleep(time.Minute)
		if age := mirror.Age(); age != time.Minute {
			t.Errorf("got age %v, want 1m", age)
		}
		store.Cut()
		if err := mirror.Fresh(ctx); !errors.Is(err, registry.ErrNoAnswer) {
			t.Errorf("got %v, want ErrNoAnswer", err)
		}
	})
}

func TestCopy_FreshOfRangesThatDontChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New(mem.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		mirror := registry.NewCopy(store, []registry.Range{registry.Prefix("a/"), registry.Prefix("b/")}, quiet)
		go mirror.Run(ctx)
		synctest.Wait()
		at := commit(t, store, put("c", "x"))
		if err := mirror.Fresh(ctx); err != nil || mirror.Revision() < at {
			t.Errorf("got revision %d, %v, want at least %d", mirror.Revision(), err, at)
		}
	})
}
