package runtime

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime/seccomp"
	"github.com/clusterd/clusterd/agent/sheet"
)

// Target is a running container, held on to: its process's id can't come to
// mean another process while this is open.
type Target struct {
	Joined
	live  *Live
	pidfd int
	root  int // its root directory, as its first process has it

	filter *seccomp.Filter // in place of the built-in one
}

// Close lets go of the container.
func (t *Target) Close() {
	unix.Close(t.pidfd)
	unix.Close(t.root)
}

// Hold looks at a container that runs, to run something in it. Errors are
// [ErrUnknown] and [ErrStopped] among others. The caller closes the target.
func (d *Dir) Hold(name string) (*Target, error) {
	c, err := d.Get(name)
	if err != nil {
		return nil, err
	}
	if !c.Running() {
		return nil, fmt.Errorf("%s: %w", c.Name, ErrStopped)
	}
	t := &Target{Joined: Joined{Record: c.Record}, live: c.Live, root: -1}
	if t.pidfd, err = c.Live.open(); err == nil {
		err = t.look()
	}
	if err == nil {
		if t.filter, err = d.savedFilter(c.Seccomp); err != nil {
			err = fmt.Errorf("its system call filter is lost: %v; restart it", err)
		}
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
		err = ErrStopped
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return t, nil
}

// look finds out what a plan needs. All of it is of one process: in the end
// that is there still.
func (t *Target) look() error {
	t.Root = os.Geteuid() == 0 && wholeIDs()
	pid := strconv.Itoa(t.live.PID)
	proc := "/proc/" + pid
	settled(t.live.PID)
	if same(proc+"/exe", "/proc/self/exe") || t.Root && same(proc+"/root", "/") {
		return errors.New("is still being set up; try again in a moment")
	}
	t.Namespaces = []string{"mnt", "pid"}
	for _, ns := range []string{"ipc", "uts", "cgroup", "net", "user"} {
		if !same(proc+"/ns/"+ns, "/proc/self/ns/"+ns) {
			t.Namespaces = append(t.Namespaces, ns)
		}
	}
	for resource := range unix.RLIMIT_RTTIME + 1 {
		l := ownLimit{Resource: resource}
		if unix.Prlimit(t.live.PID, resource, nil, &l.Rlimit) == nil {
			t.Limits = append(t.Limits, l)
		}
	}
	score, err := sheet.ReadFile(proc + "/oom_score_adj")
	if err != nil {
		return err
	}
	t.OOMScore = strings.TrimSpace(string(score))
	if t.Root && t.Unit != "" { // else it is where its nsrun was, and we are as good where we are
		if err := t.lookAtCgroups(proc); err != nil {
			return err
		}
	}
	if t.root, err = unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open its root: %w", err)
	}
	return unix.PidfdSendSignal(t.pidfd, 0, nil, 0)
}

func (t *Target) lookAtCgroups(proc string) error {
	own, err := sheet.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("look at cgroups: %w", err)
	}
	its, err := sheet.ReadFile(proc + "/cgroup")
	if err != nil {
		return fmt.Errorf("look at cgroups: %w", err)
	}
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		t.Cgroup, _ = cgroupDirs(string(own), string(its), "/sys/fs/cgroup")
		return nil
	}
	// A tree with parts of the first version: what is in the second is for nothing
	// but to know whose a process is, so no birth there would save the moves.
	v2, v1 := cgroupDirs(string(own), string(its), "/sys/fs/cgroup/unified")
	if t.MoveTo = v1; v2 != "" && unix.Access("/sys/fs/cgroup/unified", unix.F_OK) == nil {
		t.MoveTo = append(v1, v2)
	}
	return nil
}

// process is a program that runs in a container beside the first one.
type process struct {
	pid, pidfd int
	gate       int // our end: when it closes before the program runs, that won't
	code       int // when it has ended: pidfd is -1 then
	terminal   *terminal
}

// gateFD is the gate's number in a carrier: the first that isn't standard.
const gateFD = 3

// Exec runs a plan and returns the program's exit code, or 128 and the number of
// the signal that ended it. Signals we get are passed on. It must be called from
// the main goroutine's thread, which it locks for good: the program's life hangs
// on it.
func (t *Target) Exec(p *ExecPlan) (code int, err error) {
	runtime.LockOSThread()
	signals, err := catchSignals() // before there is anybody whom one could cost its time to end
	if err != nil {
		return ExitFailed, err
	}
	joined, err := t.start(p)
	if err != nil {
		return ExitFailed, err
	}
	defer joined.close()
	if joined.pidfd < 0 {
		joined.terminal.drain()
		return joined.code, nil
	}
	if err := joined.terminal.begin(p.Spec.Stdin); err != nil {
		return ExitFailed, err
	}
	return attend(joined.pid, joined.pidfd, signals, joined.terminal, joined.forward), nil
}

func (p *process) forward(sig unix.Signal, kill bool) bool {
	if kill {
		sig = unix.SIGKILL
	}
	unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	return kill
}

// close lets go of the program, which is killed if it hasn't been run yet.
func (p *process) close() {
	unix.Close(p.gate)
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
	}
	p.terminal.end()
}

// start carries a plan out. The program is killed when the calling thread ends,
// so the caller has locked that to its goroutine. A program that can't be run is
// no error here: the process ends with 126 or 127, having said why on standard
// error.
func (t *Target) start(p *ExecPlan) (*process, error) {
	m, joined := &mail{}, &process{pidfd: -1, gate: -1}
	for _, step := range p.Parent {
		var err error
		switch step := step.(type) {
		case lookUpUser:
			err = t.lookUpUser(p, step, m)
		case makeTerminal:
			joined.terminal, err = t.openTerminal(m, p.UserNS)
		case cloneCarrier:
			err = t.cloneCarrier(p, step.Cgroup, joined, m)
		}
		if err != nil {
			joined.close()
			return nil, err
		}
	}
	return joined, nil
}

func (t *Target) lookUpUser(p *ExecPlan, step lookUpUser, m *mail) error {
	read := func(file string) ([]byte, error) { return readIn(t.root, file) }
	ids, err := findUser(step.User, step.Groups, read, p.UserNS && t.Root)
	if err != nil {
		return err
	}
	m.uid, m.gid, m.groups = ids.uid, ids.gid, int32(copy(m.list[:], ids.groups))
	if !hasEnv(p.Env, "HOME") {
		p.Env = append(p.Env, "HOME="+ids.home)
	}
	return nil
}

func (t *Target) cloneCarrier(p *ExecPlan, cgroup string, joined *process, m *mail) error {
	gate, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the gate: %w", err)
	}
	joined.gate = gate[0]
	far := os.NewFile(uintptr(gate[1]), "gate")
	defer far.Close()
	var mask uint64
	if _, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, 0, uintptr(unsafe.Pointer(&mask)), 8, 0, 0); errno != 0 {
		return fmt.Errorf("read the signal mask: %w", errno)
	}
	unix.Umask(0o022) // the program's
	file, err := p.compile(&inputs{env: p.Env, filter: t.filter, target: t.pidfd, gate: gateFD, far: gate[1], mail: m}, mask).file()
	if err != nil {
		return err
	}
	defer unix.Close(file)
	joiner, err := t.spawn(p, file, gate[1], cgroup, joined.terminal)
	if cgroup != "" && (errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)) { // no clone3, or one from before Linux 5.7
		unix.Close(joined.gate)
		return t.cloneCarrier(p.moving(), "", joined, m)
	}
	if err != nil {
		return err
	}
	far.Close() // so that its end is seen
	var id int32
	n := 0
	for {
		if n, err = unix.Read(gate[0], unsafe.Slice((*byte)(unsafe.Pointer(&id)), 4)); err != unix.EINTR {
			break
		}
	}
	joined.code = exitOf(waitChild(joiner))
	if n != 4 || joined.code != 0 { // it has said why
		return nil
	}
	return joined.adopt(int(id))
}

// moving returns the plan with a move to the cgroup in place of a birth there.
func (p *ExecPlan) moving() *ExecPlan {
	moving := *p
	moving.Join = append([]Step{moveToCgroup{p.Joined.Cgroup}}, p.Join...)
	return &moving
}

// spawn clones the process that becomes the carrier. In this it has our memory,
// and is out of the container's sight.
func (t *Target) spawn(p *ExecPlan, file, gate int, cgroup string, term *terminal) (pid int, err error) {
	b := newBuilder("nsrun: exec " + p.Joined.Name + ": ")
	for _, fd := range []int{t.pidfd, gate} {
		b.call("hand a descriptor on", unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
	}
	switch {
	case term != nil:
		for fd := range 3 {
			b.call("hand the terminal on", unix.SYS_DUP3, term.slave, fd, 0)
		}
	case !p.Spec.Stdin:
		null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("open /dev/null: %w", err)
		}
		defer unix.Close(null)
		b.call("standard input from /dev/null", unix.SYS_DUP3, null, 0, 0)
	}
	b.call("become a program in memory", unix.SYS_EXECVEAT, file, "", b.vector([]string{"container-exec"}), b.vector(nil), unix.AT_EMPTY_PATH)
	clone := &cloneArgs{flags: cloneClearSighand | unix.CLONE_VM | unix.CLONE_VFORK, exitSignal: uint64(unix.SIGCHLD)}
	if cgroup != "" {
		fd, err := unix.Open(cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("open the container's cgroup %s: %w", cgroup, err)
		}
		defer unix.Close(fd)
		clone.flags |= unix.CLONE_INTO_CGROUP
		clone.cgroup = uint64(fd)
	}
	if pid, err = b.start(clone); err != nil && cgroup != "" {
		return 0, fmt.Errorf("clone a process in the container's cgroup %s: %w", cgroup, err)
	} else if err != nil {
		return 0, fmt.Errorf("clone a process: %w", err)
	}
	return pid, nil
}

// adopt takes over the process that a carrier has told of. That came out of the
// container's sight only just before, so it is believed for our children only.
func (p *process) adopt(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the new process: %w", err)
	}
	if err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		unix.Close(fd)
		return fmt.Errorf("the new process %d is not what it should be: %w; something in the container has meddled", pid, err)
	}
	p.pid, p.pidfd = pid, fd
	return nil
}
