package functional

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkStartOne is the time from a unit file to the running unit, by
// clusterctl against systemctl on one of the machines: new units, and units
// that ran before. Rounds alternate; the ratio is the median of the rounds'.
func BenchmarkStartOne(b *testing.B) {
	c := benchCluster(b)
	const rounds = 15
	m := "m1"
	var first, firstLocal, again, againLocal, active []time.Duration
	for i := range rounds {
		name := fmt.Sprintf("one-%d.service", i)
		path := c.file(name, sleeper(""))
		begun := time.Now()
		first = append(first, c.timed("start", path))
		where := c.active(name)[name].Hostname
		active = append(active, c.activeSince(where, name).Sub(begun))
		c.ctl("stop", name)
		pause(c, 200*time.Millisecond) // a machine that has just told something gathers what it tells next
		again = append(again, c.timed("start", name))
		c.ctl("destroy", name)

		local := c.microseconds(c.script(m, stopwatch+fmt.Sprintf(`u=local-%d.service
write() { printf '%%b' %q > /run/systemd/system/$u; systemctl start $u; }
timed write; systemctl stop $u; timed systemctl start $u; systemctl stop $u; rm /run/systemd/system/$u`, i, sleeper(""))))
		firstLocal, againLocal = append(firstLocal, local[0]), append(againLocal, local[1])
	}
	t := newTable("start of one unit\tclusterctl\tsystemctl\tratio")
	newRatio, againRatio := middle(ratios(first, firstLocal)), middle(ratios(again, againLocal))
	t.row("new: until the command returns\t%s\t%s\t%.1f", ms(middle(first)), ms(middle(firstLocal)), newRatio)
	t.row("new: until active\t%s", ms(middle(active)))
	t.row("ran before\t%s\t%s\t%.1f", ms(middle(again)), ms(middle(againLocal)), againRatio)
	t.print(b)
	report(b, middle(first), "ms/start")
	report(b, middle(active), "ms/active")
	b.ReportMetric(newRatio, "x-systemctl")
}

// activeSince is when a unit became active, as the machine's systemd says.
func (c *cluster) activeSince(machine, unit string) time.Time {
	c.Helper()
	text := c.must(machine, "systemctl", "show", "--timestamp=us+utc", "--value", "-p", "ActiveEnterTimestamp", unit)
	at, err := time.Parse("Mon 2006-01-02 15:04:05.999999 MST", text)
	if err != nil {
		c.Fatalf("when %s became active on %s: %v", unit, machine, err)
	}
	return at
}

// BenchmarkStart1000 starts 1,000 instances of a template by one command on
// three machines, and destroys them; against each machine's systemctl starting
// its third of such units, all three at once.
func BenchmarkStart1000(b *testing.B) {
	c := benchCluster(b)
	const units = 1000
	machines := []string{"m1", "m2", "m3"}
	c.writeLocal(machines, units)
	c.ctl("submit", c.file("hello@.service", sleeper("")))
	var names []string
	for i := range units {
		names = append(names, fmt.Sprintf("hello@%d.service", i+1))
	}
	const rounds = 2
	var start, destroy, floor, floorStop []time.Duration
	for range rounds {
		floor = append(floor, c.together(machines, "systemctl start $(cat /root/local)"))
		floorStop = append(floorStop, c.together(machines, "systemctl stop $(cat /root/local)"))
		start = append(start, c.timed(append([]string{"start"}, names...)...))
		c.spread(units, machines)
		destroy = append(destroy, c.timed(append([]string{"destroy"}, names...)...))
	}
	t := newTable(fmt.Sprintf("%d units, 3 machines\tclusterctl\tsystemctl\tratio", units))
	started, stopped := middle(ratios(start, floor)), middle(ratios(destroy, floorStop))
	t.row("start: all active\t%.1f s\t%.1f s\t%.2f", middle(start).Seconds(), middle(floor).Seconds(), started)
	t.row("destroy: all gone (systemctl: stopped)\t%.1f s\t%.1f s\t%.2f", middle(destroy).Seconds(), middle(floorStop).Seconds(), stopped)
	t.print(b)
	report(b, middle(start), "s/1000-starts")
	report(b, middle(destroy), "s/1000-destroys")
	b.ReportMetric(started, "x-systemctl")
}

// writeLocal writes units on the machines themselves, a share on each, and
// their names to /root/local.
func (c *cluster) writeLocal(machines []string, units int) {
	c.Helper()
	share := (units + len(machines) - 1) / len(machines)
	for _, m := range machines {
		c.script(m, fmt.Sprintf(`for i in $(seq %d); do printf '%%b' %q > /run/systemd/system/local@$i.service; echo local@$i.service; done > /root/local`,
			share, sleeper("")))
	}
}

// together runs a script on all machines at once and returns how long the last
// took.
func (c *cluster) together(machines []string, text string) time.Duration {
	c.Helper()
	var wg sync.WaitGroup
	failed := make([]string, len(machines))
	begun := time.Now()
	for i, m := range machines {
		wg.Go(func() {
			var out bytes.Buffer
			code, err := c.lab.Shell(c.Context(), m, []string{"bash", "-euc", text}, nil, &out, &out)
			if err != nil || code != 0 {
				failed[i] = fmt.Sprintf("exit code %d, %v: %s", code, err, out.String())
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	for i, m := range machines {
		if failed[i] != "" {
			c.Fatalf("on %s: %s: %s", m, text, failed[i])
		}
	}
	return took
}

// spread fails unless all units are active, evenly spread over the machines.
func (c *cluster) spread(units int, machines []string) {
	c.Helper()
	count := map[string]int{}
	for _, state := range c.active("hello@?*") {
		count[state.Hostname]++
	}
	sum := 0
	for _, m := range machines {
		sum += count[m]
		if n := count[m]; n < units/len(machines)/2 {
			c.Errorf("machine %s has %d of %d units: %v", m, n, units, count)
		}
	}
	if sum != units {
		c.Errorf("want %d units active, got %v", units, count)
	}
}
