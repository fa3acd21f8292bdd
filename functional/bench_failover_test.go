package functional

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkFailover is the time from a machine's power cut until its unit is
// active on another, as clusterctl sees it: for the machine whose member leads
// etcd, and for one of the others.
func BenchmarkFailover(b *testing.B) {
	t := newTable("power cut to active elsewhere\tmedian\tall")
	for _, victim := range []string{"leader", "follower"} {
		b.Run(victim, func(b *testing.B) {
			c := benchCluster(b)
			c.ctl("submit", c.file("fo@.service", sleeper("")))
			const rounds = 4
			var took []time.Duration
			var notes []string
			for round := range rounds {
				d, note := c.failover(round, victim == "leader")
				took = append(took, d)
				notes = append(notes, fmt.Sprintf("%.1f s%s", d.Seconds(), note))
			}
			t.row("etcd's %s\t%.1f s\t%s", victim, middle(took).Seconds(), strings.Join(notes, ", "))
			report(b, middle(took), "s/failover")
		})
	}
	t.print(b)
}

// failover kills a machine that has a unit, waits for the unit, and boots the
// machine again.
func (c *cluster) failover(round int, leads bool) (took time.Duration, note string) {
	c.Helper()
	machines := []string{"m1", "m2", "m3"}
	var names []string // one will be on each machine
	for i := range machines {
		names = append(names, fmt.Sprintf("fo@%d-%d.service", round, i))
	}
	c.ctl(append([]string{"start"}, names...)...)
	leader := c.etcdLeader(machines...)
	where := c.active(names...)
	victim, lost := "", ""
	for _, name := range names {
		if m := where[name].Hostname; lost == "" && (m == leader) == leads {
			victim, lost = m, name
		}
	}
	if lost == "" {
		c.Fatalf("no unit where one is needed; etcd's leader is %s; seen: %v", leader, where)
	}
	if c.engineLeader() == victim {
		note = " (led the engine, too)"
	}
	begun := time.Now()
	if err := c.lab.Kill(victim); err != nil {
		c.Fatal(err)
	}
	c.eventually(lost+" active elsewhere", 2*time.Minute, func() (string, bool) {
		units := c.units(lost)
		took = time.Since(begun)
		for _, u := range units {
			for _, s := range u.States {
				if s.Hostname != victim && s.Active == "active" {
					return "", true
				}
			}
		}
		return summary(units), false
	})
	if err := c.lab.Start(c.Context(), victim); err != nil {
		c.Fatal(err)
	}
	c.ctl(append([]string{"destroy"}, names...)...)
	c.eventually("all machines alive", time.Minute, c.allAlive)
	return took, note
}

// listed is a machine as list-machines --output=json shows it.
type listed struct {
	Hostname string `json:"hostname"`
	State    string `json:"state"`
	Leader   bool   `json:"leader"`
	Member   bool   `json:"member"`
}

func (c *cluster) allAlive() (string, bool) {
	var all []listed
	c.read(&all, "list-machines", "--output=json")
	for _, m := range all {
		if m.State != "alive" {
			return fmt.Sprint(all), false
		}
	}
	return fmt.Sprint(all), len(all) > 0
}

// engineLeader is the machine whose engine leads; empty while there is none.
func (c *cluster) engineLeader() string {
	var all []listed
	c.read(&all, "list-machines", "--output=json")
	for _, m := range all {
		if m.Leader {
			return m.Hostname
		}
	}
	return ""
}
