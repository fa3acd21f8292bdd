package runtime

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// judge runs a filter as the kernel would.
func judge(t *testing.T, f []unix.SockFilter, arch, nr uint32, arg0, arg1 uint32) uint32 {
	data := map[uint32]uint32{dataNr: nr, dataArch: arch, dataArg0: arg0, dataArg1: arg1}
	var a uint32
	for pc := 0; pc < len(f); pc++ {
		ins := f[pc]
		var yes bool
		switch ins.Code {
		case bpfLoad:
			a = data[ins.K]
			continue
		case bpfReturn:
			return ins.K
		case bpfEqual:
			yes = a == ins.K
		case bpfAtLeast:
			yes = a >= ins.K
		case bpfBits:
			yes = a&ins.K != 0
		default:
			t.Fatalf("instruction %d: code %#x", pc, ins.Code)
		}
		if yes {
			pc += int(ins.Jt)
		} else {
			pc += int(ins.Jf)
		}
	}
	t.Fatal("the filter ran off its end")
	return 0
}

func TestFilter(t *testing.T) {
	plain, admin := filterCalls{}.program(), filterCalls{Admin: true}.program()
	for name, nr := range refusedCalls {
		if got := judge(t, plain, auditArch, nr, 0, 0); got != refuse {
			t.Errorf("%s: %#x, want EPERM", name, got)
		}
		want := uint32(refuse)
		if slices.Contains(adminCalls, name) {
			want = unix.SECCOMP_RET_ALLOW
		}
		if got := judge(t, admin, auditArch, nr, 0, 0); got != want {
			t.Errorf("%s with SYS_ADMIN: %#x, want %#x", name, got, want)
		}
	}
	for _, row := range []struct {
		name             string
		arch, nr, a0, a1 uint32
		want             uint32
	}{
		{"read", auditArch, unix.SYS_READ, 0, 0, unix.SECCOMP_RET_ALLOW},
		{"execve", auditArch, unix.SYS_EXECVE, 0, 0, unix.SECCOMP_RET_ALLOW},
		{"fork", auditArch, unix.SYS_CLONE, uint32(unix.SIGCHLD), 0, unix.SECCOMP_RET_ALLOW},
		{"a user name-space by clone", auditArch, unix.SYS_CLONE, unix.CLONE_NEWUSER | uint32(unix.SIGCHLD), 0, refuse},
		{"clone3", auditArch, unix.SYS_CLONE3, 0, 0, absent},
		{"typing into the terminal", auditArch, unix.SYS_IOCTL, 0, unix.TIOCSTI, refuse},
		{"another ioctl", auditArch, unix.SYS_IOCTL, 0, unix.TIOCGWINSZ, unix.SECCOMP_RET_ALLOW},
		{"another architecture", auditArch + 1, unix.SYS_READ, 0, 0, unix.SECCOMP_RET_KILL_PROCESS},
		{"mount in the second numbering", auditArch, 0x40000000 | unix.SYS_MOUNT, 0, 0, absent},
		{"a call of the future", auditArch, 5000, 0, 0, unix.SECCOMP_RET_ALLOW},
	} {
		if got := judge(t, plain, row.arch, row.nr, row.a0, row.a1); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.name, got, row.want)
		}
	}
	if got := judge(t, admin, auditArch, unix.SYS_CLONE, unix.CLONE_NEWUSER, 0); got != unix.SECCOMP_RET_ALLOW {
		t.Errorf("a user name-space with SYS_ADMIN: %#x", got)
	}
}
