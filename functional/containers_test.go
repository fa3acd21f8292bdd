package functional

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestB01_ClassicUnit runs the unit everybody begins with, and the same as it
// was written for docker.
func TestB01_ClassicUnit(t *testing.T) {
	for _, name := range []string{"busybox.service", "fordocker.service"} {
		t.Run(name, func(t *testing.T) {
			c := sharedLab.cluster(t)
			c.destroyed(name)
			c.ctl("submit", "testdata/"+name)
			c.ctl("start", name)
			where := c.active(name)[name]
			c.eventually("the journal has what it said", soon, func() (string, bool) {
				seen := c.ctl("journal", name)
				return seen, strings.Contains(seen, "Hello World")
			})
			text, err := os.ReadFile("testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if c.ctl("cat", name) != string(text) {
				t.Error("cat shows something else than was submitted")
			}
			c.handedOver(where.Hostname, name)
			c.stopsCleanly(where.Hostname, name)
			c.ctl("start", name)
			c.active(name)
			c.ctl("destroy", name)
			if rest := c.units(name); len(rest) != 0 {
				t.Errorf("left after destroying: %s", summary(rest))
			}
		})
	}
}

// handedOver fails unless the container's first process is systemd's child and
// the unit's main process, and the unit's cgroup holds nothing of ours (B-02).
func (c *cluster) handedOver(machine, unit string) {
	c.Helper()
	p := c.show(machine, unit, "MainPID", "ControlGroup")
	status := c.must(machine, "cat", "/proc/"+p["MainPID"]+"/status")
	if !strings.Contains(status, "\nPPid:\t1\n") {
		c.Errorf("B-02: main process %s is not systemd's child: %s", p["MainPID"], status)
	}
	if strings.Contains(status, "\nUid:\t0\t") {
		c.Errorf("B-05: root inside is root outside: %s", status)
	}
	if ns := c.must(machine, "sh", "-c", "grep ^NSpid: /proc/"+p["MainPID"]+"/status"); !strings.HasSuffix(ns, "\t1") {
		c.Errorf("B-02: main process is not the container's first: %s", ns)
	}
	members := c.must(machine, "sh", "-c",
		"for d in /sys/fs/cgroup /sys/fs/cgroup/systemd; do [ -e $d"+p["ControlGroup"]+"/cgroup.procs ] && "+
			"for p in $(cat $d"+p["ControlGroup"]+"/cgroup.procs); do readlink /proc/$p/exe; done; done; true")
	if members == "" || strings.Contains(members, "nsrun") || strings.Contains(members, "clusterd") {
		c.Errorf("B-02: processes in the unit's cgroup: %q", members)
	}
}

// stopsCleanly stops a unit whose first process is deaf to TERM.
func (c *cluster) stopsCleanly(machine, unit string) {
	c.Helper()
	begun := time.Now()
	c.ctl("stop", unit)
	if d := time.Since(begun); d > 10*time.Second {
		c.Errorf("stopping took %v: it waited for a timeout", d)
	}
	p := c.show(machine, unit, "ActiveState", "Result", "LoadState")
	if p["ActiveState"] != "inactive" || p["Result"] != "success" || p["LoadState"] != "loaded" {
		c.Errorf("A-05: after stop it is %v; want it loaded, inactive and not failed", p)
	}
}

// onOneMachine starts a unit and returns where it runs.
func (c *cluster) onOneMachine(name, text string) string {
	c.Helper()
	c.destroyed(name)
	c.ctl("start", c.file(name, text))
	return c.active(name)[name].Hostname
}

func TestB03_ExitCodes(t *testing.T) {
	c := sharedLab.cluster(t)
	const runs = 100
	c.destroyed("b03-exit.service")
	c.ctl("load", c.file("b03-exit.service",
		"[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStartPre=/usr/bin/nsrun pull -q busybox\nExecStart=/usr/bin/nsrun run --rm busybox sh -c 'exit 3'\n"))
	machine := c.units("b03-exit.service")[0].States[0].Hostname
	script := `for i in $(seq %d); do
		systemctl start b03-exit 2>/dev/null
		while systemctl is-active -q b03-exit || systemctl show -p ActiveState b03-exit | grep -q deactivating; do :; done
		systemctl show --value -p Result,ExecMainStatus b03-exit | tr '\n' ' '; echo
	done | sort | uniq -c`
	got := strings.Join(strings.Fields(c.must(machine, "sh", "-c", fmt.Sprintf(script, runs))), " ")
	if want := fmt.Sprintf("%d exit-code 3", runs); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestB03_TermHandlerGetsItsTime(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "b03-term.service"
	machine := c.onOneMachine(name, "[Service]\nExecStartPre=/usr/bin/nsrun pull -q busybox\n"+
		`ExecStart=/usr/bin/nsrun run --rm --name b03term busybox sh -c 'trap "sleep 2; echo said good-bye; exit 0" TERM; echo ready; while :; do sleep 0.1; done'`+"\n")
	c.eventually("it has its handler", soon, func() (string, bool) {
		seen := c.ctl("journal", name)
		return seen, strings.Contains(seen, "]: ready")
	})
	c.stopsCleanly(machine, name)
	if log := c.must(machine, "journalctl", "-o", "cat", "-u", name); !strings.Contains(log, "said good-bye") {
		t.Errorf("its handler did not run to its end: %s", log)
	}
}

func TestB03_LimitsAndRestart(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "b03-limit.service"
	machine := c.onOneMachine(name, "[Service]\nMemoryMax=40M\nMemorySwapMax=0\nRestart=on-failure\nRestartSec=100ms\n"+
		"ExecStartPre=/usr/bin/nsrun pull -q busybox\n"+
		`ExecStart=/usr/bin/nsrun run --rm busybox sh -c 'test -e /proc/self && sleep 1; x=$(head -c 100000000 /dev/zero | tr "\\0" a); sleep infinity'`+"\n")
	c.eventually("the workload is killed for its memory and started again", soon, func() (string, bool) {
		p := c.show(machine, name, "NRestarts", "Result", "ActiveState")
		return fmt.Sprint(p), p["NRestarts"] != "0"
	})
	c.ctl("stop", name)
}

func TestB04_KilledContainerStartsAgain(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "busybox.service"
	c.destroyed(name)
	c.ctl("start", "testdata/"+name)
	machine := c.active(name)[name].Hostname
	for range 5 {
		c.must(machine, "systemctl", "kill", "-s", "KILL", name)
		c.eventually("systemd sees it failed", soon, func() (string, bool) {
			p := c.show(machine, name, "ActiveState")
			return fmt.Sprint(p), p["ActiveState"] == "failed"
		})
		c.must(machine, "systemctl", "reset-failed", name) // five starts in ten seconds are systemd's limit
		c.must(machine, "systemctl", "start", name)
	}
	c.ctl("destroy", name)
	if mounts := c.must(machine, "sh", "-c", "grep -c /var/lib/nsrun/ /proc/self/mountinfo || true"); mounts != "0" {
		t.Errorf("%s mounts are left", mounts)
	}
	if out := c.must(machine, "sh", "-c", "ls /sys/class/net"); out != "eth0\nlo" && !strings.HasPrefix(out, "eth0") {
		t.Errorf("links left: %s", out)
	}
}

// TestB03_JournalIsQuiet runs after the others here and reads what systemd said
// of their containers.
func TestB03_JournalIsQuiet(t *testing.T) {
	c := sharedLab.cluster(t)
	for _, m := range c.machines() {
		if out := c.must(m.Hostname, "sh", "-c", "journalctl -b | grep 'not our child' || true"); out != "" {
			t.Errorf("machine %s: %s", m.Hostname, out)
		}
	}
}
