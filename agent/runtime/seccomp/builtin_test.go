package seccomp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is what a filter sees.
type call struct {
	arch, number uint32
	args         [6]uint64
}

// vm makes what runs a filter, by code that is not ours.
func vm(t testing.TB, code []unix.SockFilter) *bpf.VM {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(code))
	for i, ins := range code {
		raw[i] = bpf.RawInstruction{Op: ins.Code, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	list, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("instructions that nobody knows")
	}
	m, err := bpf.NewVM(list)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// judge runs a filter. The machine reads words as networks write them.
func judge(t testing.TB, m *bpf.VM, c call) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[dataNumber:], c.number)
	binary.BigEndian.PutUint32(data[dataArch:], c.arch)
	for i, a := range c.args {
		binary.BigEndian.PutUint32(data[dataArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[dataArgs+8*i+4:], uint32(a>>32))
	}
	got, err := m.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

const (
	eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// oracle evaluates moby's profile from its own types, call by call, with none of
// our code.
type oracle struct {
	profile *moby.Seccomp
	goarch  string
	caps    []string
	names   map[uint32][]string
	newest  uint32
}

func (o *oracle) applies(c *moby.Syscall) bool {
	if x := c.Excludes; x != nil {
		if slices.Contains(x.Arches, o.goarch) || slices.ContainsFunc(x.Caps, func(n string) bool { return slices.Contains(o.caps, n) }) {
			return false
		}
	}
	if x := c.Includes; x != nil {
		if len(x.Arches) > 0 && !slices.Contains(x.Arches, o.goarch) {
			return false
		}
		for _, n := range x.Caps {
			if !slices.Contains(o.caps, n) {
				return false
			}
		}
	}
	return true // every kernel that a container starts on is newer than 4.8
}

func fits(a specs.LinuxSeccompArg, got uint64) bool {
	switch a.Op {
	case specs.OpNotEqual:
		return got != a.Value
	case specs.OpLessThan:
		return got < a.Value
	case specs.OpLessEqual:
		return got <= a.Value
	case specs.OpEqualTo:
		return got == a.Value
	case specs.OpGreaterEqual:
		return got >= a.Value
	case specs.OpGreaterThan:
		return got > a.Value
	case specs.OpMaskedEqual:
		return got&a.Value == a.ValueTwo
	}
	panic(a.Op)
}

// says returns what the profile has to say about a call.
func (o *oracle) says(c call) uint32 {
	refused := uint32(eperm)
	for _, r := range o.profile.Syscalls {
		if !o.applies(r) || !slices.ContainsFunc(o.names[c.number], func(n string) bool { return slices.Contains(r.Names, n) }) {
			continue
		}
		all := true
		for _, a := range r.Args {
			all = all && fits(a, c.args[a.Index])
		}
		switch {
		case all && r.Action == specs.ActAllow:
			return unix.SECCOMP_RET_ALLOW
		case all && r.Action == specs.ActErrno && r.ErrnoRet != nil:
			refused = unix.SECCOMP_RET_ERRNO | uint32(*r.ErrnoRet)
		}
	}
	return refused
}

// wants is what the profile says, and what ours says beside it.
func (o *oracle) wants(c call) (uint32, string) {
	name := strings.Join(o.names[c.number], "/")
	switch {
	case c.arch == unix.AUDIT_ARCH_X86_64 && c.number >= x32Bit:
		return enosys, "x32"
	case c.number > o.newest && c.number < privateCalls, name == "" && c.number >= privateCalls:
		return enosys, "newer than the profile"
	case name == "ioctl" && slices.Contains([]uint32{unix.TIOCSTI, unix.TIOCLINUX}, uint32(c.args[1])):
		return eperm, "typing into the terminal"
	case name == "socketcall" && uint32(c.args[0]) == 1:
		return eperm, "a socket whose family can't be seen"
	}
	return o.says(c), name
}

// TestBuiltinSaysWhatTheProfileSays: B-05: every call, by every number of every
// machine, with arguments about those the rules name, for no capability, each
// one, all, and some sets of them.
func TestBuiltinSaysWhatTheProfileSays(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		tables := callTables(t, goarch)
		code, patches, err := compileBuiltin(mobyProfile(t), goarch, tables)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d instructions, %d of them filled in", goarch, len(code), len(patches))
		if goarch == runtime.GOARCH && !slices.Equal(code, builtinCode[:]) {
			t.Fatal("the program of this architecture is another: see TestGenerated")
		}
		for _, caps := range capSets() {
			bits, own := uint64(0), slices.Clone(code)
			for _, c := range caps {
				bits |= 1 << capNumbers[c]
			}
			for _, p := range patches {
				if p.caps&bits != 0 {
					own[p.at].K = unix.SECCOMP_RET_ALLOW
				}
			}
			if goarch == runtime.GOARCH && !slices.Equal(own, Builtin(bits).Code) {
				t.Fatalf("Builtin(%v) is another program", caps)
			}
			m := vm(t, own)
			for i, kin := range families(goarch) {
				compareAll(t, m, newOracle(goarch, caps, tables[i]), kin.audit)
			}
			for _, foreign := range []uint32{0, unix.AUDIT_ARCH_S390X, unix.AUDIT_ARCH_RISCV64, unix.AUDIT_ARCH_MIPS64} {
				if got := judge(t, m, call{arch: foreign}); got != unix.SECCOMP_RET_KILL_PROCESS {
					t.Errorf("%s: architecture %#x: %#x, want it killed", goarch, foreign, got)
				}
			}
		}
	}
}

func newOracle(goarch string, caps []string, calls map[string]uint32) *oracle {
	o := &oracle{profile: moby.DefaultProfile(), goarch: goarch, caps: caps, names: map[uint32][]string{}}
	for name, number := range calls {
		o.names[number] = append(o.names[number], name)
	}
	for _, r := range o.profile.Syscalls {
		for _, name := range r.Names {
			if n, ok := calls[name]; ok && n < 0xf0000 {
				o.newest = max(o.newest, n)
			}
		}
	}
	return o
}

// capSets are the sets of capabilities to try.
func capSets() [][]string {
	var every []string
	for name := range capNumbers {
		every = append(every, name)
	}
	slices.Sort(every)
	sets := [][]string{nil, every, {"CAP_SYS_CHROOT"}}
	for _, name := range every {
		sets = append(sets, []string{name})
	}
	rnd := rand.New(rand.NewPCG(4, 2))
	for range 12 {
		var set []string
		for _, name := range every {
			if rnd.IntN(2) == 0 {
				set = append(set, name)
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// compareAll tries every number, and arguments about those that rules name.
func compareAll(t *testing.T, m *bpf.VM, o *oracle, arch uint32) {
	t.Helper()
	numbers := []uint32{0xf0000, 0xf0001, 0xf0002, 0xf0003, 0xf0004, 0xf0005, 0xf0006, 0xffffffff, x32Bit, x32Bit + 41, x32Bit + 512}
	for n := range uint32(700) {
		numbers = append(numbers, n)
	}
	for _, n := range numbers {
		for _, args := range o.arguments(n) {
			c := call{arch: arch, number: n, args: args}
			want, why := o.wants(c)
			if got := judge(t, m, c); got != want {
				t.Errorf("%s, %v: call %d (%s) of %#x with %v: %#x, want %#x", o.goarch, o.caps, n, why, arch, args, got, want)
			}
		}
	}
}

// arguments are those worth trying with a call.
func (o *oracle) arguments(n uint32) [][6]uint64 {
	list := [][6]uint64{{}, {^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}}
	add := func(index uint, values ...uint64) {
		for _, v := range values {
			var args [6]uint64
			args[index] = v
			list = append(list, args)
		}
	}
	for _, name := range o.names[n] {
		switch name {
		case "ioctl":
			add(1, unix.TIOCSTI, unix.TIOCLINUX, unix.TIOCGWINSZ, unix.TIOCSTI|1<<32, 1<<32)
		case "socketcall":
			add(0, 1, 2, 8, 1|1<<32)
		case "socket":
			for family := range uint64(64) {
				add(0, family, family|1<<32)
			}
		}
		for _, r := range o.profile.Syscalls {
			if !slices.Contains(r.Names, name) {
				continue
			}
			for _, a := range r.Args {
				add(a.Index, a.Value, a.Value-1, a.Value+1, a.Value|1<<32, a.Value|1<<63, ^a.Value)
				for bit := range 64 {
					add(a.Index, 1<<bit)
				}
			}
		}
	}
	return list
}

// TestBuiltinRefuses_B05 names what must be refused, for who reads no profile.
func TestBuiltinRefuses_B05(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Fatal("no program for", runtime.GOARCH)
	}
	m, arch := vm(t, Builtin(0).Code), families(runtime.GOARCH)[0].audit
	for _, row := range []struct {
		name string
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{"read", unix.SYS_READ, [6]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"execve", unix.SYS_EXECVE, [6]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"fork", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, unix.SECCOMP_RET_ALLOW},
		{"a user name-space by clone", unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, eperm},
		{"clone3", unix.SYS_CLONE3, [6]uint64{}, enosys},
		{"unshare", unix.SYS_UNSHARE, [6]uint64{}, eperm},
		{"setns", unix.SYS_SETNS, [6]uint64{}, eperm},
		{"mount", unix.SYS_MOUNT, [6]uint64{}, eperm},
		{"fsopen", unix.SYS_FSOPEN, [6]uint64{}, eperm},
		{"bpf", unix.SYS_BPF, [6]uint64{}, eperm},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, [6]uint64{}, eperm},
		{"userfaultfd", unix.SYS_USERFAULTFD, [6]uint64{}, eperm},
		{"keyctl", unix.SYS_KEYCTL, [6]uint64{}, eperm},
		{"add_key", unix.SYS_ADD_KEY, [6]uint64{}, eperm},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [6]uint64{}, eperm},
		{"AF_ALG", unix.SYS_SOCKET, [6]uint64{unix.AF_ALG}, eperm},
		{"AF_VSOCK", unix.SYS_SOCKET, [6]uint64{unix.AF_VSOCK}, eperm},
		{"AF_INET6", unix.SYS_SOCKET, [6]uint64{unix.AF_INET6}, unix.SECCOMP_RET_ALLOW},
		{"ptrace", unix.SYS_PTRACE, [6]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"typing into the terminal", unix.SYS_IOCTL, [6]uint64{0, unix.TIOCSTI}, eperm},
		{"another ioctl", unix.SYS_IOCTL, [6]uint64{0, unix.TIOCGWINSZ}, unix.SECCOMP_RET_ALLOW},
		{"personality of old", unix.SYS_PERSONALITY, [6]uint64{8}, unix.SECCOMP_RET_ALLOW},
		{"personality without random addresses", unix.SYS_PERSONALITY, [6]uint64{0x40000}, eperm},
		{"a call of the future", 5000, [6]uint64{}, enosys},
	} {
		if got := judge(t, m, call{arch, row.nr, row.args}); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.name, got, row.want)
		}
	}
}

// TestCallsAreCheap bounds the way to each verdict: what a call costs where the
// kernel keeps no bitmap, and what making that costs.
func TestCallsAreCheap(t *testing.T) {
	code := Builtin(0).Code
	for _, m := range families(runtime.GOARCH) {
		worst, worstNumber := 0, uint32(0)
		for n := range uint32(500) {
			if steps := length(code, call{arch: m.audit, number: n}); steps > worst {
				worst, worstNumber = steps, n
			}
		}
		if worst > 24 {
			t.Errorf("%s: call %d takes %d instructions, want 24 at most", m.name, worstNumber, worst)
		}
		t.Logf("%s: %d instructions at most (call %d), %d for read", m.name, worst, worstNumber, length(code, call{arch: m.audit}))
	}
}

// length counts the instructions a call takes.
func length(code []unix.SockFilter, c call) (steps int) {
	var a uint32
	for pc := 0; ; pc++ {
		steps++
		ins, yes := code[pc], false
		switch ins.Code {
		case opLoad:
			switch off := ins.K; {
			case off == dataNumber:
				a = c.number
			case off == dataArch:
				a = c.arch
			default:
				a = uint32(c.args[(off-dataArgs)/8] >> (8 * ((off - dataArgs) % 8)))
			}
			continue
		case opAnd:
			a &= ins.K
			continue
		case opJump:
			pc += int(ins.K)
			continue
		case opReturn:
			return steps
		case opEqual:
			yes = a == ins.K
		case opAtLeast:
			yes = a >= ins.K
		case opMore:
			yes = a > ins.K
		default:
			panic(fmt.Sprintf("instruction %d: %#x", pc, ins.Code))
		}
		if yes {
			pc += int(ins.Jt)
		} else {
			pc += int(ins.Jf)
		}
	}
}
