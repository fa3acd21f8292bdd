package seccomp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var here = Target{Has: func(c string) bool { return c == "CAP_SYS_CHROOT" }, Kernel: "6.1.0-44-amd64"}

// TestProfiles compiles small profiles and asks them about a call.
func TestProfiles(t *testing.T) {
	own := families(runtime.GOARCH)[0]
	kin := families(runtime.GOARCH)[1]
	for _, row := range []struct {
		name, profile string
		call          call
		want          uint32
	}{
		{"nothing but a default", `{"defaultAction":"SCMP_ACT_ALLOW"}`, call{number: 3}, unix.SECCOMP_RET_ALLOW},
		{"an allow-list", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["getpid"],"action":"SCMP_ACT_ALLOW"}]}`, call{number: unix.SYS_GETPID}, unix.SECCOMP_RET_ALLOW},
		{"its default", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["getpid"],"action":"SCMP_ACT_ALLOW"}]}`, call{number: 0}, eperm},
		{"its default for what is newer", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["getpid"],"action":"SCMP_ACT_ALLOW"}]}`, call{number: 600}, enosys},
		{"an errno of one's own", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13}`, call{number: 0}, unix.SECCOMP_RET_ERRNO | 13},
		{"a deny-list", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdirat","action":"SCMP_ACT_ERRNO","errnoRet":2}]}`, call{number: unix.SYS_MKDIRAT}, unix.SECCOMP_RET_ERRNO | 2},
		{"killing", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_KILL_PROCESS"}]}`, call{number: unix.SYS_BPF}, unix.SECCOMP_RET_KILL_PROCESS},
		{"trapping", `{"defaultAction":"SCMP_ACT_TRAP"}`, call{number: 1}, unix.SECCOMP_RET_TRAP},
		{"logging", `{"defaultAction":"SCMP_ACT_LOG"}`, call{number: 1}, unix.SECCOMP_RET_LOG},
		{"a capability it has", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["chroot"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_CHROOT"]}}]}`, call{number: unix.SYS_CHROOT}, unix.SECCOMP_RET_ALLOW},
		{"one it hasn't", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["chroot"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}`, call{number: unix.SYS_CHROOT}, eperm},
		{"a kernel too old", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["chroot"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}}]}`, call{number: unix.SYS_CHROOT}, eperm},
		{"a kernel just so", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["chroot"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.1"}}]}`, call{number: unix.SYS_CHROOT}, unix.SECCOMP_RET_ALLOW},
		{"two comparisons of one argument are alternatives", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]}]}`, call{number: unix.SYS_READ, args: [6]uint64{5}}, unix.SECCOMP_RET_ALLOW},
		{"those of two are not", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":5,"op":"SCMP_CMP_EQ"}]}]}`, call{number: unix.SYS_READ, args: [6]uint64{5}}, eperm},
		{"a rule without arguments wins", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":9,"args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, call{number: unix.SYS_READ, args: [6]uint64{1}}, unix.SECCOMP_RET_ALLOW},
		{"32-bit programs where they are not listed", `{"defaultAction":"SCMP_ACT_ALLOW"}`, call{arch: kin.audit}, unix.SECCOMP_RET_KILL_PROCESS},
		{"32-bit programs where they are", `{"defaultAction":"SCMP_ACT_ALLOW","architectures":["` + own.name + `","` + kin.name + `"]}`, call{arch: kin.audit}, unix.SECCOMP_RET_ALLOW},
		{"a name of another architecture's", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["s390_pci_mmio_read","read"],"action":"SCMP_ACT_ALLOW"}]}`, call{number: unix.SYS_READ}, unix.SECCOMP_RET_ALLOW},
	} {
		p, err := Parse([]byte(row.profile))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		f, err := p.Compile(here)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if row.call.arch == 0 {
			row.call.arch = own.audit
		}
		if got := judge(t, vm(t, f.Code), row.call); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.name, got, row.want)
		}
	}
}

// TestWrongProfiles: an error says where the profile is wrong.
func TestWrongProfiles(t *testing.T) {
	for _, row := range []struct{ profile, want string }{
		{"", "line 1: EOF"},
		{"{\n\"defaultAction\": \"SCMP_ACT_ALLOW\",\n}", "line 3: invalid character"},
		{"{\n\"defaultAction\": 3\n}", "line 2: defaultAction: a number can't stand there"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","sycalls":[]}`, `line 1: unknown field "sycalls"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW"} {}`, "something follows the profile"},
		{`{}`, "defaultAction: has no action"},
		{`{"defaultAction":"ALLOW"}`, `defaultAction: action "ALLOW": no such action`},
		{`{"defaultAction":"SCMP_ACT_NOTIFY"}`, "nobody here answers"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["a"],"archMap":[{"architecture":"b"}]}`, "both architectures and archMap"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}`, `flags: "X"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},{"action":"SCMP_ACT_ALLOW"}]}`, "rule 2 of syscalls (no name): names no call"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"]}]}`, "rule 1 of syscalls (read): has no action"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, "both name and names"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`, "argument 6: a call has six"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"op":"EQ"}]}]}`, `argument 1: op "EQ"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","errnoRet":3}]}`, "errnoRet goes with"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":5000}]}`, "5000 is too large"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"x"}}]}`, `version of Linux "x"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mont"],"action":"SCMP_ACT_ERRNO"}]}`, "means to refuse mont: no call is named so"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"},{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, "call read: two rules without arguments say different things"},
		{`{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x"}`, "listenerPath: nobody here answers"},
	} {
		p, err := Parse([]byte(row.profile))
		if err == nil {
			_, err = p.Compile(here)
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.profile, err, row.want)
		}
	}
}

// TestMobysOwnFileCompiles: the profile that people begin with, as a file.
func TestMobysOwnFileCompiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(listModule(t, "Dir", "github.com/moby/profiles/seccomp"), "default.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Compile(here)
	if err != nil {
		t.Fatal(err)
	}
	own := families(runtime.GOARCH)[0]
	m, o := vm(t, f.Code), newOracle(runtime.GOARCH, []string{"CAP_SYS_CHROOT"}, tables()[0])
	for n := range uint32(700) {
		c := call{arch: own.audit, number: n}
		if want, name := o.wants(c); judge(t, m, c) != want {
			t.Errorf("call %d (%s): %#x, want %#x", n, name, judge(t, m, c), want)
		}
	}
	t.Logf("%d instructions", len(f.Code))
}

// TestComparisons: every operator, by edges of both halves, against plain arithmetic.
func TestComparisons(t *testing.T) {
	edges := []uint64{0, 1, 2, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<33 - 1, 5<<32 + 7, 1<<63 - 1, 1 << 63, ^uint64(0)}
	for _, op := range strings.Fields(operators) {
		for _, value := range edges {
			for _, two := range []uint64{0, 1, value, value &^ 1} {
				a := newAssembler()
				yes, no := a.ret(result{action: 1}, 0), a.ret(result{action: 2}, 0)
				for range 300 { // far away
					a.write(opReturn, 3, 0, 0)
				}
				test := arg{Index: 2, Value: value, ValueTwo: two, Op: op}
				a.before(opLoad, dataNumber, a.compare(test, yes, no))
				code, _ := a.finish()
				m := vm(t, code)
				for _, got := range edges {
					want := uint32(2)
					if plainly(test, got) {
						want = 1
					}
					if is := judge(t, m, call{args: [6]uint64{2: got}}); is != want {
						t.Errorf("%#x %s %#x, %#x: %d, want %d", got, op, value, two, is, want)
					}
				}
			}
		}
	}
}

func plainly(a arg, got uint64) bool {
	switch strings.TrimPrefix(a.Op, "SCMP_CMP_") {
	case "NE":
		return got != a.Value
	case "LT":
		return got < a.Value
	case "LE":
		return got <= a.Value
	case "EQ":
		return got == a.Value
	case "GE":
		return got >= a.Value
	case "GT":
		return got > a.Value
	}
	return got&a.Value == a.ValueTwo
}

// TestAnyProfile makes profiles up and compares what they compile to with going
// through their rules one by one.
func TestAnyProfile(t *testing.T) {
	calls := tables()[0]
	names := strings.Fields(callsOwn)
	ops := strings.Fields(operators)
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := &Profile{DefaultAction: "SCMP_ACT_ERRNO"}
		for range 1 + rnd.IntN(120) {
			name, _, _ := strings.Cut(names[rnd.IntN(len(names))], "=")
			r := rule{Names: []string{name}, Action: "SCMP_ACT_ALLOW"}
			for i := range uint(rnd.IntN(4)) {
				r.Args = append(r.Args, arg{i, rnd.Uint64N(4) << (32 * rnd.Uint64N(2)), rnd.Uint64N(4), ops[rnd.IntN(len(ops))]})
			}
			p.Syscalls = append(p.Syscalls, r)
		}
		f, err := p.Compile(here)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		m := vm(t, f.Code)
		for range 3000 {
			entry := names[rnd.IntN(len(names))]
			name, _, _ := strings.Cut(entry, "=")
			c := call{arch: families(runtime.GOARCH)[0].audit, number: calls[name]}
			for i := range c.args {
				c.args[i] = rnd.Uint64N(5) << (32 * rnd.Uint64N(2))
			}
			if got, want := judge(t, m, c), slowly(p, name, c); got != want && (got != enosys || want != eperm) {
				t.Fatalf("seed %d: %s %v: %#x, want %#x", seed, name, c.args, got, want)
			}
		}
	}
}

func slowly(p *Profile, name string, c call) uint32 {
	for _, r := range p.Syscalls {
		all := r.Names[0] == name
		for _, a := range r.Args {
			all = all && plainly(a, c.args[a.Index])
		}
		if all {
			return unix.SECCOMP_RET_ALLOW
		}
	}
	return eperm
}

// FuzzParse: no profile makes it panic, and what it compiles the kernel takes.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read","clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}],"includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"}}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"name":"socket","action":"SCMP_ACT_TRACE","errnoRet":7}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		filter, err := p.Compile(here)
		if err != nil {
			return
		}
		if n := len(filter.Code); n == 0 || n > instructionsMax {
			t.Fatalf("%d instructions", n)
		}
		vm(t, filter.Code)
	})
}

// BenchmarkCompile is what a profile of one's own costs the first time.
func BenchmarkCompile(b *testing.B) {
	text := fmt.Appendf(nil, `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":[%s"read"],"action":"SCMP_ACT_ALLOW"}]}`, func() (list string) {
		for _, entry := range strings.Fields(callsOwn) {
			name, _, _ := strings.Cut(entry, "=")
			list += fmt.Sprintf("%q,", name)
		}
		return list
	}())
	for b.Loop() {
		p, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Compile(here); err != nil {
			b.Fatal(err)
		}
	}
}
