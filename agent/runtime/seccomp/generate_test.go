package seccomp

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the built-in profile's programs anew")

// capNumbers are the capabilities that rules of moby's profile ask for.
var capNumbers = map[string]uint{
	"CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_SYS_BOOT": unix.CAP_SYS_BOOT,
	"CAP_SYS_CHROOT": unix.CAP_SYS_CHROOT, "CAP_SYS_MODULE": unix.CAP_SYS_MODULE, "CAP_SYS_PACCT": unix.CAP_SYS_PACCT,
	"CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE, "CAP_SYS_RAWIO": unix.CAP_SYS_RAWIO, "CAP_SYS_TIME": unix.CAP_SYS_TIME,
	"CAP_SYS_TTY_CONFIG": unix.CAP_SYS_TTY_CONFIG, "CAP_SYS_NICE": unix.CAP_SYS_NICE, "CAP_SYSLOG": unix.CAP_SYSLOG,
	"CAP_BPF": unix.CAP_BPF, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN,
}

// builtinKernel is the oldest Linux a container starts on (see package runtime).
var builtinKernel = kernel{5, 6}

// TestGenerated holds the generated files to what they are made of. With
// -update it writes them.
func TestGenerated(t *testing.T) {
	p := mobyProfile(t)
	for _, goarch := range []string{"amd64", "arm64"} {
		want, err := generate(p, goarch, version0(t, "github.com/moby/profiles/seccomp"), callTables(t, goarch))
		if err != nil {
			t.Fatalf("%s: %v", goarch, err)
		}
		file := "builtin_" + goarch + ".go"
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what it would be if it were made now (%v): go generate ./agent/runtime/seccomp", file, err)
		}
	}
}

// mobyProfile is moby's default profile by way of its JSON.
func mobyProfile(t *testing.T) *Profile {
	t.Helper()
	p, err := Parse(mobyJSON(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mobyJSON(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(moby.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// listModule asks go about a module this one needs.
func listModule(t *testing.T, what, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{."+what+"}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

func version0(t *testing.T, module string) string { return listModule(t, "Version", module) }

// callTables reads the numbers of a GOARCH's calls and of its 32-bit kin's.
func callTables(t *testing.T, goarch string) []map[string]uint32 {
	kin := map[string]string{"amd64": "386", "arm64": "arm"}[goarch]
	var all []map[string]uint32
	for _, arch := range []string{goarch, kin} {
		file := filepath.Join(listModule(t, "Dir", "golang.org/x/sys"), "unix", "zsysnum_linux_"+arch+".go")
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		calls := map[string]uint32{}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			name, ok := strings.CutPrefix(spec.Names[0].Name, "SYS_")
			number, err := strconv.ParseUint(spec.Values[0].(*ast.BasicLit).Value, 10, 32)
			if ok && err == nil && name != "ARCH_SPECIFIC_SYSCALL" && name != "SYSCALL_MASK" {
				calls[strings.ToLower(name)] = uint32(number)
			}
			return false
		})
		if arch == "arm" { // its own, from asm/unistd.h; x/sys has them not
			for n, name := range []string{1: "breakpoint", 2: "cacheflush", 5: "set_tls"} {
				if name != "" {
					calls[name] = privateCalls + uint32(n)
				}
			}
		}
		if len(calls) < 300 {
			t.Fatalf("%s: %d calls", file, len(calls))
		}
		all = append(all, calls)
	}
	return all
}

// compileBuiltin makes a program of moby's profile with the results that hang on
// a capability left open.
func compileBuiltin(p *Profile, goarch string, tables []map[string]uint32) ([]unix.SockFilter, []patch, error) {
	listed, err := p.machines(goarch, tables)
	if err != nil {
		return nil, nil, err
	}
	a := newAssembler()
	var parts []part
	for _, m := range listed {
		all, err := openPolicy(p, goarch, m)
		if err != nil {
			return nil, nil, err
		}
		harden(all, m)
		parts = append(parts, part{m.audit, all.assemble(a, m)})
	}
	whole(a, parts)
	code, patches := a.finish()
	return code, patches, nil
}

// openPolicy is a policy whose results name the capabilities that open a call. It
// refuses a profile that can't be said so.
func openPolicy(p *Profile, goarch string, m machine) (*policy, error) {
	with := func(capability string) (*policy, error) {
		return p.policy(p.rules(goarch, func(c string) bool { return c == capability }, builtinKernel), m)
	}
	base, err := with("")
	if err != nil {
		return nil, err
	}
	for name, number := range capNumbers {
		more, err := with(name)
		if err != nil {
			return nil, err
		}
		for call, v := range more.calls {
			old, ok := base.calls[call]
			if !ok {
				old = verdict{result: result{action: base.standard}}
			}
			plain := old
			plain.caps = 0
			switch {
			case v.String() == plain.String():
			case len(v.tests) == 0 && v.action == unix.SECCOMP_RET_ALLOW:
				old.caps |= 1 << number
				base.calls[call] = old
			default:
				return nil, fmt.Errorf("call %d with %s: %v, without: %v", call, name, v, plain)
			}
		}
	}
	return base, nil
}

// harden refuses what moby's profile lets by: see the package's comment.
func harden(all *policy, m machine) {
	refuse := func(name string, index uint, values ...uint64) {
		v := all.calls[m.calls[name]]
		for _, value := range values {
			v.tests = append(v.tests, test{[]arg{{index, 0xffffffff, value, "SCMP_CMP_MASKED_EQ"}}, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
		}
		all.calls[m.calls[name]] = v
	}
	refuse("ioctl", 1, unix.TIOCSTI, unix.TIOCLINUX)
	if m.name == "SCMP_ARCH_X86" {
		const socket = 1 // SYS_SOCKET of linux/net.h
		refuse("socketcall", 0, socket)
	}
}

// generate writes a GOARCH's file.
func generate(p *Profile, goarch, version string, tables []map[string]uint32) ([]byte, error) {
	for _, r := range p.Syscalls {
		for _, c := range slices.Concat(r.Includes.Caps, r.Excludes.Caps) {
			if _, ok := capNumbers[c]; !ok {
				return nil, fmt.Errorf("the profile asks for %s: add it to capNumbers", c)
			}
		}
	}
	code, patches, err := compileBuiltin(p, goarch, tables)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated by go generate, see generate_test.go. DO NOT EDIT.\n\npackage seccomp\n\nimport \"golang.org/x/sys/unix\"\n\n")
	fmt.Fprintf(&b, "const builtinVersion = %q\n\n", version)
	for i, name := range []string{"callsOwn", "callsKin"} {
		what := map[string]string{"callsOwn": "the numbers of this architecture's calls", "callsKin": "those of its 32-bit kin's"}[name]
		fmt.Fprintf(&b, "// %s: %s.\nconst %s = `%s`\n\n", name, what, name, callText(tables[i]))
	}
	fmt.Fprintf(&b, "// builtinPatches: which instructions allow when the container has one of which capabilities.\nvar builtinPatches = [...]patch{\n")
	for _, p := range patches {
		fmt.Fprintf(&b, "{%d, %#x},\n", p.at, p.caps)
	}
	fmt.Fprintf(&b, "}\n\nvar builtinCode = [...]unix.SockFilter{\n")
	for i, ins := range code {
		fmt.Fprintf(&b, "{Code: %#02x, Jt: %d, Jf: %d, K: %#x}, // %s\n", ins.Code, ins.Jt, ins.Jf, ins.K, explain(i, ins))
	}
	fmt.Fprintf(&b, "}\n")
	return format.Source(b.Bytes())
}

// callText lists calls by number, some in a line.
func callText(calls map[string]uint32) string {
	var names []string
	for name := range calls {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int {
		if calls[x] != calls[y] {
			return int(calls[x]) - int(calls[y])
		}
		return strings.Compare(x, y)
	})
	var b strings.Builder
	for i, name := range names {
		sep := " "
		if i%8 == 0 {
			sep = "\n"
		}
		fmt.Fprintf(&b, "%s%s=%d", sep, name, calls[name])
	}
	return b.String() + "\n"
}

// explain says what an instruction does, for who reads the generated file.
func explain(i int, ins unix.SockFilter) string {
	to := func(n uint8) int { return i + 1 + int(n) }
	switch ins.Code {
	case opLoad:
		switch {
		case ins.K == dataNumber:
			return fmt.Sprintf("%d: number", i)
		case ins.K == dataArch:
			return fmt.Sprintf("%d: architecture", i)
		}
		return fmt.Sprintf("%d: argument %d, %s half", i, (ins.K-dataArgs)/8, map[uint32]string{0: "lower", 4: "upper"}[(ins.K-dataArgs)%8])
	case opAnd:
		return fmt.Sprintf("%d: and", i)
	case opJump:
		return fmt.Sprintf("%d: to %d", i, i+1+int(ins.K))
	case opReturn:
		return fmt.Sprintf("%d: %s", i, map[uint32]string{
			unix.SECCOMP_RET_ALLOW: "allow", unix.SECCOMP_RET_KILL_PROCESS: "kill",
			unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM): "EPERM", unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS): "ENOSYS",
		}[ins.K])
	}
	return fmt.Sprintf("%d: %s %d? %d, %d", i, map[uint16]string{opEqual: "=", opAtLeast: ">=", opMore: ">"}[ins.Code], ins.K, to(ins.Jt), to(ins.Jf))
}
