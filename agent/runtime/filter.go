package runtime

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// refusedCalls answer EPERM in every container: they act on the whole machine,
// or open parts of the kernel in which a user name-space has often been the way
// out. The full allow-list is to replace this.
var refusedCalls = map[string]uint32{
	"acct": unix.SYS_ACCT, "add_key": unix.SYS_ADD_KEY, "bpf": unix.SYS_BPF,
	"clock_settime": unix.SYS_CLOCK_SETTIME, "delete_module": unix.SYS_DELETE_MODULE,
	"finit_module": unix.SYS_FINIT_MODULE, "fsconfig": unix.SYS_FSCONFIG, "fsmount": unix.SYS_FSMOUNT,
	"fsopen": unix.SYS_FSOPEN, "fspick": unix.SYS_FSPICK, "init_module": unix.SYS_INIT_MODULE,
	"io_uring_setup": unix.SYS_IO_URING_SETUP, "kexec_load": unix.SYS_KEXEC_LOAD, "keyctl": unix.SYS_KEYCTL,
	"mount": unix.SYS_MOUNT, "mount_setattr": unix.SYS_MOUNT_SETATTR, "move_mount": unix.SYS_MOVE_MOUNT,
	"open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT, "open_tree": unix.SYS_OPEN_TREE,
	"perf_event_open": unix.SYS_PERF_EVENT_OPEN, "pivot_root": unix.SYS_PIVOT_ROOT,
	"quotactl": unix.SYS_QUOTACTL, "request_key": unix.SYS_REQUEST_KEY, "setns": unix.SYS_SETNS,
	"swapoff": unix.SYS_SWAPOFF, "swapon": unix.SYS_SWAPON, "umount2": unix.SYS_UMOUNT2,
	"unshare": unix.SYS_UNSHARE, "userfaultfd": unix.SYS_USERFAULTFD,
}

// adminCalls of these are allowed to a container that was given SYS_ADMIN.
var adminCalls = []string{
	"fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "pivot_root",
	"setns", "umount2", "unshare",
}

// refused returns the names of the calls to refuse, sorted.
func (s filterCalls) refused() []string {
	var names []string
	for name := range refusedCalls {
		if !s.Admin || !slices.Contains(adminCalls, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// BPF, as seccomp(2) has it.
const (
	bpfLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	bpfBits    = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bpfReturn  = unix.BPF_RET | unix.BPF_K

	dataNr, dataArch, dataArg0, dataArg1 = 0, 4, 16, 24 // offsets in struct seccomp_data

	refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// callFilter is the program the kernel runs at each of the container's system calls.
func (s filterCalls) program() []unix.SockFilter {
	at := func(code uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no}
	}
	newUser := uint32(unix.CLONE_NEWUSER)
	if s.Admin {
		newUser = 0
	}
	f := []unix.SockFilter{
		at(bpfLoad, dataArch, 0, 0),
		at(bpfEqual, auditArch, 1, 0),
		at(bpfReturn, unix.SECCOMP_RET_KILL_PROCESS, 0, 0),
		at(bpfLoad, dataNr, 0, 0),
		// amd64's second numbering (x32) would slip past the numbers below.
		at(bpfAtLeast, 0x40000000, 0, 1),
		at(bpfReturn, absent, 0, 0),
		// clone3's flags lie in memory, out of sight; without it libc uses clone.
		at(bpfEqual, unix.SYS_CLONE3, 0, 1),
		at(bpfReturn, absent, 0, 0),
		at(bpfEqual, unix.SYS_CLONE, 0, 4),
		at(bpfLoad, dataArg0, 0, 0),
		at(bpfBits, newUser, 0, 1),
		at(bpfReturn, refuse, 0, 0),
		at(bpfReturn, unix.SECCOMP_RET_ALLOW, 0, 0),
		at(bpfEqual, unix.SYS_IOCTL, 0, 4),
		at(bpfLoad, dataArg1, 0, 0),
		at(bpfEqual, unix.TIOCSTI, 0, 1),
		at(bpfReturn, refuse, 0, 0),
		at(bpfReturn, unix.SECCOMP_RET_ALLOW, 0, 0),
	}
	var numbers []uint32
	for _, name := range s.refused() {
		numbers = append(numbers, refusedCalls[name])
	}
	for i, nr := range numbers {
		f = append(f, at(bpfEqual, nr, uint8(len(numbers)-i), 0))
	}
	return append(f, at(bpfReturn, unix.SECCOMP_RET_ALLOW, 0, 0), at(bpfReturn, refuse, 0, 0))
}

func (s filterCalls) compile(b *builder, in *inputs) {
	f := s.program()
	raw := make([]byte, 0, len(f)*unix.SizeofSockFilter)
	for _, ins := range f {
		raw = binary.NativeEndian.AppendUint16(raw, ins.Code)
		raw = append(raw, ins.Jt, ins.Jf)
		raw = binary.NativeEndian.AppendUint32(raw, ins.K)
	}
	prog := make([]byte, 16) // struct sock_fprog
	binary.NativeEndian.PutUint16(prog, uint16(len(f)))
	binary.NativeEndian.PutUint64(prog[8:], b.bytes(raw))
	b.call("set the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, b.bytes(prog))
}
