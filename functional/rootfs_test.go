package functional

import (
	"context"
	"io"
	"strings"
	"testing"
)

// mounts is what a machine has mounted where, but for what it mounts for systemd's
// units, such as a credentials directory.
func (c *cluster) mounts(machine string) string {
	c.Helper()
	return c.must(machine, "sh", "-c", "findmnt -rno TARGET,FSTYPE | grep -v ' autofs$' | grep -v '^/run/' | sort")
}

// cleared removes a directory of a machine at the test's end, with what is
// mounted in it.
func (c *cluster) cleared(machine, dir, mounted string) {
	c.Helper()
	c.Cleanup(func() {
		script := "umount " + mounted + " 2>/dev/null; rm -rf --one-file-system " + dir
		if _, err := c.lab.Shell(context.Background(), machine, []string{"sh", "-c", script}, nil, io.Discard, io.Discard); err != nil {
			c.Errorf("on %s: %s: %v", machine, script, err)
		}
	})
}

// TestB05_VolumeIsPrivate: a machine's mounts are shared, as systemd boots it.
// What is mounted below a volume is mounted on its own side only.
func TestB05_VolumeIsPrivate(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "b05-private.service"
	machine := c.onOneMachine(name, `[Container]
Image=busybox
AddCapability=SYS_ADMIN
Volume=/srv/b05:/d
Exec=sh -c "mkdir -p /d/in /d/out && mount -t tmpfs none /d/in && echo evil >/d/in/file && echo mounted; while ! grep -q ' /d/out ' /proc/self/mountinfo && [ ! -e /d/end ]; do sleep 0.1; done; grep -c -e ' /d/out ' -e ' shared:' -e ' master:' /proc/self/mountinfo; sleep infinity"
`)
	c.cleared(machine, "/srv/b05", "/srv/b05/in /srv/b05/out")
	says := func(what, word string) {
		t.Helper()
		c.eventually(what, soon, func() (string, bool) {
			seen := c.ctl("journal", name)
			return seen, strings.Contains(seen, "]: "+word+"\n") || strings.HasSuffix(seen, "]: "+word)
		})
	}
	says("it has mounted", "mounted")
	c.must(machine, "sh", "-c", "mount -t tmpfs none /srv/b05/out && touch /srv/b05/end")
	says("it sees no mount of the machine's, and shares none", "0")
	if out := c.must(machine, "sh", "-c", "ls -A /srv/b05/in; grep ' /srv/b05/in ' /proc/self/mountinfo || true"); out != "" {
		t.Errorf("B-05: a container's mount is on the machine: %s", out)
	}
	c.must(machine, "umount", "/srv/b05/out")
	before := c.mounts(machine)
	c.ctl("destroy", name)
	if strings.Contains(c.mounts(machine), "/srv/b05") {
		t.Errorf("B-05: left after destroying:\n%s\nbefore:\n%s", c.mounts(machine), before)
	}
}

// TestB07_RootDirectory: a root directory that holds a static binary runs, by
// hand and as a unit, and nothing of that is seen from outside.
func TestB07_RootDirectory(t *testing.T) {
	c := sharedLab.cluster(t)
	const name = "b07-root.service"
	var machine string
	for _, m := range c.machines() {
		machine = m.Hostname
		c.cleared(machine, "/srv/b07", "")
		c.must(machine, "sh", "-c", "mkdir -p /srv/b07/bin /srv/b07/dev /srv/b07/tmp && cp $(command -v busybox) /srv/b07/bin/busybox")
	}
	before := c.mounts(machine)
	for _, flags := range []string{"--rootfs /srv/b07", "--userns=host --rootfs /srv/b07", "--network=host --rootfs /srv/b07", "--rootfs /srv/b07:O"} {
		if out := c.must(machine, "sh", "-c", "nsrun run --rm "+flags+" /bin/busybox echo ok"); out != "ok" {
			t.Errorf("B-07: %s: %s", flags, out)
		}
	}
	if after := c.mounts(machine); after != before {
		t.Errorf("B-07: mounts before:\n%s\nafter:\n%s", before, after)
	}

	machine = c.onOneMachine(name, "[Container]\nRootfs=/srv/b07\nTmpfs=/tmp\nExec=/bin/busybox sh -c \"echo here >/tmp/file; exec /bin/busybox sleep 7777\"\n")
	if out := c.must(machine, "sh", "-c", "ls -A /srv/b07/dev /srv/b07/tmp | grep -v :$ || true"); out != "" {
		t.Errorf("B-07: seen from outside: %s", out)
	}
	c.stopsCleanly(machine, name)
	c.ctl("destroy", name)
	if strings.Contains(c.mounts(machine), "/srv/b07") {
		t.Errorf("B-07: left after destroying:\n%s", c.mounts(machine))
	}
}
