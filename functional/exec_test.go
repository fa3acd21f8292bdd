package functional

import (
	"strings"
	"testing"

	"github.com/clusterd/clusterd/functional/lab"
)

// TestB03_ExecIsTheUnits: what nsrun exec runs in a unit's container is in the
// unit's cgroup, so that limits and systemctl kill act on it, and is gone when
// the unit has stopped; it is out of nsrun exec's own.
func TestB03_ExecIsTheUnits(t *testing.T) {
	c := ownCluster(t, lab.Options{Name: "exec", Machines: 1, Bare: true})
	const m = "m1"
	c.must(m, "nsrun", "pull", "-q", "busybox")
	start := func() {
		t.Helper()
		c.must(m, "systemd-run", "--quiet", "--collect", "--unit=b03exec", "--property=Type=notify", "--property=NotifyAccess=main", "--property=TasksMax=20",
			"nsrun", "run", "--rm", "--network=none", "--name", "b03exec", "busybox", "sh", "-c", "trap '' USR1; while true; do sleep 1; done")
	}
	// join runs a program there, by a unit of its own, and returns what the unit's
	// cgroup holds.
	join := func(number string) {
		t.Helper()
		c.must(m, "systemd-run", "--quiet", "--collect", "--unit=b03joins", "nsrun", "exec", "b03exec", "sleep", number)
		c.eventually("the program is there", soon, func() (string, bool) {
			out, code := c.on(m, "pgrep", "-x", "-f", "sleep "+number)
			return out, code == 0
		})
		cgroup := c.must(m, "sh", "-c", "cat /proc/$(pgrep -x -f 'sleep "+number+"')/cgroup")
		for line := range strings.Lines(cgroup) {
			line = strings.TrimSpace(line)
			systemds := strings.HasPrefix(line, "0::") || strings.Contains(line, ":name=systemd:") || strings.Contains(line, ":pids:")
			if systemds && !strings.HasSuffix(line, "/b03exec.service") {
				t.Errorf("the program is in %s, want b03exec.service: %s", line, cgroup)
			}
		}
		if own := c.must(m, "systemctl", "show", "--value", "--property=MainPID", "b03joins"); own == "0" {
			t.Errorf("nsrun exec has gone without its program")
		}
	}
	gone := func(what, number string) {
		t.Helper()
		c.eventually(what+": the program is gone, and its nsrun exec", soon, func() (string, bool) {
			out, code := c.on(m, "pgrep", "-f", "sleep "+number)
			return out, code == 1
		})
	}

	start()
	join("7001")
	c.must(m, "systemctl", "kill", "--signal=USR1", "b03exec") // the container's first process doesn't mind
	gone("systemctl kill", "7001")
	if state := c.must(m, "systemctl", "is-active", "b03exec"); state != "active" {
		t.Errorf("the unit is %s", state)
	}
	join("7002")
	c.must(m, "systemctl", "stop", "b03joins")
	gone("nsrun exec is stopped", "7002")
	join("7003")
	if _, code := c.on(m, "nsrun", "exec", "b03exec", "sh", "-c", "for i in $(seq 30); do sleep 5 & done; wait"); code == 0 {
		t.Error("thirty programs run, with TasksMax=20")
	}
	c.must(m, "systemctl", "stop", "b03exec")
	gone("the unit has stopped", "7003")
	if out, code := c.on(m, "nsrun", "exec", "b03exec", "true"); code != 1 {
		t.Errorf("exec into what is gone: exit %d, %s; want 1", code, out)
	}
}
