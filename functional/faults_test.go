package functional

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// leaseTime is longer than every lease of a cluster with its defaults.
const leaseTime = 12 * time.Second

// failover is how long a unit may be down when its machine dies.
const failover = 45 * time.Second

// identities are all active units with their machine, main PID and its start,
// read from the machines' own systemd: no registry is asked.
func (c *cluster) identities(where map[string]state) string {
	c.Helper()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(where)) {
		lines = append(lines, fmt.Sprintf("%s %s %s", name, where[name].Hostname, c.identity(where[name].Hostname, name)))
	}
	return strings.Join(lines, "\n")
}

// calm runs do and fails unless every unit is then the same process as before.
func (c *cluster) calm(what string, where map[string]state, do func()) {
	c.Helper()
	before := c.identities(where)
	do()
	if after := c.identities(where); after != before {
		c.Errorf("%s touched units\nbefore:\n%s\nafter:\n%s", what, before, after)
	}
}

// everywhere runs a command on all machines.
func (c *cluster) everywhere(argv ...string) {
	c.Helper()
	for _, m := range c.running() {
		c.must(m, argv...)
	}
}

// running names the machines that are on.
func (c *cluster) running() []string {
	c.Helper()
	status, err := c.lab.Status()
	if err != nil {
		c.Fatal(err)
	}
	var names []string
	for _, m := range status {
		if m.State != "off" {
			names = append(names, m.Name)
		}
	}
	return names
}

// back waits until all machines that are on are alive in the cluster's eyes.
func (c *cluster) back() {
	c.Helper()
	want := len(c.running())
	c.eventually("all machines are alive again", time.Minute, func() (string, bool) {
		r := c.try("list-machines", "--no-legend", "--fields", "hostname,state")
		return r.String(), r.code == 0 && strings.Count(r.stdout, " alive\n") >= want
	})
}

// someUnits starts what most tests here have running: plain units, a container
// and one on every machine.
func (c *cluster) someUnits() map[string]state {
	c.Helper()
	args := []string{"start", "testdata/busybox.service"}
	for i := range 4 {
		args = append(args, c.file(fmt.Sprintf("some-%d.service", i), sleeper("")))
	}
	c.ctl(args...)
	return c.active("some-*", "busybox.service")
}

// TestCalm breaks what is ours, one thing after the other, and finds every unit
// as it was.
func TestCalm(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "calm"})
	where := c.someUnits()
	picture := summary(c.units())
	same := func(c *cluster) {
		c.back()
		c.eventually("list-units is as it was", soon, func() (string, bool) {
			seen := summary(c.units())
			return seen, seen == picture
		})
	}
	run := func(name string, do func(c *cluster)) {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, c.lab)
			c.calm(name, where, func() { do(c) })
			same(c)
		})
	}
	run("C02_RestartOfClusterd", func(c *cluster) {
		c.everywhere("systemctl", "restart", "clusterd")
		c.back()
	})
	run("C02_KillOfClusterd", func(c *cluster) {
		c.everywhere("systemctl", "kill", "-s", "KILL", "clusterd")
		c.back()
	})
	run("C02_ReexecOfSystemd", func(c *cluster) { c.everywhere("systemctl", "daemon-reexec") })
	run("C02_ReloadOfSystemd", func(c *cluster) { c.everywhere("systemctl", "daemon-reload") })
	run("C02_RestartOfDBus", func(c *cluster) { c.everywhere("systemctl", "restart", "dbus") })
	run("A16_StoppedClusterdIsAway", func(c *cluster) { c.stoppedIsAway(where) })
	run("C01_EtcdStoppedEverywhere", func(c *cluster) {
		c.everywhere("systemctl", "stop", "clusterd")
		pause(c, 60*time.Second)
		c.everywhere("systemctl", "start", "clusterd")
	})
	run("A13_EtcdCutOffForAMinute", func(c *cluster) { c.etcdCutOff(where) })
	run("C03_UnreadableRegistry", func(c *cluster) { c.unreadableRegistry() })
	t.Run("works afterwards", func(t *testing.T) {
		c := newCluster(t, c.lab)
		c.ctl("start", c.file("late.service", sleeper("")))
		c.active("late.service")
	})
}

func (c *cluster) stoppedIsAway(where map[string]state) {
	machine := where["busybox.service"].Hostname
	c.must(machine, "systemctl", "stop", "clusterd")
	c.eventually(machine+" is shown as away", soon, func() (string, bool) {
		seen := c.ctl("list-machines", "--no-legend", "--fields", "hostname,state")
		return seen, strings.Contains(seen, machine+" ") && strings.Contains(seen, "away")
	})
	c.steadily("nothing moves", leaseTime, func() (string, bool) {
		for _, u := range c.units("some-*", "busybox.service") {
			if len(u.States) != 1 || u.States[0].Hostname != where[u.Name].Hostname {
				return summary(c.units()), false
			}
		}
		return "", true
	})
	c.must(machine, "systemctl", "start", "clusterd")
}

// etcdCutOff drops what the etcd members say to each other. Nothing can be
// changed then, and that is said; nothing else happens.
func (c *cluster) etcdCutOff(where map[string]state) {
	c.everywhere("sh", "-c", `nft -f - <<END
table inet cut {
	chain in { type filter hook input priority 0; tcp dport 7423 drop; tcp sport 7423 drop; }
}
END`)
	before := c.identities(where)
	c.eventually("a change fails", time.Minute, func() (string, bool) {
		r := c.try("submit", c.file("cut.service", sleeper("")))
		return r.String(), r.code == 7
	})
	if r := c.try("list-units", "some-*"); r.code != 7 || strings.Count(r.stdout, "some-") != 4 {
		c.Errorf("list-units without etcd: want what was last known and exit code 7, got %v", r)
	}
	c.steadily("units stay", time.Minute, func() (string, bool) {
		now := c.identities(where)
		return now, now == before
	})
	c.everywhere("nft", "delete", "table", "inet", "cut")
	c.eventually("changes work again", time.Minute, func() (string, bool) {
		r := c.try("submit", c.file("cut.service", sleeper("")))
		return r.String(), r.code == 0
	})
	c.ctl("destroy", "cut.service")
}

// unreadableRegistry spoils etcd's files on every machine and restarts
// clusterd over them; then the files come back.
func (c *cluster) unreadableRegistry() {
	c.everywhere("sh", "-c", `systemctl stop clusterd && cp -a /var/lib/clusterd/etcd /var/lib/clusterd/etcd.kept &&
		find /var/lib/clusterd/etcd -type f -size +0 -exec sh -c 'head -c 65536 /dev/urandom | dd of="$1" conv=notrunc 2>/dev/null' x {} \;
		systemctl start --no-block clusterd`)
	pause(c, leaseTime)
	c.everywhere("sh", "-c", `systemctl stop clusterd; rm -rf /var/lib/clusterd/etcd && mv /var/lib/clusterd/etcd.kept /var/lib/clusterd/etcd &&
		systemctl reset-failed clusterd; systemctl start clusterd`)
}

// TestA11_OnlyTheDeadMachinesUnitMoves: four machines, three units that
// conflict with each other, one power cut.
func TestA11_OnlyTheDeadMachinesUnitMoves(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "a11", Machines: 4})
	args := []string{"start"}
	for i := range 3 {
		args = append(args, c.file(fmt.Sprintf("a11-%d.service", i), sleeper("[X-Cluster]\nConflicts=a11-*.service\n")))
	}
	c.ctl(args...)
	before := c.active("a11-*")
	machines := map[string]bool{}
	for _, s := range before {
		machines[s.Hostname] = true
	}
	if len(machines) != 3 {
		t.Fatalf("units that conflict share machines: %v", before)
	}
	const victim = "a11-1.service"
	dead := before[victim].Hostname
	others := maps.Clone(before)
	delete(others, victim)
	c.calm("the death of another machine", others, func() {
		if err := c.lab.Kill(dead); err != nil {
			t.Fatal(err)
		}
		c.eventually(victim+" is active on the free machine", failover, func() (string, bool) {
			units := c.units("a11-*")
			for _, u := range units {
				if len(u.States) != 1 || u.States[0].Active != "active" {
					return summary(units), false
				}
				if s := u.States[0]; u.Name == victim && (s.Hostname == dead || machines[s.Hostname]) ||
					u.Name != victim && s.Hostname != before[u.Name].Hostname {
					return summary(units), false
				}
			}
			return summary(units), len(units) == 3
		})
	})
	t.Run("it comes back and takes no unit", func(t *testing.T) {
		c := newCluster(t, c.lab)
		now := c.active("a11-*")
		c.calm("the machine's return", now, func() {
			if err := c.lab.Start(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
			c.back()
			c.steadily("each stays single", leaseTime, func() (string, bool) {
				units := c.units("a11-*")
				return summary(units), strings.Count(summary(units), " active/running") == 3 && strings.Count(summary(units), "\n") == 2
			})
		})
	})
}

// TestA16_ShutdownHandsOver: a machine that shuts down hands its units over at
// once; one that is removed goes from the list.
func TestA16_ShutdownHandsOver(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "a16"})
	c.ctl("start", c.file("a16.service", sleeper("")))
	machine := c.active("a16.service")["a16.service"].Hostname
	c.must(machine, "systemctl", "poweroff")
	begun := time.Now()
	c.eventually("the unit is active elsewhere", failover, func() (string, bool) {
		units := c.units("a16.service")
		if len(units) != 1 || len(units[0].States) != 1 {
			return summary(units), false
		}
		s := units[0].States[0]
		return summary(units), s.Hostname != machine && s.Active == "active"
	})
	t.Logf("active elsewhere %v after the shutdown began", time.Since(begun).Round(time.Second/10))
	c.eventually(machine+" can be removed", time.Minute, func() (string, bool) {
		r := c.try("machine", "remove", machine)
		return r.String(), r.code == 0
	})
	c.eventually("it is gone from the list", soon, func() (string, bool) {
		seen := c.ctl("list-machines", "--no-legend", "--fields", "hostname")
		return seen, !strings.Contains(seen, machine)
	})
}

// TestC05_MassLossMovesNothing: more than half of the machines vanish, and
// nothing moves until they are back, but from one that an operator confirms dead.
func TestC05_MassLossMovesNothing(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "c05", Machines: 5})
	args := []string{"start"}
	for i := range 5 {
		args = append(args, c.file(fmt.Sprintf("c05-%d.service", i), sleeper("[X-Cluster]\nConflicts=c05-*.service\n")))
	}
	c.ctl(args...)
	before := c.active("c05-*")
	args = []string{"start"}
	for i := range 5 {
		args = append(args, c.file(fmt.Sprintf("loose-%d.service", i), sleeper("")))
	}
	c.ctl(args...)
	loose := c.active("loose-*")
	var lost []string
	members := 0
	for _, m := range c.machines() {
		// Three of five, of which one is a member: etcd goes on.
		if m.Member && members == 1 || len(lost) == 3 {
			continue
		}
		if m.Member {
			members++
		}
		lost = append(lost, m.Hostname)
	}
	if len(lost) != 3 {
		t.Fatalf("want one member and two others to lose, have %v of %v", lost, c.machines())
	}
	for _, m := range lost {
		if err := c.lab.Kill(m); err != nil {
			t.Fatal(err)
		}
	}
	c.steadily("nothing moves", 50*time.Second, func() (string, bool) {
		units := c.units("c05-*")
		for _, u := range units {
			if len(u.States) != 1 || u.States[0].Hostname != before[u.Name].Hostname {
				return summary(units), false
			}
		}
		return summary(units), len(units) == 5
	})
	c.confirmOne(lost[0], loose)
	for _, m := range lost {
		if err := c.lab.Start(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	c.back()
	c.eventually("all are active where they were", time.Minute, func() (string, bool) {
		units := c.units("c05-*")
		for _, u := range units {
			if len(u.States) != 1 || u.States[0].Active != "active" || u.States[0].Hostname != before[u.Name].Hostname {
				return summary(units), false
			}
		}
		return summary(units), true
	})
}

// confirmOne confirms that one of several missing machines is dead: its loose
// units move, those of the others stay.
func (c *cluster) confirmOne(dead string, loose map[string]state) {
	c.Helper()
	c.ctl("machine", "confirm-dead", dead)
	look := func() (string, bool) {
		units, ok := c.units("loose-*"), true
		for _, u := range units {
			was := loose[u.Name].Hostname
			moved := len(u.States) == 1 && u.States[0].Hostname != was
			ok = ok && moved == (was == dead) && (!moved || u.States[0].Active == "active")
		}
		return summary(units), ok
	}
	c.eventually("the units of "+dead+" move, and no others", soon, look)
	c.steadily("no others move", 5*time.Second, look)
}
