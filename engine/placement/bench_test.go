package placement

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// fleet is machines in four regions, half of them with an SSD, and units of
// templates that have a hundred instances each. All want two things of a
// machine's metadata, and none wants another of its template there.
func fleet(tb testing.TB, machines, units int) (*Cluster, []unit.Name) {
	tb.Helper()
	c := New()
	for i := range machines {
		id := registry.MachineID(fleetID(i))
		c.SetMachine(Machine{ID: id, Hostname: string(id), Metadata: map[string]string{
			"hostname": string(id), "region": fmt.Sprintf("r%d", i%4), "disk": fmt.Sprintf("d%d", i/4%2), "rack": fmt.Sprint(i / 40),
		}})
	}
	names := make([]unit.Name, units)
	const instances = 100
	classes := map[int]unit.Options{}
	for i := range names {
		names[i] = unit.Name(fmt.Sprintf("app-%05d@%03d.service", i/instances, i%instances))
		template := i / instances
		o, ok := classes[template]
		if !ok {
			needs := fmt.Sprintf("region=r%d disk=d%d", template%4, template/4%2)
			if machines < 16*instances {
				needs = fmt.Sprintf("region!=r%d disk exists", template%4)
			}
			var err error
			if o.Requirements, err = unit.ParseRequirements(needs); err != nil {
				tb.Fatal(err)
			}
			if machines >= 2*instances {
				o.Conflicts = []string{fmt.Sprintf("app-%05d@*.service", template)}
			} else {
				o.Conflicts = []string{fmt.Sprintf("old-%05d@*.service", template)}
			}
			classes[template] = o
		}
		c.SetUnit(Unit{Name: names[i], Options: o, Wanted: true})
	}
	return c, names
}

func fleetID(i int) string { return fmt.Sprintf("%032x", i*7919) }

// BenchmarkDecide places units of a hundred a machine, a thousand at a time,
// until all are placed, and anew.
func BenchmarkDecide(b *testing.B) {
	for _, machines := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("machines=%d/units=%d", machines, 100*machines), func(b *testing.B) {
			c, names := fleet(b, machines, 100*machines)
			next, refused := 0, 0
			spent := -computed(b)
			b.ReportAllocs()
			for b.Loop() {
				if next == len(names) {
					b.StopTimer()
					spent += computed(b)
					for _, name := range names {
						for _, id := range c.PlacedOn(name) {
							c.Take(id, name)
						}
					}
					next = 0
					spent -= computed(b)
					b.StartTimer()
				}
				batch := names[next:min(next+1000, len(names))]
				next += len(batch)
				for _, d := range c.Plan(batch) {
					refused += len(d.Refusals)
				}
			}
			spent += computed(b)
			if refused > 0 {
				b.Fatalf("%d refusals", refused)
			}
			b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(1000*float64(b.N)/spent.Seconds(), "decisions/cpu-s")
		})
	}
}

// BenchmarkIndexMemory counts what a million placed units take, with and
// without their names, which engine has, too.
func BenchmarkIndexMemory(b *testing.B) {
	const machines, units = 10000, 1000000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c, names := fleet(b, machines, units)
		c.Plan(names)
		size := 0
		for _, name := range names {
			size += len(name)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		total := float64(after.HeapAlloc-before.HeapAlloc)/units - 16 // the list of names
		b.ReportMetric(total, "B/unit")
		b.ReportMetric(total-float64(size)/units, "B/unit-without-name")
		runtime.KeepAlive(c)
	}
}

// computed is how long this process has been computing, its collector included. On a
// machine that others use, too, it says more than a clock.
func computed(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
