package functional

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// logged is a service that appends to a file of its machine what it does. It
// takes its time to stop.
func logged(log, version, more string) string {
	say := func(what string) string { return fmt.Sprintf("'echo %s %s >>%s'", version, what, log) }
	return "[Service]\nExecStartPre=/bin/sh -c " + say("is prepared") +
		"\nExecStart=/bin/sleep infinity" +
		"\nExecStop=/bin/sh -c 'sleep 0.3; echo " + version + " is told to stop >>" + log + "'" +
		"\nExecStopPost=/bin/sh -c 'sleep 0.7; echo " + version + " is cleaned up >>" + log + "'\n" + more
}

// replaced fails unless a machine's log tells of one version's end, and then
// of the next one's beginning.
func (c *cluster) replaced(machine, log, old, new string) {
	c.Helper()
	want := strings.Join([]string{old + " is prepared", old + " is told to stop", old + " is cleaned up", new + " is prepared"}, "\n")
	if got := c.must(machine, "cat", log); got != want {
		c.Errorf("A-06: want\n%s\ngot\n%s", want, got)
	}
	c.must(machine, "sh", "-c", "echo "+new+" is prepared >"+log)
}

// rows are how many lines the lists have for units that match.
func (c *cluster) rows(pattern string) string {
	c.Helper()
	files := c.ctl("list-unit-files", "--no-legend", "--fields", "unit", pattern)
	units := c.ctl("list-units", "--no-legend", "--fields", "unit", pattern)
	return fmt.Sprintf("%d unit files, %d units", strings.Count(files, "\n"), strings.Count(units, "\n"))
}

// TestA06_ReplaceUpdatesInPlace gives a unit new text, by each verb that can.
func TestA06_ReplaceUpdatesInPlace(t *testing.T) {
	c := sharedLab.cluster(t)
	const name, log = "a06.service", "/var/tmp/a06"
	c.destroyed(name)
	c.ctl("start", c.file(name, logged(log, "v1", "")))
	machine := c.active(name)[name].Hostname
	rows := c.rows("a06*")
	last := c.identity(machine, name)
	for i, verb := range []string{"start", "submit", "load"} {
		old, version := fmt.Sprintf("v%d", i+1), fmt.Sprintf("v%d", i+2)
		text := "# " + verb + "\n\n" + logged(log, version, "[X-Other]\nkey = value \\\n  more\t\n")
		c.refused(1, []string{"--replace", "+# " + verb}, verb, c.file(name, text))
		if now := c.identity(machine, name); now != last {
			t.Errorf("%s without --replace touched it: %s, now %s", verb, last, now)
		}
		c.ctl(verb, "--replace", c.file(name, text))
		c.eventually(verb+" --replace: it runs anew where it was", soon, func() (string, bool) {
			units := c.units(name)
			now := c.identity(machine, name)
			return summary(units) + " " + now, summary(units) == name+" "+machine+" active/running" && now != last && !strings.HasPrefix(now, "0 ")
		})
		last = c.identity(machine, name)
		if got := c.ctl("cat", name); got != text {
			t.Errorf("%s --replace: cat shows %q, want %q", verb, got, text)
		}
		if got := c.rows("a06*"); got != rows {
			t.Errorf("%s --replace: there were %s, now %s", verb, rows, got)
		}
		c.replaced(machine, log, old, version)
	}
}

// TestA06_ReplaceOthers: what isn't running isn't started by
// its new text, constraints that changed move a unit, and a container's text
// is replaced as any other.
func TestA06_ReplaceOthers(t *testing.T) {
	c := sharedLab.cluster(t)
	t.Run("loaded stays loaded", func(t *testing.T) {
		c := newCluster(t, c.lab)
		const name = "a06-loaded.service"
		c.destroyed(name)
		c.ctl("load", c.file(name, sleeper("")))
		machine := c.units(name)[0].States[0].Hostname
		text := sleeper("Environment=V=2\n")
		c.ctl("submit", "--replace", c.file(name, text))
		c.eventually("the machine has the new text, not running", soon, func() (string, bool) {
			seen := summary(c.units(name)) + "\n" + c.must(machine, "cat", "/run/systemd/system/"+name)
			return seen, seen == name+" "+machine+" inactive/dead\n"+strings.TrimSpace(text)
		})
		c.ctl("start", name)
		if p := c.show(machine, name, "Environment"); p["Environment"] != "V=2" {
			t.Errorf("started with %v", p)
		}
	})
	t.Run("a template's instances keep their text until they are given it", func(t *testing.T) {
		c := newCluster(t, c.lab)
		c.destroyed("a06@1.service", "a06@2.service", "a06@.service")
		dir := filepath.Dir(c.file("a06@.service", sleeper("")))
		c.in(dir, "submit", "a06@.service")
		c.in(dir, "start", "a06@1", "a06@2")
		where := c.active("a06@?")
		text := sleeper("Environment=V=2\n")
		c.calm("replacing a template", where, func() {
			dir = filepath.Dir(c.file("a06@.service", text))
			if r := c.tryIn(dir, "submit", "--replace", "a06@.service"); r.code != 0 || !strings.Contains(r.stderr, "a06@1.service, a06@2.service keep the text they have") {
				t.Errorf("want a note about the instances, got %v", r)
			}
		})
		c.in(dir, "start", "--replace", "a06@1")
		for name, want := range map[string]string{"a06@1.service": "V=2", "a06@2.service": ""} {
			now := c.active(name)[name].Hostname
			if p := c.show(now, name, "Environment"); now != where[name].Hostname || p["Environment"] != want {
				t.Errorf("%s runs on %s with %v, want %q where it was", name, now, p, want)
			}
		}
	})
	t.Run("a unit whose constraints changed moves", func(t *testing.T) {
		c := newCluster(t, c.lab)
		const name = "a06-moves.service"
		c.destroyed(name)
		c.ctl("start", c.file(name, sleeper("")))
		from := c.active(name)[name].Hostname
		to := map[string]string{"m1": "m2", "m2": "m3", "m3": "m1"}[from]
		c.ctl("start", "--replace", c.file(name, sleeper("[X-Cluster]\nMachineMetadata=hostname="+to+"\n")))
		c.eventually("it is active on the other machine only", soon, func() (string, bool) {
			seen := summary(c.units(name))
			return seen, seen == name+" "+to+" active/running"
		})
		if p := c.show(from, name, "LoadState"); p["LoadState"] != "not-found" {
			t.Errorf("%s still has it: %v", from, p)
		}
	})
	t.Run("container", func(t *testing.T) {
		c := newCluster(t, c.lab)
		const name, log = "a06-box.service", "/var/tmp/a06-box"
		text := func(version string) string {
			return "[Container]\nImage=busybox\nNetwork=none\nExec=sh -c 'echo this is " + version + "; exec sleep infinity'\n" +
				strings.Replace(logged(log, version, ""), "ExecStart=/bin/sleep infinity\n", "", 1)
		}
		c.destroyed(name)
		c.ctl("start", c.file("a06-box.container", text("v1")))
		machine := c.active(name)[name].Hostname
		rows := c.rows("a06-box*")
		for _, versions := range [][2]string{{"v1", "v2"}, {"v2", "v3"}} {
			c.ctl("start", "--replace", c.file("a06-box.container", text(versions[1])))
			if got := c.active(name)[name].Hostname; got != machine {
				t.Errorf("it was on %s, is on %s", machine, got)
			}
			if c.ctl("cat", name) != text(versions[1]) || c.rows("a06-box*") != rows {
				t.Errorf("cat shows %q; there were %s, now %s", c.ctl("cat", name), rows, c.rows("a06-box*"))
			}
			c.replaced(machine, log, versions[0], versions[1])
			c.eventually("the new text runs", soon, func() (string, bool) {
				seen := c.ctl("journal", name)
				return seen, strings.Contains(seen, "this is "+versions[1])
			})
		}
		c.handedOver(machine, name)
	})
}

// TestC15_NewTextAfterAFailure: a unit that failed, or may not be started any
// more, runs the text that it is given.
func TestC15_NewTextAfterAFailure(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "c15-fails.service"
	c.destroyed(name)
	bad := map[string]string{
		"exit code":      "[Service]\nType=exec\nExecStart=/bin/false\n",
		"start limit":    "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n[Service]\nRestart=always\nRestartSec=50ms\nExecStart=/bin/false\n",
		"before it runs": "[Service]\nExecStartPre=/bin/false\nExecStart=/bin/sleep infinity\n",
		"no program":     "[Service]\nType=exec\nExecStart=/no/such/program\n",
	}
	c.ctl("start", c.file(name, sleeper("")))
	machine := c.active(name)[name].Hostname
	for what, text := range bad {
		c.try("start", "--replace", c.file(name, text)) // whether it failed is seen below
		c.eventually(what+": it failed", soon, func() (string, bool) {
			seen := summary(c.units(name))
			return seen, strings.Contains(seen, " failed/failed")
		})
		c.ctl("start", "--replace", c.file(name, sleeper("Environment=\"AFTER="+what+"\"\n")))
		if where := c.active(name)[name].Hostname; where != machine {
			t.Errorf("%s: it was on %s, is on %s", what, machine, where)
		}
		if p := c.show(machine, name, "Environment", "NeedDaemonReload"); !strings.Contains(p["Environment"], what) || p["NeedDaemonReload"] != "no" {
			t.Errorf("%s: it runs with %v", what, p)
		}
	}
}

// TestC15_NewTextThoughOthersNameIt gives a unit new text again and again
// while others that name it keep it in systemd's memory; what stops with it
// runs afterwards as before.
func TestC15_NewTextThoughOthersNameIt(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "c15-named.service"
	others := map[string]string{
		"c15-after.service": "After=" + name, "c15-wants.service": "Wants=" + name,
		"c15-binds.service": "BindsTo=" + name + "\nAfter=" + name, "c15-part.service": "PartOf=" + name + "\nAfter=" + name,
	}
	args, names := []string{"start", c.file(name, sleeper("Environment=V=0\n"))}, []string{name}
	for other, how := range others {
		args = append(args, c.file(other, often+how+"\n"+sleeper("[X-Cluster]\nMachineOf="+name+"\n")))
		names = append(names, other)
	}
	c.destroyed(names...)
	c.ctl(args...)
	machine := c.active(name)[name].Hostname
	for round := range 4 {
		want := fmt.Sprintf("V=%d", round+1)
		before := map[string]string{}
		for _, n := range names {
			before[n] = c.identity(machine, n)
		}
		c.ctl("start", "--replace", c.file(name, sleeper("Environment="+want+"\n")))
		if p := c.show(machine, name, "Environment", "NeedDaemonReload", "ActiveState"); p["Environment"] != want || p["NeedDaemonReload"] != "no" || p["ActiveState"] != "active" {
			t.Errorf("round %d: it runs with %v, want %s", round, p, want)
		}
		c.eventually("what was stopped with it runs again", soon, func() (string, bool) {
			units := c.units("c15-*")
			return summary(units), strings.Count(summary(units), machine+" active/running") == len(names)
		})
		for _, n := range names[1:] {
			again := n == "c15-binds.service" || n == "c15-part.service"
			if now := c.identity(machine, n); (now != before[n]) != again {
				t.Errorf("round %d: %s was %s, is %s; to be started again: %t", round, n, before[n], now, again)
			}
		}
	}
	c.ctl("stop", name)
	for i := range 3 { // loaded only, one right after the other
		c.ctl("submit", "--replace", c.file(name, sleeper(fmt.Sprintf("Environment=LAST=%d\n", i))))
	}
	c.ctl("start", name)
	if p := c.show(machine, name, "Environment"); p["Environment"] != "LAST=2" {
		t.Errorf("after three texts without a start it runs with %v", p)
	}
}
