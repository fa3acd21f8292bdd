package functional

import (
	"fmt"
	"strings"
	"testing"
)

func TestA03_SubmitAndDestroyInstances(t *testing.T) {
	c := sharedLab.cluster(t)
	template := c.file("a03@.service", sleeper(""))
	var instances []string
	for i := range 9 {
		instances = append(instances, fmt.Sprintf("a03@%d.service", i+1))
	}
	c.destroyed("a03@.service")
	c.ctl("submit", template)
	for round := range 2 {
		c.ctl(append([]string{"submit"}, instances...)...)
		got := strings.Fields(c.ctl("list-unit-files", "--no-legend", "--fields", "unit", "a03@?*.service"))
		if strings.Join(got, " ") != strings.Join(instances, " ") {
			t.Errorf("round %d: want %v, got %v", round, instances, got)
		}
		c.ctl(append([]string{"destroy"}, instances...)...)
		if rest := c.ctl("list-unit-files", "--no-legend", "--fields", "unit", "a03@?*.service"); rest != "" {
			t.Errorf("round %d: left after destroying: %s", round, rest)
		}
	}
}

func TestA04_LoadAndUnload(t *testing.T) {
	c := sharedLab.cluster(t)
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("a04-%d.service", i+1))
	}
	c.destroyed(names...)
	for _, name := range names {
		c.ctl("submit", c.file(name, sleeper("")))
	}
	for round := range 2 {
		c.ctl(append([]string{"load"}, names...)...)
		units := c.units("a04-*")
		for _, u := range units {
			if len(u.States) != 1 || u.States[0].Load != "loaded" || u.States[0].Active != "inactive" {
				t.Errorf("round %d: want each loaded once and inactive; seen:\n%s", round, summary(units))
			}
		}
		if len(units) != len(names) {
			t.Errorf("round %d: want %d rows, got %d:\n%s", round, len(names), len(units), summary(units))
		}
		c.ctl(append([]string{"unload"}, names...)...)
		if rest := c.units("a04-*"); len(rest) != 0 {
			t.Errorf("round %d: left after unloading:\n%s", round, summary(rest))
		}
	}
}

func TestA05_StartStopRestart(t *testing.T) {
	c := sharedLab.cluster(t)
	names := []string{"a05-1.service", "a05-2.service", "a05-3.service"}
	c.destroyed(names...)
	for _, name := range names {
		c.ctl("submit", c.file(name, sleeper("")))
	}
	for round := range 2 {
		c.ctl(append([]string{"start"}, names...)...)
		where := c.active("a05-*")
		if len(where) != len(names) {
			t.Fatalf("round %d: want %d active, got %v", round, len(names), where)
		}
		first := where[names[0]]
		before := c.identity(first.Hostname, names[0])
		c.ctl("restart", names[0])
		if after := c.identity(first.Hostname, names[0]); after == before {
			t.Errorf("round %d: restart left it as it was: %s", round, after)
		}
		c.ctl(append([]string{"stop"}, names...)...)
		units := c.units("a05-*")
		for _, u := range units {
			if len(u.States) != 1 || u.States[0].Load != "loaded" || u.States[0].Active != "inactive" {
				t.Errorf("round %d: want each still loaded, and inactive; seen:\n%s", round, summary(units))
			}
		}
	}
}

func TestA07_CatReturnsBytes(t *testing.T) {
	c := sharedLab.cluster(t)
	text := "# a comment\n\n; another\n[Unit]\nDescription=a \\\n  continued \\\n# in between\n line\n\n\n" +
		"[Service]\nEnvironment=LONG=" + strings.Repeat("x", 3000) + "\nExecStart=/bin/sh -c \"echo ü  \\\"two\\\"\"   \n[X-Other]\nKey = value\t\n"
	c.destroyed("a07.service")
	c.ctl("submit", c.file("a07.service", text))
	if got := c.ctl("cat", "a07.service"); got != text {
		t.Errorf("got %q\nwant %q", got, text)
	}
	if got := c.ctl("cat", "a07"); got != text {
		t.Error("cat without the suffix differs")
	}
}

func TestA08_StatusAndJournal(t *testing.T) {
	c := sharedLab.cluster(t)
	c.destroyed("a08.service")
	c.ctl("start", c.file("a08.service", "[Service]\nExecStart=/bin/sh -c 'echo said-by-a08; exec sleep infinity'\n"))
	status := c.ctl("status", "a08")
	for _, want := range []string{"Loaded: loaded", "Active: active"} {
		if !strings.Contains(status, want) {
			t.Errorf("status lacks %q: %s", want, status)
		}
	}
	c.eventually("the journal has what it said", soon, func() (string, bool) {
		seen := c.ctl("journal", "a08")
		return seen, strings.Contains(seen, "said-by-a08")
	})
	c.ctl("stop", "a08")
	if r := c.try("status", "a08"); r.code != 3 || !strings.Contains(r.stdout, "Loaded: loaded") {
		t.Errorf("status of a stopped unit: want exit code 3 and loaded, got %v", r)
	}
}

func TestA09_UnknownUnits(t *testing.T) {
	c := sharedLab.cluster(t)
	for _, verb := range []string{"start", "stop", "load", "unload", "destroy", "restart", "cat", "status", "journal"} {
		c.refused(4, []string{"a09-nobody.service"}, verb, "a09-nobody")
	}
	c.refused(2, []string{"a09.service:2"}, "submit", c.file("a09.service", "[Service]\nnonsense\n"))
	if r := c.try("cat", "a09"); r.code != 4 {
		t.Errorf("a file that doesn't parse has become known: %v", r)
	}
}

func TestC04_BadUnitsHoldUpNobody(t *testing.T) {
	c := sharedLab.cluster(t)
	bad := map[string]string{
		"c04-fails.service":  "[Service]\nExecStart=/bin/false\nType=oneshot\n",
		"c04-hangs.service":  "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n",
		"c04-loops.service":  "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'exit 1'\nRestart=always\nRestartSec=100ms\n",
		"c04-absent.service": "[Service]\nExecStart=/no/such/program\n",
	}
	for name, text := range bad {
		c.destroyed(name)
		c.ctl("start", "--no-block", c.file(name, text))
	}
	var good []string
	for i := range 6 {
		good = append(good, fmt.Sprintf("c04-good-%d.service", i))
		c.destroyed(good[i])
	}
	args := []string{"start"}
	for _, name := range good {
		args = append(args, c.file(name, sleeper("")))
	}
	c.ctl(args...)
	if got := len(c.active("c04-good-*")); got != len(good) {
		t.Errorf("%d of %d good units are active", got, len(good))
	}
	c.eventually("the failed one is shown as failed", soon, func() (string, bool) {
		seen := summary(c.units("c04-fails.service", "c04-absent.service"))
		return seen, strings.Count(seen, "failed/failed") == 2
	})
	c.ctl("stop", "c04-hangs.service")
}

func TestC09_DestroyRunsExecStop(t *testing.T) {
	c := sharedLab.cluster(t)
	c.destroyed("c09-stop.service")
	c.ctl("start", c.file("c09-stop.service",
		"[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'sleep 1; echo stopped >> /var/tmp/c09'\n"))
	machine := c.active("c09-stop*")["c09-stop.service"].Hostname
	c.ctl("destroy", "c09-stop.service")
	if got := c.must(machine, "cat", "/var/tmp/c09"); got != "stopped" {
		t.Errorf("ExecStop= left %q", got)
	}
	c.must(machine, "rm", "/var/tmp/c09")
}

// TestC09_NoGhosts creates and destroys, and compares what the cluster shows
// with what each machine's own systemd has.
func TestC09_NoGhosts(t *testing.T) {
	c := sharedLab.cluster(t)
	const rounds, each = 4, 20
	c.destroyed("c09@.service")
	c.ctl("submit", c.file("c09@.service", sleeper("")))
	var names []string
	for i := range each {
		names = append(names, fmt.Sprintf("c09@%d.service", i))
	}
	c.destroyed(names...)
	for round := range rounds {
		c.ctl(append([]string{"start"}, names...)...)
		if got := len(c.active("c09@?*")); got != each {
			t.Errorf("round %d: %d of %d active", round, got, each)
		}
		c.compareWithMachines("c09@")
		c.ctl(append([]string{"destroy"}, names...)...)
		if rest := c.units("c09@?*"); len(rest) != 0 {
			t.Errorf("round %d: left after destroying:\n%s", round, summary(rest))
		}
		c.compareWithMachines("c09@")
	}
}

// compareWithMachines fails unless list-units shows for units of the prefix
// what the machines' own systemd has loaded.
func (c *cluster) compareWithMachines(prefix string) {
	c.Helper()
	shown := map[string]bool{}
	for _, u := range c.units(prefix + "?*") {
		for _, s := range u.States {
			shown[s.Hostname+" "+u.Name+" "+s.Active] = true
		}
	}
	for _, m := range c.machines() {
		out := c.must(m.Hostname, "systemctl", "list-units", "--all", "--plain", "--no-legend", prefix+"*")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			row := m.Hostname + " " + f[0] + " " + f[2]
			if !shown[row] {
				c.Errorf("systemd has %q, list-units doesn't show it", row)
			}
			delete(shown, row)
		}
		if files := c.must(m.Hostname, "sh", "-c", "ls /run/systemd/system | grep -c '^"+prefix+".*service$' || true"); files != fmt.Sprint(strings.Count(out, "\n")+min(1, len(out))) {
			c.Errorf("machine %s has %s files of %s* and these units:\n%s", m.Hostname, files, prefix, out)
		}
	}
	for row := range shown {
		c.Errorf("list-units shows %q, systemd has it not", row)
	}
}

// machine is one of list-machines.
type machine struct {
	ID       string `json:"id"`
	Hostname string `json:"hostname"`
	Address  string `json:"address"`
	State    string `json:"state"`
	Member   bool   `json:"member"`
	Leader   bool   `json:"leader"`
}

func (c *cluster) machines() []machine {
	c.Helper()
	var all []machine
	c.read(&all, "list-machines", "--output=json")
	return all
}
