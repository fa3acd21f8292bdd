package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager plays systemd: it listens for notifications, starts nsrun as its
// child, and reaps whoever becomes its child by that.
type manager struct {
	t      *testing.T
	dir    string // NSRUN_DIR and the root directory
	socket *net.UnixConn
	output output
	user   *syscall.Credential // who nsrun is; nil is root
}

// output is a file that collects what is printed. A pipe would not do: a handed
// over container holds it open, and exec.Cmd waits for its end.
type output struct{ *os.File }

func (o output) String() string {
	data, _ := os.ReadFile(o.Name())
	return string(data)
}

func newManager(t *testing.T) *manager {
	needRoot(t)
	m := &manager{t: t, dir: t.TempDir()}
	busybox(t, filepath.Join(m.dir, "root"))
	file, err := os.OpenFile(filepath.Join(m.dir, "output"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	m.output = output{file}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(m.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	m.socket = socket
	return m
}

// command is nsrun run in the manager's directory, as systemd would start it.
func (m *manager) command(env []string, args ...string) *exec.Cmd {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	// The shell becomes nsrun, so that SYSTEMD_EXEC_PID is right. testscript's
	// main looks at the name it is called by.
	link := filepath.Join(m.dir, "nsrun")
	if err := os.Symlink(self, link); err != nil && !os.IsExist(err) {
		m.t.Fatal(err)
	}
	line := append([]string{"-c", `SYSTEMD_EXEC_PID=$$ exec "$0" "$@"`, link}, args...)
	cmd := exec.Command("/bin/sh", line...)
	cmd.Env = append([]string{"PATH=/bin:/usr/bin", raceExit, "NSRUN_DIR=" + filepath.Join(m.dir, "state")}, env...)
	cmd.Stdout, cmd.Stderr = m.output.File, m.output.File
	if m.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.user}
	}
	return cmd
}

// message reads one notification and who sent it. A descriptor that comes with
// it is closed, which is how systemd answers a barrier.
func (m *manager) message(limit time.Duration) (text string, sender int, err error) {
	m.socket.SetReadDeadline(time.Now().Add(limit))
	data, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := m.socket.ReadMsgUnix(data, oob)
	if err != nil {
		return "", 0, err
	}
	parts, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", 0, err
	}
	for _, part := range parts {
		if cred, err := unix.ParseUnixCredentials(&part); err == nil {
			sender = int(cred.Pid)
		}
		if fds, err := unix.ParseUnixRights(&part); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}
	return string(data[:n]), sender, nil
}

// handOver starts a container and takes it over. It returns the main process
// and whether that said READY=1.
func (m *manager) handOver(args ...string) (pid int, ready bool) {
	m.t.Helper()
	cmd := m.command([]string{"NOTIFY_SOCKET=" + filepath.Join(m.dir, "notify")}, args...)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	return m.takeOver(cmd)
}

// takeOver is handOver for an nsrun that is started already.
func (m *manager) takeOver(cmd *exec.Cmd) (pid int, ready bool) {
	m.t.Helper()
	text, sender, err := m.message(10 * time.Second)
	if err != nil || sender != cmd.Process.Pid {
		m.t.Fatalf("first message %q of %d: %v; want MAINPID= of nsrun %d\n%s", text, sender, err, cmd.Process.Pid, m.output)
	}
	if pid, err = strconv.Atoi(strings.TrimPrefix(text, "MAINPID=")); err != nil {
		m.t.Fatalf("first message %q, want MAINPID=", text)
	}
	if parent := statField(m.t, pid, "PPid"); parent != strconv.Itoa(os.Getpid()) {
		m.t.Errorf("the main process's parent is %s, want systemd (%d)", parent, os.Getpid())
	}
	if text, _, err = m.message(10 * time.Second); text != "BARRIER=1" {
		m.t.Fatalf("second message %q: %v; want BARRIER=1", text, err)
	}
	if err := cmd.Wait(); err != nil {
		m.t.Errorf("nsrun: %v; want exit 0\n%s", err, m.output)
	}
	// READY=1 comes before the exec, or never: then the process has ended.
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		text, sender, err = m.message(20 * time.Millisecond)
		if err == nil {
			if text != "READY=1" || sender != pid {
				m.t.Errorf("message %q of %d, want READY=1 of the main process %d", text, sender, pid)
			}
			return pid, true
		}
		if ended(pid) {
			return pid, false
		}
	}
	m.t.Fatalf("neither READY=1 nor an end of process %d in 10s", pid)
	return 0, false
}

// ended reports whether our child has ended, leaving it to be reaped.
func ended(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

func reap(t *testing.T, pid int) unix.WaitStatus {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !ended(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			unix.Kill(pid, unix.SIGKILL)
			t.Fatalf("process %d still runs after 20s", pid)
		}
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return status
}

func statField(t *testing.T, pid int, key string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut("\n"+string(data), "\n"+key+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func (m *manager) nsrun(args ...string) (string, int) {
	m.t.Helper()
	cmd := m.command(nil, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Run()
	return out.String(), cmd.ProcessState.ExitCode()
}

func (m *manager) run(args ...string) []string {
	return append([]string{"run", "--network=none", "--rootfs", filepath.Join(m.dir, "root")}, args...)
}

func TestB02_HandedOverProcessIsSystemdsOwn(t *testing.T) {
	m := newManager(t)
	pid, ready := m.handOver(m.run("--name", "web", "sh", "-c", "trap 'exit 9' TERM; while true; do sleep 0.05; done")...)
	if !ready {
		t.Fatalf("not ready:\n%s", m.output)
	}
	// The program is begun, and on a busy machine its trap may be to come.
	trapped := func() bool {
		caught, _ := strconv.ParseUint(statField(t, pid, "SigCgt"), 16, 64)
		return statField(t, pid, "Name") == "sh" && caught>>(unix.SIGTERM-1)&1 == 1
	}
	for until := time.Now().Add(5 * time.Second); !trapped() && time.Now().Before(until); time.Sleep(time.Millisecond) {
	}
	if !trapped() {
		t.Errorf("the main process is %q with the signals %s caught, want the program itself, and TERM", statField(t, pid, "Name"), statField(t, pid, "SigCgt"))
	}
	if ids := statField(t, pid, "Uid"); strings.HasPrefix(ids, "0\t") {
		t.Errorf("its user ids are %s: root outside", ids)
	}
	if out, code := m.nsrun("ps"); code != 0 || !strings.Contains(out, "Up ") {
		t.Errorf("ps: exit %d\n%s", code, out)
	}
	if out, code := m.nsrun(m.run("--name", "web", "true")...); code != 125 || !strings.Contains(out, "nsrun stop web") {
		t.Errorf("a second one of the name: exit %d, %s; want 125 and the way out", code, out)
	}
	if out, code := m.nsrun("stop", "web"); code != 0 {
		t.Errorf("stop: exit %d, %s", code, out)
	}
	if status := reap(t, pid); !status.Exited() || status.ExitStatus() != 9 {
		t.Errorf("status %v, want exit 9: the TERM handler's", status)
	}
}

func TestB03_ExitCodeIsAlwaysTheProgramsOwn(t *testing.T) {
	m := newManager(t)
	for i := range 100 {
		pid, ready := m.handOver(m.run("--rm", "sh", "-c", "exit 3")...)
		if status := reap(t, pid); !ready || !status.Exited() || status.ExitStatus() != 3 {
			t.Fatalf("start %d: ready %v, status %v; want exit 3\n%s", i, ready, status, m.output)
		}
	}
}

func TestB03_MissingOrForbiddenProgramFailsTheStart(t *testing.T) {
	m := newManager(t)
	for _, row := range []struct {
		program string
		want    int
	}{{"nosuch", 127}, {"/bin/nosuch", 127}, {"/bin", 126}, {"/etc", 126}} {
		if err := os.MkdirAll(filepath.Join(m.dir, "root/etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		pid, ready := m.handOver(m.run("--rm", row.program)...)
		if status := reap(t, pid); ready || status.ExitStatus() != row.want {
			t.Errorf("%s: ready %v, status %v; want not ready, exit %d", row.program, ready, status, row.want)
		}
	}
}

// TestProgramSaysItselfThatItIsReady: with --sdnotify=container systemd's socket
// is in there, and nsrun says nothing. busybox' logger writes to /dev/log.
func TestProgramSaysItselfThatItIsReady(t *testing.T) {
	m := newManager(t)
	cmd := m.command([]string{"NOTIFY_SOCKET=/run/systemd/notify", "WATCHDOG_USEC=5000000"},
		m.run("--rm", "--sdnotify=container", "--userns=host", "sh", "-c", `chmod 600 "$NOTIFY_SOCKET"; ln -s "$NOTIFY_SOCKET" /dev/log; logger "READY=1 of $WATCHDOG_PID, $WATCHDOG_USEC"`)...)
	// Only systemd's own socket will do: for this process alone, ours is in its place.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Args[2] = "mount -t tmpfs none /run && mkdir /run/systemd && : >/run/systemd/notify && mount --bind '" +
		filepath.Join(m.dir, "notify") + "' /run/systemd/notify && " + cmd.Args[2]
	// The socket is everybody's, as systemd's is, and the container can't change that.
	if err := os.Chmod(filepath.Join(m.dir, "notify"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	pid := 0
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		text, _, err := m.message(20 * time.Millisecond)
		if err == nil {
			said = append(said, text)
			if n, err := strconv.Atoi(strings.TrimPrefix(text, "MAINPID=")); err == nil {
				pid = n
			}
		} else if pid != 0 && ended(pid) {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("nsrun: %v\n%s", err, m.output)
	}
	reap(t, pid)
	if len(said) != 3 || !strings.HasSuffix(strings.TrimSpace(said[2]), "READY=1 of 1, 5000000") {
		t.Errorf("systemd was told %q; want MAINPID=, BARRIER=1 and what the program says\n%s", said, m.output)
	}
	if info, err := os.Stat(filepath.Join(m.dir, "notify")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the machine's socket afterwards: %v, %v; want it as it was", info, err)
	}
}

func TestA05_StopOfADeafProcessIsQuickAndClean(t *testing.T) {
	m := newManager(t)
	for _, extra := range [][]string{nil, {"--userns=host"}} {
		args := append(append(m.run("--name", "loop"), extra...), "sh", "-c", "while true; do sleep 1; done")
		pid, ready := m.handOver(args...)
		if !ready {
			t.Fatalf("not ready:\n%s", m.output)
		}
		start := time.Now()
		if out, code := m.nsrun("stop", "loop"); code != 0 {
			t.Errorf("stop: exit %d, %s", code, out)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("stop took %v, want at most 1s", took)
		}
		// systemd counts HUP, INT, TERM and PIPE as clean.
		if status := reap(t, pid); !status.Signaled() || status.Signal() != unix.SIGINT {
			t.Errorf("status %v, want SIGINT: what a name-space that was powered off leaves", status)
		}
		if out, code := m.nsrun("stop", "loop"); code != 0 {
			t.Errorf("stop again: exit %d, %s; want 0", code, out)
		}
		if out, code := m.nsrun("rm", "loop"); code != 0 {
			t.Errorf("rm: exit %d, %s", code, out)
		}
	}
}

// TestStopWaitsForOneThatIgnoresTheSignal: it does so on purpose, to finish what
// it is at, and is killed only when the limit has passed.
func TestStopWaitsForOneThatIgnoresTheSignal(t *testing.T) {
	m := newManager(t)
	for _, row := range []struct {
		name, limit, script string
		code                int // 137: killed
	}{
		{"in time", "20", `trap "" TERM; touch /ready; sleep 1; touch /committed`, 0},
		{"too late", "1", `trap "" TERM; touch /ready; sleep 100`, 137},
	} {
		for _, file := range []string{"ready", "committed"} {
			os.Remove(filepath.Join(m.dir, "root", file))
		}
		pid, ready := m.handOver(m.run("--name", "db", "sh", "-c", row.script)...)
		if !ready {
			t.Fatalf("%s: not ready:\n%s", row.name, m.output)
		}
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(m.dir, "root", "ready")); err == nil {
				break
			}
		}
		if out, code := m.nsrun("stop", "-t", row.limit, "db"); code != 0 {
			t.Errorf("%s: stop: exit %d, %s", row.name, code, out)
		}
		status := reap(t, pid)
		if code := status.ExitStatus(); status.Exited() && code != row.code || status.Signaled() && 128+int(status.Signal()) != row.code {
			t.Errorf("%s: status %v, want %d", row.name, status, row.code)
		}
		if _, err := os.Stat(filepath.Join(m.dir, "root", "committed")); row.code == 0 && err != nil {
			t.Errorf("%s: not committed: %v", row.name, err)
		}
		if out, code := m.nsrun("rm", "db"); code != 0 {
			t.Errorf("%s: rm: exit %d, %s", row.name, code, out)
		}
	}
}

func TestB04_NsrunKilledBeforeTheGateLeavesNothing(t *testing.T) {
	m := newManager(t)
	cmd := m.command([]string{"NOTIFY_SOCKET=" + filepath.Join(m.dir, "notify")}, m.run("--name", "web", "--rm", "sleep", "100")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text, _, err := m.message(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimPrefix(text, "MAINPID="))
	cmd.Process.Kill()
	cmd.Wait()
	if status := reap(t, pid); !status.Exited() || status.ExitStatus() != 125 {
		t.Errorf("status %v, want exit 125", status)
	}
	m.message(100 * time.Millisecond) // the barrier, if it came to that, closed with the message
	if pid, ready := m.handOver(m.run("--name", "web", "--rm", "true")...); !ready || reap(t, pid).ExitStatus() != 0 {
		t.Errorf("a plain start afterwards: ready %v\n%s", ready, m.output)
	}
}

// TestB06_StoppedWhileHandedOver: a stop of a unit that is just starting comes as a
// bare signal, to the main process, which sets itself up, and perhaps to nsrun. It
// must end at once all the same, and cleanly, whatever the program does with TERM.
func TestB06_StoppedWhileHandedOver(t *testing.T) {
	m := newManager(t)
	for _, row := range []struct {
		name  string
		flags []string
		sig   unix.Signal
		first bool // nsrun gets it, too, before
	}{
		{"the main process", nil, unix.SIGTERM, false},
		{"KillSignal=SIGINT", nil, unix.SIGINT, false},
		{"with init", []string{"--init"}, unix.SIGTERM, false},
		{"the signal of the image", []string{"--stop-signal=RTMIN+3"}, 37, false},
		{"nsrun and then the main process", nil, unix.SIGTERM, true},
	} {
		cmd := m.command([]string{"NOTIFY_SOCKET=" + filepath.Join(m.dir, "notify")}, m.run(append(row.flags, "--name", "web", "--rm", "sleep", "100")...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		text, _, err := m.message(10 * time.Second)
		pid, numberErr := strconv.Atoi(strings.TrimPrefix(text, "MAINPID="))
		if err != nil || numberErr != nil {
			t.Fatalf("%s: first message %q: %v", row.name, text, err)
		}
		if row.first {
			unix.Kill(cmd.Process.Pid, row.sig)
			cmd.Wait()
		}
		unix.Kill(pid, row.sig) // nsrun waits for the answer to BARRIER=1
		begun := time.Now()
		m.message(10 * time.Second)
		if !row.first {
			cmd.Wait()
		}
		for !ended(pid) && time.Since(begun) < 5*time.Second {
			time.Sleep(time.Millisecond)
		}
		if !ended(pid) {
			t.Errorf("%s: still there 5 s later", row.name)
			unix.Kill(pid, unix.SIGKILL)
		}
		if status := reap(t, pid); !status.Exited() || status.ExitStatus() != 0 {
			t.Errorf("%s: status %v, want exit 0", row.name, status)
		}
		if text, _, err := m.message(50 * time.Millisecond); err == nil {
			t.Errorf("%s: told systemd %s", row.name, text)
		}
		if out, code := m.nsrun("ps", "-a", "-q"); code != 0 || out != "" {
			t.Errorf("%s: left: %s", row.name, out)
		}
	}
}

func TestB06_KillingNsrunInAShellEndsTheProgram(t *testing.T) {
	m := newManager(t)
	for _, user := range []string{"0", "7"} { // changing the user makes the kernel forget the request
		cmd := m.command(nil, m.run("--name", "web", "--rm", "--user", user, "sh", "-c", "echo up; sleep 100")...)
		cmd.Stdout = nil
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 3)); err != nil {
			t.Fatalf("%v\n%s", err, m.output)
		}
		cmd.Process.Kill()
		// The pipe ends when all who could write to it are gone.
		if n, err := out.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the program wrote on: %v", err)
		}
		cmd.Wait()
		list, code := m.nsrun("ps", "-a", "-q")
		for until := time.Now().Add(10 * time.Second); list != "" && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			list, code = m.nsrun("ps", "-a", "-q")
		}
		if code != 0 || list != "" {
			t.Errorf("user %s: ps -a: exit %d, %q; want nothing", user, code, list)
		}
	}
}

func TestB06_SignalsReachTheProgram(t *testing.T) {
	m := newManager(t)
	for _, row := range []struct {
		name, script string
		signal       unix.Signal
		times, want  int
	}{
		{"one that handles it", "trap 'exit 9' TERM; echo up; while true; do sleep 0.05; done", unix.SIGTERM, 1, 9},
		{"one that is deaf to it", "echo up; while true; do sleep 0.05; done", unix.SIGTERM, 1, 143},
		{"one that ignores it", "trap '' TERM; echo up; sleep 1; exit 8", unix.SIGTERM, 1, 8},
		{"one that ignores it, insisted on", "trap '' TERM; echo up; sleep 100", unix.SIGTERM, 6, 143},
		// The shell itself catches INT, so that "up" must come from what follows it.
		{"one that is deaf to an interrupt", "exec busybox yes up", unix.SIGINT, 1, 130},
	} {
		cmd := m.command(nil, m.run("--rm", "sh", "-c", row.script)...)
		cmd.Args[2] = `exec "$0" "$@"` // in a shell; for a unit's main process see EndLike
		cmd.Stdout = nil
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 3)); err != nil {
			t.Fatalf("%v\n%s", err, m.output)
		}
		for range row.times {
			cmd.Process.Signal(row.signal)
			time.Sleep(100 * time.Millisecond) // of two that wait the kernel makes one
		}
		guard := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		guard.Stop()
		if code := cmd.ProcessState.ExitCode(); code != row.want {
			t.Errorf("%s: exit %d, want %d", row.name, code, row.want)
		}
	}
}

func TestB04_CleanupRemovesOnlyWhatWasToGo(t *testing.T) {
	m := newManager(t)
	for _, args := range [][]string{{"--name", "kept"}, {"--name", "gone", "--rm"}} {
		pid, _ := m.handOver(m.run(append(args, "sh", "-c", "exit 6")...)...)
		reap(t, pid)
	}
	if out, code := m.nsrun("cleanup", "--unit", "other.service"); code != 0 || out != "" {
		t.Errorf("cleanup: exit %d, %s", code, out)
	}
	if out, _ := m.nsrun("ps", "-a"); !strings.Contains(out, "kept") || strings.Contains(out, "gone") {
		t.Errorf("ps -a:\n%s", out)
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(m.dir)) {
		t.Errorf("mounts are left:\n%s", data)
	}
}

func TestListenFDsAreHandedOn(t *testing.T) {
	m := newManager(t)
	socket := filepath.Join(m.dir, "first")
	if err := os.WriteFile(socket, []byte("from the third descriptor\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := m.command(nil, m.run("--rm", "sh", "-c", "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES $NOTIFY_SOCKET; cat <&3; ls /proc/self/fd | wc -l")...)
	cmd.Args[2] = `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web NOTIFY_SOCKET=/nowhere exec "$0" "$@"`
	cmd.ExtraFiles = []*os.File{file}
	if err := cmd.Run(); err != nil {
		t.Errorf("%v", err)
	}
	// ls has 0, 1, 2, the one handed on, and the directory it reads.
	if got, want := m.output.String(), "1 1 web\nfrom the third descriptor\n5\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
