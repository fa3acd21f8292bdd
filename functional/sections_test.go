package functional

import (
	"strings"
	"testing"
)

const quadlet = `# As podman's Quadlet has it.
[Container]
Image=busybox
Exec=/bin/sh -c "echo \"got $$A|$$B of %p\"; while true; do sleep 1; done"
Environment=A=1 "B=50%% of $$x \"quoted\" back\\slash"
Network=none
PidsLimit=64
`

// TestContainerSection runs a .container file: the bytes stay the user's,
// systemd gets a service, and a restart of clusterd takes it for what it is.
func TestContainerSection(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "section.service"
	c.destroyed(name)
	file := c.file("section.container", quadlet)
	c.ctl("start", file)
	machine := c.active(name)[name].Hostname
	if got := c.ctl("cat", name); got != quadlet {
		t.Errorf("A-07: cat shows something else than was submitted:\n%s", got)
	}
	onDisk := c.must(machine, "cat", "/run/systemd/system/"+name)
	if rendered := c.ctl("cat", "--rendered", name); strings.TrimSpace(rendered) != strings.TrimSpace(onDisk) {
		t.Errorf("cat --rendered shows:\n%s\nthe machine has:\n%s", rendered, onDisk)
	}
	c.eventually("the program got its words as they were written", soon, func() (string, bool) {
		seen := c.ctl("journal", name)
		return seen, strings.Contains(seen, `got 1|50% of $x "quoted" back\slash of section`)
	})
	c.handedOver(machine, name)
	if p := c.show(machine, name, "TasksMax", "NeedDaemonReload"); p["TasksMax"] != "64" || p["NeedDaemonReload"] != "no" {
		t.Errorf("systemd has %v, want TasksMax=64 and nothing to reload", p)
	}
	if out, code := c.on(machine, "systemd-analyze", "verify", "/run/systemd/system/"+name); code != 0 || out != "" {
		t.Errorf("systemd-analyze verify: exit code %d: %s", code, out)
	}

	// C-02: it is adopted. To start it again is nothing new.
	before := c.identity(machine, name)
	c.must(machine, "systemctl", "restart", "clusterd")
	c.ctl("start", name)
	if after := c.identity(machine, name); after != before {
		t.Errorf("C-02: it ran as %s, now as %s", before, after)
	}

	// An update to an image that can't be had stops nothing and says so.
	gone := c.file("section.container", strings.Replace(quadlet, "Image=busybox", "Image=nowhere:1", 1))
	c.refused(1, []string{"pull nowhere:1 for section.service", "no such image"}, "start", "--replace", gone)
	if after := c.identity(machine, name); after != before {
		t.Errorf("a pull that failed: it ran as %s, now as %s", before, after)
	}
	c.ctl("start", "--replace", c.file("section.container", quadlet))
	c.stopsCleanly(machine, name)
}

// TestContainerOfACommand makes units of command lines.
func TestContainerOfACommand(t *testing.T) {
	c := sharedLab.cluster(t)
	c.destroyed("command.service", "converted.service")
	c.ctl("run", "--name", "command", "--network", "none", "--memory", "32m", "--read-only", "--env", "A=a;b #c", "busybox",
		"sh", "-c", `echo "$A"; touch /x; exec sleep infinity`)
	machine := c.active("command.service")["command.service"].Hostname
	c.eventually("it says what it was given, and can't write to its root", soon, func() (string, bool) {
		seen := c.ctl("journal", "command")
		return seen, strings.Contains(seen, "a;b #c") && strings.Contains(seen, "Read-only file system")
	})
	if p := c.show(machine, "command.service", "MemoryMax"); p["MemoryMax"] != "33554432" {
		t.Errorf("systemd has %v, want 32 MiB", p)
	}
	text := c.ctl("convert", "docker", "run", "-d", "--name", "converted", "--net=none", "--restart=always", "--entrypoint=/bin/sleep", "busybox", "infinity")
	c.ctl("start", c.file("converted.container", text))
	machine = c.active("converted.service")["converted.service"].Hostname
	c.handedOver(machine, "converted.service")
}

const manyKeys = `[Container]
Image=busybox
Exec=/bin/sh -c "\
  ln -s $$NOTIFY_SOCKET /dev/log; date -d @0; id; mount; cat /etc/hosts /proc/sys/net/core/somaxconn; \
  head -c 3 /dev/nought | wc -c; echo told $$LEVEL; \
  { echo go; sleep 5; } | logger -t \"x\nREADY=1\nSTATUS=well\ny\"; exec sleep infinity"
Network=none
Timezone=Europe/Berlin
GroupAdd=44
ShmSize=5m
Mount=type=tmpfs,destination=/scratch,tmpfs-size=1m
Mount=type=bind,source=/srv,target=/host,readonly
Volume=keys-data:/data:noexec
AddHost=db:192.0.2.7
Sysctl=net.core.somaxconn=77
AddDevice=/dev/zero:/dev/nought -/dev/nosuch
EnvironmentHost=yes
Label=tier=front
Notify=yes

[Service]
Environment=LEVEL=debug
TimeoutStartSec=20
ExecStopPost=/bin/echo ended

[Quadlet]
DefaultDependencies=no
`

// TestContainerKeys has a machine's systemd and kernel do what keys ask for,
// with Notify=yes on the program's own word: a line in the midst of what logger
// says, which stays for as long as systemd may want to know whose word it is.
func TestContainerKeys(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "keys.service"
	c.destroyed(name)
	c.ctl("start", c.file("keys.container", manyKeys))
	machine := c.active(name)[name].Hostname
	wants := []string{
		"01:00:00 CET 1970", "groups=0(root),44", " on /dev/shm type tmpfs", "size=5120k", " on /scratch type tmpfs", " on /host type", " on /data type",
		"192.0.2.7 ", ": 77", "told debug",
	}
	c.eventually("it saw what the keys ask for", soon, func() (string, bool) {
		seen := c.ctl("journal", "--lines=-1", name)
		for _, want := range wants {
			if !strings.Contains(seen, want) {
				return "no " + want + " in\n" + seen, false
			}
		}
		return seen, true
	})
	if p := c.show(machine, name, "StatusText", "NotifyAccess", "NeedDaemonReload"); p["StatusText"] != "well" || p["NotifyAccess"] != "all" || p["NeedDaemonReload"] != "no" {
		t.Errorf("systemd has %v, want the program's own word", p)
	}
	if ps := c.must(machine, "nsrun", "ps", "--filter", "label=tier=front"); !strings.Contains(ps, "systemd-keys") {
		t.Errorf("nsrun ps finds by its label:\n%s", ps)
	}
	if out, code := c.on(machine, "systemd-analyze", "verify", "/run/systemd/system/"+name); code != 0 || out != "" {
		t.Errorf("systemd-analyze verify: exit code %d: %s", code, out)
	}
	c.stopsCleanly(machine, name)
}
