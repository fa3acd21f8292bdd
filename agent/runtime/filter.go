package runtime

import (
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime/seccomp"
	"github.com/clusterd/clusterd/agent/sheet"
)

// SeccompUnconfined as a profile is no system call filter at all.
const SeccompUnconfined = "unconfined"

// Security is what a container's processes are kept from, beside capabilities.
// A record keeps it for processes that join the container later: [Dir.savedFilter]
// and lockDown give those what the first one got.
type Security struct {
	// Seccomp names the system call filter: empty is the built-in one, then
	// SeccompUnconfined, or a file with a profile of docker's, absolute. In a
	// record it is the compiled filter's name in place of the file's.
	Seccomp       string
	NewPrivileges bool   // setuid programs and file capabilities count
	AppArmor      string // profile to enter, of those the machine has loaded
}

// lockDown are the steps, the last before a program is looked for, by which a
// process gives up what the program must not have. The caller is root of the
// name-space it is in.
func (s Security) lockDown(caps capSet, user becomeUser) []Step {
	drop := []Step{dropBounding{caps}, user, keepCaps{caps}}
	filter := []Step{filterCalls{Caps: caps, Profile: s.Seccomp, First: s.NewPrivileges}}
	if s.Seccomp == SeccompUnconfined {
		filter = nil
	}
	if s.NewPrivileges {
		// The kernel takes a filter from who can't gain privileges or has them all:
		// so it comes first, and must let by what follows.
		return append(filter, drop...)
	}
	return append(append(drop, noNewPrivileges{}), filter...)
}

func (s filterCalls) String() string {
	if s.Profile != "" {
		return "system call filter: profile " + s.Profile
	}
	text := "system call filter: " + seccomp.BuiltinName
	if open := capSet(seccomp.Concerns(uint64(s.Caps))); open != 0 {
		text += ", with what " + open.String() + " opens"
	}
	return text + "; other calls answer EPERM, newer ones ENOSYS, those of foreign architectures kill"
}

func (s filterCalls) compile(b *builder, in *inputs) {
	f := in.filter
	if f == nil {
		f = seccomp.Builtin(uint64(s.Caps))
	}
	prog := make([]byte, 16) // struct sock_fprog
	binary.NativeEndian.PutUint16(prog, uint16(len(f.Code)))
	binary.NativeEndian.PutUint64(prog[8:], b.bytes(filterBytes(f.Code)))
	at := b.bytes(prog)
	set := func() {
		b.call("set the system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uint64(f.Flags), at)
	}
	if s.First {
		set()
		return
	}
	// When the program is found: a filter somebody wrote years ago may not let by
	// what finding it takes.
	b.seal = set
}

// filterBytes are a filter's instructions as the kernel reads them.
func filterBytes(code []unix.SockFilter) []byte {
	raw := make([]byte, 0, len(code)*unix.SizeofSockFilter)
	for _, ins := range code {
		raw = binary.NativeEndian.AppendUint16(raw, ins.Code)
		raw = append(raw, ins.Jt, ins.Jf)
		raw = binary.NativeEndian.AppendUint32(raw, ins.K)
	}
	return raw
}

// profileMax bounds a profile's file, in bytes; moby's has 18,000.
const profileMax = 1 << 20

// Profiles compiles the profile in a file for a container with capabilities, bit
// n for capability n, and returns the name under which the filter is kept. It is
// [Dir.CompileProfile], here or in another program: reading JSON takes code that
// a start has no other use for.
type Profiles func(file string, caps uint64) (name string, err error)

// UseProfiles says how profiles are compiled. Without it there are none but the
// built-in one.
func (d *Dir) UseProfiles(p Profiles) { d.profiles = p }

// profileFilter returns the filter of a profile in a file, and its name for a
// record.
func (d *Dir) profileFilter(file string, caps capSet) (f *seccomp.Filter, name string, err error) {
	if d.profiles == nil {
		return nil, "", fmt.Errorf("--security-opt=seccomp=%s: profiles can't be compiled here", file)
	}
	if name, err = d.profiles(file, uint64(caps)); err == nil {
		f, err = d.savedFilter(name)
	}
	return f, name, err
}

// CompileProfile compiles the profile in a file, once, and keeps the filter,
// under a name that says what of: so a file that changes is a new filter, and a
// container that runs keeps its own. The program must import crypto/sha256.
func (d *Dir) CompileProfile(file string, caps uint64) (name string, err error) {
	text, err := readProfile(file)
	if err != nil {
		return "", fmt.Errorf("--security-opt=seccomp=%s: %w", file, err)
	}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	release := unix.ByteSliceToString(uname.Release[:])
	sum := crypto.SHA256.New()
	fmt.Fprintf(sum, "%d %s %x\n", seccomp.Revision, release, caps)
	sum.Write(text)
	name = hex.EncodeToString(sum.Sum(nil))
	if _, err = d.savedFilter(name); err == nil {
		return name, nil
	}
	profile, err := seccomp.Parse(text)
	var f *seccomp.Filter
	if err == nil {
		f, err = profile.Compile(seccomp.Target{Kernel: release, Has: func(c string) bool {
			n, ok := capNumber(c)
			return ok && capSet(caps).has(n)
		}})
	}
	if err != nil {
		return "", fmt.Errorf("--security-opt=seccomp=%s: %w", file, err)
	}
	return name, d.saveFilter(name, f)
}

func readProfile(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("no such file; name one with a profile of docker's, or write unconfined or builtin")
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > profileMax:
		return nil, fmt.Errorf("must be a file of at most %d bytes", profileMax)
	}
	return sheet.ReadFile(file)
}

func (d *Dir) filterFile(name string) string { return filepath.Join(d.data, "seccomp", name) }

// savedFilter returns the filter that a record names; nil is the built-in one,
// or none where that is the record's. Other processes of a container get it so.
func (d *Dir) savedFilter(name string) (*seccomp.Filter, error) {
	if name == "" || name == SeccompUnconfined {
		return nil, nil
	}
	data, err := sheet.ReadFile(d.filterFile(name))
	if err != nil {
		return nil, err
	}
	const flagsSize = 4
	if len(data) < flagsSize+unix.SizeofSockFilter || (len(data)-flagsSize)%unix.SizeofSockFilter != 0 {
		return nil, fmt.Errorf("read %s: %d bytes are no filter", d.filterFile(name), len(data))
	}
	f := &seccomp.Filter{Flags: binary.NativeEndian.Uint32(data)}
	for data = data[flagsSize:]; len(data) > 0; data = data[unix.SizeofSockFilter:] {
		f.Code = append(f.Code, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(data), Jt: data[2], Jf: data[3], K: binary.NativeEndian.Uint32(data[4:]),
		})
	}
	return f, nil
}

// filtersMax is how many compiled profiles are kept beside those in use.
const filtersMax = 64

// saveFilter keeps a compiled profile. Those that no container has are dropped
// when there are too many: they would only have to be compiled again.
func (d *Dir) saveFilter(name string, f *seccomp.Filter) error {
	dir := filepath.Join(d.data, "seccomp")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	kept, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(kept) >= filtersMax {
		all, err := d.List()
		if err != nil {
			return err
		}
		used := map[string]bool{}
		for _, c := range all {
			used[c.Seccomp] = true
		}
		for _, e := range kept {
			if !used[e.Name()] {
				os.Remove(filepath.Join(dir, e.Name())) // another nsrun may have been quicker
			}
		}
	}
	data := append(binary.NativeEndian.AppendUint32(nil, f.Flags), filterBytes(f.Code)...)
	next, err := os.CreateTemp(dir, strings.Repeat("0", 8)) // two may compile the same at once
	if err != nil {
		return err
	}
	_, err = next.Write(data)
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), d.filterFile(name))
	}
	if err != nil {
		os.Remove(next.Name())
		return fmt.Errorf("keep the compiled profile: %w", err)
	}
	return nil
}
