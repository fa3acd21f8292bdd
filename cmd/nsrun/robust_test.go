package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/pull"
)

// build makes nsrun itself: it starts in a tenth of the time of this test, with
// all that is in it.
func build(t *testing.T) (program string) {
	t.Helper()
	needRoot(t)
	program = filepath.Join(t.TempDir(), "nsrun")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// install puts it in this test's place.
func (m *manager) install(program string) {
	m.t.Helper()
	to := filepath.Join(m.dir, "nsrun")
	os.Remove(to)
	if err := os.Link(program, to); err != nil {
		m.t.Fatal(err)
	}
}

// pull brings an image into the manager's store, as whoever its nsrun is.
func (m *manager) pull(ref, host string) {
	m.t.Helper()
	conf := fmt.Sprintf("[Registry docker.io]\nLocation=%s\n[Registry %[1]s]\nInsecure=plaintext\n", host)
	registries, err := image.ParseRegistries("test", []byte(conf))
	if err != nil {
		m.t.Fatal(err)
	}
	store, err := image.Open(filepath.Join(m.dir, "state/images"))
	if err != nil {
		m.t.Fatal(err)
	}
	p := pull.New(pull.Config{Store: store, Registries: registries})
	defer p.Close()
	if _, _, err := p.Pull(m.t.Context(), ref); err != nil {
		m.t.Fatal(err)
	}
	if m.user == nil {
		return
	}
	err = filepath.WalkDir(store.Dir(), func(file string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(file, int(m.user.Uid), int(m.user.Gid)))
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// nothingLeft looks for what dead containers may leave. What the last kill left
// goes with the next start, so there must have been one.
func (m *manager) nothingLeft(marker string) {
	m.t.Helper()
	var left []string
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		left = nil
		for _, sub := range []string{"containers", "making", "trash", "run/live", "run/ids", "images/leases", "images/tmp", "volumes"} {
			found, _ := filepath.Glob(filepath.Join(m.dir, "state", sub, "*"))
			left = append(left, found...)
		}
		for pid, line := range commandLines() {
			if strings.Contains(line, marker) {
				left = append(left, fmt.Sprintf("process %d: %s", pid, line))
			}
		}
		data, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || bytes.Contains(data, []byte(m.dir)) {
			left = append(left, fmt.Sprintf("mounts: %v\n%s", err, data))
		}
		if left == nil {
			return
		}
	}
	m.t.Errorf("left: %s", strings.Join(left, "\n"))
}

func commandLines() map[int]string {
	lines := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil {
			lines[pid] = strings.ReplaceAll(string(data), "\x00", " ")
		}
	}
	return lines
}

// answer plays systemd's reading of notifications until the test is over; what
// comes is thrown away.
func (m *manager) answer() (end func()) {
	var group sync.WaitGroup
	stop := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				m.message(5 * time.Millisecond)
			}
		}
	})
	return func() { close(stop); group.Wait() }
}

// adopted waits for children that came to us from a killed nsrun.
func adopted(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		files, _ := filepath.Glob("/proc/self/task/*/children")
		any := false
		for _, file := range files {
			data, _ := os.ReadFile(file)
			for _, f := range strings.Fields(string(data)) {
				pid, err := strconv.Atoi(f)
				if err == nil {
					any = true
					unix.Wait4(pid, nil, unix.WNOHANG, nil)
				}
			}
		}
		if !any {
			return
		}
	}
	t.Fatal("a child of a killed nsrun still runs after 10s")
}

// TestB04_KilledAtAnyMoment kills nsrun at moments spread over a start, a short
// life and an end. A plain start of the same name must do afterwards, at once,
// and nothing may be left of either.
func TestB04_KilledAtAnyMoment(t *testing.T) {
	const seed, kills = 4, 64 // in each of five modes
	built := build(t)
	host, _ := serveBusybox(t)
	for _, mode := range []struct {
		name             string
		user, handedOver bool
		env, root        string
	}{
		{name: "by hand", root: "--rootfs=ROOT:O"},
		{name: "layers by path", root: "--rootfs=ROOT:O", env: "NSRUN_OVERLAY=paths"},
		{name: "an image", root: "busybox"},
		{name: "handed over", root: "--rootfs=ROOT:O", handedOver: true},
		{name: "without root", root: "busybox", user: true},
	} {
		t.Run(mode.name, func(t *testing.T) {
			m := newManager(t)
			if mode.user {
				m = newUserManager(t)
			}
			m.install(built)
			if mode.root == "busybox" {
				m.pull("busybox", host)
			}
			random := rand.New(rand.NewPCG(seed, seed))
			marker := fmt.Sprintf("sleep 0.00%d", os.Getpid()) // nobody else's
			run := func(command ...string) []string {
				args := []string{"run", "--name", "web", "--rm", "-v", "/unnamed", strings.ReplaceAll(mode.root, "ROOT", filepath.Join(m.dir, "root"))}
				return append(args, command...)
			}
			env := []string{mode.env}
			if mode.handedOver {
				env = append(env, "NOTIFY_SOCKET="+filepath.Join(m.dir, "notify"))
			}
			length := m.timed(env, mode.handedOver, run(strings.Fields(marker)...))
			for i := range kills {
				m.killAfter(time.Duration(random.Int64N(int64(length))), env, mode.handedOver, run(strings.Fields(marker)...))
				var code int
				if mode.handedOver {
					pid, ready := m.handOver(run("true")...)
					if code = reap(t, pid).ExitStatus(); !ready {
						code = -1
					}
				} else {
					again := m.command([]string{mode.env}, run("true")...)
					again.Run()
					code = again.ProcessState.ExitCode()
				}
				if code != 0 {
					t.Fatalf("seed %d, kill %d: a plain start afterwards: exit %d\n%s", seed, i, code, m.output)
				}
			}
			if mode.handedOver { // whom ExecStopPost= would call
				m.nsrun("ps", "-a")
			}
			m.nothingLeft(marker)
		})
	}
}

// timed returns how long a start, the life and the end take, at most of some.
func (m *manager) timed(env []string, handedOver bool, args []string) (longest time.Duration) {
	for range 5 {
		begun := time.Now()
		m.killAfter(10*time.Second, env, handedOver, args)
		longest = max(longest, time.Since(begun))
	}
	return longest
}

// killAfter starts nsrun, kills it some time later if it is still there, and
// waits until all that it started has ended.
func (m *manager) killAfter(limit time.Duration, env []string, handedOver bool, args []string) {
	m.t.Helper()
	if handedOver {
		end := m.answer()
		defer func() {
			adopted(m.t)
			end()
			for err := error(nil); err == nil; { // what nobody has read yet
				_, _, err = m.message(time.Millisecond)
			}
		}()
	}
	cmd := m.command(env, args...)
	cmd.Stdout, cmd.Stderr = nil, nil // it may say what it likes
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	cmd.Wait()
	timer.Stop()
}

// TestB04_KilledWhileItsChildIsSlow: a child that sets itself up, with its gate
// open and its nsrun killed, ends at the last step only. A start waits for that.
func TestB04_KilledWhileItsChildIsSlow(t *testing.T) {
	m := newManager(t)
	m.install(build(t))
	run := func(command ...string) *exec.Cmd {
		args := append([]string{"run", "--name", "web", "--rm", "--network=none", "--rootfs=" + m.dir + "/root:O"}, command...)
		return m.command(nil, args...)
	}
	for range 100 {
		first := run("sleep", "1000")
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		child := m.stopInSetUp()
		first.Process.Kill()
		first.Wait()
		if child == 0 {
			continue
		}
		second := run("true")
		if err := second.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(300*time.Millisecond, func() { unix.Kill(child, unix.SIGCONT) })
		if err := second.Wait(); err != nil {
			t.Errorf("a start while the child of one that was killed is slow: %v\n%s", err, m.output)
		}
		timer.Stop()
		unix.Kill(child, unix.SIGCONT)
		m.nothingLeft(m.dir)
		return
	}
	t.Fatal("no child could be stopped while it set itself up, in 100 starts")
}

// stopInSetUp stops the child of the start of web that goes on, when its gate is
// open and it isn't the program yet; 0 is too late.
func (m *manager) stopInSetUp() (child int) {
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		data, _ := os.ReadFile(filepath.Join(m.dir, "state/run/live/web"))
		f := strings.Fields(string(data))
		if len(f) == 0 || f[0] != "running" {
			continue
		}
		pid, err := strconv.Atoi(f[1])
		if err != nil || unix.Kill(pid, unix.SIGSTOP) != nil {
			return 0
		}
		call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		if strings.HasPrefix(string(call), fmt.Sprint(unix.SYS_RECVMSG, " ")) { // at the gate
			unix.Kill(pid, unix.SIGCONT)
			continue
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != filepath.Join(m.dir, "nsrun") {
			unix.Kill(pid, unix.SIGCONT)
			return 0
		}
		return pid
	}
	return 0
}

const parallel = 100

// TestB04_ManyAtOnce: a hundred starts side by side, each with its own exit code.
func TestB04_ManyAtOnce(t *testing.T) {
	m := newManager(t)
	m.install(build(t))
	host, _ := serveBusybox(t)
	m.pull("busybox", host)
	start := func(i int) *exec.Cmd {
		cmd := m.command(nil, "run", "--rm", "--network=none", "busybox", "sh", "-c", fmt.Sprintf("exit %d", i%120+1))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	end := func(i int, cmd *exec.Cmd) {
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != i%120+1 {
			t.Errorf("exit %d, want %d", code, i%120+1)
		}
	}
	begun := time.Now()
	for i := range parallel {
		end(i, start(i))
	}
	one := time.Since(begun)
	begun = time.Now()
	var running []*exec.Cmd
	for i := range parallel {
		running = append(running, start(i))
	}
	for i, cmd := range running {
		end(i, cmd)
	}
	t.Logf("%d starts: %v one after the other, %v at once", parallel, one, time.Since(begun))
	if said := m.output.String(); said != "" {
		t.Errorf("somebody complained:\n%s", said)
	}
	m.nothingLeft(m.dir)
}

// TestB04_ManyHandedOverAtOnce: the same with systemd at the other end.
func TestB04_ManyHandedOverAtOnce(t *testing.T) {
	m := newManager(t)
	m.install(build(t))
	begun := time.Now()
	want := map[int]int{} // exit code by nsrun
	var running []*exec.Cmd
	for i := range parallel {
		cmd := m.command([]string{"NOTIFY_SOCKET=" + filepath.Join(m.dir, "notify")}, m.run("--rm", "sh", "-c", fmt.Sprintf("exit %d", i%120+1))...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		want[cmd.Process.Pid] = i%120 + 1
		running = append(running, cmd)
	}
	var mains []int
	code := map[int]int{}
	ready := map[int]bool{}
	for until := time.Now().Add(60 * time.Second); len(ready) < parallel && time.Now().Before(until); {
		text, sender, err := m.message(100 * time.Millisecond)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if pid, err := strconv.Atoi(strings.TrimPrefix(text, "MAINPID=")); err == nil {
			mains = append(mains, pid)
			code[pid] = want[sender]
		} else if text == "READY=1" {
			ready[sender] = true
		}
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("nsrun: %v", err)
		}
	}
	for _, pid := range mains {
		if status := reap(t, pid); !ready[pid] || status.ExitStatus() != code[pid] {
			t.Errorf("process %d: ready %v, status %v; want exit %d", pid, ready[pid], status, code[pid])
		}
	}
	t.Logf("%d starts handed over at once: %v", parallel, time.Since(begun))
	if slices.Sort(mains); len(slices.Compact(mains)) != parallel || m.output.String() != "" {
		t.Errorf("%d main processes, want %d\n%s", len(mains), parallel, m.output)
	}
	if out, exit := m.nsrun("ps", "-a", "-q"); out != "" || exit != 0 { // it tidies up
		t.Errorf("ps -a: exit %d, %q", exit, out)
	}
	m.nothingLeft(m.dir)
}
