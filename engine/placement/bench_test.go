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

// BenchmarkRefuse decides about units that no machine takes, of a hundred
// templates, with the reasons of each machine.
func BenchmarkRefuse(b *testing.B) {
	const units = 10000
	c, names := fleet(b, 10000, units)
	for i := range 10000 {
		m, _ := c.Machine(registry.MachineID(fleetID(i)))
		m.Cordoned = i%3 > 0
		m.Drained = i%3 == 0
		c.SetMachine(m)
	}
	for b.Loop() {
		c.Plan(names)
	}
	b.ReportMetric(units*float64(b.N)/b.Elapsed().Seconds(), "refusals/s")
}

// BenchmarkFull decides about units for which no machine has the memory.
func BenchmarkFull(b *testing.B) {
	const units = 10000
	c, names := fleet(b, 10000, units)
	for i := range 10000 {
		m, _ := c.Machine(registry.MachineID(fleetID(i)))
		m.Memory = uint64(i%200+1) << 20
		c.SetMachine(m)
	}
	for i, name := range names {
		u := c.Unit(name)
		u.Needs.Memory.Amount = uint64(1+i%8) << 30
		c.SetUnit(u)
	}
	for b.Loop() {
		c.Plan(names)
	}
	b.ReportMetric(units*float64(b.N)/b.Elapsed().Seconds(), "refusals/s")
}

// BenchmarkScores places units with the scores of Prefer=, Spread= and memory,
// a thousand at a time, on 10,000 machines.
func BenchmarkScores(b *testing.B) {
	prefer, _ := unit.ParseRequirements("disk=d1 region!=r2")
	for name, u := range map[string]Unit{
		"load":   {},
		"memory": {Needs: unit.Resources{Memory: unit.Resource{Amount: 200 << 20}}},
		"ports":  {Ports: []unit.Port{{Protocol: "tcp", Number: 80, Last: 80}}},
		"prefer": {Options: unit.Options{Prefer: prefer}},
		"spread": {Options: unit.Options{Spread: []string{"rack"}}},
	} {
		b.Run(name, func(b *testing.B) {
			c, _ := fleet(b, 10000, 0)
			for i := range 10000 {
				m, _ := c.Machine(registry.MachineID(fleetID(i)))
				m.Memory = uint64(64+i%3*64) << 30
				c.SetMachine(m)
			}
			var names []unit.Name
			for i := range 1000 {
				u.Name, u.Wanted = unit.Name(fmt.Sprintf("w%d@%03d.service", i/200, i%200)), true
				c.SetUnit(u)
				names = append(names, u.Name)
			}
			spent := -computed(b)
			for b.Loop() {
				for _, d := range c.Plan(names) {
					c.Take(d.On[0], d.Unit)
				}
			}
			spent += computed(b)
			b.ReportMetric(1000*float64(b.N)/spent.Seconds(), "decisions/cpu-s")
		})
	}
}

// BenchmarkExplain explains a unit that 10,000 machines refuse.
func BenchmarkExplain(b *testing.B) {
	c, names := fleet(b, 10000, 100)
	for i := range 10000 {
		m, _ := c.Machine(registry.MachineID(fleetID(i)))
		m.Cordoned = true
		c.SetMachine(m)
	}
	c.Plan(names)
	for b.Loop() {
		if e, _ := c.ExplainUnit(names[0]); e.Change == nil {
			b.Fatal("nothing helps")
		}
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
