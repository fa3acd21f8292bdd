package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one cgroup tree of the host.
type hierarchy struct {
	// Mount is where the host has it mounted.
	Mount string
	// Dir is the directory's name below /sys/fs/cgroup inside a machine; empty
	// for the only tree of a host with nothing but cgroup v2.
	Dir string
	// Options are the mount options that name a v1 hierarchy; empty for v2.
	Options string
}

func (h hierarchy) v2() bool { return h.Options == "" }

// hierarchies reads the host's cgroup trees from its mount table. A machine
// gets a cgroup of its own in each: were one left out, the systemd inside would
// mount it and write into the host's root cgroup.
func hierarchies() ([]hierarchy, error) {
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	return chooseHierarchies(mounts)
}

func chooseHierarchies(mounts []mount) ([]hierarchy, error) {
	var found []hierarchy
	seen := map[string]bool{}
	for _, m := range mounts {
		switch m.Type {
		case "cgroup2":
			if m.Point == "/sys/fs/cgroup" {
				return []hierarchy{{Mount: m.Point}}, nil
			}
			if !seen["2"] {
				seen["2"] = true
				found = append(found, hierarchy{Mount: m.Point, Dir: "unified"})
			}
		case "cgroup":
			options := cgroupOptions(m.SuperOptions)
			if options == "" || seen[options] {
				continue
			}
			seen[options] = true
			dir := strings.TrimPrefix(options, "none,")
			dir = strings.TrimPrefix(dir, "name=")
			found = append(found, hierarchy{Mount: m.Point, Dir: dir, Options: options})
		}
	}
	if len(found) == 0 {
		return nil, errors.New("find the host's cgroups: none is mounted; mount cgroup2 on /sys/fs/cgroup")
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Dir < found[j].Dir })
	return found, nil
}

// cgroupOptions keeps of a v1 mount's options those that say which hierarchy
// it is: the controllers, or a name.
func cgroupOptions(super string) string {
	var keep []string
	named := ""
	for _, o := range strings.Split(super, ",") {
		switch {
		case o == "rw", o == "ro", o == "xattr", o == "clone_children", o == "noprefix", strings.HasPrefix(o, "release_agent="):
		case strings.HasPrefix(o, "name="):
			named = o
		default:
			keep = append(keep, o)
		}
	}
	if named != "" && len(keep) == 0 {
		return "none," + named
	}
	return strings.Join(keep, ",")
}

// makeCgroup makes the cgroup path (relative to each hierarchy's root) and the
// ones above it, ready for a systemd inside.
func makeCgroup(hs []hierarchy, path string) error {
	for _, h := range hs {
		at := h.Mount
		for _, part := range strings.Split(path, "/") {
			if h.v2() {
				enableControllers(at)
			}
			parent := at
			at = filepath.Join(at, part)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make cgroup: %w", err)
			}
			if err := inheritCPUSet(h, parent, at); err != nil {
				return fmt.Errorf("make cgroup %s: %w", at, err)
			}
		}
	}
	return nil
}

// enableControllers hands every controller down one level, each by itself:
// which of them can be had depends on the host.
func enableControllers(dir string) {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(have)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

// inheritCPUSet copies the sets of a v1 cpuset, which begin empty: a process
// can't enter such a cgroup.
func inheritCPUSet(h hierarchy, parent, child string) error {
	if h.v2() || !strings.Contains(","+h.Options+",", ",cpuset,") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := os.ReadFile(filepath.Join(child, file))
		if err != nil || strings.TrimSpace(string(have)) != "" {
			continue
		}
		from, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(child, file), from, 0o644); err != nil {
			return err
		}
	}
	_ = os.WriteFile(filepath.Join(child, "cgroup.clone_children"), []byte("1"), 0o644)
	return nil
}

// startIn starts cmd as a member of the cgroup at path in every hierarchy from
// its first moment, so that whatever happens next, Down finds it there. enter
// is called before, on the thread that starts it: namespaces it enters are the
// new process's. cmd has a SysProcAttr.
func startIn(hs []hierarchy, path string, cmd *exec.Cmd, enter func() error) error {
	return onOwnThread(func() error { return startHere(hs, path, cmd, enter) })
}

// errCgroup: the process could not be put into its cgroup.
var errCgroup = errors.New("enter cgroup")

func startHere(hs []hierarchy, path string, cmd *exec.Cmd, enter func() error) error {
	for _, h := range hs {
		dir := filepath.Join(h.Mount, path)
		if !h.v2() {
			// v1 can move a single thread, and what it starts is born where it is.
			if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte(strconv.Itoa(unix.Gettid())), 0o644); err != nil {
				return fmt.Errorf("%w: %w", errCgroup, err)
			}
			continue
		}
		fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_PATH, 0)
		if err != nil {
			return fmt.Errorf("%w: open %s: %w", errCgroup, dir, err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	if err := enter(); err != nil {
		return err
	}
	// What lives as long as the lab keeps nothing open that somebody left to us: under
	// flock(1) it would keep the lock. (All of our own is closed by an exec anyway.)
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && err != unix.ENOSYS && err != unix.EINVAL {
		return fmt.Errorf("close what is not ours: %w", err)
	}
	return cmd.Start()
}

// cgroupProcesses lists every process below path, in any hierarchy.
func cgroupProcesses(hs []hierarchy, path string) []int {
	seen := map[int]bool{}
	var pids []int
	for _, h := range hs {
		_ = filepath.WalkDir(filepath.Join(h.Mount, path), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // a cgroup that goes while we look holds nobody
			}
			f, err := os.Open(filepath.Join(p, "cgroup.procs"))
			if err != nil {
				return nil //nolint:nilerr // likewise
			}
			defer f.Close()
			for s := bufio.NewScanner(f); s.Scan(); {
				if pid, err := strconv.Atoi(s.Text()); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// removeCgroup kills what is left below path and removes the cgroups. The
// kernel lets go of a cgroup a moment after its last process, so it is tried
// until wait is over.
func removeCgroup(hs []hierarchy, path string, wait time.Duration) error {
	var last error
	for deadline := time.Now().Add(wait); ; {
		for _, pid := range cgroupProcesses(hs, path) {
			if livesIn(pid, path) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		thawAll(hs, path)
		last = nil
		for _, h := range hs {
			last = errors.Join(last, removeTree(filepath.Join(h.Mount, path)))
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
		pause(2 * time.Millisecond)
	}
}

// livesIn says whether a process as a whole is below path, and doesn't only
// have a thread there that is just starting something.
func livesIn(pid int, path string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && pid != os.Getpid() && (strings.Contains(string(text), ":/"+path+"/") || strings.Contains(string(text), ":/"+path+"\n"))
}

// removeTree removes a cgroup and those below it, the deepest first.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}
