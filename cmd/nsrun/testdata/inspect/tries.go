package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outcome names how a try went.
func outcome(err error) string {
	if err == nil {
		return "done"
	}
	if errno, ok := err.(syscall.Errno); ok {
		return unix.ErrnoName(errno)
	}
	if e, ok := err.(*os.PathError); ok {
		return outcome(e.Err)
	}
	if e, ok := err.(*exec.ExitError); ok {
		return e.String()
	}
	return err.Error()
}

func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
		return e
	}
	return nil
}

// tries does what an attacker would try first. Nothing of it may harm a machine
// on which it succeeds: what it sets is set to what it is, what it makes is
// undone. Outside a container nothing is tried at all.
func tries() map[string]string {
	if os.Getpid() != 1 {
		return nil
	}
	t := map[string]string{}
	try := func(name string, err error) { t[name] = outcome(err) }
	for name, family := range map[string]int{"AF_ALG": unix.AF_ALG, "AF_VSOCK": unix.AF_VSOCK, "AF_PACKET": unix.AF_PACKET, "AF_INET": unix.AF_INET, "AF_UNIX": unix.AF_UNIX} {
		kind := unix.SOCK_STREAM
		if family == unix.AF_ALG {
			kind = unix.SOCK_SEQPACKET
		} else if family == unix.AF_PACKET {
			kind = unix.SOCK_RAW
		}
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		try("socket "+name, err)
		if err == nil {
			unix.Close(fd)
		}
	}
	try("userfaultfd", raw(unix.SYS_USERFAULTFD, 1 /* UFFD_USER_MODE_ONLY */))
	params := make([]byte, 120)
	try("io_uring", raw(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params[0]))))
	attr := make([]byte, 64)
	attr[0], attr[4], attr[8], attr[12] = 2, 4, 8, 1 // an array of one value
	try("bpf", raw(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr[0])), 64))
	perf := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Bits: unix.PerfBitExcludeKernel}
	_, err := unix.PerfEventOpen(&perf, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	try("perf_event_open", err)
	_, err = unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
	try("keyctl", err)
	_, err = unix.AddKey("user", "nsrun-test", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
	try("add_key", err)
	try("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	try("remount /proc/sys writable", unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	try("umount /proc/acpi", unix.Unmount("/proc/acpi", 0))
	_, err = unix.Fsopen("tmpfs", 0)
	try("fsopen", err)
	_, err = unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
	try("open_tree", err)
	try("unshare user", inThread(func() error { return unix.Unshare(unix.CLONE_NEWUSER) }))
	try("unshare net", inThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }))
	try("unshare mount", inThread(func() error { return unix.Unshare(unix.CLONE_NEWNS) }))
	try("clone user", cloned(unix.CLONE_NEWUSER))
	try("clone mount", cloned(unix.CLONE_NEWNS))
	try("setns", setns("/proc/1/ns/net"))
	try("mknod memory", made(unix.S_IFCHR, unix.Mkdev(1, 1)))
	try("mknod null", made(unix.S_IFCHR, unix.Mkdev(1, 3)))
	try("mknod block", made(unix.S_IFBLK, unix.Mkdev(254, 0)))
	try("write /proc/sys", rewritten("/proc/sys/kernel/domainname"))
	try("write core_pattern", rewritten("/proc/sys/kernel/core_pattern"))
	try("sethostname", renamed())
	try("settimeofday", inThread(func() error { return unix.ClockSettime(99, &unix.Timespec{}) }))
	try("reboot", unix.Reboot(-1) /* no such command, but who may is asked first */)
	try("swapon", raw(unix.SYS_SWAPON, uintptr(unsafe.Pointer(&[]byte("/none\x00")[0])), 0))
	try("load a module", raw(unix.SYS_INIT_MODULE, 0, 0, uintptr(unsafe.Pointer(&[]byte("\x00")[0]))))
	try("kexec", raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, ^uintptr(0)) /* likewise */)
	_, err = unix.OpenByHandleAt(unix.AT_FDCWD, unix.NewFileHandle(1, make([]byte, 8)), 0)
	try("open_by_handle_at", err)
	try("type into a terminal", typed())
	try("nice -20", unix.Setpriority(unix.PRIO_PROCESS, 0, -20))
	try("more files", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}))
	if inRange() {
		try("x32", raw(0x40000000+unix.SYS_GETPID))
		try("i386 socket AF_ALG", errno32(call32(359, unix.AF_ALG, unix.SOCK_SEQPACKET, 0, 0, 0)))
		try("i386 socketcall AF_ALG", socketcall(unix.AF_ALG, unix.SOCK_SEQPACKET))
		try("i386 socketcall AF_INET", socketcall(unix.AF_INET, unix.SOCK_STREAM))
		try("i386 getpid", errno32(call32(20, 0, 0, 0, 0, 0)))
	}
	t["processes"] = strconv.Itoa(processes())
	return t
}

// made makes a device node, and takes it away.
func made(kind uint32, device uint64) error {
	const file = "/tmp/node"
	err := unix.Mknod(file, kind|0o666, int(device))
	if err == nil {
		os.Remove(file)
	}
	return err
}

// rewritten writes what a file has in it.
func rewritten(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0)
}

// renamed sets the host name that there is.
func renamed() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return unix.Sethostname([]byte(name))
}

// inThread tries what changes a thread in one that ends.
func inThread(f func() error) error {
	out := make(chan error)
	go func() {
		lock()
		out <- f()
	}()
	return <-out
}

// cloned starts a process in a name-space of its own. Where it has one, it ends at once.
func cloned(flags uintptr) error {
	cmd := exec.Command("/proc/self/exe", "call", strconv.Itoa(unix.SYS_GETPID), "0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

func setns(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return inThread(func() error { return unix.Setns(fd, 0) })
}

// typed puts a sign into the input of a terminal of one's own.
func typed() error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	sign := byte('x')
	return raw(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&sign)))
}

// socketcall makes a socket in i386's old way, with its arguments in memory.
func socketcall(family, kind uint32) error {
	at, err := unix.MmapPtr(-1, 0, nil, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|mapLow)
	if err != nil {
		return err
	}
	*(*[3]uint32)(at) = [3]uint32{family, kind, 0}
	return errno32(call32(102, 1, uintptr(at), 0, 0, 0))
}

func errno32(r uintptr) error {
	if n := int32(r); n < 0 && n > -4096 {
		return syscall.Errno(-n)
	}
	return nil
}

// processes counts those that can be seen.
func processes() int {
	list, _ := filepath.Glob("/proc/[0-9]*")
	n := 0
	for _, dir := range list {
		if !strings.Contains(filepath.Base(dir), "self") {
			n++
		}
	}
	return n
}

// special is one thing that a test wants to have tried.
func special(what, arg string) error {
	n, _ := strconv.Atoi(arg)
	switch what {
	case "hold", "find":
		flags := 0o600
		if what == "hold" {
			flags |= unix.IPC_CREAT
		}
		_, _, e := syscall.RawSyscall(unix.SYS_SHMGET, uintptr(n), 4096, uintptr(flags))
		if e != 0 {
			return e
		}
	case "kill":
		return unix.Kill(n, 0)
	case "key":
		_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", arg, 0)
		return err
	}
	return nil
}
