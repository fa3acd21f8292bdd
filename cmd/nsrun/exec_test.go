package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lair starts a container that systemd has taken over and in which things can be run.
func (m *manager) lair(flags ...string) (pid int) {
	m.t.Helper()
	pid, ready := m.handOver(append(m.run("--name", "web", "--network=none"), append(flags, "sleep", "1000")...)...)
	if !ready {
		m.t.Fatalf("not ready:\n%s", m.output)
	}
	m.t.Cleanup(func() {
		unix.Kill(pid, unix.SIGKILL)
		reap(m.t, pid)
	})
	return pid
}

// inside starts nsrun exec and waits until the program has said "up".
func (m *manager) inside(script string) (cmd *exec.Cmd, said output) {
	m.t.Helper()
	file, err := os.CreateTemp(m.dir, "said")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { file.Close() })
	cmd, said = m.command(nil, "exec", "web", "sh", "-c", script), output{file}
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.until("the program is up", func() bool { return strings.Contains(said.String(), "up\n") })
	return cmd, said
}

// until waits for something to be so.
func (m *manager) until(what string, so func() bool) {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("not so in 10s: %s", what)
		}
	}
}

func TestExecEndsWithItsNsrun(t *testing.T) {
	m := newManager(t)
	first := m.lair()
	cmd, said := m.inside("echo up; exec sleep 7654")
	running := func() bool {
		out, _ := m.nsrun("exec", "web", "ps")
		return strings.Contains(out, "sleep 7654")
	}
	if !running() {
		t.Fatalf("it isn't there:\n%s", said)
	}
	cmd.Process.Kill()
	cmd.Wait()
	m.until("the program is gone with nsrun", func() bool { return !running() })
	if ended(first) {
		t.Error("the container is gone, too")
	}
}

func TestExecSignals(t *testing.T) {
	m := newManager(t)
	m.lair()
	for _, row := range []struct {
		script string
		signal syscall.Signal
		want   int
	}{
		{`trap "exit 9" TERM; echo up; while true; do sleep 0.02; done`, syscall.SIGTERM, 9},
		{`trap "exit 8" USR1; echo up; while true; do sleep 0.02; done`, syscall.SIGUSR1, 8},
		{`echo up; exec sleep 1000`, syscall.SIGINT, 130},
		{`echo up; exec sleep 1000`, syscall.SIGTERM, 143},
	} {
		cmd, said := m.inside(row.script)
		cmd.Process.Signal(row.signal)
		timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		if got := cmd.ProcessState.ExitCode(); got != row.want {
			t.Errorf("%s, %v: exit %d, want %d\n%s", row.script, row.signal, got, row.want, said)
		}
	}
}

func TestExecEndsWithTheContainer(t *testing.T) {
	m := newManager(t)
	m.lair()
	cmd, said := m.inside(`echo up; exec sleep 1000`)
	if out, code := m.nsrun("kill", "web"); code != 0 {
		t.Fatalf("kill: exit %d, %s", code, out)
	}
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 137 {
		t.Errorf("exit %d, want 137: killed\n%s", got, said)
	}
	if out, code := m.nsrun("exec", "web", "true"); code != 1 || !strings.HasSuffix(out, "nsrun: exec: web: not running\n") {
		t.Errorf("exec into a stopped one: exit %d, %s", code, out)
	}
}

// TestExecWithoutUserNamespace: into a container whose root is the machine's.
func TestExecWithoutUserNamespace(t *testing.T) {
	for _, flag := range []string{"--userns=host", "--network=host"} {
		t.Run(flag, func(t *testing.T) {
			m := newManager(t)
			first := m.lair(flag, "--cap-add=SYS_PTRACE")
			out, code := m.nsrun("exec", "web", "sh", "-c", "id -u; grep CapEff: /proc/self/status; for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done; cat /proc/self/uid_map")
			want := "0\nCapEff:\t" + statField(t, first, "CapBnd") + "\n"
			for _, ns := range strings.Fields("cgroup ipc mnt net pid user uts") {
				link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", first, ns))
				if err != nil {
					t.Fatal(err)
				}
				want += link + "\n"
			}
			if code != 0 || !strings.HasPrefix(out, want) {
				t.Errorf("exit %d, got\n%s\nwant\n%s", code, out, want)
			}
		})
	}
}

// pty is a terminal as somebody sits at.
type pty struct {
	t      *testing.T
	master int
	slave  *os.File
	seen   []byte // and not waited for yet
	screen []byte // all of it
}

func newPTY(t *testing.T) *pty {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master) })
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	p := &pty{t: t, master: master, slave: slave}
	p.size(33, 77)
	return p
}

func (p *pty) size(rows, columns uint16) {
	if err := unix.IoctlSetWinsize(p.master, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pty) typed(keys string) {
	if _, err := unix.Write(p.master, []byte(keys)); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until the screen has text, behind what was waited for before.
func (p *pty) sees(text string) {
	p.t.Helper()
	data := make([]byte, 4096)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if n, _ := unix.Read(p.master, data); n > 0 {
			p.seen = append(p.seen, data[:n]...)
			p.screen = append(p.screen, data[:n]...)
		}
		if i := bytes.Index(p.seen, []byte(text)); i >= 0 {
			p.seen = p.seen[i+len(text):]
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%q doesn't come up in 10s; there is %q", text, p.seen)
		}
	}
}

// TestTerminal sits at a shell in a container, one that was there and one of
// its own.
func TestTerminal(t *testing.T) {
	for _, verb := range []string{"exec", "run"} {
		for _, user := range []string{"0", "77"} {
			t.Run(verb+" as "+user, func(t *testing.T) {
				m := newManager(t)
				args := m.run("-it", "--rm", "--network=none", "-u", user, "sh")
				if verb == "exec" {
					m.lair("--tmpfs=/tmp")
					args = []string{"exec", "-it", "-u", user, "web", "sh"}
				}
				atTerminal(t, m, args, user)
			})
		}
	}
}

func atTerminal(t *testing.T, m *manager, args []string, user string) {
	p := newPTY(t)
	before, err := unix.IoctlGetTermios(p.master, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := m.command([]string{"TERM=strange"}, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(40*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	p.typed("busybox tty; busybox stty size; stat -c %u /dev/pts/0; echo $TERM.\n")
	p.sees("\n/dev/pts/0\r\n33 77\r\n" + user + "\r\nxterm.\r\n")
	// Its own lines are as it wants them: what is typed is seen once.
	p.typed("echo on''ce\n")
	p.sees("echo on''ce\r\nonce\r\n")
	p.size(44, 88)
	m.until("the terminal is as large as ours", func() bool {
		p.typed("busybox stty size; echo loo''ked\n")
		p.sees("\nlooked\r\n")
		return bytes.Contains(p.screen, []byte("44 88\r\n"))
	})
	// An interrupt ends what runs in there, not nsrun.
	p.typed("sh -c 'echo run''ning; exec sleep 1000'\n")
	p.sees("\nrunning\r\n")
	p.typed("\x03")
	p.sees("^C")
	p.typed("echo $?, $((40+2))\n")
	p.sees("130, 42\r\n")
	// Job control: a job can be stopped and go on.
	p.typed("sh -c 'echo run''ning; exec sleep 1000'\n")
	p.sees("\nrunning\r\n")
	p.typed("\x1a")
	p.sees("Stopped")
	p.typed("kill %1; exit 5\n")
	p.typed("exit 5\n") // a shell with stopped jobs may ask to be told twice
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit %d, want 5", code)
	}
	after, err := unix.IoctlGetTermios(p.master, unix.TCGETS)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("the terminal isn't as it was: %v, %+v; was %+v", err, after, before)
	}
}

// TestTerminalWithoutInput: -t alone is for programs that look whether they
// print to a terminal; what they have printed to their end is there.
func TestTerminalWithoutInput(t *testing.T) {
	m := newManager(t)
	m.lair()
	const script = "busybox tty; busybox seq 20000; [ -t 1 ] && echo yes; exit 4"
	for _, args := range [][]string{{"exec", "-t", "web", "sh", "-c", script}, m.run("-t", "--rm", "--network=none", "sh", "-c", script)} {
		out, code := m.nsrun(args...)
		if code != 4 || !strings.HasPrefix(out, "/dev/pts/0\r\n1\r\n2\r\n") || !strings.HasSuffix(out, "\n20000\r\nyes\r\n") {
			t.Errorf("%s: exit %d, %d bytes, %.40q … %q; want exit 4 and 20000 numbers, on a terminal", args[0], code, len(out), out, out[max(0, len(out)-40):])
		}
	}
}

// TestTerminalInAUnit: who wrote -t into a unit, years ago, finds it start.
func TestTerminalInAUnit(t *testing.T) {
	m := newManager(t)
	pid, ready := m.handOver(m.run("-it", "--rm", "--network=none", "sh", "-c", "echo here; exit 3")...)
	if status := reap(t, pid); !ready || status.ExitStatus() != 3 {
		t.Errorf("ready %v, status %v; want exit 3", ready, status)
	}
	if out := m.output.String(); !strings.Contains(out, "run: note: --tty does nothing in a unit") || !strings.Contains(out, "here\n") {
		t.Errorf("it says %q", out)
	}
}

// TestExecIsInTheUnitsCgroup, in trees of both versions: as root is where the
// container is, and where nsrun exec was called is nothing.
func TestExecIsInTheUnitsCgroup(t *testing.T) {
	needRoot(t)
	for _, tree := range []string{"as it is", "cgroup2"} {
		t.Run(tree, func(t *testing.T) {
			m := newManager(t)
			script := filepath.Join(m.dir, "script")
			if err := os.WriteFile(script, []byte(cgroupScript), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := m.command(nil)
			cmd.Args = []string{"unshare", "--mount", "sh", "-u", script, tree, filepath.Join(m.dir, "nsrun"), filepath.Join(m.dir, "root")}
			cmd.Path = "/usr/bin/unshare"
			cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
			timer := time.AfterFunc(50*time.Second, func() { cmd.Process.Kill() })
			defer timer.Stop()
			err := cmd.Run()
			if out := m.output.String(); err != nil || !strings.HasSuffix(out, "as it should be\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// cgroupScript makes cgroups with a unit's name, starts a container there, and
// looks where what joins is. The programs' arguments are those of this run alone.
const cgroupScript = `
unit=nsrun-test-$$.service
if [ "$1" = cgroup2 ]; then
	mount --make-rprivate /
	mount -t cgroup2 none /sys/fs/cgroup
fi
trees=$(while IFS=: read -r id name path; do
	case $name in
	"") [ -e /sys/fs/cgroup/cgroup.procs ] && echo "/sys/fs/cgroup$path" || echo "/sys/fs/cgroup/unified$path" ;;
	*) echo "/sys/fs/cgroup/${name#name=}$path" ;;
	esac
done </proc/self/cgroup)
dirs=
for d in $trees; do
	case $d in */cpuset*) continue ;; esac # a new one has no processors, so nobody may go there
	[ -d "$d" ] && mkdir "$d/$unit" && dirs="$dirs $d/$unit"
done
[ -n "$dirs" ] || exit 1
clean() {
	"$2" rm -f web >/dev/null 2>&1
	for d in $dirs; do
		n=0
		until rmdir "$d" || [ $n -gt 100 ]; do n=$((n + 1)); sleep 0.02; done 2>/dev/null
	done
}
trap 'clean "$@"' EXIT
sh -c 'for d in '"$dirs"'; do echo $$ >$d/cgroup.procs; done; exec "$0" run --name web --network=none --rootfs "$1" sleep 300.'$$ "$2" "$3" &
n=0
until "$2" exec web true 2>/dev/null; do
	n=$((n + 1)); [ $n -lt 200 ] || { echo "no container"; exit 1; }
	sleep 0.02
done
"$2" exec web sleep 301.$$ &
n=0
until pid=$(pgrep -n -x -f "sleep 301.$$"); do
	n=$((n + 1)); [ $n -lt 200 ] || { echo "no program"; exit 1; }
	sleep 0.02
done
first=$(pgrep -x -f "sleep 300.$$")
cat /proc/$first/cgroup >/tmp/first.$$; cat /proc/$pid/cgroup >/tmp/joined.$$
diff /tmp/first.$$ /tmp/joined.$$ && grep -q "$unit" /tmp/joined.$$ && same=yes || same=no
rm /tmp/first.$$ /tmp/joined.$$
[ $same = yes ] || exit 1
for d in $dirs; do
	grep -qx $pid "$d/cgroup.procs" || { echo "not in $d"; exit 1; }
done
grep -q "$unit" /proc/$!/cgroup && { echo "nsrun exec itself is there, too"; exit 1; }
# Without clone3 nobody is born in a cgroup, so one moves there.
without clone3 "$2" exec web sleep 302.$$ &
n=0
until pid=$(pgrep -n -x -f "sleep 302.$$"); do
	n=$((n + 1)); [ $n -lt 200 ] || { echo "no program without clone3"; exit 1; }
	sleep 0.02
done
for d in $dirs; do
	grep -qx $pid "$d/cgroup.procs" || { echo "not in $d without clone3"; exit 1; }
done
echo as it should be
`

// TestExecKernelLacksACall: as for a start, it works or says what is needed.
func TestExecKernelLacksACall(t *testing.T) {
	m := newManager(t)
	m.lair()
	for _, row := range []struct {
		call string
		code int
		says string
	}{
		{"clone3", 3, ""}, {"keyctl", 3, ""}, {"faccessat2", 3, ""},
		{"close_range", 125, "close all descriptors but the standard ones and the gate: function not implemented"},
		{"execveat", 125, "become a program in memory: function not implemented"},
	} {
		cmd := m.command(nil)
		cmd.Args = []string{"sh", "-c", `exec without "$@"`, "sh", row.call, filepath.Join(m.dir, "nsrun"), "exec", "web", "sh", "-c", "exit 3"}
		cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != row.code || !strings.Contains(out.String(), row.says) {
			t.Errorf("without %s: exit %d, %s; want exit %d, %q", row.call, code, out.String(), row.code, row.says)
		}
	}
}
