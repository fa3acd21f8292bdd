// Command attack is a container's first process that lies in wait for the
// processes that join it. It tries to get hold of each while that isn't the
// container's program yet, and prints what it got that it must not get.
//
// Process ids of a container come in order, so it need not look for the next:
// it asks for it until it is there.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// secret is in the environment of each nsrun exec, not of the container.
const secret = "SECRET-OF-THE-MACHINE"

// elfBase is where programs that aren't moved about in memory are.
const elfBase = 0x400000

type attacker struct {
	victim  unix.Stat_t // the program that those who join run in the end
	header  []byte      // its first bytes
	bounds  string      // our bounding set: nobody may have more
	reaches bool        // we have rights over the machine's processes: we may trace who joins, but get nothing by that
	caught  int         // processes met before their program
	got     int         // of those, how often something was open to us
	kept    []int       // descriptors of files they were
	last    int
}

func main() {
	runtime.LockOSThread() // ptrace is a thread's matter
	a := &attacker{bounds: status("self", "CapBnd"), reaches: len(os.Args) > 1, last: 1}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil || unix.Stat("/bin/busybox", &a.victim) != nil {
		fmt.Println("VIOLATION no victim:", err)
		return
	}
	a.header = data[:64]
	fmt.Println("waiting")
	for i := 0; ; i++ {
		if i%64 == 0 {
			if _, err := os.Lstat("/stop"); err == nil {
				break
			}
			a.resync()
		}
		for next := a.last + 1; next < a.last+4; next++ {
			if unix.Access("/proc/"+strconv.Itoa(next), unix.F_OK) == nil {
				a.attack(next)
				a.last = next
				break
			}
		}
	}
	for _, fd := range a.kept { // nobody runs them any more
		if again, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDWR, 0); err == nil {
			if _, err := unix.Pwrite(again, []byte("evil"), 0); err == nil {
				a.violation(0, "wrote to the file of a process that has ended")
			}
		}
	}
	fmt.Printf("caught %d got %d\n", a.caught, a.got)
}

// resync finds the newest process, should one have been missed.
func (a *attacker) resync() {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > a.last {
			a.attack(pid)
			a.last = pid
		}
	}
}

func (a *attacker) violation(pid int, what string, args ...any) {
	fmt.Printf("VIOLATION process %d: %s\n", pid, fmt.Sprintf(what, args...))
}

func status(pid, key string) string {
	data, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// attack tries everything, until the process is the container's program or gone.
func (a *attacker) attack(pid int) {
	proc := "/proc/" + strconv.Itoa(pid)
	if unix.Access("/proc/self/task/"+strconv.Itoa(pid), unix.F_OK) == nil {
		return // a thread of ours
	}
	met := false
	for until := time.Now().Add(50 * time.Millisecond); time.Now().Before(until); {
		line, err := os.ReadFile(proc + "/cmdline")
		if err != nil {
			break
		}
		if bytes.Contains(line, []byte("nsrun")) {
			a.violation(pid, "its arguments are %q", line)
		}
		if !met && bytes.HasPrefix(line, []byte("container-exec")) {
			met = true
			a.caught++
		}
		got := a.rights(pid, proc)
		for _, try := range []func(int, string) bool{a.exe, a.memory, a.files, a.links, a.environment, a.copies, a.trace} {
			got = try(pid, proc) || got
		}
		if got {
			a.got++
			if !a.reaches {
				a.violation(pid, "something of it was open to us")
			}
		}
		if exe, err := os.Readlink(proc + "/exe"); err == nil && exe == "/bin/busybox" {
			break
		}
	}
}

// rights looks at what everybody may see: it must be the container's own by now.
func (a *attacker) rights(pid int, proc string) bool {
	data, _ := os.ReadFile(proc + "/status")
	if len(data) == 0 || bytes.Contains(data, []byte("\nState:\tZ")) || bytes.Contains(data, []byte("\nState:\tX")) {
		return false
	}
	value := func(key string) string {
		_, rest, _ := strings.Cut(string(data), "\n"+key+":\t")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	own, _ := strconv.ParseUint(a.bounds, 16, 64)
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if caps, err := strconv.ParseUint(value(set), 16, 64); err != nil || caps&^own != 0 {
			a.violation(pid, "%s is %s, ours %s", set, value(set), a.bounds)
		}
	}
	if value("NoNewPrivs") != "1" || value("Seccomp") != "2" {
		a.violation(pid, "no new privileges %s, filter %s", value("NoNewPrivs"), value("Seccomp"))
	}
	return false
}

// isVictim says whether a file is the container's program.
func (a *attacker) isVictim(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Dev == a.victim.Dev && st.Ino == a.victim.Ino
}

func (a *attacker) exe(pid int, proc string) (got bool) {
	for _, mode := range []int{unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_RDONLY, unix.O_PATH} {
		fd, err := unix.Open(proc+"/exe", mode, 0)
		if err != nil {
			continue
		}
		if a.isVictim(fd) {
			unix.Close(fd)
			return got
		}
		got = true
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Size > 256<<10 {
			a.violation(pid, "it is a file of %d bytes: nsrun?", st.Size)
		}
		if _, err := unix.Pwrite(fd, []byte("evil"), 0); err == nil {
			a.violation(pid, "wrote to its file")
		}
		if mode == unix.O_PATH && len(a.kept) < 100 {
			a.kept = append(a.kept, fd)
			continue
		}
		unix.Close(fd)
	}
	return got
}

func (a *attacker) memory(pid int, proc string) bool {
	got := false
	for _, mode := range []int{unix.O_RDWR, unix.O_RDONLY} {
		fd, err := unix.Open(proc+"/mem", mode, 0)
		if err != nil {
			continue
		}
		// Opened once, it stays that memory, whatever the process becomes.
		first := make([]byte, 64)
		if n, err := unix.Pread(fd, first, elfBase); n == len(first) && err == nil && !bytes.Equal(first, a.header) {
			got = true
			all := make([]byte, 0x40000)
			n, _ := unix.Pread(fd, all[:0x10000], elfBase+0x10000)
			if bytes.Contains(all[:max(n, 0)], []byte(secret)) {
				a.violation(pid, "the machine's environment is in its memory")
			}
		}
		unix.Close(fd)
	}
	return got
}

func (a *attacker) files(pid int, proc string) bool {
	entries, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return false
	}
	got := false
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		if n <= 2 {
			continue
		}
		// That there is one says nothing: while execve is under way, and the process
		// is the program already, those to be closed are still listed.
		link, _ := os.Readlink(proc + "/fd/" + e.Name())
		got = got || link != ""
		if link != "" && (n != 3 || !strings.HasPrefix(link, "socket:")) {
			a.violation(pid, "it has descriptor %d, %s", n, link)
		}
		if fd, err := unix.Open(proc+"/fd/"+e.Name(), unix.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
			got = true
			a.violation(pid, "opened its descriptor %d, %s", n, link)
			unix.Close(fd)
		}
	}
	return got
}

func (a *attacker) links(pid int, proc string) bool {
	var own, its unix.Stat_t
	if unix.Stat("/", &own) != nil {
		return false
	}
	for _, name := range []string{"/root", "/cwd"} {
		if unix.Stat(proc+name, &its) == nil && (its.Dev != own.Dev || its.Ino != own.Ino) {
			a.violation(pid, "its %s is another", name)
		}
	}
	return false
}

func (a *attacker) environment(pid int, proc string) bool {
	for _, name := range []string{"/environ", "/cmdline"} {
		if data, err := os.ReadFile(proc + name); err == nil && bytes.Contains(data, []byte(secret)) {
			a.violation(pid, "the machine's environment is in its %s", name)
		}
	}
	return false
}

// copies takes what calls for it give.
func (a *attacker) copies(pid int, proc string) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for n := 3; n < 12; n++ {
		if got, err := unix.PidfdGetfd(fd, n, 0); err == nil {
			link, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(got))
			unix.Close(got)
			if n != 3 || !strings.HasPrefix(link, "socket:") {
				a.violation(pid, "took its descriptor %d, %s", n, link)
			}
			return true
		}
	}
	return false
}

func (a *attacker) trace(pid int, proc string) bool {
	const seize, interrupt = 0x4206, 0x4207
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, seize, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return false
	}
	// It is ours now. What is it?
	unix.Syscall6(unix.SYS_PTRACE, interrupt, uintptr(pid), 0, 0, 0, 0)
	var ws unix.WaitStatus
	unix.Wait4(pid, &ws, unix.WALL, nil)
	fd, err := unix.Open(proc+"/exe", unix.O_PATH, 0)
	got := err == nil && !a.isVictim(fd)
	if err == nil {
		unix.Close(fd)
	}
	if ws.Stopped() {
		a.rights(pid, proc)
		unix.PtraceDetach(pid)
	}
	return got
}
