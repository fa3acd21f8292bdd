// Inspect tells, as JSON, what a program in a container sees and may. It is for
// tests, which run it under nsrun and under crun and compare.
//
//	inspect [quick]            all of it; quick leaves the calls out, as does a process that isn't a container's first
//	inspect hold|find KEY      make shared memory and wait, or look for it
//	inspect kill PID           ask for a process
//	inspect key NAME           look for a key in the session's keyring
//	inspect call N [ARG…]      one system call, in this process
//	inspect call32 N [ARG…]    one of i386's, which a 64-bit program can make, too
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what is printed.
type Report struct {
	Namespaces map[string]string   // as in /proc/self/ns
	Status     map[string]string   // of /proc/self/status
	Mounts     map[string]Mount    // by the mount point
	Paths      map[string]string   // what reading and writing give
	Devices    map[string]string   // of /dev, with their numbers
	Limits     map[string]string   // soft and hard
	Files      []string            // open descriptors
	Calls      map[int]string      // outcome of each call with arguments that mean nothing
	Calls32    map[int]string      // the same of i386's
	Tries      map[string]string   // what an attacker would try first
	IDs        map[string][]string // maps
}

// Mount is a line of mountinfo.
type Mount struct {
	Type    string
	Options string // of the mount
	Root    string
}

func main() {
	if len(os.Args) > 3 && strings.HasPrefix(os.Args[1], "call") {
		var args [7]uintptr
		for i, text := range os.Args[2:] {
			n, err := strconv.ParseInt(text, 0, 64)
			if err != nil {
				panic(err)
			}
			args[i] = uintptr(n)
		}
		fmt.Print(one(os.Args[1] == "call32", args))
		return
	}
	if len(os.Args) == 3 {
		fmt.Print(outcome(special(os.Args[1], os.Args[2])))
		if os.Args[1] == "hold" {
			time.Sleep(time.Hour)
		}
		return
	}
	r := Report{
		Namespaces: namespaces(), Status: status(), Mounts: mounts(), Paths: map[string]string{}, Devices: devices(),
		Limits: limits(), Files: files(), Calls: map[int]string{}, Calls32: map[int]string{}, Tries: tries(),
		IDs: map[string][]string{"uid": fields("/proc/self/uid_map"), "gid": fields("/proc/self/gid_map")},
	}
	for _, file := range paths() {
		r.Paths[file] = probe(file)
	}
	if os.Getpid() == 1 && (len(os.Args) < 2 || os.Args[1] != "quick") {
		const last = 500
		for n := range last + 1 {
			if !skip(n) {
				r.Calls[n] = child("call", n)
			}
			if runtime.GOARCH == "amd64" && !skip32(n) {
				r.Calls32[n] = child("call32", n)
			}
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

// skip says which calls are left out: they would end the process, wait for ever,
// leave a second process of this program, or have the machine write all to disk.
func skip(n int) bool {
	switch n {
	case unix.SYS_RT_SIGRETURN, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SYNC:
		return true
	}
	return skipHere(n)
}

// one makes a call and names its outcome.
func one(kin bool, args [7]uintptr) string {
	runtime.LockOSThread()
	var r, e uintptr
	if kin {
		r = call32(args[0], args[1], args[2], args[3], args[4], args[5])
		if int32(r) < 0 && int32(r) > -4096 {
			e = uintptr(-int32(r))
		}
	} else {
		var errno syscall.Errno
		_, _, errno = syscall.RawSyscall6(args[0], args[1], args[2], args[3], args[4], args[5], args[6])
		e = uintptr(errno)
	}
	if e == 0 {
		return "done"
	}
	if name := unix.ErrnoName(syscall.Errno(e)); name != "" {
		return name
	}
	return strconv.Itoa(int(e))
}

// child makes a call in a process of its own, with arguments that mean nothing.
func child(kind string, n int) string {
	out, err := exec.Command("/proc/self/exe", kind, strconv.Itoa(n), "-1", "-1", "-1", "-1", "-1", "-1").Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
		return "killed by " + unix.SignalName(exit.Sys().(syscall.WaitStatus).Signal())
	case err != nil && len(out) == 0:
		return "exited"
	}
	return string(out)
}

func namespaces() map[string]string {
	all := map[string]string{}
	for _, name := range strings.Fields("cgroup ipc mnt net pid user uts") {
		all[name], _ = os.Readlink("/proc/self/ns/" + name)
	}
	return all
}

func status() map[string]string {
	all := map[string]string{}
	data, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(data), "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups", "Umask":
			all[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return all
}

func mounts() map[string]Mount {
	all := map[string]Mount{}
	data, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		all[f[4]] = Mount{Type: strings.Fields(right)[0], Options: f[5], Root: f[3]}
	}
	return all
}

// paths are places of the kernel's that tell about the machine or steer it.
func paths() []string {
	list := strings.Fields(`/proc/acpi /proc/asound /proc/bus /proc/cmdline /proc/config.gz /proc/driver /proc/fs /proc/interrupts
		/proc/iomem /proc/irq /proc/kallsyms /proc/kcore /proc/key-users /proc/keys /proc/kmsg /proc/kpagecount /proc/kpageflags
		/proc/latency_stats /proc/sched_debug /proc/scsi /proc/slabinfo /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname
		/proc/sys/kernel/modprobe /proc/sys/kernel/printk /proc/sys/net/ipv4/ip_forward /proc/sys/vm/drop_caches /proc/sysrq-trigger
		/proc/timer_list /proc/timer_stats /proc/vmallocinfo /proc/1/mem /proc/self/oom_score_adj /proc/mounts
		/sys/class/net /sys/dev/block /sys/devices/virtual/powercap /sys/firmware /sys/fs/cgroup /sys/fs/selinux /sys/kernel/debug
		/sys/kernel/security /sys/kernel/uevent_helper /sys/kernel/vmcoreinfo /sys/module /sys/power/state
		/sys/kernel/mm/transparent_hugepage/enabled /dev/mem /dev/kmsg /dev/kvm /dev/fuse /dev/net/tun /dev/console`)
	throttles, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	return append(list, throttles...)
}

// probe reads a little of a path and asks whether it could be written.
func probe(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return "no"
	}
	read, write := "empty", "closed"
	takes := info.Mode().Perm()&0o222 != 0 // else there is nothing behind a write, though root may open it
	if info.IsDir() {
		if list, err := os.ReadDir(file); err != nil {
			read = "closed"
		} else if len(list) > 0 {
			read = "open"
		}
		if takes && unix.Access(file, unix.W_OK) == nil {
			write = "open"
		}
		return "read " + read + ", write " + write
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		read = "closed"
	} else {
		n, err := unix.Read(fd, make([]byte, 1))
		switch {
		case err == unix.EAGAIN, n > 0:
			read = "open"
		case err != nil:
			read = "closed"
		}
		unix.Close(fd)
	}
	if fd, err := unix.Open(file, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		unix.Close(fd)
		if takes {
			write = "open"
		}
	}
	var st unix.Stat_t
	if unix.Stat(file, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3) {
		return "read empty, write closed" // /dev/null stands there
	}
	return "read " + read + ", write " + write
}

func devices() map[string]string {
	all := map[string]string{}
	filepath.WalkDir("/dev", func(file string, e os.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(file, &st) != nil {
			return nil
		}
		switch kind := st.Mode & unix.S_IFMT; kind {
		case unix.S_IFCHR, unix.S_IFBLK:
			all[file] = fmt.Sprintf("%c%d:%d", map[uint32]byte{unix.S_IFCHR: 'c', unix.S_IFBLK: 'b'}[kind], unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		return nil
	})
	return all
}

func limits() map[string]string {
	all := map[string]string{}
	data, _ := os.ReadFile("/proc/self/limits")
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		f := strings.Fields(line[26:])
		all[strings.TrimSpace(line[:26])] = f[0] + " " + f[1]
	}
	return all
}

func files() []string {
	var all []string
	list, _ := os.ReadDir("/proc/self/fd")
	for _, e := range list {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if n, _ := strconv.Atoi(e.Name()); n > 2 && err == nil && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasSuffix(to, "/fd") {
			all = append(all, to) // but the poller of Go's, and what lists them
		}
	}
	return all
}

func fields(file string) []string {
	data, _ := os.ReadFile(file)
	return strings.Fields(string(data))
}
