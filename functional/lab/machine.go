package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const machinePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// becomeMachine is the first process of a machine: it builds the machine's
// root, goes there and becomes systemd. What goes wrong is written to status;
// on success the execution closes it.
func becomeMachine(specFile, status *os.File) error {
	runtime.LockOSThread()
	unix.CloseOnExec(int(specFile.Fd()))
	unix.CloseOnExec(int(status.Fd()))
	var s spec
	if err := json.NewDecoder(specFile).Decode(&s); err != nil {
		return err // whoever started us is gone; so are we
	}
	err := s.become()
	fmt.Fprint(status, err)
	return err
}

func (s spec) become() error {
	// Now that we are in our cgroups they become the roots we see.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("make cgroup namespace: %w", err)
	}
	unix.Umask(0)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"leave the host's mounts alone", func() error {
			return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}},
		{"set host name", func() error { return unix.Sethostname([]byte(s.Record.Name)) }},
		{"set up network", func() error { return bringUp("eth0", s.Record.Address) }},
		{"build root", s.buildRoot},
		{"build directories", s.mountReal},
		{"mount kernel filesystems", s.mountKernel},
		{"make devices", s.makeDevices},
		{"mount cgroups", s.mountCgroups},
		{"write identity", s.writeIdentity},
		{"change root", s.pivot},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	unix.Umask(0o022)
	env := []string{"PATH=" + machinePath, "container=clusterd-lab", "container_uuid=" + s.Record.MachineID}
	return fmt.Errorf("start systemd: %w", unix.Exec("/lib/systemd/systemd", []string{"/lib/systemd/systemd"}, env))
}

// in is a path inside the machine, before its root is ours.
func (s spec) in(path string) string { return filepath.Join(s.Root, path) }

// own are directories at the top of the root that are not the host's.
var own = []string{"proc", "sys", "dev", "run", "tmp", "var", "home", "srv", "root", "mnt", "media", "boot", "lost+found"}

// needed are those of the host's that a machine can't do without, whatever
// filesystem they lie on.
var needed = []string{"usr", "etc", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix"}

// buildRoot lays an overlay over each of the host's top directories: below the
// host's files, then the lab's layer, on top the machine's own. Not one overlay
// over all of "/": its upper directory would lie within its lower, and that
// the kernel refuses.
func (s spec) buildRoot() error {
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", unix.MS_NOATIME, "mode=755"); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	var root unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		return err
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if slices.Contains(own, name) || strings.HasPrefix(s.LabDir, "/"+name+"/") {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink("/" + name)
			if err == nil {
				err = os.Symlink(target, s.in(name))
			}
			if err != nil {
				return err
			}
			continue
		}
		var at unix.Stat_t
		if !e.IsDir() || unix.Stat("/"+name, &at) != nil {
			continue
		}
		essential := slices.Contains(needed, name)
		if !essential && at.Dev != root.Dev {
			continue // another filesystem of the host's, maybe a remote one
		}
		if err := s.overlay(name); err != nil && essential {
			return err
		}
	}
	return nil
}

func (s spec) overlay(name string) error {
	upper, work := filepath.Join(s.State, "upper", name), filepath.Join(s.State, "work", name)
	for _, dir := range []string{upper, work, s.in(name)} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	lower := "/" + name
	if middle := filepath.Join(s.Layer, name); exists(middle) {
		lower = middle + ":" + lower
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", s.in(name), "overlay", unix.MS_NOATIME, options); err != nil {
		return fmt.Errorf("lay an overlay over /%s: %w", name, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// mountReal binds the machine's real directories: container images and etcd
// can't lie on an overlay.
func (s spec) mountReal() error {
	for dir, to := range map[string]string{"var": "var", "home": "home", "srv": "srv", "roothome": "root"} {
		if err := bind(filepath.Join(s.State, dir), s.in(to)); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]os.FileMode{"var/lib": 0o755, "var/log/journal": 0o755, "var/cache": 0o755,
		"var/spool": 0o755, "mnt": 0o755, "media": 0o755, "boot": 0o755, "var/tmp": 0o777 | os.ModeSticky} {
		if err := os.MkdirAll(s.in(dir), 0o755); err != nil {
			return err
		}
		if err := os.Chmod(s.in(dir), mode); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{"var/run": "/run", "var/lock": "/run/lock"} {
		if err := os.Symlink(to, s.in(link)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

// mountKernel mounts what the kernel and the memory provide. /proc has nothing
// mounted over it, else no container in a user namespace could mount its own;
// /sys is read-only, which keeps the machine's systemd from the host's devices.
func (s spec) mountKernel() error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV
	for _, m := range []struct {
		to, kind, options string
		flags             uintptr
	}{
		{"proc", "proc", "", plain | unix.MS_NOEXEC},
		{"sys", "sysfs", "", plain | unix.MS_NOEXEC | unix.MS_RDONLY},
		{"dev", "tmpfs", "mode=755,size=4m", unix.MS_NOSUID},
		{"dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"dev/shm", "tmpfs", "mode=1777", plain},
		{"dev/mqueue", "mqueue", "", plain | unix.MS_NOEXEC},
		{"run", "tmpfs", "mode=755", plain},
		{"tmp", "tmpfs", "mode=1777", plain},
	} {
		if err := os.MkdirAll(s.in(m.to), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, s.in(m.to), m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount /%s: %w", m.to, err)
		}
	}
	// The host reaches the machine's clusterd through this directory. What clusterd
	// writes often is in memory even if the host's /run isn't.
	units := s.in("run/clusterd/units")
	if err := bind(s.Run, s.in("run/clusterd")); err != nil {
		return err
	}
	if err := os.Mkdir(units, 0o750); err != nil {
		return err
	}
	return unix.Mount("tmpfs", units, "tmpfs", plain, "mode=750")
}

func (s spec) makeDevices() error {
	for name, number := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod(s.in("dev/"+name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, number))); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	if err := unix.Mknod(s.in("dev/tty"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))); err != nil {
		return fmt.Errorf("make /dev/tty: %w", err)
	}
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "core": "/proc/kcore"} {
		if err := os.Symlink(to, s.in("dev/"+link)); err != nil {
			return err
		}
	}
	return nil
}

// mountCgroups shows the machine its cgroups the way the host has them.
func (s spec) mountCgroups() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	at := s.in("sys/fs/cgroup")
	if len(s.Hierarchies) == 1 && s.Hierarchies[0].Dir == "" {
		return unix.Mount("cgroup2", at, "cgroup2", flags, "")
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", flags, "mode=755"); err != nil {
		return err
	}
	for _, h := range s.Hierarchies {
		dir := filepath.Join(at, h.Dir)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		kind := "cgroup"
		if h.v2() {
			kind = "cgroup2"
		}
		if err := unix.Mount(kind, dir, kind, flags, h.Options); err != nil {
			return fmt.Errorf("mount %s: %w", h.Dir, err)
		}
		if parts := strings.Split(h.Dir, ","); len(parts) > 1 {
			for _, c := range parts {
				if err := os.Symlink(h.Dir, filepath.Join(at, c)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s spec) writeIdentity() error {
	for name, text := range map[string]string{
		"etc/hostname":   s.Record.Name + "\n",
		"etc/machine-id": s.Record.MachineID + "\n",
	} {
		if err := writeFile(s.in(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := writeFile(s.in("etc/hosts"), nil, 0o644); err != nil {
		return err
	}
	return unix.Mount(s.Hosts, s.in("etc/hosts"), "", unix.MS_BIND, "")
}

// pivot makes the new root the only one.
func (s spec) pivot() error {
	if err := unix.Chdir(s.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}
