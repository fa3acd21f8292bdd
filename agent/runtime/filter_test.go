package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime/seccomp"
)

const denyMkdir = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":%d}]}`

func writeProfile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestProfileIsCompiledOnce: a file's filter is kept under a name that says what
// of, and who joins the container finds it by that.
func TestProfileIsCompiledOnce(t *testing.T) {
	dir := t.TempDir()
	d, file := NewDir(dir, dir+"/run"), filepath.Join(dir, "profile.json")
	d.UseProfiles(d.CompileProfile)
	writeProfile(t, file, fmt.Sprintf(denyMkdir, 1))
	first, name, err := d.profileFilter(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := d.savedFilter(name)
	if err != nil || !slices.Equal(saved.Code, first.Code) || saved.Flags != first.Flags {
		t.Fatalf("kept: %v, %v; want %v", saved, err, first)
	}
	// A mark in what is kept shows that it, and not the file, is read.
	saved.Code[len(saved.Code)-1].K++
	if err := d.saveFilter(name, saved); err != nil {
		t.Fatal(err)
	}
	if again, _, err := d.profileFilter(file, 0); err != nil || !slices.Equal(again.Code, saved.Code) {
		t.Errorf("compiled again (%v)", err)
	}
	if _, other, err := d.profileFilter(file, 1); err != nil || other == name {
		t.Errorf("other capabilities, the same filter (%v)", err)
	}
	writeProfile(t, file, fmt.Sprintf(denyMkdir, 2))
	if _, other, err := d.profileFilter(file, 0); err != nil || other == name {
		t.Errorf("another profile, the same filter (%v)", err)
	}
	if old, err := d.savedFilter(name); err != nil || old == nil {
		t.Errorf("the filter of a container that runs is gone: %v", err)
	}
	writeProfile(t, d.filterFile(name), "short")
	if _, err := d.savedFilter(name); err == nil || !strings.Contains(err.Error(), "no filter") {
		t.Errorf("5 bytes: %v", err)
	}
}

// TestCompiledProfilesAreBounded: those that no container has go, when there are
// too many.
func TestCompiledProfilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	d := NewDir(dir, dir+"/run")
	f := &seccomp.Filter{Code: []unix.SockFilter{{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}}}
	for i := range filtersMax {
		if err := d.saveFilter(fmt.Sprintf("%064x", i), f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := claim(t, d, Record{Name: "web", Security: Security{Seccomp: fmt.Sprintf("%064x", 7)}}); err != nil {
		t.Fatal(err)
	}
	if err := d.saveFilter("new", f); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(filepath.Join(dir, "seccomp"))
	if err != nil || len(kept) != 2 {
		t.Errorf("%d are kept (%v), want that in use and the new one", len(kept), err)
	}
}

func TestWrongProfileFiles(t *testing.T) {
	dir := t.TempDir()
	d, file := NewDir(dir, dir+"/run"), filepath.Join(dir, "p")
	d.UseProfiles(d.CompileProfile)
	for _, row := range []struct{ text, want string }{
		{"", "line 1: EOF"},
		{"{\n\n\"a\": 1}", `p: line 3: unknown field "a"`},
		{`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ERRNO"}]}`, "no call is named so"},
		{strings.Repeat(" ", profileMax+1), "at most 1048576 bytes"},
	} {
		writeProfile(t, file, row.text)
		if _, _, err := d.profileFilter(file, 0); err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "--security-opt=seccomp="+file) {
			t.Errorf("%.40q: %v, want %q", row.text, err, row.want)
		}
	}
	for _, other := range []string{dir, "/dev/zero", dir + "/none"} {
		if _, _, err := d.profileFilter(other, 0); err == nil {
			t.Errorf("%s: taken for a profile", other)
		}
	}
}

func TestSecurity(t *testing.T) {
	for _, row := range []struct {
		name   string
		spec   func(*Spec)
		has    []string
		hasNot string
	}{
		{
			name: "the filter is the last thing, and names the profile and what capabilities open",
			spec: func(s *Spec) { s.CapAdd = []string{"SYS_PTRACE", "NET_ADMIN"} },
			has:  []string{"bounding set", "become user", "permitted and effective", "no new privileges", "system call filter: moby's default profile v0.3.0, with what SYS_CHROOT SYS_PTRACE opens;", "execve"},
		},
		{
			name: "without capabilities nothing is opened",
			spec: func(s *Spec) { s.CapDrop = []string{"ALL"} },
			has:  []string{"system call filter: moby's default profile v0.3.0; other calls answer EPERM"},
		},
		{
			name: "a program that may gain privileges gets the filter while it still has them, and setuid files",
			spec: func(s *Spec) { s.NewPrivileges = true },
			has:  []string{"make the root: overlay of 2 layers and a writable one, ids mapped, by descriptor; setuid programs count", "system call filter", "bounding set", "execve"}, hasNot: "no new privileges",
		},
		{
			name: "no filter",
			spec: func(s *Spec) { s.Seccomp = SeccompUnconfined },
			has:  []string{"no new privileges", "execve"}, hasNot: "system call filter",
		},
		{
			name: "a profile of one's own",
			spec: func(s *Spec) { s.Seccomp = "/etc/p.json" },
			has:  []string{"system call filter: profile /etc/p.json"}, hasNot: "moby",
		},
		{
			name: "a profile of AppArmor's",
			spec: func(s *Spec) { s.AppArmor = "docker-default" },
			has:  []string{"pivot_root", "have the program run under AppArmor profile docker-default", "bounding set"},
		},
		{
			name: "nothing hidden",
			spec: func(s *Spec) { s.Unmasked = []string{"all"} },
			has:  []string{"mount proc on /proc"}, hasNot: "hide /",
		},
		{
			name: "one path not hidden",
			spec: func(s *Spec) { s.Unmasked = []string{"/proc/ac*"} },
			has:  []string{"hide /proc/kcore", "hide /sys/firmware", "make /proc/sys read-only"}, hasNot: "hide /proc/acpi",
		},
		{
			name: "what is read-only left as it is",
			spec: func(s *Spec) { s.Unmasked = []string{"/proc/sys/"} },
			has:  []string{"hide /proc/kcore"}, hasNot: "make /proc/sys read-only",
		},
		{
			name: "hidden by the user's wish wins",
			spec: func(s *Spec) { s.Unmasked, s.Masked = []string{"ALL"}, []string{"/proc/kcore"} },
			has:  []string{"hide /proc/kcore"}, hasNot: "hide /proc/acpi",
		},
	} {
		spec := webSpec()
		row.spec(&spec)
		p, err := Make(spec, rootHost())
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if text := p.String(); !inOrder(text, row.has) || row.hasNot != "" && strings.Contains(text, row.hasNot) {
			t.Errorf("%s: want %q in this order and not %q, got\n%s", row.name, row.has, row.hasNot, text)
		}
	}
}

// TestFilterComesLast: whatever else the table does comes before, so that a
// filter somebody wrote need not let it by.
func TestFilterComesLast(t *testing.T) {
	p, err := Make(webSpec(), rootHost())
	if err != nil {
		t.Fatal(err)
	}
	b := p.compile(&inputs{mail: &mail{}, notify: -1})
	for i, o := range b.ops {
		if o.nr != unix.SYS_SECCOMP {
			continue
		}
		if next := b.ops[i+1].nr; next != unix.SYS_RT_SIGPROCMASK || b.ops[i+2].nr != unix.SYS_EXECVE {
			t.Errorf("behind the filter: call %d, then %d", next, b.ops[i+2].nr)
		}
		return
	}
	t.Error("no filter")
}

// TestLookAtHostFindsMasked: what the user wants hidden is looked at as what
// always is, and what lies in another such directory comes first.
func TestLookAtHostFindsMasked(t *testing.T) {
	h := LookAtHost("/proc/tty", "/proc/cpuinfo", "/proc/tty/driver", "/proc/nothing")
	if !slices.Contains(h.ProcFiles, "/proc/cpuinfo") || slices.Contains(h.ProcFiles, "/proc/nothing") {
		t.Errorf("files: %v", h.ProcFiles)
	}
	if len(h.ProcDirs) < 2 || h.ProcDirs[0] != "/proc/tty/driver" || h.ProcDirs[1] != "/proc/tty" {
		t.Errorf("directories: %v", h.ProcDirs)
	}
}

func TestWrongSecurity(t *testing.T) {
	for _, row := range []struct {
		spec func(*Spec)
		want string
	}{
		{func(s *Spec) { s.Masked = []string{"/etc/passwd"} }, "only what is below /proc and /sys"},
		{func(s *Spec) { s.Masked = []string{"/proc/../etc"} }, "only what is below /proc and /sys"},
		{func(s *Spec) { s.Masked = []string{"/proc"} }, "only what is below /proc and /sys"},
		{func(s *Spec) { s.Unmasked = []string{"kcore"} }, "write ALL, or paths"},
		{func(s *Spec) { s.Unmasked = []string{"/proc/["} }, "write ALL, or paths"},
		{func(s *Spec) { s.Seccomp = "p.json" }, "must begin with a slash"},
		{func(s *Spec) { s.AppArmor = "a b" }, "one word"},
	} {
		spec := webSpec()
		row.spec(&spec)
		if _, err := Make(spec, rootHost()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v, want %q", err, row.want)
		}
	}
}

// inOrder says whether text has all parts, each behind the one before.
func inOrder(text string, parts []string) bool {
	for _, part := range parts {
		_, rest, ok := strings.Cut(text, part)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}
