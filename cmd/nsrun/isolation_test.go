package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// report is what testdata/inspect prints of the container it is in.
type report struct {
	Namespaces, Status map[string]string
	Mounts             map[string]struct{ Type, Options, Root string }
	Paths, Devices     map[string]string
	Limits             map[string]string
	Files              []string
	Calls, Calls32     map[int]string
	Tries              map[string]string
	IDs                map[string][]string
}

// bench is a root directory with the inspecting program in it, and where
// containers of it are kept.
type bench struct {
	t    *testing.T
	dir  string
	user *syscall.Credential // who nsrun is; nil is root
}

func newBench(t *testing.T) *bench {
	needRoot(t)
	b := &bench{t: t, dir: t.TempDir()}
	for up := b.dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) { // for who isn't root
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox(t, b.root())
	// The mount points are there, as crun and an ordinary user can't make them.
	for _, dir := range []string{"dev", "proc", "sys", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(b.root(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", filepath.Join(b.root(), "bin/inspect"), "./testdata/inspect")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the inspecting program: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadFile(self) // an ordinary user may not get at the test's own directory
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.program(), copied, 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) root() string    { return filepath.Join(b.dir, "root") }
func (b *bench) program() string { return filepath.Join(b.dir, "nsrun") }

// nsrun is a command of nsrun's. testscript's main looks at the name it has.
func (b *bench) nsrun(args ...string) *exec.Cmd {
	cmd := exec.Command(b.program(), args...)
	state := filepath.Join(b.dir, "state")
	if b.user != nil {
		state = filepath.Join(b.dir, fmt.Sprint("state-", b.user.Uid))
		if err := os.MkdirAll(state, 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.Chown(state, int(b.user.Uid), int(b.user.Gid)); err != nil {
			b.t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.user}
	}
	cmd.Env = []string{"PATH=/bin:/usr/bin", raceExit, "NSRUN_DIR=" + state}
	return cmd
}

// inspect runs the inspecting program in a container and returns what it tells.
func (b *bench) inspect(flags []string, args ...string) report {
	b.t.Helper()
	line := slices.Concat([]string{"run", "--rm", "--rootfs", b.root()}, flags, []string{"/bin/inspect"}, args)
	return readReport(b.t, b.nsrun(line...))
}

func readReport(t *testing.T, cmd *exec.Cmd) (r report) {
	t.Helper()
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, errors.String())
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return r
}

// isRefused says whether an outcome is the kernel's no.
func isRefused(outcome string) bool {
	return slices.Contains(strings.Fields("EPERM EACCES EROFS ENOSYS"), outcome) || strings.HasPrefix(outcome, "killed by")
}

// allowedTries are what inspect tries that a container may do.
var allowedTries = strings.Fields("socket_AF_INET socket_AF_UNIX i386_getpid")

// TestIsolation_B05: what an attacker tries first fails, whoever the program is,
// with and without a user name-space, with and without root.
func TestIsolation_B05(t *testing.T) {
	b := newBench(t)
	outside := readReport(t, exec.Command(filepath.Join(b.root(), "bin/inspect"), "quick"))
	for _, row := range []struct {
		name  string
		flags []string
		user  *syscall.Credential
		caps  string // permitted and effective
		same  string // name-spaces that are the machine's
	}{
		{"by default", nil, nil, "00000000800405fb", ""},
		{"as an ordinary user in there", []string{"--user", "7"}, nil, "0000000000000000", ""},
		{"without a user name-space", []string{"--userns=host"}, nil, "00000000800405fb", "user"},
		{"in the machine's network", []string{"--network=host"}, nil, "00000000800405fb", "net user"},
		{"without capabilities", []string{"--cap-drop=ALL"}, nil, "0000000000000000", ""},
		{"without root", nil, &syscall.Credential{Uid: 1234, Gid: 1234}, "00000000800405fb", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			here := *b
			here.t, here.user = t, row.user
			r := here.inspect(row.flags, "quick")
			checkTries(t, r)
			checkStatus(t, r, row.caps)
			checkPaths(t, r)
			for name, id := range r.Namespaces {
				if same := slices.Contains(strings.Fields(row.same), name); same != (id == outside.Namespaces[name]) {
					t.Errorf("name-space %s: %s, the machine's is %s", name, id, outside.Namespaces[name])
				}
			}
			if got := slices.Sorted(keys(r.Devices)); strings.Join(got, " ") != "/dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero" {
				t.Errorf("devices: %v", got)
			}
			if len(r.Files) > 0 {
				t.Errorf("open files: %v", r.Files)
			}
			for at, want := range map[string]string{"/": "rw,nosuid,nodev,", "/dev": "rw,nosuid,", "/dev/null": "ro,nosuid,noexec,", "/dev/shm": "rw,nosuid,nodev,noexec,"} {
				if got := r.Mounts[at].Options; !strings.HasPrefix(got, want) {
					t.Errorf("%s is mounted %s, want %s", at, got, want)
				}
			}
			for _, m := range r.Mounts {
				if strings.HasPrefix(m.Root, b.dir) && m.Root != b.root() {
					t.Errorf("a mount of the machine's %s", m.Root)
				}
			}
		})
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func checkTries(t *testing.T, r report) {
	t.Helper()
	if len(r.Tries) < 30 {
		t.Fatalf("it tried %d things only", len(r.Tries))
	}
	for name, outcome := range r.Tries {
		switch {
		case name == "processes":
			if outcome != "1" {
				t.Errorf("it sees %s processes", outcome)
			}
		case slices.Contains(allowedTries, strings.ReplaceAll(name, " ", "_")):
			if outcome != "done" {
				t.Errorf("%s: %s, but it may", name, outcome)
			}
		case !isRefused(outcome):
			t.Errorf("%s: %s", name, outcome)
		}
	}
}

func checkStatus(t *testing.T, r report, caps string) {
	t.Helper()
	const none = "0000000000000000"
	bound := "00000000800405fb"
	if r.Status["CapBnd"] == none && caps == none { // --cap-drop=ALL
		bound = none
	}
	for name, want := range map[string]string{
		"CapInh": none, "CapAmb": none, "CapPrm": caps, "CapEff": caps, "CapBnd": bound,
		"NoNewPrivs": "1", "Seccomp": "2", "Umask": "0022",
	} {
		if got := r.Status[name]; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// checkPaths: what is hidden is empty, what is read-only can't be written.
func checkPaths(t *testing.T, r report) {
	t.Helper()
	hidden := strings.Fields(`/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug
		/proc/scsi /proc/timer_list /proc/timer_stats /sys/firmware /sys/devices/virtual/powercap /sys/fs/selinux /sys/dev/block`)
	throttles, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	for _, file := range append(hidden, throttles...) {
		if got := r.Paths[file]; got != "no" && got != "read empty, write closed" {
			t.Errorf("%s: %s, want it hidden", file, got)
		}
		if _, err := os.Lstat(file); err == nil {
			if m := r.Mounts[file]; m.Type != "tmpfs" && m.Root != "/null" || !strings.HasPrefix(m.Options, "ro") {
				t.Errorf("%s is there, and in the container nothing hides it: %v", file, m)
			}
		}
	}
	for _, file := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys"} {
		if _, err := os.Lstat(file); err == nil && !strings.HasPrefix(r.Mounts[file].Options, "ro,") {
			t.Errorf("%s: %v, want it read-only", file, r.Mounts[file])
		}
	}
	for file, got := range r.Paths {
		own := slices.Contains([]string{"/proc/self/oom_score_adj", "/proc/1/mem", "/proc/mounts"}, file)
		if strings.HasSuffix(got, "write open") && !own {
			t.Errorf("%s: %s", file, got)
		}
	}
}

// TestSetuid_B05: a program that is root's and setuid makes nobody root, unless
// that was asked for.
func TestSetuid_B05(t *testing.T) {
	b := newBench(t)
	suid := filepath.Join(b.root(), "bin/suid")
	data, err := os.ReadFile(filepath.Join(b.root(), "bin/inspect"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(suid, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(suid, 0o4755); err != nil { // WriteFile goes through the umask
		t.Fatal(err)
	}
	if err := os.Chmod(suid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		flags string
		want  string
		caps  string
	}{
		{"", "7 7 7 7", "0000000000000000"},
		{"--userns=host", "7 7 7 7", "0000000000000000"},
		{"--security-opt=no-new-privileges", "7 7 7 7", "0000000000000000"},
		{"--security-opt=no-new-privileges=false", "7 0 0 0", "00000000800405fb"},
		{"--userns=host --security-opt=no-new-privileges:false", "7 0 0 0", "00000000800405fb"},
	} {
		for _, root := range []string{b.root(), b.root() + ":O"} {
			args := slices.Concat([]string{"run", "--rm", "--rootfs", root, "--user", "7"}, strings.Fields(row.flags), []string{"/bin/suid", "quick"})
			r := readReport(t, b.nsrun(args...))
			if r.Status["Uid"] != row.want || r.Status["CapEff"] != row.caps || r.Status["Seccomp"] != "2" {
				t.Errorf("%q: user %s, capabilities %s, filter %s; want %s, %s, 2", row.flags, r.Status["Uid"], r.Status["CapEff"], r.Status["Seccomp"], row.want, row.caps)
			}
		}
	}
}

// TestRootInsideIsNobodyOutside_B05: seen from the machine, the container's root
// has an id of its own, and may not read what is root's.
func TestRootInsideIsNobodyOutside_B05(t *testing.T) {
	b := newBench(t)
	secret := filepath.Join(b.root(), "secret")
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	hold := b.hold("one")
	uid, err := os.ReadFile("/proc/" + strconv.Itoa(hold) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(uid), "Uid:")
	first, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil || first < 0x80000 {
		t.Errorf("the container's root is user %d of the machine's (%v), want one of systemd's range for containers", first, err)
	}
	// A directory of the machine's by a way that maps no ids: its root.
	seen := exec.Command("/bin/cat", secret)
	seen.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(first), Gid: uint32(first)}}
	if out, err := seen.CombinedOutput(); err == nil {
		t.Errorf("user %d reads what is root's: %s", first, out)
	}
}

// hold starts a container that has shared memory and waits, and returns its
// process.
func (b *bench) hold(name string) int {
	b.t.Helper()
	cmd := b.nsrun("run", "--name", name, "--rm", "--rootfs", b.root(), "/bin/inspect", "hold", strconv.Itoa(sharedKey))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil || string(line[:n]) != "done" {
		b.t.Fatalf("%s: %q, %v; want shared memory", name, line[:n], err)
	}
	inspect := b.nsrun("inspect", "--format", "{{.State.Pid}}", name)
	text, err := inspect.Output()
	pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || bad != nil {
		b.t.Fatalf("inspect %s: %q, %v", name, text, err)
	}
	return pid
}

// sharedKey names the shared memory of tests.
const sharedKey = 0x6e73

// TestOtherContainersAreOutOfReach_B05: neither the processes nor the shared
// memory of another container, nor the machine's keys.
func TestOtherContainersAreOutOfReach_B05(t *testing.T) {
	b := newBench(t)
	first := b.hold("one")
	say := func(cmd *exec.Cmd) string {
		t.Helper()
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		return string(out)
	}
	run := func(args ...string) *exec.Cmd {
		return b.nsrun(append([]string{"run", "--rm", "--rootfs", b.root()}, args...)...)
	}
	if got := say(run("/bin/inspect", "find", strconv.Itoa(sharedKey))); got != "ENOENT" {
		t.Errorf("another container's shared memory: %s, want ENOENT", got)
	}
	if got := say(run("/bin/inspect", "kill", strconv.Itoa(first))); got != "ESRCH" {
		t.Errorf("another container's process, by the machine's number: %s, want ESRCH", got)
	}
	// A key of the machine's session, as a user's ssh or Kerberos has them.
	runtime.LockOSThread() // for good: the session's keyring is this thread's
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.AddKey("user", "nsrun-secret", []byte("x"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		t.Fatal(err)
	}
	if got := say(exec.Command(filepath.Join(b.root(), "bin/inspect"), "key", "nsrun-secret")); got != "done" {
		t.Fatalf("the machine's key, on the machine: %s", got)
	}
	if got := say(run("/bin/inspect", "key", "nsrun-secret")); got != "EPERM" {
		t.Errorf("the machine's key: %s, want EPERM", got)
	}
	for _, ids := range []string{"auto", "host"} { // the filter is not all that is between
		got := say(run("--security-opt=seccomp=unconfined", "--userns="+ids, "/bin/inspect", "key", "nsrun-secret"))
		if got != "ENOKEY" && got != "EACCES" {
			t.Errorf("the machine's key, without a filter, --userns=%s: %s, want ENOKEY", ids, got)
		}
	}
}

// TestForeignRoots_B05: an image can't say where the kernel's file systems go.
func TestForeignRoots_B05(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"proc", "sys", "dev"} {
		for _, to := range []string{"/bin", "../../../../../../etc", "/" + name + "/self"} {
			at := filepath.Join(b.root(), name)
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, at); err != nil {
				t.Fatal(err)
			}
			for _, overlay := range []string{"", ":O"} {
				out, err := b.nsrun("run", "--rm", "--rootfs", b.root()+overlay, "/bin/inspect", "quick").CombinedOutput()
				if err == nil || !strings.Contains(string(out), "no symbolic link may be there") {
					t.Errorf("/%s leads to %s: %v\n%.300s", name, to, err, out)
				}
			}
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(at, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	// /dev is always a fresh one: what the image has there is never looked at.
	if err := os.Symlink("/etc", filepath.Join(b.root(), "dev/shm")); err != nil {
		t.Fatal(err)
	}
	if m := b.inspect(nil, "quick").Mounts["/dev/shm"]; m.Type != "tmpfs" || !strings.Contains(m.Options, "noexec") {
		t.Errorf("an image with a link for /dev/shm: %v", m)
	}
	// A volume can't be had over /proc or /sys, by whatever name.
	for _, target := range []string{"/proc", "/proc/sys", "/sys/", "/sys/../proc/x", "/etc/../proc"} {
		out, err := b.nsrun("run", "--rm", "--rootfs", b.root(), "--volume", b.root()+":"+target, "/bin/true").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is the container's own") {
			t.Errorf("a volume on %s: %v\n%s", target, err, out)
		}
	}
	for name, to := range map[string]string{"toproc": "proc", "tosys": "/sys"} {
		if err := os.Symlink(to, filepath.Join(b.root(), name)); err != nil {
			t.Fatal(err)
		}
		r := readReport(t, b.nsrun("run", "--rm", "--rootfs", b.root(), "--volume", b.root()+"/etc:/"+name, "/bin/inspect", "quick"))
		if r.Mounts["/proc"].Type != "proc" || r.Mounts["/sys"].Type != "sysfs" {
			t.Errorf("a volume on a link to %s: %v, %v", to, r.Mounts["/proc"], r.Mounts["/sys"])
		}
		checkPaths(t, r)
	}
}

// TestOwnProfile_B05: a profile of the user's says all, by i386's numbers, too.
func TestOwnProfile_B05(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.dir, "profile.json")
	const kin = `"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],`
	const text = `{%s"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":18}]}`
	if err := os.WriteFile(file, fmt.Appendf(nil, text, kin), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := b.inspect([]string{"--security-opt", "seccomp=" + file})
		if got := r.Calls[unix.SYS_MKDIRAT]; got != "EXDEV" {
			t.Errorf("mkdirat: %s, want what the profile says", got)
		}
		if got := r.Calls[unix.SYS_UNSHARE]; got != "EINVAL" {
			t.Errorf("unshare: %s, want the kernel's own answer", got)
		}
		if got := r.Calls32[39]; runtime.GOARCH == "amd64" && got != "EXDEV" {
			t.Errorf("i386's mkdir: %s, want what the profile says", got)
		}
	}
	kept, err := os.ReadDir(filepath.Join(b.dir, "state/seccomp"))
	if err != nil || len(kept) != 1 {
		t.Errorf("%d compiled profiles (%v), want 1", len(kept), err)
	}
	if runtime.GOARCH != "amd64" {
		return
	}
	// It makes calls of i386's, too, which this one doesn't list.
	if err := os.WriteFile(file, fmt.Appendf(nil, text, ""), 0o644); err != nil {
		t.Fatal(err)
	}
	err = b.nsrun("run", "--rm", "--rootfs", b.root(), "--security-opt", "seccomp="+file, "/bin/inspect").Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 128+int(unix.SIGSYS) {
		t.Errorf("a program with calls of an architecture that isn't listed: %v, want it killed by SIGSYS", err)
	}
}
