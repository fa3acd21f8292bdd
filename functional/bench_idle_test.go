package functional

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkIdle is what a cluster of three members and an ordinary machine
// takes while nothing happens, without units and with 1,000 of them: clusterd's
// memory and CPU time on both kinds of machine, and what is written to etcd.
func BenchmarkIdle(b *testing.B) {
	c := benchCluster(b)
	if _, err := c.lab.Add(b.Context()); err != nil {
		b.Fatal(err)
	}
	const ordinary = "m4"
	t := newTable("idle\tRSS\tPSS\tCPU\twrites to etcd\traft entries")
	row := func(what string, u use, over time.Duration) {
		writes := fmt.Sprintf("%d in %v\t%d", u.writes, over, u.entries)
		if !u.member {
			writes = "\t"
		}
		t.row("%s\t%.1f MiB\t%.1f MiB\t%.2f %%\t%s", what, u.rss, u.pss, u.cpu, writes)
	}
	all := []string{"m1", "m2", "m3", ordinary}
	const calm, minute = 15 * time.Second, time.Minute
	pause(c, 5*time.Second) // until what joining began has ended
	empty := c.idle(all, calm)
	row("member, no units", most(empty[:3]), calm)
	row("ordinary machine, no units", empty[3], calm)

	c.ctl("submit", c.file("hello@.service", sleeper("")))
	names := []string{"start"}
	for i := range 1000 {
		names = append(names, fmt.Sprintf("hello@%d.service", i+1))
	}
	c.ctl(names...)
	pause(c, 5*time.Second)
	full := c.idle(all, minute)
	row("member, 1,000 units", most(full[:3]), minute)
	row("ordinary machine, 1,000 units", full[3], minute)
	t.print(b)
	member := most(full[:3])
	b.ReportMetric(member.rss, "MiB-member")
	b.ReportMetric(full[3].rss, "MiB-ordinary")
	b.ReportMetric(member.cpu, "%CPU-member")
	b.ReportMetric(float64(member.writes), "writes/min")
	b.ReportMetric(0, "ns/op")
}

// use is what one machine's clusterd takes over a while.
type use struct {
	rss, pss        float64 // MiB
	cpu             float64 // percent of one core
	member          bool
	writes, entries int // revisions of the registry; entries of raft's log, with etcd's own
}

// most is the most that any of them takes.
func most(all []use) use {
	worst := all[0]
	for _, u := range all {
		worst.rss, worst.pss, worst.cpu = max(worst.rss, u.rss), max(worst.pss, u.pss), max(worst.cpu, u.cpu)
		worst.writes, worst.entries = max(worst.writes, u.writes), max(worst.entries, u.entries)
	}
	return worst
}

// idle watches machines for a while during which nobody asks for anything.
func (c *cluster) idle(machines []string, during time.Duration) []use {
	c.Helper()
	before := make([]map[string]float64, len(machines))
	for i, m := range machines {
		before[i] = c.metrics(m)
	}
	pause(c, during)
	all := make([]use, len(machines))
	for i, m := range machines {
		after := c.metrics(m)
		grown := func(name string) float64 { return after[name] - before[i][name] }
		all[i] = use{
			cpu:     100 * grown("process_cpu_seconds_total") / during.Seconds(),
			member:  after["etcd_server_has_leader"] == 1,
			writes:  int(grown("etcd_debugging_mvcc_current_revision")),
			entries: int(grown("etcd_server_proposals_applied_total")),
		}
		all[i].rss, all[i].pss = c.memory(m)
	}
	return all
}

// memory is clusterd's resident and proportional set on a machine, in MiB.
func (c *cluster) memory(machine string) (rss, pss float64) {
	c.Helper()
	text := c.script(machine, "cat /proc/$(systemctl show -p MainPID --value clusterd)/smaps_rollup")
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			c.Fatalf("memory of clusterd on %s: %v", machine, err)
		}
		switch f[0] {
		case "Rss:":
			rss = kib / 1024
		case "Pss:":
			pss = kib / 1024
		}
	}
	return rss, pss
}
