package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// Feature is something that containers may need of the machine.
type Feature struct {
	Name  string
	Works bool
	Note  string // which kind it is, or what is done instead; may be empty
}

// Features tries out what this machine can do, for people. It takes a while and
// leaves nothing. Containers are started by plans that ask for less; see
// [LookAtHost].
func (d *Dir) Features() []Feature {
	h := LookAtHost()
	list := []Feature{
		call("clone3", unix.SYS_CLONE3, "clone, and signal handlers taken away one by one"),
		call("mounts by descriptor (fsopen, open_tree, move_mount)", unix.SYS_FSOPEN, "nothing: no container starts before Linux 5.2", unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT),
		call("paths that stay inside (openat2)", unix.SYS_OPENAT2, "nothing: no container starts before Linux 5.6"),
		call("attributes of mounts (mount_setattr)", unix.SYS_MOUNT_SETATTR, "nothing: no container starts before Linux 5.12"),
		call("process descriptors (pidfd_open)", unix.SYS_PIDFD_OPEN, "nothing: no stop, no kill before Linux 5.3", unix.SYS_PIDFD_SEND_SIGNAL),
		feature("descriptors closed at once (close_range)", !h.CloseOneByOne, "one by one"),
		feature("asking before execve (AT_EXECVE_CHECK)", execveChecks(), "a damaged program is noticed after READY=1 only (Linux 6.14)"),
		feature("layers by descriptor", !h.LayersByPath, "by path, at most 127 of them (Linux 6.15)"),
		feature("system call filters (seccomp)", filters(), "nothing: no container starts"),
		feature("user name-spaces", clones(unix.CLONE_NEWUSER) == nil, orElse(usersRefused("/proc/sys"), "--userns=host, for root only")),
	}
	return append(append(list, d.storeFeatures(h)...), machineFeatures()...)
}

func feature(name string, works bool, instead string) Feature {
	if works {
		instead = ""
	}
	return Feature{name, works, instead}
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// call tries system calls with arguments that none of them takes.
func call(name string, nr uintptr, instead string, more ...uintptr) Feature {
	works := true
	for _, n := range append(more, nr) {
		_, _, errno := syscall.RawSyscall6(n, ^uintptr(0), 0, 0, 0, 0, 0)
		works = works && errno != unix.ENOSYS
	}
	return feature(name, works, instead)
}

// execveChecks asks about a program that isn't there: a kernel that doesn't know
// the question refuses it before it looks.
func execveChecks() bool {
	file, _ := unix.BytePtrFromString("/proc/self/nosuch")
	none := [1]uintptr{}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, ^uintptr(99), uintptr(unsafe.Pointer(file)), uintptr(unsafe.Pointer(&none)), uintptr(unsafe.Pointer(&none)), atExecveCheck, 0)
	return errno == unix.ENOENT
}

func filters() bool {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	_, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	return errno == 0
}

// clones makes a process in new name-spaces that ends at once, having worked
// through the steps.
func clones(flags uint64, steps ...func(b *builder)) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := newBuilder("nsrun: info: ")
	for _, step := range steps {
		step(b)
	}
	for i := range b.ops { // what fails here is an answer, no news
		b.ops[i].flags |= flagQuiet
	}
	b.call("end", unix.SYS_EXIT_GROUP, 0)
	pid, err := b.start(&cloneArgs{flags: flags | cloneClearSighand, exitSignal: uint64(unix.SIGCHLD)})
	if err != nil {
		return err
	}
	if status := waitChild(pid); !status.Exited() || status.ExitStatus() != 0 {
		return errors.New("refused")
	}
	return nil
}

// storeFeatures are what hangs on the file system of the store.
func (d *Dir) storeFeatures(h Host) []Feature {
	dir := filepath.Join(d.data, "making", ".try."+strconv.Itoa(os.Getpid())) // no container is called so
	unlock, err := d.prepare()
	if err == nil {
		defer unlock() // else somebody may take it for left over
		for _, sub := range []string{"", "upper", "work", "low", "base"} {
			err = errors.Join(err, os.Mkdir(filepath.Join(dir, sub), 0o755))
		}
		defer removeAll(dir)
	}
	if err != nil {
		return []Feature{{"store " + d.data, false, err.Error()}}
	}
	on := fmt.Sprintf(" on the store's %s", fsName(d.data))
	if !h.Root {
		root := makeOverlay{Layers: []string{dir + "/low"}, Inside: true}
		err := clones(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, func(b *builder) {
			b.mapSelf("map ids", unix.AT_FDCWD, "/proc/", 0, h.UID, 0, h.GID)
			privateMounts{}.compile(b, nil)
			root.compile(b, &inputs{base: dir + "/base", own: dir})
		})
		return []Feature{feature("images without root"+on, err == nil, "--rootfs DIR (overlay in a user name-space: Linux 5.11; ext4, xfs, btrfs, tmpfs)")}
	}
	userns, err := mappedUsers()
	if err != nil {
		return []Feature{{"mapped ids" + on, false, err.Error()}}
	}
	defer unix.Close(userns)
	fd, err := tree(dir, userns, 0)
	list := []Feature{feature("mapped ids"+on, err == nil, "--userns=host")}
	if err != nil {
		return list
	}
	unix.Close(fd)
	runtime.LockOSThread() // create changes this thread's ids for a moment
	defer runtime.UnlockOSThread()
	fd, spent, err := overlay(makeOverlay{Layers: []string{dir + "/low"}, Mapped: true, ByPath: h.LayersByPath}, dir, dir+"/base", dir, userns, idsFirst)
	for _, s := range append(spent, fd) {
		unix.Close(s)
	}
	return append(list, feature("overlay over mapped layers", err == nil, "--userns=host for images (Linux 5.19)"))
}

// mappedUsers makes a user name-space with a container's map.
func mappedUsers() (fd int, err error) {
	var gate [2]int
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	defer unix.Close(gate[0])
	b := newBuilder("nsrun: info: ")
	b.call("close", unix.SYS_CLOSE, gate[1])
	b.call("wait", unix.SYS_READ, gate[0], b.bytes(make([]byte, 1)), 1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := b.start(&cloneArgs{flags: cloneClearSighand | unix.CLONE_NEWUSER, exitSignal: uint64(unix.SIGCHLD)})
	if err != nil {
		unix.Close(gate[1])
		return -1, cloneError(err, []string{"user"})
	}
	l := &launch{pid: pid, ids: idsFirst}
	err = l.mapIDs(mapIDs{Range: true})
	unix.Close(gate[1])
	waitChild(pid)
	return l.userns, err
}

// machineFeatures are what other parts of the machine are there.
func machineFeatures() []Feature {
	layout, where := cgroups()
	tables := nftables()
	_, journal := os.Stat("/run/systemd/journal/socket")
	return []Feature{
		{"cgroups", layout != cgroupsNone, string(layout) + where},
		feature("published ports (nftables)", tables == nil, "--network=host; "+fmt.Sprint(tables)),
		feature("journal", journal == nil, "nsrun logs has nothing to show"),
	}
}

// nftables asks the kernel's firewall for its generation.
func nftables() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const length = unix.SizeofNlMsghdr + 4 // and struct nfgenmsg
	msg := make([]byte, length)
	binary.NativeEndian.PutUint32(msg, length)
	binary.NativeEndian.PutUint16(msg[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT) // it answers while it is asked
	if err != nil {
		return err
	}
	if n >= unix.SizeofNlMsghdr+4 && binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		return syscall.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])))
	}
	return nil
}

// cgroupLayout says how a machine's cgroups are mounted.
type cgroupLayout string

const (
	cgroupsNone   cgroupLayout = "none"
	cgroupsV1     cgroupLayout = "v1"
	cgroupsHybrid cgroupLayout = "hybrid"
	cgroupsV2     cgroupLayout = "v2"
)

// cgroups finds out the layout, and which group we are in.
func cgroups() (layout cgroupLayout, where string) {
	mounts, err := sheet.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroupsNone, ""
	}
	layout = layoutOf(string(mounts))
	own, err := sheet.ReadFile("/proc/self/cgroup")
	if err != nil || layout == cgroupsNone {
		return layout, ""
	}
	for line := range strings.Lines(string(own)) {
		if at, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return layout, ", here " + at
		}
	}
	return layout, ""
}

// layoutOf reads the layout from a table of mounts.
func layoutOf(mountinfo string) cgroupLayout {
	v1, v2 := false, false
	for line := range strings.Lines(mountinfo) {
		at, rest, _ := strings.Cut(line, " - ")
		f := strings.Fields(at)
		kind, _, _ := strings.Cut(rest, " ")
		if len(f) < 5 || !strings.HasPrefix(f[4], "/sys/fs/cgroup") {
			continue
		}
		v1, v2 = v1 || kind == "cgroup", v2 || kind == "cgroup2"
	}
	switch {
	case v1 && v2:
		return cgroupsHybrid
	case v1:
		return cgroupsV1
	case v2:
		return cgroupsV2
	}
	return cgroupsNone
}
