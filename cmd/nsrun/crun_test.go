package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// laxer are the places where a container of ours may more than one of crun's
// that is given docker's defaults, each with the reason.
func laxer() map[string]string {
	const younger = "moby's profile allows it; the libseccomp that crun uses is older than the call"
	table := map[string]string{
		"/proc/key-users": "it shows the users of the container's own range of ids only, and what theirs are is by chance",
		"call 446":        "landlock_restrict_self can't be had without no_new_privs, which is off there",
		"i386's call 446": "as call 446",
	}
	for _, n := range []int{457, 458, 462, 463, 464, 465, 466} { // statmount listmount mseal, and the xattrs' …at
		table[fmt.Sprint("call ", n)], table[fmt.Sprint("i386's call ", n)] = younger, younger
	}
	return table
}

// TestCrunIsNoStricter_B05: the same program in a container of crun's, with the
// capabilities, mounts, hidden paths and system call filter that docker and
// podman give one by default, and in one of ours: ours may no more, but for the
// table above. crun does what it is told, so this is what others' containers may.
func TestCrunIsNoStricter_B05(t *testing.T) {
	if _, err := exec.LookPath("crun"); err != nil {
		t.Fatal("crun: not found; install it: make deps")
	}
	b := newBench(t)
	outside := readReport(t, exec.Command(filepath.Join(b.root(), "bin/inspect"), "quick"))
	for _, row := range []struct {
		name  string
		user  bool
		flags []string
	}{
		{"with a user name-space", true, nil},
		{"without", false, []string{"--userns=host"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			theirs := readReport(t, crun(t, b, row.user))
			ours := b.inspect(row.flags)
			if len(ours.Calls) < 480 || len(theirs.Calls) != len(ours.Calls) || len(theirs.Tries) != len(ours.Tries) {
				t.Fatalf("calls: %d here, %d there; tries: %d, %d", len(ours.Calls), len(theirs.Calls), len(ours.Tries), len(theirs.Tries))
			}
			for _, d := range compare(ours, theirs, outside) {
				if why, ok := laxer()[d.what]; ok {
					t.Logf("%s: %s; %s", d.what, d.how, why)
				} else {
					t.Errorf("%s: %s", d.what, d.how)
				}
			}
			stricter, same := 0, 0
			for n, theirs := range theirs.Calls {
				switch {
				case isRefused(theirs) == isRefused(ours.Calls[n]):
					same++
				default:
					stricter++
				}
			}
			t.Logf("calls: %d as there, %d refused here only", same, stricter)
		})
	}
}

// crun is a command that runs the inspecting program by crun. It refuses a tree
// of cgroups that is half v1, so it is shown another, in mounts of its own.
func crun(t *testing.T, b *bench, user bool) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) { // the container's root isn't ours
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(ociConfig(t, b.root(), user))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `mount -t cgroup2 none /sys/fs/cgroup; exec crun --root "$0/state" --cgroup-manager=disabled run --bundle "$0" "$1"`
	return exec.Command("unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", script, dir, fmt.Sprintf("nsrun-test-%d", os.Getpid()))
}

// ociConfig is what docker and podman ask a runtime for, by default.
func ociConfig(t *testing.T, root string, user bool) *specs.Spec {
	t.Helper()
	caps := strings.Fields("CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT")
	c := &specs.Spec{
		Version: "1.0.2", Hostname: "box", Root: &specs.Root{Path: root},
		Process: &specs.Process{
			Args: []string{"/bin/inspect"}, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Linux: &specs.Linux{
			MaskedPaths: strings.Fields(`/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug
				/proc/scsi /proc/timer_list /proc/timer_stats /sys/dev/block /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux`),
			ReadonlyPaths: strings.Fields("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"),
		},
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.CgroupNamespace} {
		c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	if user {
		c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1 << 20, Size: 1 << 16}}
		c.Linux.UIDMappings, c.Linux.GIDMappings = ids, ids
	}
	for _, line := range strings.Split(strings.TrimSpace(`
/proc proc nosuid,noexec,nodev
/dev tmpfs nosuid,strictatime,mode=755,size=65536k
/dev/pts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5
/dev/shm tmpfs nosuid,noexec,nodev,mode=1777,size=65536k
/dev/mqueue mqueue nosuid,noexec,nodev
/sys sysfs nosuid,noexec,nodev,ro`), "\n") {
		f := strings.Fields(line)
		c.Mounts = append(c.Mounts, specs.Mount{Destination: f[0], Type: f[1], Source: f[1], Options: strings.Split(f[2], ",")})
	}
	filter, err := moby.GetDefaultProfile(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Linux.Seccomp = filter
	return c
}

// difference is where ours may more.
type difference struct{ what, how string }

// compare lists what ours may and theirs may not.
func compare(ours, theirs, outside report) (list []difference) {
	add := func(what, format string, args ...any) {
		list = append(list, difference{what, fmt.Sprintf(format, args...)})
	}
	for name, id := range theirs.Namespaces {
		if id != outside.Namespaces[name] && ours.Namespaces[name] == outside.Namespaces[name] {
			add("name-space "+name, "the machine's here, not there")
		}
	}
	for _, name := range strings.Fields("CapInh CapPrm CapEff CapBnd CapAmb") {
		if more := bits(ours.Status[name]) &^ bits(theirs.Status[name]); more != 0 {
			add(name, "%#x more", more)
		}
	}
	for _, name := range []string{"NoNewPrivs", "Seccomp"} {
		if ours.Status[name] < theirs.Status[name] {
			add(name, "%s here, %s there", ours.Status[name], theirs.Status[name])
		}
	}
	list = append(list, compareMounts(ours, theirs)...)
	for file, got := range ours.Paths {
		for _, part := range []string{"read open", "write open"} {
			if strings.Contains(got, part) && !strings.Contains(theirs.Paths[file], part) {
				add(file, "%s here, %s there", got, theirs.Paths[file])
			}
		}
	}
	for file, number := range ours.Devices {
		if theirs.Devices[file] != number {
			add(file, "%s here, %q there", number, theirs.Devices[file])
		}
	}
	for name, limit := range ours.Limits {
		if theirs.Limits[name] != limit {
			add(name, "%s here, %s there", limit, theirs.Limits[name])
		}
	}
	if len(ours.Files) > 0 {
		add("open files", "%v", ours.Files)
	}
	for _, kind := range []struct {
		name         string
		ours, theirs map[int]string
	}{{"call", ours.Calls, theirs.Calls}, {"i386's call", ours.Calls32, theirs.Calls32}} {
		for _, n := range slices.Sorted(maps.Keys(kind.ours)) {
			if isRefused(kind.theirs[n]) && !isRefused(kind.ours[n]) {
				add(fmt.Sprintf("%s %d", kind.name, n), "%s here, %s there", kind.ours[n], kind.theirs[n])
			}
		}
	}
	for name, got := range ours.Tries {
		if name != "processes" && isRefused(theirs.Tries[name]) && !isRefused(got) {
			add(name, "%s here, %s there", got, theirs.Tries[name])
		}
	}
	return list
}

// compareMounts: whatever is mounted in both, ours has the restrictions of
// theirs; what only ours has brings nothing that can be written, but a device.
func compareMounts(ours, theirs report) (list []difference) {
	for at, m := range ours.Mounts {
		other, both := theirs.Mounts[at]
		options := strings.Split(m.Options, ",")
		wanted := strings.Split(other.Options, ",")
		if !both {
			wanted = []string{"ro"}
		}
		for _, o := range []string{"ro", "nosuid", "nodev", "noexec"} {
			if slices.Contains(wanted, o) && !slices.Contains(options, o) {
				list = append(list, difference{at + " " + o, fmt.Sprintf("%s here, %q there", m.Options, other.Options)})
			}
		}
		if both && m.Type != other.Type && at != "/" {
			list = append(list, difference{at, fmt.Sprintf("%s here, %s there", m.Type, other.Type)})
		}
	}
	for at, other := range theirs.Mounts {
		if _, ok := ours.Mounts[at]; !ok && (strings.HasPrefix(at, "/proc/") || strings.HasPrefix(at, "/sys/")) {
			list = append(list, difference{at, fmt.Sprintf("not mounted here, %v there", other)})
		}
	}
	return list
}

func bits(hex string) uint64 {
	n, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return 1<<64 - 1
	}
	return n
}
