package runtime

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// The parent's steps of an exec. Target.start carries them out.
type (
	makeTerminal struct{}
	cloneCarrier struct{ Cgroup string }
)

func (makeTerminal) String() string {
	return "open a terminal of the container's own /dev/pts, as large as ours"
}

func (s cloneCarrier) String() string {
	where := ""
	if s.Cgroup != "" {
		where = " in cgroup " + s.Cgroup
	}
	return "clone a process" + where + "; it becomes a sealed program in memory, of the steps below"
}

// The steps of who joins a container. They are the child's of a run where those
// do: after the container's name-spaces are joined the rest is the same.
type (
	hideMemory   struct{}
	moveToCgroup struct{ Dir string }
	takeLimits   struct {
		Limits   []ownLimit
		OOMScore string
	}
	joinNamespaces struct{ Namespaces []string }
	openProc       struct{}
	ownKeys        struct{}
	keepGate       struct{}
	enterDir       struct{ Path string }
	forkInto       struct{}
	newSession     struct{ Terminal bool }
)

func (hideMemory) String() string     { return "let nobody look into it or trace it" }
func (s moveToCgroup) String() string { return "move to cgroup " + s.Dir }
func (takeLimits) String() string {
	return "limits and OOM score: those of the container's first process"
}
func (s joinNamespaces) String() string {
	return "join the container's name-spaces, by its process: " + strings.Join(s.Namespaces, " ")
}
func (openProc) String() string   { return "open the machine's /proc" }
func (ownKeys) String() string    { return "a keyring of its own" }
func (keepGate) String() string   { return "close all descriptors but the standard ones and the gate" }
func (s enterDir) String() string { return "go to " + s.Path }
func (forkInto) String() string {
	return "clone a process, nsrun's child, in the container; tell nsrun its id; exit"
}
func (s newSession) String() string {
	if s.Terminal {
		return "start a session, on the terminal"
	}
	return "start a session"
}

func (hideMemory) compile(b *builder, in *inputs) {
	// Its memory's name-space is the machine's, so capabilities in the container's
	// are of no use against this; it is inherited by the clone, not by execve.
	b.call("hide from tracers", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

func (s moveToCgroup) compile(b *builder, in *inputs) {
	c := b.cell("cgroup")
	b.call(s.String(), unix.SYS_OPENAT, unix.AT_FDCWD, s.Dir+"/cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0).into(b, c)
	b.call(s.String(), unix.SYS_WRITE, c, "0", 1)
	b.call(s.String(), unix.SYS_CLOSE, c)
}

func (s takeLimits) compile(b *builder, in *inputs) {
	if s.OOMScore != "" {
		c := b.cell("score")
		b.call(s.String(), unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC, 0).into(b, c)
		b.ops[len(b.ops)-1].flags = flagIgnore
		b.call(s.String(), unix.SYS_WRITE, c, s.OOMScore, len(s.OOMScore)).flags = flagIgnore
	}
	for _, l := range s.Limits {
		// Lowering one is always allowed, so what fails leaves us with a lower one.
		b.call(s.String(), unix.SYS_PRLIMIT64, 0, l.Resource, pin(b, &unix.Rlimit{Cur: l.Cur, Max: l.Max}), 0).flags = flagIgnore
	}
}

func (s joinNamespaces) compile(b *builder, in *inputs) {
	flags := uint64(0)
	for _, name := range s.Namespaces {
		flags |= namespaceFlags[name]
	}
	b.call("join the container's name-spaces", unix.SYS_SETNS, in.target, flags)
}

func (openProc) compile(b *builder, in *inputs) {
	b.call("open /proc", unix.SYS_OPENAT, unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).into(b, b.cell("proc"))
}

func (ownKeys) compile(b *builder, in *inputs) {
	b.call("start a keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).flags = flagIgnore
}

func (s keepGate) compile(b *builder, in *inputs) {
	// EINVAL is the gate's being there already.
	b.call(s.String(), unix.SYS_DUP3, in.far, in.gate, unix.O_CLOEXEC).flags = flagUnknown
	b.call(s.String(), unix.SYS_FCNTL, in.gate, unix.F_SETFD, unix.FD_CLOEXEC)
	b.call(s.String(), unix.SYS_CLOSE_RANGE, in.gate+1, int(^uint32(0)), 0)
}

// No directory's descriptor is left by now for a link in /proc to lead to, but
// standard input may be one.
func (s enterDir) compile(b *builder, in *inputs) {
	b.call("open the root", unix.SYS_OPENAT, unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).into(b, b.cell("/"))
	at := b.open(s.String(), path.Join("/", s.Path)+"/.", unix.O_DIRECTORY, false)
	last := &b.ops[len(b.ops)-1]
	last.exit, last.missing = ExitNotExecutable, ExitNotFound
	b.call(s.String(), unix.SYS_FCHDIR, at)
	b.call(s.String(), unix.SYS_CLOSE, at)
	b.call(s.String(), unix.SYS_CLOSE, b.cell("/"))
}

func (s forkInto) compile(b *builder, in *inputs) {
	pid := b.cell("pid")
	fork := b.call("clone a process in the container", unix.SYS_CLONE, unix.CLONE_PARENT, 0, 0, 0, 0)
	fork.into(b, pid)
	fork.flags, fork.skip = flagFork, 2
	b.call("tell its id", unix.SYS_WRITE, in.gate, pin(b, pid), 4)
	b.call("exit", unix.SYS_EXIT_GROUP, 0)
}

func (s newSession) compile(b *builder, in *inputs) {
	b.call(s.String(), unix.SYS_SETSID)
	if s.Terminal {
		b.call(s.String(), unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
}
