package runtime

import (
	"path"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime/seccomp"
	"github.com/clusterd/clusterd/agent/runtime/startlimit"
)

// childStep is a step the child carries out, as system calls.
type childStep interface {
	Step
	compile(b *builder, in *inputs)
}

// inputs is what the child's table is compiled with beside the plan.
type inputs struct {
	files  map[string]string // of etcFiles
	env    []string          // the program's
	notify int               // socket connected to systemd, or -1
	filter *seccomp.Filter   // in place of the built-in one
	gate   int               // the child's end of the gate
	far    int               // the parent's end, which the child must not hold open
	mail   *mail             // what comes through the gate
	given  []int             // descriptors that nsrun was started with, if they are to be closed one by one
	base   string            // the lowest layer of an overlay that the child makes ...
	own    string            // ... and where its writable layer is
	target int               // of an exec: pidfd of the container's process
}

// mail is what the parent sends through the gate beside descriptors. The child
// receives it straight into this memory, which its calls then point into.
type mail struct {
	uid, gid int32
	groups   int32 // how many
	list     [groupsMax]int32
	home     [homeMax]byte // "HOME=…", NUL-terminated

	own, gateway       [addressMax]byte // on the bridge
	ownLen, gatewayLen int32
}

const (
	groupsMax = 64
	homeMax   = 256

	addressMax = 16
	fdsMax     = 250 // the kernel sends 253 at most
)

// compile turns the child's steps into a table.
func (p *Plan) compile(in *inputs) *builder {
	b := newBuilder("nsrun: run " + p.Spec.Name + ": ")
	for _, step := range p.Child {
		step.(childStep).compile(b, in)
	}
	return b
}

func (s dieWithParent) compile(b *builder, in *inputs) {
	b.call("ask for death with the parent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL))
	if s.Again {
		// It may have died in between: its end of the gate is closed then.
		fd := unix.PollFd{Fd: int32(in.gate), Events: unix.POLLRDHUP}
		none := unix.Timespec{}
		b.call("look for the parent", unix.SYS_PPOLL, pin(b, &fd), 1, pin(b, &none), 0, 0).flags = flagZero | flagQuiet
	}
}

func (s awaitIDs) compile(b *builder, in *inputs) {
	b.call("close the far end of the gate", unix.SYS_CLOSE, in.far)
	b.call("wait until its ids are mapped", unix.SYS_READ, in.gate, b.bytes(make([]byte, len(idsMapped))), len(idsMapped)).flags = flagNonZero | flagQuiet
}

func (s gate) compile(b *builder, in *inputs) {
	if !s.Again {
		b.call("close the far end of the gate", unix.SYS_CLOSE, in.far)
	}
	control := make([]byte, unix.CmsgSpace(4*max(1, len(s.Names))))
	fds := make([]*int32, len(s.Names))
	for i, name := range s.Names {
		fds[i] = (*int32)(unsafe.Pointer(&control[unix.CmsgLen(0)+4*i]))
		*fds[i] = -1
		b.cells[name] = fds[i]
	}
	letter := &unix.Iovec{Base: (*byte)(unsafe.Pointer(in.mail)), Len: uint64(unsafe.Sizeof(*in.mail))}
	msg := &unix.Msghdr{Iov: letter, Iovlen: 1, Control: &control[0]}
	msg.SetControllen(len(control))
	b.pins = append(b.pins, control, letter, msg, in.mail)
	wait := func() *op {
		return b.call("wait at the gate", unix.SYS_RECVMSG, in.gate, pin(b, msg), unix.MSG_CMSG_CLOEXEC)
	}
	if s.Asked != 0 {
		o := wait()
		o.flags, o.skip = flagNonZero|flagIgnore, askedOps+1
		// nsrun has ended. If it was asked to, so are we, at once or in a moment:
		// systemd sends a unit's processes the signal one after the other.
		s.Asked.compile(b, 100*time.Millisecond)
	}
	wait().flags = flagNonZero | flagQuiet
}

func (s becomeRoot) compile(b *builder, in *inputs) {
	b.call("become root of the user name-space", unix.SYS_SETRESGID, 0, 0, 0)
	b.call("become root of the user name-space", unix.SYS_SETRESUID, 0, 0, 0)
	if s.Groups {
		b.call("become root of the user name-space", unix.SYS_SETGROUPS, 0, 0)
	}
}

func (s ownSession) compile(b *builder, in *inputs) {
	b.call("start a session", unix.SYS_SETSID)
	// Without one of its own the container would share the machine's keys.
	b.call("start a keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).flags = flagIgnore
}

func (s setHostname) compile(b *builder, in *inputs) {
	what := "set host name " + s.Name
	if s.Hint != "" { // the first that takes a capability
		what += " (" + s.Hint + ")"
	}
	b.call(what, unix.SYS_SETHOSTNAME, s.Name, len(s.Name))
}

func (s loopbackUp) compile(b *builder, in *inputs) {
	sock := b.cell("loopback")
	b.call("bring loopback up", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).into(b, sock)
	request := make([]byte, 40) // struct ifreq
	copy(request, "lo")
	request[16] = unix.IFF_UP | unix.IFF_RUNNING
	b.call("bring loopback up", unix.SYS_IOCTL, sock, unix.SIOCSIFFLAGS, b.bytes(request))
}

func (s privateMounts) compile(b *builder, in *inputs) {
	b.call("cut mounts off", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_PRIVATE, 0)
}

func (s makeFS) compile(b *builder, in *inputs) {
	what := flagged(s.Flag, "make "+s.Name)
	fs := b.cell("fs")
	b.call(what, unix.SYS_FSOPEN, s.Type, unix.FSOPEN_CLOEXEC).into(b, fs)
	for _, o := range strings.Split(s.Options, ",") {
		key, value, set := strings.Cut(o, "=")
		switch {
		case key == "":
		case set:
			b.call(what+": "+o, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, key, value, 0)
		default:
			b.call(what+": "+o, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, key, 0, 0)
		}
	}
	b.call(what, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	b.call(what, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, mountAttr(s.Attr)).into(b, b.cell(s.Name))
	b.call(what, unix.SYS_CLOSE, fs)
}

// flagged puts the flag in front of what is done for it.
func flagged(flag, what string) string {
	if flag == "" {
		return what
	}
	return flag + ": " + what
}

// mountAttr turns mount options into MOUNT_ATTR_ bits.
func mountAttr(list string) int {
	bits := map[string]int{
		"ro": unix.MOUNT_ATTR_RDONLY, "nosuid": unix.MOUNT_ATTR_NOSUID,
		"nodev": unix.MOUNT_ATTR_NODEV, "noexec": unix.MOUNT_ATTR_NOEXEC,
	}
	attr := 0
	for _, o := range strings.Split(list, ",") {
		attr |= bits[o]
	}
	return attr
}

func (s cloneTree) compile(b *builder, in *inputs) {
	from := s.Path
	flags := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	device := strings.HasPrefix(s.Path, "/dev/")
	if !device {
		flags |= unix.AT_RECURSIVE
	}
	c := b.cell(s.Name)
	take := b.call("take "+from, unix.SYS_OPEN_TREE, unix.AT_FDCWD, from, flags)
	take.into(b, c)
	if s.Optional {
		take.flags = flagIgnore
	}
	attr := uint64(unix.MOUNT_ATTR_NOSUID)
	if s.Suid {
		attr = 0
	}
	if !device {
		attr |= unix.MOUNT_ATTR_NODEV
	}
	if s.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if s.NoExec {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	b.setAttr("restrict the mount of "+from, c, attr, unix.AT_RECURSIVE).flags |= take.flags
}

// setAttr sets attributes of the mount in cell c.
func (b *builder) setAttr(what string, c *int32, attr uint64, flags int) *op {
	set := &unix.MountAttr{Attr_set: attr}
	return b.call(what, unix.SYS_MOUNT_SETATTR, c, "", unix.AT_EMPTY_PATH|flags, pin(b, set), unix.MOUNT_ATTR_SIZE_VER0)
}

// move attaches a mount to a place given by a directory's cell and a path below it.
func (b *builder) move(what string, mount, dir *int32, to string) *op {
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH
	if to == "" {
		flags |= unix.MOVE_MOUNT_T_EMPTY_PATH
	}
	return b.call(what, unix.SYS_MOVE_MOUNT, mount, "", dir, to, flags)
}

func (s pivot) compile(b *builder, in *inputs) {
	root := b.cell("root")
	// On top of the machine's root: the one place that is always within reach.
	b.call("put the root in place", unix.SYS_MOVE_MOUNT, root, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
	b.call("enter the root", unix.SYS_FCHDIR, root)
	b.call("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
	b.call("let go of the machine's mounts", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	b.call("enter the root", unix.SYS_CHDIR, "/")
	b.call("open the root", unix.SYS_OPENAT, unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC).into(b, b.cell("/"))
}

// open opens a path below the root for use as a mount point or directory. It
// never follows the links of /proc, which lead out. The root is the container's
// by now, so ordinary links can lead nowhere else.
func (b *builder) open(what, file string, flags uint64, strict bool) *int32 {
	c := b.cell("at " + file)
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if strict {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
		what += ": no symbolic link may be there"
	}
	b.call(what, unix.SYS_OPENAT2, b.cell("/"), strings.TrimPrefix(file, "/"), pin(b, how), unix.SizeofOpenHow).into(b, c)
	return c
}

// directory makes sure that dir and what leads to it exist; it returns dir's cell.
func (b *builder) directory(what, dir string, strict bool) *int32 {
	if dir == "/" {
		return b.cell("/")
	}
	parent, name := path.Split(dir)
	up := b.directory(what, path.Clean(parent), strict)
	// What counts is that it can be opened afterwards.
	b.call(what, unix.SYS_MKDIRAT, up, name, 0o755).flags = flagIgnore
	return b.open(what, dir, unix.O_DIRECTORY, strict)
}

func (s attach) compile(b *builder, in *inputs) {
	what, mount := flagged(s.Flag, s.String()), b.cell(s.Name)
	if s.Base != "" { // our own file system: no link of the image's is in the way
		base := b.cell(s.Base)
		switch {
		case s.Exists:
		case s.File:
			b.call(what, unix.SYS_MKNODAT, base, s.Target, unix.S_IFREG|0o644, 0)
		default:
			b.call(what, unix.SYS_MKDIRAT, base, s.Target, 0o755)
		}
		if last := b.move(what, mount, base, s.Target); s.Optional {
			last.flags = flagIgnore
		}
		return
	}
	var at *int32
	flags := uint64(0)
	if s.OnLink {
		flags = unix.O_NOFOLLOW
	}
	switch {
	case !s.File:
		at = b.directory(what, s.Target, s.Strict)
	case s.Exists:
		at = b.open(what, s.Target, flags, s.Strict)
	default:
		dir, name := path.Split(s.Target)
		up := b.directory(what, path.Clean(dir), s.Strict)
		b.call(what, unix.SYS_MKNODAT, up, name, unix.S_IFREG|0o644, 0).flags = flagIgnore
		at = b.open(what, s.Target, flags, s.Strict)
	}
	if s.Optional {
		b.ops[len(b.ops)-1].flags = flagIgnore
	}
	if s.File && s.Flag != "" {
		what += ", where a file must be, too"
	}
	last := b.move(what, mount, at, "")
	if s.Optional {
		last.flags = flagIgnore
	}
}

// The files lie in a file system of their own. A mount can be taken of what is
// mounted only, so that goes where /dev will cover it.
func (s makeEtc) compile(b *builder, in *inputs) {
	what := s.String()
	etc, file := b.cell("etc"), b.cell("etc file")
	b.move(what, etc, b.directory("mount dev on /dev", "/dev", true), "")
	for _, name := range s.Files {
		b.call(what, unix.SYS_OPENAT, etc, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644).into(b, file)
		b.call(what, unix.SYS_WRITE, file, in.files[name], len(in.files[name]))
		if name == "hosts" && s.Own != "" {
			own, gateway := "\t"+s.Own+"\n", "\t"+s.Gateway+"\n"
			b.call(what, unix.SYS_WRITE, file, pin(b, &in.mail.own), &in.mail.ownLen)
			b.call(what, unix.SYS_WRITE, file, own, len(own))
			b.call(what, unix.SYS_WRITE, file, pin(b, &in.mail.gateway), &in.mail.gatewayLen)
			b.call(what, unix.SYS_WRITE, file, gateway, len(gateway))
		}
		b.call(what, unix.SYS_CLOSE, file)
		b.call(what, unix.SYS_OPEN_TREE, etc, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC).into(b, b.cell(name))
	}
}

func (s devLinks) compile(b *builder, in *inputs) {
	for _, link := range [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}, {"/proc/kcore", "core"},
	} {
		b.call("link /dev/"+link[1], unix.SYS_SYMLINKAT, link[0], b.cell("dev"), link[1])
	}
}

func (s sysctl) compile(b *builder, in *inputs) {
	// Through the descriptor of our own procfs: no path an image could bend.
	// For our own, a kernel without the setting, IPv4 left out say, is no reason
	// to stop.
	c, flags := b.cell("sysctl"), opFlags(0)
	if s.Optional {
		flags = flagIgnore
	}
	b.call(s.String(), unix.SYS_OPENAT, b.cell("proc"), "sys/"+strings.ReplaceAll(s.Name, ".", "/"), unix.O_WRONLY|unix.O_CLOEXEC).into(b, c)
	b.ops[len(b.ops)-1].flags = flags
	b.call(s.String(), unix.SYS_WRITE, c, s.Value, len(s.Value)).flags = flags
	b.call(s.String(), unix.SYS_CLOSE, c).flags = flagIgnore
}

// kernelPath splits a path below /proc or /sys into that file system's cell and
// what is below.
func (b *builder) kernelPath(file string) (*int32, string) {
	if rest, ok := strings.CutPrefix(file, "/sys/"); ok {
		return b.cell("sysfs"), rest
	}
	return b.cell("proc"), strings.TrimPrefix(file, "/proc/")
}

func (s mask) compile(b *builder, in *inputs) {
	base, rest := b.kernelPath(s.Path)
	source, name := b.cell("nothing"), ""
	if !s.Dir {
		source, name = b.cell("dev"), "null"
	} else if !b.masking {
		// Only what is mounted somewhere can be cloned, so the first is moved.
		b.masking = true
		b.move(s.String(), source, base, rest)
		return
	}
	c := b.cell("mask")
	b.call(s.String(), unix.SYS_OPEN_TREE, source, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH).into(b, c)
	b.move(s.String(), c, base, rest)
	b.call(s.String(), unix.SYS_CLOSE, c)
}

func (s readOnlyPath) compile(b *builder, in *inputs) {
	base, rest := b.kernelPath(s.Path)
	c := b.cell("mask")
	b.call(s.String(), unix.SYS_OPEN_TREE, base, rest, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC).into(b, c)
	b.setAttr(s.String(), c, unix.MOUNT_ATTR_RDONLY, 0)
	b.move(s.String(), c, base, rest)
	b.call(s.String(), unix.SYS_CLOSE, c)
}

func (s workDir) compile(b *builder, in *inputs) {
	b.call(s.String(), unix.SYS_FCHDIR, b.directory(s.String(), path.Clean(s.Path), false))
}

func (s readOnlyRoot) compile(b *builder, in *inputs) {
	b.setAttr(s.String(), b.cell("/"), unix.MOUNT_ATTR_RDONLY, 0)
}

func (s restoreLimits) compile(b *builder, in *inputs) {
	if soft, hard := startlimit.Files(); hard != 0 {
		b.call("set limit of open files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, pin(b, &unix.Rlimit{Cur: soft, Max: hard}), 0)
	}
}

func (s emptyStdin) compile(b *builder, in *inputs) {
	c := b.cell("stdin")
	b.call(s.String(), unix.SYS_OPENAT, b.cell("dev"), "null", unix.O_RDONLY|unix.O_CLOEXEC).into(b, c)
	b.call(s.String(), unix.SYS_DUP3, c, 0, 0)
}

func (s dropBounding) compile(b *builder, in *inputs) {
	for n, name := range capNames {
		if s.Keep&(1<<n) == 0 {
			// An older kernel doesn't know the newest ones, and so can't grant them.
			b.call("drop capability "+name, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0).flags = dropFlags(n)
		}
	}
}

// dropFlags tolerates a capability that came after Linux 5.4, no other.
func dropFlags(n int) opFlags {
	if n >= unix.CAP_PERFMON {
		return flagIgnore
	}
	return 0
}

func (s becomeUser) compile(b *builder, in *inputs) {
	what := s.String()
	if s.Groups {
		b.call(what, unix.SYS_SETGROUPS, &in.mail.groups, pin(b, &in.mail.list))
	}
	b.call(what, unix.SYS_SETRESGID, &in.mail.gid, &in.mail.gid, &in.mail.gid)
	b.call(what, unix.SYS_SETRESUID, &in.mail.uid, &in.mail.uid, &in.mail.uid)
}

func (s keepCaps) compile(b *builder, in *inputs) {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	lower, upper := uint32(s.Keep), uint32(s.Keep>>32)
	data := &[2]unix.CapUserData{{Effective: lower, Permitted: lower}, {Effective: upper, Permitted: upper}}
	none := &[2]unix.CapUserData{}
	b.call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	// Root keeps these; another user has none left and is refused, which is as it should be.
	o := b.call("set capabilities", unix.SYS_CAPSET, pin(b, header), pin(b, data))
	o.flags, o.skip = flagIgnore, 1
	b.call("clear capabilities", unix.SYS_CAPSET, pin(b, header), pin(b, none))
}

func (s enterAppArmor) compile(b *builder, in *inputs) {
	// Through our own procfs, as for settings: the image's /proc may be anything.
	what, line, c := s.String(), "exec "+s.Profile, b.cell("label")
	b.call(what, unix.SYS_OPENAT, b.cell("proc"), "self/attr/apparmor/exec", unix.O_WRONLY|unix.O_CLOEXEC).into(b, c)
	b.call(what+": is it loaded? See aa-status", unix.SYS_WRITE, c, line, len(line))
	b.call(what, unix.SYS_CLOSE, c)
}

func (s noNewPrivileges) compile(b *builder, in *inputs) {
	b.call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func (s closeFiles) compile(b *builder, in *inputs) {
	if !s.OneByOne {
		b.call("close descriptors", unix.SYS_CLOSE_RANGE, s.From, int(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
		return
	}
	for _, fd := range in.given {
		if fd >= s.From {
			b.call("close descriptors", unix.SYS_FCNTL, fd, unix.F_SETFD, unix.FD_CLOEXEC).flags = flagIgnore // closed already
		}
	}
}
