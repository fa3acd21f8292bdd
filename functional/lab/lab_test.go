package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bin is where make build puts the programs, or where the environment says.
var bin = cmp.Or(os.Getenv("CLUSTERD_BIN"), "../../bin")

// needRoot: these tests boot machines, and say so instead of passing untried.
func needRoot(t *testing.T) {
	t.Helper()
	if err := Check(); err != nil {
		t.Fatalf("this test boots machines: %v", err)
	}
	if !exists(filepath.Join(bin, "clusterctl")) {
		t.Fatal("this test needs the programs; build them first: make build")
	}
}

// boot boots bare machines, which the test's end removes.
func boot(t *testing.T, name string, machines int) *Lab {
	t.Helper()
	needRoot(t)
	if _, err := Down(name); err != nil {
		t.Fatalf("remove what an earlier run left: %v", err)
	}
	t.Cleanup(func() {
		if _, err := Down(name); err != nil {
			t.Errorf("take lab down: %v", err)
		}
		checkNothingLeft(t, name)
	})
	l, err := Up(t.Context(), Options{Name: name, Machines: machines, Bin: bin, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// checkNothingLeft looks everywhere a lab has something.
func checkNothingLeft(t *testing.T, name string) {
	t.Helper()
	p, err := placesOf(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{p.dir, p.run, p.netnsPath()} {
		if exists(path) {
			t.Errorf("%s is left behind", path)
		}
	}
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hs {
		if exists(filepath.Join(h.Mount, p.cgroup)) {
			t.Errorf("cgroup %s is left behind in %s", p.cgroup, h.Mount)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, p.dir+"/") || strings.Contains(line, p.run+"/") || strings.Contains(line, p.netns+" ") {
			t.Errorf("mount left behind: %s", line)
		}
	}
}

func run(t *testing.T, l *Lab, machine string, argv ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	code, err := l.Shell(t.Context(), machine, argv, nil, &out, &out)
	if err != nil {
		t.Fatalf("on %s: %v: %v", machine, argv, err)
	}
	return strings.TrimSpace(out.String()), code
}

func TestLab(t *testing.T) {
	l := boot(t, "t-lab", 2)
	inside(t, l)
	network(t, l)
	t.Run("a paused machine does nothing, and can be killed", func(t *testing.T) { pauseAndKill(t, l) })
	t.Run("a second up says what is there", func(t *testing.T) {
		_, err := Up(t.Context(), Options{Name: "t-lab", Bin: bin, Bare: true})
		if !errors.Is(err, ErrExists) {
			t.Errorf("got %v, want %v", err, ErrExists)
		}
	})
	t.Run("kill and start again", func(t *testing.T) { killAndStart(t, l) })
	t.Run("add", func(t *testing.T) {
		name, err := l.Add(t.Context())
		if err != nil || name != "m3" {
			t.Fatalf("got %q, %v; want m3", name, err)
		}
		if out, _ := run(t, l, "m1", "getent", "hosts", "m3"); !strings.HasPrefix(out, "10.77.0.13") {
			t.Errorf("m1 knows m3 as %q", out)
		}
	})
}

// inside looks at machines from within.
func inside(t *testing.T, l *Lab) {
	t.Run("machines run nothing of the host's", func(t *testing.T) {
		out, _ := run(t, l, "m1", "systemctl", "list-units", "--plain", "--no-legend", "--type=service,timer,path", "--state=active,activating")
		for line := range strings.Lines(out) {
			name := strings.Fields(line)[0]
			if !strings.HasPrefix(name, "systemd-journal") && name != "systemd-tmpfiles-setup.service" && name != "dbus.service" {
				t.Errorf("unexpected: %s", line)
			}
		}
	})
	t.Run("exit codes of shell", func(t *testing.T) {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137} {
			if _, code := run(t, l, "m1", "sh", "-c", script); code != want {
				t.Errorf("%s: got exit code %d, want %d", script, code, want)
			}
		}
		if out, code := run(t, l, "m1", "no-such-program"); code != 127 || !strings.Contains(out, "not found on machine m1") {
			t.Errorf("a program that isn't there: got %d and %q, want 127", code, out)
		}
	})
	t.Run("shell passes standard input on", func(t *testing.T) {
		var out bytes.Buffer
		if _, err := l.Shell(t.Context(), "m2", []string{"cat"}, strings.NewReader("hello"), &out, &out); err != nil || out.String() != "hello" {
			t.Errorf("got %q, %v", out.String(), err)
		}
	})
	t.Run("machines are told apart", func(t *testing.T) {
		for _, file := range []string{"/etc/hostname", "/etc/machine-id", "/proc/self/ns/net", "/proc/self/ns/cgroup"} {
			a, _ := run(t, l, "m1", "sh", "-c", "cat "+file+" 2>/dev/null || readlink "+file)
			b, _ := run(t, l, "m2", "sh", "-c", "cat "+file+" 2>/dev/null || readlink "+file)
			if a == b {
				t.Errorf("%s is %q on both", file, a)
			}
		}
	})
	t.Run("an inert docker.service can be required", func(t *testing.T) {
		if out, code := run(t, l, "m1", "sh", "-c", "systemctl start docker && systemctl is-active docker && readlink /usr/bin/docker"); code != 0 || out != "active\nnsrun" {
			t.Errorf("got %d: %s", code, out)
		}
	})
	t.Run("limits bite", func(t *testing.T) {
		out, code := run(t, l, "m1", "systemd-run", "-q", "--wait", "-p", "MemoryMax=20M", "-p", "MemorySwapMax=0",
			"sh", "-c", "head -c 100M /dev/zero | tail >/dev/null")
		if code == 0 {
			t.Errorf("100M within MemoryMax=20M: %s", out)
		}
	})
}

// network looks at who reaches whom.
func network(t *testing.T, l *Lab) {
	t.Run("they reach each other and nobody else", func(t *testing.T) {
		const ask = "exec 3<>/dev/tcp/%s/22"
		_, other := run(t, l, "m1", "bash", "-c", strings.ReplaceAll(ask, "%s", "m2"))
		out, _ := run(t, l, "m1", "bash", "-c", strings.ReplaceAll(ask, "%s", "m2"))
		if other == 0 || !strings.Contains(out, "Connection refused") {
			t.Errorf("m1 asking m2: %q; want it refused, which means it was reached", out)
		}
		if out, _ := run(t, l, "m1", "bash", "-c", strings.ReplaceAll(ask, "%s", "198.51.100.1")); !strings.Contains(out, "unreachable") {
			t.Errorf("m1 asking the world: %q", out)
		}
	})
	t.Run("a machine cut off reaches nobody until it is healed", func(t *testing.T) {
		reach := func() string {
			out, _ := run(t, l, "m1", "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/m2/22")
			return out
		}
		if err := l.Partition("m2"); err != nil {
			t.Fatal(err)
		}
		if out := reach(); strings.Contains(out, "refused") {
			t.Errorf("m1 reaches m2, which is cut off: %q", out)
		}
		if err := l.Heal(); err != nil {
			t.Fatal(err)
		}
		if out := reach(); !strings.Contains(out, "refused") {
			t.Errorf("m1 doesn't reach m2 after healing: %q", out)
		}
	})
}

func pauseAndKill(t *testing.T, l *Lab) {
	if out, code := run(t, l, "m2", "systemd-run", "-q", "sh", "-c", "while :; do date +%s%N > /run/clusterd/beat; sleep 0.01; done"); code != 0 {
		t.Fatal(out)
	}
	beat := func() string {
		text, _ := os.ReadFile(filepath.Join(l.machineRun("m2"), "beat"))
		return string(text)
	}
	// changes says whether the beat goes on within the time.
	changes := func(within time.Duration) bool {
		first := beat()
		for deadline := time.Now().Add(within); time.Now().Before(deadline); pause(5 * time.Millisecond) {
			if now := beat(); now != first && now != "" {
				return true
			}
		}
		return false
	}
	if !changes(5 * time.Second) {
		t.Fatal("the beat doesn't begin")
	}
	if err := l.Pause("m2"); err != nil {
		t.Fatal(err)
	}
	pause(50 * time.Millisecond) // a v1 freezer takes a moment
	if changes(200 * time.Millisecond) {
		t.Error("a paused machine goes on")
	}
	if err := l.Resume("m2"); err != nil {
		t.Fatal(err)
	}
	if !changes(5 * time.Second) {
		t.Error("a resumed machine doesn't go on")
	}
	if err := errors.Join(l.Pause("m2"), l.Kill("m2"), l.Start(t.Context(), "m2")); err != nil {
		t.Fatal(err)
	}
}

func killAndStart(t *testing.T, l *Lab) {
	if out, code := run(t, l, "m2", "sh", "-c", "echo kept > /etc/kept; echo kept > /var/lib/kept; echo gone > /run/clusterd/gone"); code != 0 {
		t.Fatal(out)
	}
	id, _ := run(t, l, "m2", "cat", "/etc/machine-id")
	start := time.Now()
	if err := l.Kill("m2"); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("killing took %v", d)
	}
	if err := l.Kill("m2"); !errors.Is(err, ErrState) {
		t.Errorf("killing it twice: %v, want %v", err, ErrState)
	}
	if _, err := l.Shell(t.Context(), "m2", []string{"true"}, nil, nil, nil); err == nil {
		t.Error("a shell on a machine that is off works")
	}
	if err := l.Start(t.Context(), "m2"); err != nil {
		t.Fatal(err)
	}
	out, _ := run(t, l, "m2", "sh", "-c", "cat /etc/kept /var/lib/kept /run/clusterd/gone /etc/machine-id 2>/dev/null")
	if want := "kept\nkept\n" + id; out != want {
		t.Errorf("after a boot: %q, want %q", out, want)
	}
	if err := l.Kill("m9"); !errors.Is(err, ErrNoMachine) {
		t.Errorf("killing a machine that isn't there: %v, want %v", err, ErrNoMachine)
	}
}

// TestDownAfterCrash: a lab whose up was killed half-way is taken down as well.
func TestDownAfterCrash(t *testing.T) {
	needRoot(t)
	const name = "t-crash"
	p, err := placesOf(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Down(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = Down(name) })
	for _, at := range []string{p.dir, p.netnsPath(), filepath.Join(p.machineDir("m1"), "console.log"), filepath.Join(p.machineDir("m2"), "upper", "usr")} {
		cmd := exec.Command(filepath.Join(bin, "clusterctl"), "lab", "up", "--bare", "--machines=4", "--name="+name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); !exists(at) && time.Now().Before(deadline); {
			pause(time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if found, err := Down(name); err != nil || !found {
			t.Fatalf("down after a crash once %s was there: found %v, %v", at, found, err)
		}
		checkNothingLeft(t, name)
	}
}

// TestUpInterrupted: one that is interrupted cleans up after itself.
func TestUpInterrupted(t *testing.T) {
	needRoot(t)
	const name = "t-stop"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Up(ctx, Options{Name: name, Machines: 1, Bin: bin, Bare: true}); err == nil {
		t.Error("an up whose context has ended works")
	}
	checkNothingLeft(t, name)
}

func TestUpWithoutPrograms(t *testing.T) {
	needRoot(t)
	_, err := Up(t.Context(), Options{Name: "t-bin", Machines: 1, Bin: t.TempDir()})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v; want it to say what to build", err)
	}
	checkNothingLeft(t, "t-bin")
}

// TestOnlyCgroup2 boots a machine as on a host that has nothing but cgroup v2,
// which this one is made to look like.
func TestOnlyCgroup2(t *testing.T) {
	needRoot(t)
	const name = "t-v2"
	t.Cleanup(func() { _, _ = Down(name) })
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	prepare := "true"
	for _, h := range hs {
		if h.v2() && h.Mount != "/sys/fs/cgroup" {
			prepare = "mount --bind " + h.Mount + " /sys/fs/cgroup"
		}
	}
	ctl, err := filepath.Abs(filepath.Join(bin, "clusterctl"))
	if err != nil {
		t.Fatal(err)
	}
	// The sh sees the lab's mounts alone, so it also takes the lab down.
	script := `set -e; ` + prepare + `; $1 lab up --name $2 --bare --machines 1
		$1 lab shell --name $2 m1 -- sh -c 'systemctl is-system-running; systemctl start docker; stat -fc %T /sys/fs/cgroup'
		$1 lab pause --name $2 m1; $1 lab kill --name $2 m1; $1 lab start --name $2 m1; $1 lab down --name $2`
	out, err := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", ctl, name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "running\ncgroup2fs\n") {
		t.Errorf("%v: %s", err, out)
	}
	checkNothingLeft(t, name)
}
