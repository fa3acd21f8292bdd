package functional

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// hostUnit gives a machine a running unit of its own, and takes it away at the
// test's end.
func (c *cluster) hostUnit(machine, dir, file, unit string) {
	c.Helper()
	c.must(machine, "sh", "-c", "printf '[Service]\\nExecStart=/bin/sleep 7777\\n' >"+dir+"/"+file+" && systemctl start "+unit)
	c.Cleanup(func() { c.noHostUnit(machine, dir, file, unit) })
}

func (c *cluster) noHostUnit(machine, dir, file, unit string) {
	c.Helper()
	script := fmt.Sprintf("[ ! -e %s/%s ] || { systemctl stop %s; rm %s/%s; systemctl daemon-reload; }", dir, file, unit, dir, file)
	var out bytes.Buffer
	code, err := c.lab.Shell(context.Background(), machine, []string{"sh", "-c", script}, nil, &out, &out) // the test's context may have ended
	if err != nil || code != 0 {
		c.Errorf("on %s: %s: exit code %d, %v: %s", machine, script, code, err, out.String())
	}
}

const (
	etcUnits = "/etc/systemd/system"
	usrUnits = "/usr/lib/systemd/system"
)

// TestC14_MachinesOwnUnits: a name that machines have for themselves.
func TestC14_MachinesOwnUnits(t *testing.T) {
	c := sharedLab.cluster(t)
	const name, instance = "c14.service", "c14i@1.service"
	c.destroyed(name, instance)
	c.hostUnit("m1", etcUnits, name, name)
	c.hostUnit("m2", usrUnits, name, name)
	c.hostUnit("m1", etcUnits, "c14i@.service", instance)
	c.hostUnit("m3", usrUnits, "c14i@.service", instance)
	own := map[string]state{"m1 " + name: {}, "m2 " + name: {}, "m1 " + instance: {}, "m3 " + instance: {}}
	picture := func() string {
		var lines []string
		for _, at := range []string{"m1 " + name, "m2 " + name, "m3 " + name, "m1 " + instance, "m3 " + instance} {
			machine, unit, _ := strings.Cut(at, " ")
			if _, ok := own[at]; ok {
				lines = append(lines, at+" "+c.identity(machine, unit)+" "+c.show(machine, unit, "FragmentPath", "ActiveState")["FragmentPath"])
			}
		}
		return strings.Join(lines, "\n")
	}
	before := picture()
	untouched := func(what string) {
		t.Helper()
		if after := picture(); after != before {
			t.Errorf("%s touched the machines' own units\nbefore:\n%s\nafter:\n%s", what, before, after)
		}
	}

	for unit, machine := range map[string]string{name: "m3", instance: "m2"} {
		// The machine where it can be is the last to be chosen.
		others := []string{"load"}
		for i := range 4 {
			other := fmt.Sprintf("c14-other-%s-%d.service", machine, i)
			c.destroyed(other)
			others = append(others, c.file(other, sleeper("[X-Cluster]\nMachineID="+machine+"\n")))
		}
		c.ctl(others...)
		r := c.try("start", c.file(unit, sleeper("")))
		path := "/systemd/system/" + map[string]string{name: name, instance: "c14i@.service"}[unit]
		if r.code != 0 || !strings.Contains(r.stderr, "note: "+unit+" is not where it was placed first: ") || !strings.Contains(r.stderr, path) {
			t.Errorf("want it started, and a note with %s, got %v", path, r)
		}
		c.eventually("it is active on "+machine+" only", soon, func() (string, bool) {
			seen := summary(c.units(unit))
			return seen, seen == unit+" "+machine+" active/running"
		})
		untouched("start " + unit)
		c.ctl("restart", unit)
		c.ctl("stop", unit)
		c.ctl("destroy", unit)
		untouched("restart, stop and destroy " + unit)
	}

	c.hostUnit("m3", etcUnits, name, name)
	own["m3 "+name] = state{}
	before = picture()
	file := c.file(name, sleeper(""))
	c.pending(name, sleeper(""), "has the name for itself in "+etcUnits+"/"+name)
	c.eventually("the reason names each machine with its file", soon, func() (string, bool) {
		seen := summary(c.units(name))
		return seen, strings.Contains(seen, usrUnits+"/"+name+" (m2)") && strings.Contains(seen, "(m1, m3)")
	})
	c.refused(6, []string{"once a machine has given the name back: clusterctl start " + name}, "start", file)
	untouched("a start that found no machine")
	c.ctl("stop", name)
	untouched("a stop")
	c.ctl("unload", name)
	untouched("an unload")

	c.noHostUnit("m2", usrUnits, name, name)
	delete(own, "m2 "+name)
	before = picture()
	begun := time.Now()
	c.ctl("start", name)
	t.Logf("active %v after the machine gave the name back", time.Since(begun).Round(time.Millisecond))
	c.eventually("it is active where the name is free again", soon, func() (string, bool) {
		seen := summary(c.units(name))
		return seen, seen == name+" m2 active/running"
	})
	if p := c.show("m2", name, "FragmentPath"); p["FragmentPath"] != "/run/systemd/system/"+name {
		t.Errorf("m2 runs %v", p)
	}
	c.ctl("restart", name)
	c.ctl("destroy", name)
	untouched("another machine's unit")
}

// TestC16_AnotherDropInRestartsNothing: an older clusterd has left other
// drop-ins than this one would write. It is taken for what it is until an
// operator restarts the unit.
func TestC16_AnotherDropInRestartsNothing(t *testing.T) {
	c := sharedLab.cluster(t)
	const old = "# Written by an older clusterd.\n[Service]\nEnvironment=WRITTEN_BY=old\n"
	names := []string{"c16-plain.service", "c16-nsrun.service", "c16-box.service"}
	on := "[X-Cluster]\nMachineID=m2\n"
	c.destroyed(names...)
	c.ctl("start", c.file(names[0], sleeper(on)),
		c.file(names[1], "[Service]\nExecStartPre=/usr/bin/nsrun pull -q busybox\nExecStart=/usr/bin/nsrun run --rm --network none --name c16 busybox sleep infinity\n"+on),
		c.file("c16-box.container", "[Container]\nImage=busybox\nNetwork=none\nExec=sleep infinity\n"+on))
	where := c.active(names...)
	dropIn := func(name string) string { return "/run/systemd/system/" + name + ".d/50-clusterd.conf" }
	read := func(name string) string { return c.must("m2", "sh", "-c", "cat "+dropIn(name)+" 2>/dev/null || true") }
	current := map[string]string{}
	for _, name := range names {
		current[name] = read(name)
		// As after an upgrade: systemd has loaded the old one.
		c.must("m2", "sh", "-c", fmt.Sprintf("mkdir -p %s.d && { printf '%s'; sed -e 1,2d %s 2>/dev/null; } >/tmp/c16; mv /tmp/c16 %s",
			strings.TrimSuffix(dropIn(name), ".d/50-clusterd.conf"), strings.ReplaceAll(old, "\n", `\n`), dropIn(name), dropIn(name)))
	}
	if current[names[0]] != "" || current[names[1]] == "" || current[names[2]] == "" {
		t.Fatalf("drop-ins are not as this test has it: %q", current)
	}
	c.must("m2", "systemctl", "daemon-reload")
	picture := summary(c.units(names...))
	c.calm("an upgrade", where, func() {
		for _, how := range [][]string{{"restart"}, {"kill", "-s", "KILL"}} {
			c.must("m2", append(append([]string{"systemctl"}, how...), "clusterd")...)
			c.back()
		}
		c.eventually("list-units is as it was", soon, func() (string, bool) {
			seen := summary(c.units(names...))
			return seen, seen == picture
		})
		c.ctl(append([]string{"start"}, names...)...) // they run already
		// Nothing is to happen, now that all is taken in.
		before := c.identities(where)
		c.steadily("they stay", 2*time.Second, func() (string, bool) {
			seen := c.identities(where)
			return seen, seen == before
		})
	})
	for _, name := range names {
		if got := read(name); !strings.HasPrefix(got, strings.TrimSpace(old)) {
			t.Errorf("%s: its drop-in was changed without need to: %s", name, got)
		}
		before := c.identity("m2", name)
		c.ctl("restart", name)
		if got := read(name); got != current[name] {
			t.Errorf("%s: after a restart its drop-in is %q, want %q", name, got, current[name])
		}
		if p := c.show("m2", name, "Environment", "NeedDaemonReload", "ActiveState"); strings.Contains(p["Environment"], "old") || p["NeedDaemonReload"] != "no" || p["ActiveState"] != "active" {
			t.Errorf("%s: after a restart systemd has %v", name, p)
		}
		if after := c.identity("m2", name); after == before {
			t.Errorf("%s was not restarted: %s", name, after)
		}
	}
	c.handedOver("m2", names[1])
	c.handedOver("m2", names[2])
}
