package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cgroupLayouts are shell commands that make a machine's layouts, for those who
// have mounts of their own.
var cgroupLayouts = []struct{ name, make, inside string }{
	{"as this machine has it", ":", "*"},
	{"v2", "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup", "v2"},
	{"v1", "umount -R /sys/fs/cgroup && mount -t tmpfs cgroup /sys/fs/cgroup && mkdir /sys/fs/cgroup/one && mount -t cgroup -o none,name=nsruntest cgroup /sys/fs/cgroup/one", "nothing"},
	{"hybrid", "umount -R /sys/fs/cgroup && mount -t tmpfs cgroup /sys/fs/cgroup && mkdir /sys/fs/cgroup/one /sys/fs/cgroup/unified && " +
		"mount -t cgroup -o none,name=nsruntest cgroup /sys/fs/cgroup/one && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified", "nothing"},
	{"none", "umount -R /sys/fs/cgroup", "nothing"},
}

// TestCgroupLayouts_B05: a container starts whatever the layout is, sees of the
// machine's cgroups its own at most, and can write to none (CVE-2023-25809).
func TestCgroupLayouts_B05(t *testing.T) {
	m := newUserManager(t)
	const script = `set -f
		mount | grep ' on /sys/fs/cgroup ' | sed -n '$p' | grep -c 'type cgroup2 (ro,nosuid,nodev,noexec' | sed s/^/v2:/
		mount | grep -c 'type cgroup ' | sed s/^/v1:/
		cut -d: -f3 /proc/self/cgroup | grep -vc '^/$' | sed s/^/elsewhere:/
		ls /sys/fs/cgroup | wc -l | sed s/^/entries:/
		mkdir /sys/fs/cgroup/x && echo made
		for f in $(find /sys/fs/cgroup -type f); do echo 1 >$f && echo wrote $f; done 2>/dev/null
		chmod 777 /sys/fs/cgroup && echo changed
		:`
	link := filepath.Join(m.dir, "root/bin/")
	for _, applet := range strings.Fields("cut find sed") {
		if err := os.Symlink("busybox", filepath.Join(link, applet)); err != nil {
			t.Fatal(err)
		}
	}
	user := fmt.Sprintf("setpriv --reuid %d --regid %[1]d --clear-groups ", ordinaryID)
	for _, layout := range cgroupLayouts {
		for _, who := range []struct{ name, prefix, flags, nothing string }{
			{"root", "", "", "v2:0 v1:0 elsewhere:0 entries:0"},
			{"root outside", "", "--userns host", "v2:0 v1:0 elsewhere:0 entries:0"},
			{"the machine's network", "", "--network host", "v2:0 v1:0 elsewhere:0 entries:0"},
			{"an ordinary user", user, "", "v2:0 v1:0 elsewhere:0 entries:0"},
			// The machine's /sys is in there, read-only, and its cgroups are covered.
			{"an ordinary user, the machine's network", user, "--network host", " elsewhere:0 entries:0"},
		} {
			state := "NSRUN_DIR=" + filepath.Join(m.dir, "state")
			if who.prefix == "" {
				state += "-of-root"
			}
			line := fmt.Sprintf(`%s && exec %s "$0" run --rm %s --rootfs "$1" sh -c "$2"`, layout.make, who.prefix, who.flags)
			cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", line, filepath.Join(m.dir, "nsrun"), filepath.Join(m.dir, "root")+":O", script)
			cmd.Env = append(os.Environ(), raceExit, state)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			said := strings.Join(strings.Fields(out.String()), " ")
			switch {
			case err != nil:
				t.Errorf("%s, %s: %v\n%s", layout.name, who.name, err, &errs)
			case layout.inside == "v2" && (!strings.HasPrefix(said, "v2:1 v1:0 elsewhere:0 entries:") || strings.HasSuffix(said, ":0")):
				t.Errorf("%s, %s: %s; want its own part of v2, read-only", layout.name, who.name, said)
			case layout.inside == "nothing" && !strings.HasSuffix(said, who.nothing):
				t.Errorf("%s, %s: %s; want nothing", layout.name, who.name, said)
			case strings.Contains(said, "made") || strings.Contains(said, "wrote") || strings.Contains(said, "changed"):
				t.Errorf("%s, %s: %s; want nothing written", layout.name, who.name, said)
			}
		}
	}
}

// TestCgroupLimitActs: the limit of the group that nsrun is started in is the
// container's, on whichever hierarchy this machine has the controller.
func TestCgroupLimitActs(t *testing.T) {
	m := newManager(t)
	group := pidsGroup(t)
	if err := os.WriteFile(filepath.Join(group, "pids.max"), []byte("30"), 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `i=0; while [ $i -lt 60 ]; do i=$((i+1)); sleep 20 & done; echo all started`
	cmd := exec.Command("sh", "-c", `echo $$ >"$0/cgroup.procs" && exec nsrun "$@"`, group)
	cmd.Args = append(cmd.Args, m.run("--rm", "sh", "-c", script)...)
	cmd.Env = append(os.Environ(), raceExit, "NSRUN_DIR="+filepath.Join(m.dir, "state"))
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "all started") || !strings.Contains(string(out), "fork") {
		t.Errorf("60 processes where 30 may be: %v\n%s", err, out)
	}
}

// pidsGroup makes a cgroup that can limit the number of processes.
func pidsGroup(t *testing.T) string {
	t.Helper()
	for _, at := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if control, err := os.ReadFile(filepath.Join(at, "cgroup.subtree_control")); at == "/sys/fs/cgroup" && (err != nil || !strings.Contains(string(control), "pids")) {
			continue
		}
		dir := filepath.Join(at, fmt.Sprintf("nsrun-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Errorf("left behind: %v", err)
			}
		})
		return dir
	}
	t.Fatal("no cgroup with the pids controller can be made below /sys/fs/cgroup")
	return ""
}
