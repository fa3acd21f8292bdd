package hollow

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// file is what the units of the benchmarks are. The machines differ by disk and
// rack, and half of them are meant.
const file = "[Service]\nExecStart=/bin/sleep infinity\n[X-Cluster]\nMachineMetadata=disk=ssd disk=hdd\n"

// size is a number from the environment, for smaller runs than the real ones.
func size(name string, real int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return min(n, real)
	}
	return real
}

func machinesMax() int { return size("CLUSTERD_SCALE_MACHINES", 10_000) }
func unitsMax() int    { return size("CLUSTERD_SCALE_UNITS", 1_000_000) }

// lease is how long the leases of n machines last: with more machines they are
// renewed less often, so that no more than 500 renewals a second are made.
func lease(n int) time.Duration { return max(5*time.Second, time.Duration(n)*3*time.Second/500) }

func config(machines, units int) fleetConfig {
	return fleetConfig{Machines: machines, Units: units, Mute: true, TTL: lease(machines), KeepAlive: lease(machines) * 3 / 10}
}

// wanted are the records of units that are to run.
func (c *control) wanted(from, to int) []registry.Op {
	c.Helper()
	h := c.file(file)
	ops := make([]registry.Op, 0, to-from)
	for n := from; n < to; n++ {
		ops = append(ops, unitOf(n, h))
	}
	return ops
}

// told waits until so many units have reached their machines, and returns when
// the last of them did.
func (c *control) told(ch *child, units int) time.Time {
	c.Helper()
	waitFor(c, "units delivered", units, 10*time.Minute, func() int { return int(ask[[2]int64](ch, "count")[0]) })
	return last(ask[[2][]int64](ch, "stamps")[0])
}

// BenchmarkScaleDelivery places units on 1,000 machines and hands them over:
// a hundred for each machine at once, and in waves of one for each. The floor is
// a bare etcd with as many watchers, in the same run. What is told of a wave is
// from before its first write until the last machine knows; the thick one's
// units are in the registry before an engine leads.
func BenchmarkScaleDelivery(b *testing.B) {
	machines := min(1000, machinesMax())
	const perMachine, waves = 100, 20
	units := machines * perMachine
	t := newTable("wave\tunits\ttold/s\tfloor/s\tratio\tp50\tp99\tfloor p99")
	row := func(wave string, units int, took, floor time.Duration, latency []time.Duration, p99 time.Duration) float64 {
		ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond / 10) }
		ratio := floor.Seconds() / took.Seconds()
		t.row("%s\t%d\t%.0f\t%.0f\t%.2f\t%v\t%v\t%v", wave, units, float64(units)/took.Seconds(), float64(units)/floor.Seconds(),
			ratio, ms(quantile(latency, 0.5)), ms(quantile(latency, 0.99)), ms(p99))
		return ratio
	}
	var thick, thin float64
	b.Run("thick", func(b *testing.B) {
		bare := newBare(b, machines, units)
		floor := bare.deliver(0, units, func(n int) int { return n / perMachine })
		p99 := bare.p99()
		bare.child.kill()
		c := newControl(b, units)
		ch := c.machines(config(machines, units))
		c.write(c.wanted(0, units)...)
		begun := time.Now()
		defer c.lead()()
		took := c.told(ch, units).Sub(begun)
		thick = row("thick", units, took, floor, between(c.committed.all(), ask[[2][]int64](ch, "stamps")[0]), p99)
		b.ReportMetric(thick, "told/floor")
	})
	b.Run("thin", func(b *testing.B) {
		bare := newBare(b, machines, waves*machines)
		c := newControl(b, waves*machines)
		ch := c.machines(config(machines, waves*machines))
		defer c.lead()()
		var ours, floors []time.Duration
		for w := range waves {
			from, to := w*machines, (w+1)*machines
			floors = append(floors, bare.deliver(from, to, func(n int) int { return n % machines }))
			ops := c.wanted(from, to)
			begun := time.Now()
			c.write(ops...)
			ours = append(ours, c.told(ch, to).Sub(begun))
		}
		thin = row("thin", machines, quantile(ours, 0.5), quantile(floors, 0.5), between(c.committed.all(), ask[[2][]int64](ch, "stamps")[0]), bare.p99())
		b.ReportMetric(thin, "told/floor")
	})
	t.print(b)
}

// BenchmarkScaleGrowth is what one change costs in clusters of 10 to 10,000
// machines, and of 1,000 to a million units: a unit is submitted, and it counts
// how long until its machine knows, how many transactions that takes, how
// many bytes the engine writes, and which machines are woken.
func BenchmarkScaleGrowth(b *testing.B) {
	t := newTable("machines\tunits\tchange p50\tp99\ttransactions\tbytes\tmachines woken\tplaced/s")
	var sizes, costs []float64
	for machines := 10; machines <= min(1000, machinesMax()); machines *= 10 {
		b.Run(fmt.Sprintf("machines=%d", machines), func(b *testing.B) {
			const units = 1000
			c := newControl(b, units+changes)
			ch := c.machines(config(machines, units+changes))
			defer c.lead()()
			begun := time.Now()
			c.write(c.wanted(0, units)...)
			rate := units / c.told(ch, units).Sub(begun).Seconds()
			cost := c.changes(b, t, ch, machines, units, rate)
			sizes, costs = append(sizes, float64(machines)), append(costs, float64(cost))
		})
	}
	t.row("slope\t\t%.2f\t\t\t\t\t", slope(sizes, costs))
	machines, most := machinesMax(), unitsMax()
	b.Run(fmt.Sprintf("machines=%d", machines), func(b *testing.B) {
		c := newControl(b, 2*most)
		ch := c.machines(config(machines, 2*most))
		defer c.lead()()
		var sizes, costs []float64
		done := 0
		for units := 1000; units <= most; units *= 10 {
			begun := time.Now()
			c.write(c.wanted(done, units)...)
			rate := float64(units-done) / c.told(ch, units).Sub(begun).Seconds()
			cost := c.changes(b, t, ch, machines, units, rate)
			sizes, costs = append(sizes, float64(units)), append(costs, float64(cost))
			done = units + changes
		}
		t.row("slope\t\t%.2f\t\t\t\t\t", slope(sizes, costs))
	})
	t.print(b)
}

// changes is how many single changes are measured.
const changes = 100

// changes makes single changes, one after another, and returns the median time.
func (c *control) changes(b *testing.B, t *table, ch *child, machines, units int, rate float64) time.Duration {
	c.Helper()
	time.Sleep(time.Second) // what came before has ended
	ask[[]int64](ch, "woken")
	commits, bytes, from := c.store.commits.Load(), c.store.bytes.Load(), c.revision()
	ops := c.wanted(units, units+changes)
	from++ // the file
	var took []time.Duration
	for i, op := range ops {
		begun := time.Now()
		c.write(op)
		took = append(took, c.told(ch, units+i+1).Sub(begun))
	}
	time.Sleep(200 * time.Millisecond)
	var woken int64
	for _, n := range ask[[]int64](ch, "woken") {
		woken += n
	}
	p50, p99 := quantile(took, 0.5), quantile(took, 0.99)
	t.row("%d\t%d\t%v\t%v\t%.2f\t%.0f\t%.2f\t%.0f", machines, units, p50.Round(time.Microsecond*10), p99.Round(time.Microsecond*10),
		float64(c.revision()-from)/changes, float64(c.store.bytes.Load()-bytes)/changes, float64(woken)/changes, rate)
	b.ReportMetric(float64(c.store.commits.Load()-commits)/changes, "engine-txns/change")
	return p50
}

// slope is the exponent by which y grows with x.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range x {
		lx, ly := math.Log(x[i]), math.Log(y[i])
		sx, sy, sxx, sxy = sx+lx, sy+ly, sxx+lx*lx, sxy+lx*ly
	}
	n := float64(len(x))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// BenchmarkScaleMillion places a million units on 10,000 machines and hands
// them over, the submission included; once with the machines reporting back what
// they have. In the end nothing happens for a while, and another engine takes
// over from nothing.
func BenchmarkScaleMillion(b *testing.B) {
	machines, units := machinesMax(), unitsMax()
	t := newTable("machines\tunits\treports\tsubmitted\tdelivered\treported\tCPU control\tCPU machines\tRSS control\tRSS machines")
	for _, mute := range []bool{true, false} {
		b.Run(fmt.Sprintf("reports=%v", !mute), func(b *testing.B) {
			c := newControl(b, units+1)
			conf := config(machines, units+1)
			conf.Mute = mute
			ch := c.machines(conf)
			resign := c.lead()
			defer func() { resign() }()
			ops := c.wanted(0, units)
			own, its := ownUsage(), ask[usage](ch, "usage")
			begun := time.Now()
			c.write(ops...)
			submitted := time.Since(begun)
			delivered := c.told(ch, units).Sub(begun)
			reported := ""
			if !mute {
				waitFor(c, "units reported", units, 10*time.Minute, func() int { return c.count(registry.ObservedPrefix) })
				reported = time.Since(begun).Round(time.Second / 10).String()
			}
			ownNow, itsNow := ownUsage(), ask[usage](ch, "usage")
			t.row("%d\t%d\t%v\t%.1fs\t%.1fs\t%s\t%.0fs\t%.0fs\t%d MiB\t%d MiB", machines, units, !mute, submitted.Seconds(), delivered.Seconds(), reported,
				(ownNow.CPU - own.CPU).Seconds(), (itsNow.CPU - its.CPU).Seconds(), ownNow.RSS>>20, itsNow.RSS>>20)
			b.ReportMetric(delivered.Seconds(), "s-delivered")
			if mute {
				c.idle(b)
				resign()
				resign = c.takeover(b, ch, units)
			}
		})
	}
	t.print(b)
}

// idle counts what is written while nothing happens.
func (c *control) idle(b *testing.B) {
	const calm = 20 * time.Second
	time.Sleep(5 * time.Second)
	before := c.revision()
	time.Sleep(calm)
	b.ReportMetric(float64(c.revision()-before)/calm.Seconds()*60, "idle-writes/min")
}

// takeover measures how long a new engine takes that knows nothing, until its
// first decision has reached a machine, beside a bare listing of everything.
func (c *control) takeover(b *testing.B, ch *child, units int) (resign func()) {
	var floors []time.Duration
	for range 3 {
		begun := time.Now()
		c.list()
		floors = append(floors, time.Since(begun))
	}
	c.write(c.wanted(units, units+1)...)
	begun := time.Now()
	resign = c.lead()
	took := c.told(ch, units+1).Sub(begun)
	slices.Sort(floors)
	fmt.Printf("cold leader at %d units: first decision after %v, listing alone %v, ratio %.2f\n",
		units, took.Round(time.Millisecond), floors[1].Round(time.Millisecond), took.Seconds()/floors[1].Seconds())
	b.ReportMetric(took.Seconds()/floors[1].Seconds(), "takeover/list")
	return resign
}
