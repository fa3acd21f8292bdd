package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are those that older kernels, or filters, have not.
var calls = map[string]uint32{
	"clone3": unix.SYS_CLONE3, "close_range": unix.SYS_CLOSE_RANGE, "execveat": unix.SYS_EXECVEAT, "faccessat2": unix.SYS_FACCESSAT2,
	"fsopen": unix.SYS_FSOPEN, "keyctl": unix.SYS_KEYCTL, "mount_setattr": unix.SYS_MOUNT_SETATTR, "move_mount": unix.SYS_MOVE_MOUNT,
	"open_tree": unix.SYS_OPEN_TREE, "open_tree_attr": 467, "openat2": unix.SYS_OPENAT2, "pidfd_open": unix.SYS_PIDFD_OPEN, "seccomp": unix.SYS_SECCOMP,
}

// without runs a program on a kernel that lacks a system call, by a filter that
// says so: without CALL[,CALL…] PROGRAM ARGUMENT…
func without() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "without:", err)
		os.Exit(99)
	}
	program, err := exec.LookPath(os.Args[2])
	if err != nil {
		fail(err)
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number
	for _, name := range strings.Split(os.Args[1], ",") {
		nr, ok := calls[name]
		if !ok {
			fail(fmt.Errorf("%s: no such call", name))
		}
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread() // a filter is a thread's
	if os.Geteuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			fail(err)
		}
	}
	list := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&list))); errno != 0 {
		fail(errno)
	}
	fail(syscall.Exec(program, os.Args[2:], os.Environ()))
}

// TestKernelLacksACall: a start works all the same, or it says what is needed.
func TestKernelLacksACall(t *testing.T) {
	m := newManager(t)
	root := filepath.Join(m.dir, "root")
	const tooOld = "function not implemented: Linux 5.12 or newer is needed"
	for _, row := range []struct{ call, want string }{ // empty: it starts
		{"clone3", ""}, {"close_range", ""}, {"execveat", ""}, {"faccessat2", ""}, {"keyctl", ""}, {"open_tree_attr", ""}, {"pidfd_open", ""},
		{"clone3,close_range,execveat,faccessat2,open_tree_attr", ""},
		{"fsopen", tooOld}, {"mount_setattr", tooOld}, {"move_mount", tooOld}, {"open_tree", tooOld}, {"openat2", tooOld}, {"seccomp", tooOld},
	} {
		for _, args := range [][]string{{"--rootfs", root + ":O"}, {"--rootfs", root, "--userns", "host", "-v", m.dir + "/root/bin:/b:ro"}} {
			// Descriptor 9, left open by a careless parent, must not get in.
			script := fmt.Sprintf(`exec 9<%s; exec without %s nsrun run --rm --network=none %s sh -c 'ls /proc/self/fd | wc -l; exit 3'`, root, row.call, strings.Join(args, " "))
			cmd := exec.Command("sh", "-c", script)
			cmd.Env = append(os.Environ(), raceExit, "NSRUN_DIR="+filepath.Join(m.dir, "state"))
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			cmd.Run()
			code := cmd.ProcessState.ExitCode()
			switch {
			case row.want == "" && (code != 3 || out.String() != "4\n" || errs.Len() > 0):
				t.Errorf("without %s, %s: exit %d, prints %q; want a start with 4 descriptors\n%s", row.call, args, code, &out, &errs)
			case row.want != "" && (code != 125 || !strings.Contains(errs.String(), row.want)):
				t.Errorf("without %s, %s: exit %d; want 125 and %q\n%s", row.call, args, code, row.want, &errs)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(m.dir, "state/containers/*")); left != nil {
		t.Errorf("left: %v", left)
	}
}

// TestInfoSaysWhatIsMissing: what is chosen instead can be seen.
func TestInfoSaysWhatIsMissing(t *testing.T) {
	m := newManager(t)
	info := func(call string) map[string]string {
		args := []string{"info"}
		cmd := exec.Command("nsrun", args...)
		if call != "" {
			cmd = exec.Command("without", call, "nsrun", "info")
		}
		cmd.Env = append(os.Environ(), raceExit, "NSRUN_DIR="+filepath.Join(m.dir, "state"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("info without %s: %v\n%s", call, err, out)
		}
		rows := map[string]string{}
		_, table, _ := strings.Cut(string(out), "TRIED OUT")
		for _, line := range strings.Split(table, "\n")[1:] {
			if name, rest, ok := strings.Cut(line, "  "); ok {
				rows[name] = strings.Join(strings.Fields(rest), " ")
			}
		}
		return rows
	}
	all := info("")
	_, code := m.nsrun("run", "--rm", "--rootfs", filepath.Join(m.dir, "root")+":O", "true")
	if works := strings.HasPrefix(all["overlay over mapped layers"], "yes"); works != (code == 0) || len(all) < 12 {
		t.Errorf("a start with mapped layers: exit %d, and %d rows: %v", code, len(all), all)
	}
	for _, row := range []struct{ call, name, want string }{
		{"clone3", "clone3", "no clone, and signal handlers taken away one by one"},
		{"close_range", "descriptors closed at once (close_range)", "no one by one"},
		{"open_tree_attr", "layers by descriptor", "no by path, at most 127 of them (Linux 6.15)"},
		{"execveat", "asking before execve (AT_EXECVE_CHECK)", "no a damaged program is noticed after READY=1 only (Linux 6.14)"},
		{"openat2", "paths that stay inside (openat2)", "no nothing: no container starts before Linux 5.6"},
		{"mount_setattr", "attributes of mounts (mount_setattr)", "no nothing: no container starts before Linux 5.12"},
	} {
		if got := info(row.call)[row.name]; got != row.want {
			t.Errorf("without %s: %s: %q, want %q", row.call, row.name, got, row.want)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(m.dir, "state/making")); err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return true }) {
		t.Errorf("left: %v, %v", entries, err)
	}
}
