package functional

import (
	"fmt"
	"strings"
	"testing"
)

// often begins a unit that is started again and again.
const often = "[Unit]\nStartLimitIntervalSec=0\n"

// follows fails unless all units are on the machine and as active as said.
func (c *cluster) follows(what, machine, active string, units ...string) {
	c.Helper()
	c.eventually(what, soon, func() (string, bool) {
		seen := summary(c.units(units...))
		return seen, strings.Count(seen, " "+machine+" "+active) == len(units)
	})
}

// TestA14_SidekickFollowsItsUnit: what is wanted or required by another unit of
// the cluster is placed with it, starts with it and stops with it.
func TestA14_SidekickFollowsItsUnit(t *testing.T) {
	c := sharedLab.cluster(t)
	const main, side, need, third = "a14.service", "a14-side.service", "a14-need.service", "a14-third.service"
	c.destroyed(side, need, third)
	c.destroyed(main)
	files := c.dir(map[string]string{
		main: often + sleeper(""),
		side: often + "BindsTo=" + main + "\nAfter=" + main + "\n" + sleeper("[Install]\nWantedBy="+main+"\n[X-Cluster]\nMachineOf="+main+"\n"),
		need: often + "PartOf=" + main + "\nBefore=" + main + "\n" + sleeper("[Install]\nRequiredBy="+main+"\n[X-Cluster]\nMachineOf="+main+"\n"),
		// Keeps the main unit in systemd's memory.
		third: "[Unit]\nAfter=" + main + "\n" + sleeper("[X-Cluster]\nMachineOf="+main+"\n"),
	})
	c.in(files, "submit", main, side, need, third)
	c.in(files, "load", main, side, need)
	machine := c.units(main)[0].States[0].Hostname
	rounds := func(what string) {
		t.Helper()
		for round := range 3 {
			what := fmt.Sprintf("%s, round %d", what, round)
			c.ctl("start", main)
			c.follows(what+": all run", machine, "active/running", main, side, need)
			before := c.identity(machine, side)
			c.ctl("restart", main)
			c.follows(what+": all run after a restart", machine, "active/running", main, side, need)
			if after := c.identity(machine, side); after == before {
				t.Errorf("%s: the sidekick was not restarted with its unit: %s", what, after)
			}
			c.ctl("stop", main)
			c.follows(what+": all are stopped", machine, "inactive/dead", main, side, need)
		}
	}
	rounds("loaded before its unit runs")
	c.ctl("start", main, third)
	c.ctl("unload", side, need)
	c.ctl("start", main) // what it requires took it along
	c.ctl("load", side, need)
	c.ctl("restart", main)
	rounds("loaded while its unit runs, and kept in memory")
	c.ctl("start", main)
	c.ctl("start", side)
	c.ctl("stop", side)
	if got := c.machineOf(main); got[main] != machine {
		t.Errorf("stopping the sidekick touched its unit: %v", got)
	}
	c.ctl("destroy", side, need)
	c.ctl("start", main) // it required one of them
	c.ctl("restart", main)
	c.active(main)
	if out := c.must(machine, "sh", "-c", "ls -d /run/systemd/system/a14*.wants /run/systemd/system/a14*.requires 2>/dev/null || true"); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

// TestA14_InstancesFollow: sidekicks of a template's instances, by specifiers.
func TestA14_InstancesFollow(t *testing.T) {
	c := sharedLab.cluster(t)
	files := c.dir(map[string]string{
		"a14i@.service":      sleeper("[X-Cluster]\nMachineMetadata=hostname=%i\n"),
		"a14i-side@.service": "[Unit]\nBindsTo=a14i@%i.service\nAfter=a14i@%i.service\n" + sleeper("[Install]\nWantedBy=a14i@%i.service\n[X-Cluster]\nMachineOf=a14i@%i.service\n"),
	})
	c.destroyed("a14i-side@m1.service", "a14i-side@m2.service", "a14i@m1.service", "a14i@m2.service")
	c.in(files, "load", "a14i@m1", "a14i@m2", "a14i-side@m1", "a14i-side@m2")
	for range 2 {
		c.ctl("start", "a14i@m1", "a14i@m2")
		c.follows("both run on the first", "m1", "active/running", "a14i@m1.service", "a14i-side@m1.service")
		c.follows("both run on the second", "m2", "active/running", "a14i@m2.service", "a14i-side@m2.service")
		c.ctl("stop", "a14i@m1")
		c.follows("both stop on the first", "m1", "inactive/dead", "a14i@m1.service", "a14i-side@m1.service")
		c.follows("both run on the second still", "m2", "active/running", "a14i@m2.service", "a14i-side@m2.service")
	}
}

// TestA14_MachinesOwnTargetsPullNothingIn: what the machine has for itself
// starts no unit of the cluster, and that is said.
func TestA14_MachinesOwnTargetsPullNothingIn(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "a14-inert.service"
	c.destroyed(name)
	r := c.try("submit", c.file(name, sleeper("[Install]\nWantedBy=multi-user.target\nRequiredBy=default.target\n")))
	if r.code != 0 || !strings.Contains(r.stderr, name+": [Install]") {
		t.Errorf("want a note about [Install], got %v", r)
	}
	c.ctl("load", name)
	machine := c.units(name)[0].States[0].Hostname
	c.must(machine, "systemctl", "daemon-reload")
	c.must(machine, "systemctl", "start", "multi-user.target")
	if p := c.show(machine, "multi-user.target", "Wants", "Requires"); strings.Contains(p["Wants"]+p["Requires"], name) {
		t.Errorf("the machine's own target pulls it in: %v", p)
	}
	if seen := summary(c.units(name)); seen != name+" "+machine+" inactive/dead" {
		t.Errorf("it is not left as it is: %s", seen)
	}
	if out := c.must(machine, "sh", "-c", "find /run/systemd/system /etc/systemd/system -name '"+name+"' -type l"); out != "" {
		t.Errorf("it is linked: %s", out)
	}
}
