package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestB04_VolumesOfKilledStarts: a volume without a name is there only when a
// record says whose it is, so that a start that is killed leaves none for good;
// one that somebody made is never taken for such a one.
func TestB04_VolumesOfKilledStarts(t *testing.T) {
	m := newManager(t)
	if out, code := m.nsrun(m.run("--rm", "true")...); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	mine, code := m.nsrun("volume", "create")
	if code != 0 {
		t.Fatal(mine)
	}
	volumes := func() string {
		out, code := m.nsrun("volume", "ls", "-q")
		if code != 0 {
			t.Fatal(out)
		}
		return out
	}

	lock, err := os.Open(filepath.Join(m.dir, "state/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := m.command(nil, m.run("--name", "web", "-v", "/unnamed", "true")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitsForLock(t, cmd.Process.Pid)
	cmd.Process.Kill()
	cmd.Wait()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if got := volumes(); got != mine {
		t.Errorf("killed before there is a record: volumes %q, want %q", got, mine)
	}

	// A start that fails takes its own back, and what it was given stays.
	given := strings.TrimSpace(mine)
	for _, rm := range []string{"--rm", "--rm=false"} {
		if out, code := m.nsrun(m.run(rm, "-v", "/unnamed", "-v", given+":/given", "-u", "nobody-there", "true")...); code != 125 {
			t.Errorf("exit %d, want 125: %s", code, out)
		}
		if got := volumes(); got != mine {
			t.Errorf("%s, a failed start: volumes %q, want %q", rm, got, mine)
		}
	}
	if out, code := m.nsrun(m.run("--rm", "-v", "/unnamed", "-v", given+":/given", "touch", "/given/file")...); code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	if got := volumes(); got != mine {
		t.Errorf("after --rm: volumes %q, want %q", got, mine)
	}
}

// waitsForLock waits until a process waits for a file lock.
func waitsForLock(t *testing.T, pid int) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		data, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Fields(line); len(f) > 5 && f[1] == "->" && f[2] == "FLOCK" && f[5] == strconv.Itoa(pid) {
				return
			}
		}
	}
	t.Fatalf("process %d doesn't wait for a lock", pid)
}
