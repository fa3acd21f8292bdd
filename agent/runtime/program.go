package runtime

import (
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// atExecveCheck asks execveat whether it would, since Linux 6.14.
const atExecveCheck = 0x10000

// compile finds the program and runs it. Looking first is what lets a start
// fail: once READY=1 is sent, systemd takes the unit for started. faccessat asks
// for the real ids, which are the effective ones by then.
func (s program) compile(b *builder, in *inputs) {
	argv, envp := b.vector(s.Argv), b.environment(in)
	list := candidates(s.Argv[0], s.Path)
	if strings.Contains(s.Argv[0], "/") {
		found := b.call("run "+s.Argv[0], unix.SYS_FACCESSAT, unix.AT_FDCWD, s.Argv[0], unix.X_OK)
		found.exit, found.missing = ExitNotExecutable, ExitNotFound
		s.run(b, in, s.Argv[0], argv, envp)
		return
	}
	for _, c := range list {
		b.unless(func() { s.run(b, in, c, argv, envp) },
			"find "+c, unix.SYS_FACCESSAT, unix.AT_FDCWD, c, unix.X_OK)
	}
	for _, c := range list {
		b.unless(func() {
			b.call("run "+c, unix.SYS_FACCESSAT, unix.AT_FDCWD, c, unix.X_OK).exit = ExitNotExecutable
		}, "find "+c, unix.SYS_FACCESSAT, unix.AT_FDCWD, c, unix.F_OK)
	}
	nothing := b.call("find "+s.Argv[0]+" in "+s.Path, unix.SYS_OPENAT, unix.AT_FDCWD, "", unix.O_PATH, 0) // always ENOENT
	nothing.missing = ExitNotFound
}

// unless compiles a question, and what to do when the answer is yes: the ops
// that then adds are left out when the call fails.
func (b *builder) unless(then func(), what string, nr uintptr, args ...any) {
	question := b.call(what, nr, args...)
	question.flags, question.skip = flagIgnore, 1
	b.call("go on", unix.SYS_GETPID)
	jump := len(b.ops) - 1
	then()
	b.ops[jump].skip = uint64(len(b.ops) - 1 - jump)
}

// environment lays out the program's environment. HOME is known only behind the
// gate, so its slot points into the mail, unless somebody has set it.
func (b *builder) environment(in *inputs) uint64 {
	list := in.env
	if !hasEnv(list, "HOME") {
		list = append([]string{""}, list...)
	}
	v := make([]uint64, len(list)+1)
	for i, entry := range list {
		if entry == "" {
			v[i] = uint64(uintptr(unsafe.Pointer(&in.mail.home[0])))
			continue
		}
		v[i] = b.str(entry)
	}
	b.pins = append(b.pins, in.mail)
	return b.words(v)
}

func hasEnv(list []string, name string) bool {
	for _, entry := range list {
		if k, _, _ := strings.Cut(entry, "="); k == name {
			return true
		}
	}
	return false
}

// candidates returns the files a command name without a slash may stand for.
func candidates(name, list string) []string {
	var files []string
	for _, dir := range strings.Split(list, ":") {
		if path.IsAbs(dir) { // an empty or relative entry would mean the working directory
			files = append(files, path.Join(dir, name))
		}
	}
	return files
}

// run says READY=1 and becomes the program.
func (s program) run(b *builder, in *inputs, file string, argv, envp uint64) {
	// A kernel that can't be asked answers EINVAL; the real call will tell.
	ask := b.call("run "+file, unix.SYS_EXECVEAT, unix.AT_FDCWD, file, argv, envp, atExecveCheck)
	ask.flags, ask.exit, ask.missing = flagUnknown, ExitNotExecutable, ExitNotFound
	if s.Asked != 0 { // as late as can be; behind the filter it might be refused
		s.Asked.compile(b, 0)
	}
	// Last of all: what comes before opens files.
	setLimits{s.Files}.compile(b, in)
	if b.seal != nil {
		b.seal()
	}
	if s.Ready {
		const ready = "READY=1"
		b.call("tell systemd "+ready, unix.SYS_SENDTO, in.notify, ready, len(ready), unix.MSG_NOSIGNAL, 0, 0)
	}
	b.call("take signals again", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, pin(b, &b.t.oldMask), 0, 8)
	if s.Init != "" {
		argv := b.vector(append([]string{s.Init, file}, s.Argv...))
		b.call("run init", unix.SYS_EXECVEAT, b.cell("init"), "", argv, envp, unix.AT_EMPTY_PATH)
		return
	}
	exec := b.call("run "+file, unix.SYS_EXECVE, file, argv, envp)
	exec.exit, exec.missing = ExitNotExecutable, ExitNotFound
}
