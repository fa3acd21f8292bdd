package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/clusterd/clusterd/registry"
)

// parts lists a range and checks that its parts are all of it, in order.
func (h *harness) parts(r registry.Range, how registry.Listing) []registry.Part {
	h.Helper()
	var all []registry.Part
	if err := h.List(h.ctx, r, how, func(p registry.Part) { all = append(all, p) }); err != nil {
		h.Fatalf("list: %v", err)
	}
	at := r.From
	for i, p := range all {
		if p.Range.From != at || p.Revision != all[0].Revision || p.Last != (i == len(all)-1) {
			h.Fatalf("part %d of %d is %q at %d, last %t; want it to begin at %q, at %d", i, len(all), p.Range, p.Revision, p.Last, at, all[0].Revision)
		}
		for _, rec := range p.Records {
			if !p.Range.Contains(rec.Key) {
				h.Fatalf("part %q has %s", p.Range, rec.Key)
			}
		}
		at = p.Range.To
	}
	if at != r.To {
		h.Fatalf("the parts end at %q, want %q", at, r.To)
	}
	return all
}

func records(parts []registry.Part) (all []registry.Record) {
	for _, p := range parts {
		all = append(all, p.Records...)
	}
	return all
}

// listWhole compares lists with what was written, of names of many kinds.
func listWhole(h *harness) {
	r := rand.New(rand.NewPCG(7, 7))
	names := map[string]bool{}
	for i := range 6000 {
		switch {
		case i < 3000:
			names[fmt.Sprintf("units/web@%d.service", i)] = true
		case i < 4000:
			names[fmt.Sprintf("files/%064x", r.Uint64())] = true
		default:
			names[fmt.Sprintf("assignments/%032x/%s.service", r.Uint64N(20), []string{"a", "Z", "-x", "\xf0\x9f\x92\xa1"}[r.IntN(4)]+fmt.Sprint(i))] = true
		}
	}
	var want []string
	var ops []registry.Op
	for key := range names {
		want = append(want, key)
		if ops = append(ops, put(key, "v")); len(ops) == registry.OpsMax {
			h.commit(ops...)
			ops = nil
		}
	}
	h.commit(append(ops, put("other", ""))...)
	slices.Sort(want)
	everything := registry.Range{From: "a", To: "v"}
	for _, keysOnly := range []bool{false, true} {
		var got []string
		for _, rec := range records(h.parts(everything, registry.Listing{KeysOnly: keysOnly})) {
			if rec.Key == "other" {
				continue
			}
			got = append(got, rec.Key)
			if value := string(rec.Value); (value == "v") == keysOnly || rec.Created == 0 {
				h.Fatalf("keys only %t: %s is %q, created at %d", keysOnly, rec.Key, value, rec.Created)
			}
		}
		if !slices.Equal(got, want) {
			h.Fatalf("keys only %t: got %d records, want %d", keysOnly, len(got), len(want))
		}
	}
	for prefix, n := range map[string]int{"units/": 3000, "units/web@1": 1111, "files/": 1000} {
		if got := len(records(h.parts(registry.Prefix(prefix), registry.Listing{}))); got != n {
			h.Errorf("%s: got %d records, want %d", prefix, got, n)
		}
	}
	if got := keys(records(h.parts(registry.Single("other"), registry.Listing{}))); got != "other=" {
		h.Errorf("one key: got %q", got)
	}
}

// listOn changes what is being listed. The list doesn't see it or, where the
// past isn't kept, says that it can't go on.
func listOn(h *harness) {
	for i := range 40 {
		var ops []registry.Op
		for j := range 100 {
			ops = append(ops, put(fmt.Sprintf("u/%d-%d", i, j), "old"))
		}
		h.commit(ops...)
	}
	u := registry.Prefix("u/")
	var began registry.Part
	changed := false
	err := h.List(h.ctx, u, registry.Listing{}, func(p registry.Part) {
		if !changed {
			began, changed = p, true
			h.commit(remove(registry.Prefix("u/3")), put("u/4-0", "new"), put("u/0-new", "new"))
		}
		for _, rec := range p.Records {
			if string(rec.Value) != "old" || p.Revision != began.Revision {
				h.Fatalf("%s is %q, at %d: the list began at %d", rec.Key, rec.Value, p.Revision, began.Revision)
			}
		}
	})
	if err != nil {
		h.Fatal(err)
	}
	rest, n := registry.Range{From: began.Range.To, To: u.To}, len(began.Records)
	err = h.List(h.ctx, rest, registry.Listing{At: began.Revision}, func(p registry.Part) { n += len(p.Records) })
	if !errors.Is(err, registry.ErrCompacted) && (err != nil || n != 4000) {
		h.Errorf("gone on with, it has %d records, %v; want 4000, or lost history", n, err)
	}
	now := h.commit(put("elsewhere", ""))
	if c, ok := h.Store.(Compacter); ok {
		c.Compact(now)
		err = h.List(h.ctx, u, registry.Listing{At: began.Revision}, func(registry.Part) {})
		h.wantErr(err, registry.ErrCompacted)
	}
}

func listNothing(h *harness) {
	at := h.commit(put("a", ""))
	got := h.parts(registry.Prefix("u/"), registry.Listing{})
	if len(records(got)) != 0 || got[0].Revision < at {
		h.Errorf("got %+v, want one empty part of revision %d or later", got, at)
	}
}
