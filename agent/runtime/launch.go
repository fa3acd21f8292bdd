package runtime

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime/seccomp"
	"github.com/clusterd/clusterd/agent/sheet"
)

// idLength is how many hex digits a container's id has.
const idLength = 64

// NewID returns a fresh container id.
func NewID() string {
	var id [idLength / 2]byte
	// Up to 256 bytes come whole; it fails only before the kernel's generator is
	// seeded, which systemd waits for. crypto/rand would link math/big.
	if n, err := unix.Getrandom(id[:], 0); err != nil || n != len(id) {
		panic(fmt.Sprintf("getrandom: %d bytes, %v", n, err))
	}
	return hex.EncodeToString(id[:])
}

// launch is a container on its way. Fields are set as the steps go by.
type launch struct {
	dir  *Dir
	plan *Plan
	mail *mail

	ids    uint32 // first of the range
	pid    int
	pidfd  int
	gate   int // our end
	notify int
	userns int
	fds    map[string]int
	taken  bool     // the container's directory is ours
	table  *builder // the child works in our memory until execve: this stays as it is
	spent  []int    // descriptors to close when there is time

	connected func() (own, gateway string, err error) // waits for the bridge; nil: not on the way

	filter   *seccomp.Filter // of a profile of the user's; nil: the built-in one
	replaced bool            // an earlier container of the name went to the trash
	terminal *terminal       // nil: none
}

// Run carries out a plan. Handed over, it returns once systemd has taken the
// container over; else when the container has ended, with its exit code, or
// 128 and the number of the signal that ended it. It must be called from the
// main goroutine's thread, which it locks for good: the child's life hangs on it.
func (d *Dir) Run(p *Plan) (code int, err error) {
	runtime.LockOSThread()
	unix.Umask(0o022) // the child's, too; a unit's UMask= must not lock the container's users out
	l := &launch{dir: d, plan: p, mail: &mail{}, pidfd: -1, gate: -1, notify: -1, userns: -1, fds: map[string]int{}}
	if err := l.claim(); err != nil {
		return ExitFailed, err
	}
	// Until the gate opens a signal ends us, and the child with us; from then on
	// the program is to get it.
	signals := -1
	for _, step := range p.Parent {
		err := error(nil)
		if _, last := step.(openGate); last && !p.HandOver {
			signals, err = catchSignals()
		}
		if err == nil {
			err = l.do(step)
		}
		if err != nil {
			if errors.Is(err, unix.ENOSYS) {
				err = fmt.Errorf("%w%s", err, tooOld)
			}
			return ExitFailed, errors.Join(err, l.undo())
		}
	}
	if p.HandOver {
		l.tidy()
		return 0, nil
	}
	if err := l.terminal.begin(p.Spec.Stdin); err != nil {
		return ExitFailed, errors.Join(err, d.ended(p.Spec, l.end()))
	}
	l.tidy()
	code = l.wait(signals)
	l.terminal.end()
	runtime.KeepAlive(l.table)
	return code, d.ended(p.Spec, code)
}

// end kills the container and returns its exit code.
func (l *launch) end() int {
	unix.PidfdSendSignal(l.pidfd, unix.SIGKILL, nil, 0)
	waitChild(l.pid)
	return ExitFailed
}

// tidy does what needn't be done before the program starts, while it starts:
// closing a mount that nobody sees takes the kernel longer than making it.
func (l *launch) tidy() {
	if _, overlay := l.plan.overlay(); overlay {
		_ = l.dir.stock() // where it can't, the next start says why
	}
	// Last: the container would wait for that, while it lets go of the machine's.
	for _, fd := range l.spent {
		unix.Close(fd)
	}
	if !l.replaced {
		return
	}
	if err := l.dir.emptyTrash(); err != nil {
		fmt.Fprintf(os.Stderr, "nsrun: run %s: %v\n", l.plan.Spec.Name, err)
	}
}

func (l *launch) claim() error {
	s := l.plan.Spec
	security := s.Security
	if s.ownProfile() {
		var err error
		if l.filter, security.Seccomp, err = l.dir.profileFilter(s.Seccomp, l.plan.Caps); err != nil {
			return err
		}
	}
	rec := Record{
		Name: s.Name, ID: s.ID, Image: s.Image, Digest: s.Digest, Layers: s.Layers, RootFS: s.RootFS, Command: s.Argv,
		Created: time.Now().UTC(), Unit: s.Unit, Invocation: s.Invocation, Remove: s.Remove,
		StopSignal: s.StopSignal, StopTimeout: s.StopTimeout, Network: s.Network, Labels: s.Labels, Expose: s.Expose,
		Volumes: s.Volumes, Details: l.plan.details(), Security: security,
	}
	_, overlay := l.plan.overlay()
	ids, replaced, err := l.dir.claim(rec, overlay, l.plan.ranged())
	if errors.Is(err, ErrConflict) && l.dir.dies(s.Name) {
		ids, replaced, err = l.dir.claim(rec, overlay, l.plan.ranged())
	}
	if err != nil {
		return err
	}
	l.ids, l.taken, l.replaced = ids, true, replaced
	if err := l.dir.makeUnnamed(s.Volumes); err != nil {
		return errors.Join(err, l.undo())
	}
	if overlay && l.dir.leases != nil && s.Image != "" {
		// After the claim, so that whoever removes the container ends it.
		if err := l.dir.leases.Hold(s.ID); err != nil {
			return errors.Join(err, l.undo())
		}
	}
	return nil
}

// etcContents are the files every container gets written anew.
func etcContents(s Spec) map[string]string {
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if s.shared != nil {
		files := maps.Clone(s.shared.files)
		files[localtime] = s.Zone
		return files
	}
	if s.Hostname != "" && s.Network != NetworkBridge {
		hosts += "127.0.1.1\t" + s.Hostname + "\n"
	}
	for _, line := range s.Names.Hosts {
		hosts += line + "\n"
	}
	resolv, err := sheet.ReadFile("/etc/resolv.conf")
	if err != nil {
		resolv = nil // a machine without one has no names to look up
	}
	if s.Network == NetworkBridge {
		upstream, _ := sheet.ReadFile(upstreamFile) // there with systemd-resolved only
		resolv = []byte(reachable(string(resolv), string(upstream)))
	}
	return map[string]string{"hosts": hosts, "hostname": s.Hostname + "\n", "resolv.conf": s.Names.resolv(string(resolv)), localtime: s.Zone}
}

// ask says whether n asks for something that a file of etcFiles has to tell.
func (n Names) ask(file string) bool {
	return file == "hosts" && len(n.Hosts) > 0 || file == "resolv.conf" && len(n.Servers)+len(n.Search)+len(n.Options) > 0
}

// resolv returns the machine's resolv.conf with what n says in its place.
func (n Names) resolv(machine string) string {
	if !n.ask("resolv.conf") {
		return machine
	}
	var text strings.Builder
	for line := range strings.Lines(machine) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "nameserver" && len(n.Servers) > 0 || f[0] == "options" && len(n.Options) > 0 ||
			(f[0] == "search" || f[0] == "domain") && len(n.Search) > 0 {
			continue
		}
		text.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	for _, s := range n.Servers {
		text.WriteString("nameserver " + s + "\n")
	}
	if len(n.Search) > 0 && n.Search[0] != "." {
		text.WriteString("search " + strings.Join(n.Search, " ") + "\n")
	}
	if len(n.Options) > 0 {
		text.WriteString("options " + strings.Join(n.Options, " ") + "\n")
	}
	return text.String()
}

// undo takes back what was done before the gate opened.
func (l *launch) undo() error {
	if l.gate >= 0 {
		unix.Close(l.gate) // end of file: the child exits
	}
	if l.connected != nil {
		l.connected() // the container goes, so its cable does
	}
	if l.pid > 0 && !l.plan.HandOver {
		waitChild(l.pid)
	} else if l.pidfd >= 0 {
		waitReadable(l.pidfd, barrierMax)
	}
	if !l.taken {
		return nil
	}
	return l.dir.removeWith(l.plan.Spec.Name, true)
}

// do carries out one of the parent's steps.
func (l *launch) do(step Step) error {
	s := l.plan.Spec
	switch step := step.(type) {
	case cloneChild:
		if step.Join != "" {
			return l.inNetwork(func() error { return l.cloneChild(step) })
		}
		return l.cloneChild(step)
	case connect:
		return l.connect()
	case awaitNetwork:
		return l.awaitNetwork()
	case mapIDs:
		if err := l.mapIDs(step); err != nil || !step.Range {
			return err
		}
		return l.tellIDs()
	case makeOverlay:
		fd, spent, err := overlay(step, l.dir.data, l.dir.base(), l.dir.container(s.Name), l.mapFor(step.Mapped), l.ids)
		l.fds["root"], l.spent = fd, append(l.spent, spent...)
		return err
	case makeTree:
		if step.Fill != "" {
			if err := l.fill(step); err != nil {
				return fmt.Errorf("fill %s from the image's %s: %w", step.Source, step.Fill, err)
			}
		}
		take, attr := tree, uint64(unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
		if step.Resolved {
			take = resolvedTree
		}
		if step.Slave {
			take = slaveTree
		}
		if step.ReadOnly {
			attr |= unix.MOUNT_ATTR_RDONLY
		}
		if step.Suid {
			attr &^= unix.MOUNT_ATTR_NOSUID
		}
		if step.NoExec {
			attr |= unix.MOUNT_ATTR_NOEXEC
		}
		fd, err := take(step.Source, l.mapFor(step.Mapped), attr)
		l.fds[step.Name] = fd
		return err
	case raiseLimits:
		return step.do(l.pid)
	case scoreOOM:
		return step.do(l.pid)
	case lookUpUser:
		return l.lookUpUser(step.User, step.Groups)
	case writeState:
		return l.dir.setLive(s.Name, l.pid, false, l.ids)
	case announce:
		return tellMainPID(l.notify, l.pid)
	case openGate:
		return l.openGate()
	case takeTerminal:
		return l.takeTerminal()
	}
	panic(fmt.Sprintf("a step nobody carries out: %T", step))
}

func (l *launch) fill(step makeTree) error {
	f := filler{volumes: placer{l.dir, l.plan.Spec.ID}}
	if step.Mapped {
		f.base, f.count = l.ids, idsPerContainer
	}
	return f.fillVolume(l.fds["root"], step.Fill, step.Source, l.dir.container(l.plan.Spec.Name)+"/"+fillName)
}

func (l *launch) mapFor(mapped bool) int {
	if mapped {
		return l.userns
	}
	return -1
}

// namespaceFlags are clone's, by the names in /proc/PID/ns.
var namespaceFlags = map[string]uint64{
	"mnt": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID, "ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS,
	"cgroup": unix.CLONE_NEWCGROUP, "net": unix.CLONE_NEWNET, "user": unix.CLONE_NEWUSER,
}

func (l *launch) cloneChild(step cloneChild) error {
	var gate [2]int
	gate, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make the gate: %w", err)
	}
	defer unix.Close(gate[1])
	l.gate = gate[0]
	if l.plan.HandOver {
		if l.notify, err = dialNotify(os.Getenv("NOTIFY_SOCKET")); err != nil {
			return err
		}
	}
	given, err := openFiles(l.plan)
	if err != nil {
		return err
	}
	b := l.plan.compile(&inputs{
		given: given,
		files: etcContents(l.plan.Spec), env: l.plan.Spec.Env, notify: l.notify,
		gate: gate[1], far: gate[0], mail: l.mail, filter: l.filter,
		base: l.dir.base(), own: l.dir.container(l.plan.Spec.Name),
	})
	pidfd := new(int32)
	l.table = b
	clone := &cloneArgs{
		// Our memory and not a copy of it: that would cost a tenth of the whole start.
		// The child is alone in its pid name-space, so nobody in there can look at it.
		flags:      cloneClearSighand | unix.CLONE_PIDFD | unix.CLONE_VM,
		pidfd:      uint64(uintptr(unsafe.Pointer(pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	for _, name := range step.Namespaces {
		clone.flags |= namespaceFlags[name]
	}
	if step.Sibling {
		clone.flags |= unix.CLONE_PARENT
		clone.exitSignal = 0 // it takes ours
	}
	b.pins = append(b.pins, pidfd)
	if l.pid, err = b.start(clone); err != nil {
		return cloneError(err, step.Namespaces)
	}
	l.pidfd = int(*pidfd)
	return nil
}

func cloneError(err error, namespaces []string) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		why := usersRefused("/proc/sys")
		if why == "" {
			why = "this machine lets only root do that, or nobody: a filter of system calls, or AppArmor or SELinux, is in the way"
		}
		return fmt.Errorf("make name-spaces: %w; %s", err, why)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("make name-spaces: a limit in /proc/sys/user/max_*_namespaces is reached; raise it: %w", err)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("clone the container's process: no more processes are allowed here (nsrun has some threads itself until it is done); raise the unit's TasksMax=: %w", err)
	}
	return fmt.Errorf("make name-spaces %v: %w", namespaces, err)
}

func (l *launch) mapIDs(step mapIDs) error {
	proc := "/proc/" + strconv.Itoa(l.pid)
	uids := fmt.Sprintf("0 %d %d", l.ids, idsPerContainer)
	gids := uids
	if !step.Range {
		uids, gids = fmt.Sprintf("0 %d 1", os.Geteuid()), fmt.Sprintf("0 %d 1", os.Getegid())
		if err := createFile(proc+"/setgroups", []byte("deny"), 0); err != nil {
			return fmt.Errorf("map ids: %w", err)
		}
	}
	if err := createFile(proc+"/uid_map", []byte(uids), 0); err != nil {
		return fmt.Errorf("map ids: %w", err)
	}
	if err := createFile(proc+"/gid_map", []byte(gids), 0); err != nil {
		return fmt.Errorf("map ids: %w", err)
	}
	fd, err := unix.Open(proc+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the user name-space: %w", err)
	}
	l.userns = fd
	return nil
}

// idsMapped is what the parent says at the gate when the child's ids are mapped.
const idsMapped = "ids"

func (l *launch) tellIDs() error {
	if err := unix.Sendto(l.gate, []byte(idsMapped), unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("map ids: the new process is gone: %w", err)
	}
	return nil
}

func (l *launch) lookUpUser(user string, groups []string) error {
	ids, err := findUser(user, groups, l.readRoot, l.plan.ranged())
	if err != nil {
		return err
	}
	l.mail.uid, l.mail.gid = ids.uid, ids.gid
	l.mail.groups = int32(copy(l.mail.list[:], ids.groups))
	if n := copy(l.mail.home[:homeMax-1], "HOME="+ids.home); n < len("HOME="+ids.home) {
		return fmt.Errorf("user %s: its home directory's name is longer than %d bytes; set HOME with -e", user, homeMax-6)
	}
	return nil
}

// readRoot reads a file of the container's root, which is empty when it isn't there.
func (l *launch) readRoot(file string) ([]byte, error) {
	if root, ok := l.fds["root"]; ok {
		return readIn(root, file)
	}
	if layers := l.plan.Spec.Layers; len(layers) > 0 { // not mounted yet
		return readLayers(layers, file)
	}
	return readLayers([]string{l.plan.Spec.RootFS}, file)
}

func (l *launch) openGate() error {
	var fds []int
	for _, name := range l.plan.received() {
		fds = append(fds, l.fds[name])
	}
	if len(fds) > fdsMax {
		return fmt.Errorf("%d volumes: there is room for %d", len(fds), fdsMax)
	}
	letter := unsafe.Slice((*byte)(unsafe.Pointer(l.mail)), unsafe.Sizeof(*l.mail))
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	err := unix.Sendmsg(l.gate, letter, rights, nil, unix.MSG_NOSIGNAL)
	if !l.plan.HandOver && errors.Is(err, unix.EPIPE) {
		err = nil // it has said why, or was killed: its exit code tells
	}
	if err != nil {
		return fmt.Errorf("open the gate: the new process is gone: %w", err)
	}
	l.spent = append(l.spent, fds...)
	return nil
}
