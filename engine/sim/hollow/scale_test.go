package hollow

import (
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
)

const plain = "[Service]\nExecStart=/bin/sleep infinity\n"

// BenchmarkScaleDelivery hands units to 1,000 machines: a hundred each in one
// wave, and one each in many. The floor is a bare etcd with as many watchers.
func BenchmarkScaleDelivery(b *testing.B) {
	const machines, perMachine = 1000, 100
	t := newTable("wave\tunits\ttold/s\tfloor/s\tratio\tp50\tp99\tfloor p99\tstarted/s")
	const units = machines * perMachine
	floorRate, floorP99 := floor(b, machines, units, func(n int) int { return n / perMachine })
	c := newControl(b, units)
	defer c.lead()()
	child := c.machines(fleetConfig{Machines: machines, Units: units, Mute: true, TTL: 20 * time.Second, KeepAlive: 6 * time.Second})
	f := c.file(plain)
	ops := make([]registry.Op, units)
	for n := range ops {
		ops[n] = unitOf(n, f)
	}
	begun := time.Now()
	c.write(ops...)
	submitted := time.Since(begun)
	waitFor(b, "units started", units, 5*time.Minute, func() int { return int(ask[[2]int64](child, "count")[1]) })
	stamps := ask[[2][]int64](child, "stamps")
	rate := units / last(stamps[0]).Sub(begun).Seconds()
	latency := between(c.committed.all(), stamps[0])
	t.row("thick\t%d\t%.0f\t%.0f\t%.2f\t%v\t%v\t%v\t%.0f", units, rate, floorRate, rate/floorRate,
		quantile(latency, 0.5).Round(time.Millisecond/10), quantile(latency, 0.99).Round(time.Millisecond/10), floorP99.Round(time.Millisecond/10),
		units/last(stamps[1]).Sub(begun).Seconds())
	t.print(b)
	b.Logf("submitted in %v", submitted)
	b.ReportMetric(rate/floorRate, "thick/floor")
	b.ReportMetric(0, "ns/op")
}
