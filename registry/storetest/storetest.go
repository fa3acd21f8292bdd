// Package storetest says what every registry.Store does, as tests.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// Compacter is implemented by stores whose history a test can cut short.
type Compacter interface {
	Compact(upTo registry.Revision)
}

// Run checks a kind of Store. open makes an empty one, for each test anew, and
// cleans up by itself.
func Run(t *testing.T, open func(t *testing.T) registry.Store) {
	for _, test := range []struct {
		name string
		run  func(*harness)
	}{
		{"an absent key is no error", absent},
		{"what was put is read", putAndRange},
		{"ranges are half open and sorted", halfOpen},
		{"a list is whole, in order, of one moment", listWhole},
		{"a list goes on behind a key, as of then", listOn},
		{"a list of nothing is one empty part", listNothing},
		{"guards", guards},
		{"a failed guard writes nothing", failedGuard},
		{"what no transaction may hold is refused", invalid},
		{"a deletion of nothing is no revision", deleteNothing},
		{"a transaction is one revision and one change", oneRevision},
		{"a watch has no gap", noGap},
		{"a watch tells its range only", watchRange},
		{"a watch of one key", watchOne},
		{"progress", progress},
		{"a watch ends with its context", watchEnds},
		{"a watch from lost history says so", compacted},
		{"a lease that runs out takes its records along", leaseRunsOut},
		{"a lease that is kept stays", leaseKept},
		{"a revoked lease is gone", leaseRevoked},
		{"a lease with an id of one's own", leaseOwnID},
		{"a put takes a record off its lease", leaseDetached},
		{"a call whose context ended says so", contextEnded},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			test.run(&harness{T: t, Store: open(t), ctx: ctx})
		})
	}
}

// harness is a store under test, with calls that must succeed.
type harness struct {
	*testing.T
	registry.Store
	ctx context.Context
}

func put(key, value string) registry.Op {
	return registry.Op{Key: key, Value: []byte(value)}
}

func remove(r registry.Range) registry.Op { return registry.Op{Delete: r} }

func (h *harness) commit(ops ...registry.Op) registry.Revision {
	h.Helper()
	revision, err := h.Commit(h.ctx, nil, ops)
	if err != nil {
		h.Fatalf("commit: %v", err)
	}
	return revision
}

func (h *harness) list(r registry.Range) registry.Snapshot {
	h.Helper()
	snapshot, err := h.Range(h.ctx, r)
	if err != nil {
		h.Fatalf("range: %v", err)
	}
	return snapshot
}

func (h *harness) get(key string) registry.Record {
	h.Helper()
	s := h.list(registry.Single(key))
	if len(s.Records) != 1 {
		h.Fatalf("%s: got %d records, want 1", key, len(s.Records))
	}
	return s.Records[0]
}

func (h *harness) wantErr(err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Fatalf("got error %v, want %v", err, want)
	}
}

func (h *harness) wantKeys(r registry.Range, want string) {
	h.Helper()
	if got := keys(h.list(r).Records); got != want {
		h.Fatalf("got keys %q, want %q", got, want)
	}
}

func keys(records []registry.Record) string {
	var names []string
	for _, r := range records {
		names = append(names, r.Key+"="+string(r.Value))
	}
	return strings.Join(names, " ")
}

// watched collects what a watch tells, as text, until it told the events
// wanted, and compares.
func (h *harness) wantEvents(changes <-chan registry.Changes, want ...string) {
	h.Helper()
	var got []string
	for len(got) < len(want) {
		select {
		case c, ok := <-changes:
			if !ok || c.Err != nil {
				h.Fatalf("watch ended after %q: %v", got, c.Err)
			}
			for _, e := range c.Events {
				got = append(got, text(e))
			}
		case <-h.ctx.Done():
			h.Fatalf("watch told %q, want %q", got, want)
		}
	}
	if g, w := strings.Join(got, ", "), strings.Join(want, ", "); g != w {
		h.Fatalf("watch told %s\nwant       %s", g, w)
	}
}

func text(e registry.Event) string {
	if e.Deleted {
		return "-" + e.Key
	}
	return e.Key + "=" + string(e.Value)
}

func absent(h *harness) {
	s := h.list(registry.Single("units/none.service"))
	if len(s.Records) != 0 || s.Revision <= 0 {
		h.Fatalf("got %d records at revision %d, want none at a positive one", len(s.Records), s.Revision)
	}
}

func putAndRange(h *harness) {
	first := h.commit(put("units/a", "1"))
	second := h.commit(put("units/a", "2"))
	if second <= first {
		h.Fatalf("revision %d follows %d", second, first)
	}
	rec := h.get("units/a")
	if string(rec.Value) != "2" || rec.Created != first || rec.Modified != second || rec.Lease != 0 {
		h.Fatalf("got %+v, want value 2, created %d, modified %d, no lease", rec, first, second)
	}
	h.commit(put("units/a", ""))
	if rec := h.get("units/a"); len(rec.Value) != 0 {
		h.Fatalf("got value %q, want none", rec.Value)
	}
}

func halfOpen(h *harness) {
	h.commit(put("b/2", "y"), put("a/1", "x"), put("b/", "v"), put("b/10", "w"), put("b0", "z"), put("c", "u"))
	h.wantKeys(registry.Prefix("b/"), "b/=v b/10=w b/2=y")
	h.wantKeys(registry.Range{From: "a/1", To: "b/10"}, "a/1=x b/=v")
	h.wantKeys(registry.Single("b/"), "b/=v")
	h.wantKeys(registry.Everything(), "a/1=x b/=v b/10=w b/2=y b0=z c=u")
}

func guards(h *harness) {
	created := h.commit(put("k", "1"))
	modified := h.commit(put("k", "2"))
	for _, test := range []struct {
		name  string
		guard registry.Guard
		holds bool
	}{
		{"absent is absent", registry.Guard{Key: "none"}, true},
		{"present isn't absent", registry.Guard{Key: "k"}, false},
		{"modified then", registry.Guard{Key: "k", Modified: modified}, true},
		{"modified before", registry.Guard{Key: "k", Modified: created}, false},
		{"created then", registry.Guard{Key: "k", Created: created}, true},
		{"created later", registry.Guard{Key: "k", Created: modified}, false},
		{"created but absent", registry.Guard{Key: "none", Created: created}, false},
		{"modified but absent", registry.Guard{Key: "none", Modified: created}, false},
	} {
		revision, err := h.Commit(h.ctx, []registry.Guard{test.guard}, nil)
		if test.holds && (err != nil || revision < modified) {
			h.Errorf("%s: got revision %d, %v, want at least %d", test.name, revision, err, modified)
		}
		if !test.holds && !errors.Is(err, registry.ErrGuard) {
			h.Errorf("%s: got %v, want ErrGuard", test.name, err)
		}
	}
}

func failedGuard(h *harness) {
	at := h.commit(put("k", "1"))
	_, err := h.Commit(h.ctx,
		[]registry.Guard{{Key: "k", Modified: at}, {Key: "k", Modified: at - 1}},
		[]registry.Op{put("k", "2"), put("l", "2")})
	h.wantErr(err, registry.ErrGuard)
	h.wantKeys(registry.Everything(), "k=1")
}

func invalid(h *harness) {
	var many []registry.Op
	for i := range registry.OpsMax + 1 {
		many = append(many, put(fmt.Sprintf("k%03d", i), ""))
	}
	for name, ops := range map[string][]registry.Op{
		"a key twice":     {put("k", "1"), put("k", "2")},
		"put and deleted": {put("k/1", "1"), remove(registry.Prefix("k/"))},
		"no key":          {put("", "1")},
		"too many":        many,
	} {
		if _, err := h.Commit(h.ctx, nil, ops); !errors.Is(err, registry.ErrInvalid) {
			h.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	h.commit(many[:registry.OpsMax]...)
	if got := len(h.list(registry.Everything()).Records); got != registry.OpsMax {
		h.Fatalf("got %d records, want %d", got, registry.OpsMax)
	}
}

func deleteNothing(h *harness) {
	at := h.commit(put("k", "1"))
	if after := h.commit(remove(registry.Prefix("none/"))); after != at {
		h.Fatalf("got revision %d, want still %d", after, at)
	}
}

func oneRevision(h *harness) {
	start := h.commit(put("a/1", "x"), put("a/2", "x"), put("b", "x"))
	watch := h.Watch(h.ctx, registry.Everything(), start)
	at := h.commit(remove(registry.Prefix("a/")), put("b", "y"), put("c", "z"))
	c := <-watch
	var got []string
	for _, e := range c.Events {
		got = append(got, text(e))
		if e.Modified != at {
			h.Errorf("%s: modified at %d, want %d", text(e), e.Modified, at)
		}
		if e.Deleted && e.Value != nil {
			h.Errorf("%s: a deletion with value %q", e.Key, e.Value)
		}
	}
	if g := strings.Join(got, " "); g != "-a/1 -a/2 b=y c=z" || c.Revision != at {
		h.Fatalf("told %q at %d (%v), want everything at once at %d", g, c.Revision, c.Err, at)
	}
}

func noGap(h *harness) {
	start := h.commit(put("k", "start"))
	var want []string
	write := func(from, to int) {
		for i := from; i < to; i++ {
			h.commit(put("k", fmt.Sprint(i)))
			want = append(want, fmt.Sprintf("k=%d", i))
		}
	}
	write(0, 50)
	watch := h.Watch(h.ctx, registry.Single("k"), start)
	write(50, 100)
	h.wantEvents(watch, want...)
}

func watchRange(h *harness) {
	start := h.commit(put("a", "0"))
	watch := h.Watch(h.ctx, registry.Prefix("b/"), start)
	h.commit(put("a", "1"))
	h.commit(put("b/", "1"), put("b0", "1"), put("b/x", "1"))
	h.commit(remove(registry.Everything()))
	h.wantEvents(watch, "b/=1", "b/x=1", "-b/", "-b/x")
}

func watchOne(h *harness) {
	start := h.commit(put("a", "0"))
	watch := h.Watch(h.ctx, registry.Single("a"), start)
	h.commit(put("a/1", "1"))
	h.commit(put("a", "1"))
	h.wantEvents(watch, "a=1")
}

func progress(h *harness) {
	start := h.commit(put("a", "0"))
	watch := h.Watch(h.ctx, registry.Single("b"), start)
	at := h.commit(put("a", "1"))
	for {
		if err := h.Progress(h.ctx); err != nil {
			h.Fatalf("progress: %v", err)
		}
		select {
		case c := <-watch:
			if c.Err != nil || len(c.Events) > 0 {
				h.Fatalf("got %+v, want no events and no error", c)
			}
			if c.Revision >= at {
				return
			}
		case <-time.After(100 * time.Millisecond): // a watch that isn't up yet is told nothing
		case <-h.ctx.Done():
			h.Fatal("no progress was told")
		}
	}
}

func watchEnds(h *harness) {
	start := h.commit(put("a", "0"))
	ctx, cancel := context.WithCancel(h.ctx)
	watch := h.Watch(ctx, registry.Single("a"), start)
	h.commit(put("a", "1"))
	h.wantEvents(watch, "a=1")
	cancel()
	for {
		select {
		case c, ok := <-watch:
			if !ok {
				return
			}
			if c.Err != nil {
				h.wantErr(c.Err, context.Canceled)
			}
		case <-h.ctx.Done():
			h.Fatal("the watch outlives its context")
		}
	}
}

func compacted(h *harness) {
	store, ok := h.Store.(Compacter)
	if !ok {
		h.Fatal("this store can't be compacted by a test; implement Compacter")
	}
	start := h.commit(put("a", "0"))
	var last registry.Revision
	for i := range 10 {
		last = h.commit(put("a", fmt.Sprint(i)))
	}
	store.Compact(last)
	watch := h.Watch(h.ctx, registry.Single("a"), start)
	c := <-watch
	h.wantErr(c.Err, registry.ErrCompacted)
	if _, open := <-watch; open {
		h.Fatal("the watch goes on after its error")
	}
	watch = h.Watch(h.ctx, registry.Single("a"), last)
	h.commit(put("a", "more"))
	h.wantEvents(watch, "a=more")
}
