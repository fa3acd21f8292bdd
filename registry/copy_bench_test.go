package registry_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// written is a registry that has units written beforehand: each on one of
// machines, observed there, as they are after a start.
type written struct {
	registry.Store
	units, machines int
}

const oneFile = "3b1f0c7d9e2a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"

func (w written) List(_ context.Context, _ registry.Range, _ registry.Listing, each func(registry.Part)) error {
	part := registry.Part{Revision: registry.Revision(4 * w.units)}
	put := func(n int, key string, m registry.Message) {
		at := registry.Revision(n)
		part.Records = append(part.Records, registry.Record{Key: key, Value: registry.Encode(m), Created: at, Modified: at})
		if len(part.Records) == 4096 {
			each(part)
			part.Records = nil
		}
	}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	of := func(n int) (m registry.MachineID, u unit.Name) {
		return registry.MachineID(fmt.Sprintf("%032x", uint64(n%w.machines)*0x9e3779b97f4a7c15)), unit.Name(fmt.Sprintf("web@%07d.service", n))
	}
	for m := range w.machines {
		for n := m; n < w.units; n += w.machines {
			id, name := of(n)
			put(w.units+n, registry.AssignmentKey(id, name), &registry.Assignment{File: oneFile, Target: registry.Target_LAUNCHED, Generation: 1, VerifiedBy: "252 (252.39-1~deb12u1)"})
		}
	}
	for m := range w.machines {
		for n := m; n < w.units; n += w.machines {
			id, name := of(n)
			put(2*w.units+n, registry.ObservedKey(id, name), &registry.Observed{
				Load: "loaded", Active: "active", Sub: "running", File: oneFile, MainPid: uint32(n*7919%4_000_000 + 1), Result: "success",
				MainStartUnixUs: now.UnixMicro() + int64(n)*5003, SinceUnixUs: now.UnixMicro() + int64(n)*5003,
				Incarnation: "8b7ee0a2-6c3f-4a55-9f0e-" + string(id[:12]), Generation: 1,
			})
		}
	}
	for n := range w.units {
		_, name := of(n)
		put(n, registry.UnitKey(name), &registry.Unit{
			File: oneFile, Target: registry.Target_LAUNCHED, Generation: 1, Who: "operator", ChangedUnixMs: now.UnixMilli() + int64(n)*3,
			History: []*registry.UnitVersion{{File: oneFile, SubmittedUnixMs: now.UnixMilli() + int64(n)*3, Who: "operator"}}, VerifiedBy: "252 (252.39-1~deb12u1)",
		})
	}
	part.Last = true
	each(part)
	return nil
}

func (w written) Watch(ctx context.Context, _ registry.Range, _ registry.Revision) <-chan registry.Changes {
	out := make(chan registry.Changes)
	go func() { <-ctx.Done(); close(out) }()
	return out
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkCopy is what a copy of a million units, with their assignments and
// observations, takes of memory, beside the records' keys and values, and to fill.
func BenchmarkCopy(b *testing.B) {
	const units = 1_000_000
	store := written{units: units, machines: 1000}
	var raw float64
	_ = store.List(b.Context(), registry.Everything(), registry.Listing{}, func(p registry.Part) {
		for _, rec := range p.Records {
			raw += float64(len(rec.Key) + len(rec.Value))
		}
	})
	for b.Loop() {
		before := heap()
		ctx, cancel := context.WithCancel(b.Context())
		mirror := registry.NewCopy(store, []registry.Range{registry.Everything()}, quiet)
		ended := make(chan struct{})
		go func() { _ = mirror.Run(ctx); close(ended) }()
		for changed := mirror.Changed(); mirror.Revision() == 0; changed = mirror.Changed() {
			<-changed
		}
		b.ReportMetric((heap()-before)/units, "B/unit")
		b.ReportMetric(raw/units, "raw-B/unit")
		view, n := mirror.View(), 0
		began := time.Now()
		for range view.Range(registry.Prefix(registry.ObservedPrefix)) {
			n++
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(n), "ns/record-read")
		runtime.KeepAlive(mirror)
		cancel()
		<-ended
	}
}
