package runtime

import (
	"bytes"
	"debug/elf"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMakeExec compares plans with what they should say, filter and limits apart.
func TestMakeExec(t *testing.T) {
	web := Joined{Record: Record{
		Name: "web", Details: Details{Env: []string{"PATH=/bin", "A=1", "LISTEN_FDS=1", "WATCHDOG_USEC=5", "NOTIFY_SOCKET=/dev/notify"},
			WorkDir: "/srv", User: "app", Groups: []string{"www"}, Caps: 1<<unix.CAP_CHOWN | 1<<unix.CAP_KILL},
	}, Root: true, Namespaces: []string{"mnt", "pid", "user"}}
	for _, row := range []struct {
		name   string
		spec   ExecSpec
		change func(*Joined)
		env    string
		want   []string // lines the plan has
		not    []string // and hasn't
	}{
		{
			name: "the container's own user, directory and environment",
			spec: ExecSpec{Argv: []string{"sh"}}, env: "PATH=/bin A=1",
			want: []string{
				"look up user app, with groups www too, in the root's /etc/passwd and /etc/group",
				"clone a process; it becomes a sealed program in memory, of the steps below",
				"let nobody look into it or trace it", "join the container's name-spaces, by its process: mnt pid user",
				"become root of the user name-space", "go to /srv", "bounding set: CHOWN KILL", "become user app", "no new privileges", "start a session",
			},
			not: []string{"open a terminal"},
		},
		{
			name: "others of the flags", spec: ExecSpec{Argv: []string{"sh"}, User: "0", WorkDir: "/", Env: []string{"A=2", "B="}, TTY: true},
			env:  "PATH=/bin A=2 TERM=xterm B=",
			want: []string{"look up user 0 in the root's /etc/passwd and /etc/group", "go to /", "open a terminal of the container's own /dev/pts", "start a session, on the terminal"},
		},
		{
			name: "root inside is root outside", spec: ExecSpec{Argv: []string{"sh"}}, env: "PATH=/bin A=1",
			change: func(j *Joined) { j.Namespaces = []string{"mnt", "pid"} },
			want:   []string{"no user name-space: root inside is root outside", "join the container's name-spaces, by its process: mnt pid"},
			not:    []string{"become root of"},
		},
		{
			name: "a unit's cgroup", spec: ExecSpec{Argv: []string{"sh"}}, env: "PATH=/bin A=1",
			change: func(j *Joined) { j.Cgroup = "/sys/fs/cgroup/web.service" },
			want:   []string{"clone a process in cgroup /sys/fs/cgroup/web.service; it"},
		},
		{
			name: "a unit's cgroups", spec: ExecSpec{Argv: []string{"sh"}}, env: "PATH=/bin A=1",
			change: func(j *Joined) { j.MoveTo = []string{"/sys/fs/cgroup/pids/web.service"} },
			want:   []string{"move to cgroup /sys/fs/cgroup/pids/web.service"},
		},
	} {
		j := web
		if row.change != nil {
			row.change(&j)
		}
		p, err := MakeExec(row.spec, j)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := strings.Join(p.Env, " "); got != row.env {
			t.Errorf("%s: environment %q, want %q", row.name, got, row.env)
		}
		for _, line := range row.want {
			if !strings.Contains(p.String(), line) {
				t.Errorf("%s: no %q in\n%s", row.name, line, p)
			}
		}
		for _, line := range row.not {
			if strings.Contains(p.String(), line) {
				t.Errorf("%s: %q in\n%s", row.name, line, p)
			}
		}
		// What counts for safety is the order.
		if !ordered(p.String(), "let nobody look", "move to cgroup", "join the container's", "close all descriptors", "go to /", "bounding set", "become user", "permitted and effective", "no new privileges", "system call filter", "clone a process, nsrun's child") {
			t.Errorf("%s: the steps are in another order:\n%s", row.name, p)
		}
	}
}

// ordered says whether those of the lines that are in text come in order.
func ordered(text string, lines ...string) bool {
	var at []int
	for _, line := range lines {
		if i := strings.Index(text, "\n  "+line); i >= 0 {
			at = append(at, i)
		}
	}
	return slices.IsSorted(at)
}

func TestMakeExecRefuses(t *testing.T) {
	for _, row := range []struct {
		spec ExecSpec
		root bool
		want string
	}{
		{ExecSpec{}, true, "no command: write one behind the container's name"},
		{ExecSpec{Argv: []string{""}}, true, "no command: write one behind the container's name"},
		{ExecSpec{Argv: []string{"sh"}, WorkDir: "srv"}, true, "--workdir=srv: must begin with a slash"},
		{ExecSpec{Argv: []string{"sh"}, User: "ann"}, false, "--user=ann: without root the container has one id, root's; leave --user out"},
	} {
		_, err := MakeExec(row.spec, Joined{Root: row.root})
		if err == nil || err.Error() != row.want {
			t.Errorf("%+v: %v, want %s", row.spec, err, row.want)
		}
	}
}

func TestCgroupDirs(t *testing.T) {
	const own = "2:pids:/user\n1:name=systemd:/user\n0::/user\n"
	for _, row := range []struct{ name, its, v2, v1 string }{
		{"the same", own, "", ""},
		{"a unit's", "2:pids:/web\n1:name=systemd:/web\n0::/web\n", "/u/web", "/sys/fs/cgroup/pids/web /sys/fs/cgroup/systemd/web"},
		{"one differs", "2:pids:/user\n1:name=systemd:/web\n0::/user\n", "", "/sys/fs/cgroup/systemd/web"},
		{"controllers together", "3:cpu,cpuacct:/web\n0::/user\n", "", "/sys/fs/cgroup/cpu,cpuacct/web"},
		{"out of sight", "2:pids:/../web\n0::/../../web\n", "", ""},
		{"gone", "0::/web (deleted)\n", "", ""},
		{"a colon in a name", "0::/a:b.service\n", "/u/a:b.service", ""},
	} {
		v2, v1 := cgroupDirs(own, row.its, "/u")
		if v2 != row.v2 || strings.Join(v1, " ") != row.v1 {
			t.Errorf("%s: %q and %q, want %q and %q", row.name, v2, v1, row.v2, row.v1)
		}
	}
}

// TestCarrier runs tables as programs of their own.
func TestCarrier(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, row := range []struct {
		name  string
		build func(b *builder)
		exit  int
		says  string
	}{
		{"exit", func(b *builder) { b.call("exit", unix.SYS_EXIT_GROUP, 7) }, 7, ""},
		{"an end without execve", func(b *builder) {}, 125, ""},
		{"a failure names its step and cause", func(b *builder) {
			b.call("open nothing", unix.SYS_OPENAT, unix.AT_FDCWD, "/nosuch", 0, 0).missing = 127
		}, 127, "test: open nothing: no such file or directory\n"},
		{"a cell carries a result on, a struct is where it should be", func(b *builder) {
			c := b.cell("fd")
			b.call("dup", unix.SYS_DUP, 2).into(b, c)
			b.call("write", unix.SYS_WRITE, c, "hello", 5)
			b.call("sleep", unix.SYS_NANOSLEEP, pin(b, &unix.Timespec{Nsec: 1}), 0)
			b.call("exit", unix.SYS_EXIT_GROUP, 9)
		}, 9, "hello"},
		{"a fork: the new process leaves out what is the old one's", func(b *builder) {
			fork := b.call("fork", unix.SYS_CLONE, unix.CLONE_VFORK, 0, 0, 0, 0) // the new one is the first
			fork.flags, fork.skip = flagFork, 2
			b.call("write", unix.SYS_WRITE, 2, "old", 3)
			b.call("exit", unix.SYS_EXIT_GROUP, 3)
			b.call("write", unix.SYS_WRITE, 2, "new ", 4)
			b.call("exit", unix.SYS_EXIT_GROUP, 4)
		}, 3, "new old"},
		{"an execve", func(b *builder) {
			b.call("run", unix.SYS_EXECVE, "/bin/sh", b.vector([]string{"sh", "-c", "echo $A >&2; exit 5"}), b.vector([]string{"A=b"}))
		}, 5, "b\n"},
	} {
		out, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		b := newCarrier("test: ")
		row.build(b)
		file, err := b.file()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Pwrite(file, []byte{0}, 0); err == nil {
			t.Errorf("%s: the file can be written to", row.name)
		}
		start := newBuilder("start: ")
		start.call("take standard error", unix.SYS_DUP3, int(out.Fd()), 2, 0)
		start.call("become it", unix.SYS_EXECVEAT, file, "", start.vector([]string{"test"}), start.vector(nil), unix.AT_EMPTY_PATH)
		pid, err := start.start(&cloneArgs{flags: cloneClearSighand | unix.CLONE_VM | unix.CLONE_VFORK, exitSignal: uint64(unix.SIGCHLD)})
		if err != nil {
			t.Fatal(err)
		}
		status := waitChild(pid)
		said, _ := os.ReadFile(out.Name())
		if !status.Exited() || status.ExitStatus() != row.exit || string(said) != row.says {
			t.Errorf("%s: status %v, says %q; want exit %d, %q", row.name, status, said, row.exit, row.says)
		}
		unix.Close(file)
		out.Close()
	}
}

// TestCarrierIsPlain: what loads programs, and who looks at one, takes it for a
// common one, without anything that is writable and executable.
func TestCarrierIsPlain(t *testing.T) {
	b := newCarrier("test: ")
	b.call("exit", unix.SYS_EXIT_GROUP, 7)
	b.finishCarrier()
	f, err := elf.NewFile(bytes.NewReader(append(b.carrier.elf(), make([]byte, carrierDataFile)...)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Type != elf.ET_EXEC || f.Entry != carrierCode+carrierHead {
		t.Errorf("type %v, entry %#x", f.Type, f.Entry)
	}
	for _, p := range f.Progs {
		if p.Flags&(elf.PF_X|elf.PF_W) == elf.PF_X|elf.PF_W {
			t.Errorf("%v is writable and executable", p.ProgHeader)
		}
	}
}
