package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// maskedPaths are hidden: they tell about the machine, or steer it. The last
// directories give away what other containers compute, by heat and power.
var maskedPaths = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
	"/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
}

// readOnlyPaths may be read but not written.
var readOnlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// Root says whether we may map ranges of ids and make mounts.
func Root() bool { return os.Geteuid() == 0 && wholeIDs() }

// LookAtHost finds out what a plan must know of this machine and this process.
// masked are paths that are to be hidden beside those that always are.
func LookAtHost(masked ...string) Host {
	h := Host{Root: Root(), UID: os.Geteuid(), GID: os.Getegid(), HandOver: handedOver(), LayersByPath: LayersByPath()}
	var throttles []string
	if unix.Access("/sys/devices/system/cpu/cpu0/thermal_throttle", unix.F_OK) == nil { // not on virtual machines
		throttles, _ = filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	}
	// What lies in a directory that is hidden, too, goes first: then it is out of reach.
	masked = slices.Clone(masked)
	slices.Sort(masked)
	slices.Reverse(masked)
	for _, file := range slices.Concat(masked, maskedPaths, throttles) {
		var st unix.Stat_t
		switch err := unix.Lstat(file, &st); {
		case err != nil:
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			h.ProcDirs = append(h.ProcDirs, file)
		default:
			h.ProcFiles = append(h.ProcFiles, file)
		}
	}
	for _, file := range readOnlyPaths {
		if unix.Access(file, unix.F_OK) == nil {
			h.ReadOnly = append(h.ReadOnly, file)
		}
	}
	var fs unix.Statfs_t
	h.Cgroup2 = unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
	h.Caps, h.CloseOneByOne = boundingSet(), !closesAtOnce()
	if !h.Root {
		h.UsersRefused = usersRefused("/proc/sys")
	}
	return h
}

// handedOver reports whether systemd started this very process and waits for
// word from it. Behind a shell or in ExecStartPre= that isn't so.
func handedOver() bool {
	return os.Getenv("NOTIFY_SOCKET") != "" && mainOfUnit()
}

// mainOfUnit reports whether systemd started this process, of a unit.
func mainOfUnit() bool { return os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) }

// wholeIDs reports whether root here can map the ids that containers get: in a
// user name-space of one id it can't, and is no better than anybody.
func wholeIDs() bool {
	data, err := sheet.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		start, _ := strconv.ParseUint(f[0], 10, 64)
		count, _ := strconv.ParseUint(f[2], 10, 64)
		if start <= idsFirst && start+count >= idsLast {
			return true
		}
	}
	return false
}

func boundingSet() (set capSet) {
	for n := range capNames { // all of them are quicker than one /proc/self/status
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && in == 1 {
			set |= 1 << n
		}
	}
	return set
}

// statusLine returns one value of /proc/PID/status.
func statusLine(pid, key string) (string, error) {
	data, err := sheet.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "", os.ErrNotExist
}

// createFile writes a small new file, as [sheet.ReadFile] reads one.
func createFile(name string, data []byte, mode uint32) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, mode)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	n, err := unix.Write(fd, data)
	if err == nil && n < len(data) {
		err = unix.ENOSPC
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}
