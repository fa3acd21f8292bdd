package functional

import (
	"strings"
	"testing"
)

// device is a unit that our own checks are content with, and systemd isn't.
const device = "[Service]\nExecStart=/bin/sleep infinity\nDeviceAllow=/dev/null q\n"

const deviceSaid = "Invalid device rights 'q', ignoring."

// TestSystemdVerifiesBeforeAnythingRuns sees a machine's systemd have the last
// word on a file when it is submitted.
func TestSystemdVerifiesBeforeAnythingRuns(t *testing.T) {
	c := sharedLab.cluster(t)
	for _, verb := range []string{"submit", "load", "start"} {
		c.refused(2, []string{"verify.service:3: systemd 252 on m", deviceSaid}, verb, c.file("verify.service", device))
		if r := c.try("cat", "verify.service"); r.code != 4 {
			t.Errorf("%s: the file has become known: %v", verb, r)
		}
	}
	c.refused(2, []string{":3: " + deviceSaid}, "verify", c.file("verify.service", device))
	c.refused(2, []string{"write MemoryMax="}, "submit", c.file("verify.service", sleeper("MemoryMaxx=1G\n")))

	// A program that only some machines have is no reason to refuse.
	c.destroyed("verify-absent.service")
	r := c.try("submit", c.file("verify-absent.service", "[Service]\nExecStart=/no/such/program\n"))
	if r.code != 0 || !strings.Contains(r.stderr, "/no/such/program is not executable") {
		t.Errorf("a missing program: want a warning, got %v", r)
	}

	// What is in the registry is not checked again: neither a start of it nor an
	// instance.
	c.destroyed("verify@.service", "verify@1.service")
	c.ctl("submit", "--allow-unknown", c.file("verify@.service", sleeper("FromTheFuture=yes\n")))
	c.ctl("start", "verify@1.service")
	c.active("verify@1.service")
}

// TestMachineVerifiesForItself has a file come to a machine that no systemd has
// looked at: the machines' systemd-analyze was gone when it was submitted.
func TestMachineVerifiesForItself(t *testing.T) {
	c := sharedLab.cluster(t)
	const analyze = "/usr/bin/systemd-analyze"
	c.everywhere("mv", analyze, analyze+".away")
	back := func(machine string) { c.on(machine, "sh", "-c", "mv "+analyze+".away "+analyze+" 2>/dev/null || true") }
	defer c.everywhere("sh", "-c", "mv "+analyze+".away "+analyze+" 2>/dev/null || true")
	const pinned, either = "verify-pinned.service", "verify-either.service"
	c.destroyed(pinned, either)
	files := []string{
		c.file(pinned, device+"[X-Cluster]\nMachineID=m2\n"),
		c.file(either, device+"[X-Cluster]\nMachineMetadata=hostname=m2 hostname=m3\n"),
	}
	for _, file := range files {
		if r := c.try("submit", file); r.code != 0 || !strings.Contains(r.stderr, "systemd has not looked at the files yet") {
			t.Errorf("submit %s without systemd-analyze: want a note, got %v", file, r)
		}
	}
	back("m2")
	back("m3")
	said := func(unit string) string {
		return "runs systemd 252: " + unit + ":3: " + strings.TrimSuffix(deviceSaid, ".")
	}
	c.refused(6, []string{said(pinned) + " (m1, m2, m3)"}, "start", pinned)
	// What one machine's systemd says holds for all of its version.
	c.refused(6, []string{said(either) + " (m1, m2, m3)"}, "start", either)
	if seen := summary(c.units("verify-*")); strings.Contains(seen, "active/running") {
		t.Errorf("refused, and running: %s", seen)
	}
	// Allowed to ignore what it doesn't know, systemd still may not misread.
	c.refused(2, []string{deviceSaid}, "start", "--replace", "--allow-unknown", c.file(either, device+"# again\n"))
	c.ctl("start", "--replace", c.file(pinned, sleeper("[X-Cluster]\nMachineID=m2\n")))
	if where := c.active(pinned)[pinned].Hostname; where != "m2" {
		t.Errorf("%s runs on %s, want m2", pinned, where)
	}
}
