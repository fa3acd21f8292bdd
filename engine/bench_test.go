package engine

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// benchIndex is an index of machines that knows of units of one template.
func benchIndex(machines int) *index {
	x := newIndex(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError})), Timing{}.withDefaults(), silent{})
	put := func(key string, m registry.Message) {
		x.apply(registry.Event{Record: registry.Record{Key: key, Value: registry.Encode(m), Created: 1, Modified: 1}}, start)
	}
	put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 1})
	for i := range machines {
		id := registry.MachineID(fmt.Sprintf("%032x", i))
		put(registry.MachineKey(id), &registry.Machine{Hostname: fmt.Sprint("h", i)})
		put(registry.AliveKey(id), &registry.Alive{Incarnation: "boot"})
	}
	text := []byte("[Service]\nExecStart=/bin/sleep infinity\n[X-Cluster]\nSpread=rack\n")
	x.apply(registry.Event{Record: registry.Record{Key: registry.FileKey(unit.HashOf(text)), Value: text, Created: 1, Modified: 1}}, start)
	x.decide(start)
	return x
}

// BenchmarkDecide takes new units in, decides where they are to be, and takes in
// what was written about them.
func BenchmarkDecide(b *testing.B) {
	const units = 100_000
	hash := unit.HashOf([]byte("[Service]\nExecStart=/bin/sleep infinity\n[X-Cluster]\nSpread=rack\n"))
	value := registry.Encode(&registry.Unit{File: string(hash), Target: registry.Target_LAUNCHED, Generation: 1})
	for b.Loop() {
		x := benchIndex(1000)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range units {
			key := registry.UnitKey(unit.Name(fmt.Sprintf("load@%d.service", i)))
			x.apply(registry.Event{Record: registry.Record{Key: key, Value: value, Created: 2, Modified: 2}}, start)
		}
		changes := x.decide(start)
		if len(changes) != units {
			b.Fatalf("%d changes", len(changes))
		}
		for _, c := range changes {
			for _, op := range c.ops {
				x.apply(registry.Event{Record: registry.Record{Key: op.Key, Value: op.Value, Created: 3, Modified: 3}}, start)
			}
		}
		if changes := x.decide(start); len(changes) != 0 {
			b.Fatalf("%d changes once all is written", len(changes))
		}
		changes = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/units, "B/unit")
		runtime.KeepAlive(x)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/units, "µs/unit")
}
