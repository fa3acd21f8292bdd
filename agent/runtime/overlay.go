package runtime

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// LayersByPath reports whether this kernel must be given an overlay's layers by
// path. Those before Linux 6.15 take no detached mounts, which mounts with mapped
// ids are at first. Asking overlay itself costs a start a tenth of a millisecond;
// a call that came with the same version answers as well. NSRUN_OVERLAY=paths in
// the environment chooses paths on any kernel.
func LayersByPath() bool {
	if os.Getenv("NSRUN_OVERLAY") == "paths" {
		return true
	}
	const sysOpenTreeAttr = 467 // the same number on amd64 and arm64
	_, _, errno := syscall.RawSyscall6(sysOpenTreeAttr, ^uintptr(0), 0, 0, 0, 0, 0)
	return errno == unix.ENOSYS || errno == unix.EPERM // EPERM: a filter that doesn't know it
}

// overlay makes a detached overlay of layers, bottom first, under a writable
// layer in dir. base, the places every container needs, goes below them: without
// it the mount points an image lacks would have to be made in the writable layer
// at every start. With a user name-space, owner is the id that its root has
// outside, and the layers' ids are mapped. spent are descriptors to be closed,
// whatever the error is. store is where all of these lie, or most.
func overlay(step makeOverlay, store, base, dir string, userns int, owner uint32) (fd int, spent []int, err error) {
	if !step.ByPath {
		from := takeStore(store, userns)
		fd, spent, err = makeOver(step, base, dir, from, owner, setByDescriptor)
		if from.mount >= 0 {
			spent = append(spent, from.mount)
		}
		return fd, spent, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread and its mount name-space end with this goroutine.
		runtime.LockOSThread()
		if err = stage(); err == nil {
			fd, spent, err = makeOver(step, base, dir, stored{mount: -1, userns: userns}, owner, setByPath)
		}
	}()
	<-done
	return fd, spent, err
}

// makeOver takes the layers, hands them to an overlay by set, and makes that.
// The layers must stay open until then, for closing them unmounts them.
func makeOver(step makeOverlay, base, dir string, from stored, owner uint32, set func(fs int, lower []int, own int) error) (fd int, spent []int, err error) {
	take := from.take
	if step.Resolved {
		take = func(dir string) (int, error) { return resolvedTree(dir, from.userns, 0) }
	}
	for i := len(step.Layers) - 1; i >= 0; i-- { // top first
		layer, err := take(step.Layers[i])
		if err != nil {
			return -1, spent, err
		}
		spent = append(spent, layer)
	}
	for _, dir := range []string{base, dir} {
		layer, err := from.take(dir)
		if err != nil {
			return -1, spent, err
		}
		spent = append(spent, layer)
	}
	last := len(spent) - 1
	lower, own := spent[:last:last], spent[last]
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, spent, fmt.Errorf("make overlay: %w", err)
	}
	spent = append(spent, fs)
	if err := set(fs, lower, own); err != nil {
		return -1, spent, fmt.Errorf("make overlay: %w%s", err, fsLog(fs))
	}
	if step.Volatile {
		if err := unix.FsconfigSetFlag(fs, "volatile"); err != nil {
			return -1, spent, fmt.Errorf("make overlay: set volatile: %w%s", err, fsLog(fs))
		}
	}
	switch err := create(fs, from.userns >= 0, owner); {
	case errors.Is(err, unix.EINVAL) && from.userns >= 0:
		return -1, spent, fmt.Errorf("make overlay: %w%s; layers with mapped ids need Linux 5.19; on an older one give up the user name-space: --userns=host", err, fsLog(fs))
	case err != nil:
		return -1, spent, fmt.Errorf("make overlay: %w%s", err, fsLog(fs))
	}
	fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, step.attr())
	if err != nil {
		return -1, spent, fmt.Errorf("make overlay: %w%s", err, fsLog(fs))
	}
	return fd, spent, nil
}

// stored is a mount of a directory in which most of what an overlay is made of
// lies. The kernel takes about 0.1 ms for the end of each mount that nobody sees,
// and longer while the container makes its own: with this there is one.
type stored struct {
	dir    string
	mount  int // negative: there is none
	userns int // whose map its ids have; negative: none
}

// takeStore returns a mount of a store, with mapped ids if there is a user
// name-space. If that can't be had, each directory's own says why.
func takeStore(dir string, userns int) stored {
	mount, err := tree(dir, userns, 0)
	if err != nil {
		mount = -1
	}
	return stored{dir, mount, userns}
}

// take returns a directory of the store by the store's mount. One that a link
// leads to, that lies on a mount of its own or elsewhere gets its own.
func (s stored) take(dir string) (fd int, err error) {
	if below, inside := strings.CutPrefix(dir+"/", s.dir+"/"); inside && s.mount >= 0 {
		fd, err = unix.Openat2(s.mount, "./"+below, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
		})
		if err == nil {
			return fd, nil
		}
	}
	return tree(dir, s.userns, 0)
}

// attr are the attributes of an overlay's mount.
func (s makeOverlay) attr() int {
	if s.Suid {
		return unix.MOUNT_ATTR_NODEV
	}
	return unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID
}

// setByDescriptor names the layers by descriptor: no path length limits their
// number, and no path can be bent meanwhile.
func setByDescriptor(fs int, lower []int, own int) error {
	for _, layer := range lower {
		if err := unix.FsconfigSetFd(fs, "lowerdir+", layer); err != nil {
			return fmt.Errorf("set lowerdir+: %w", err)
		}
	}
	for _, part := range []string{"upper", "work"} {
		at, err := unix.Openat(own, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", part, err)
		}
		err = unix.FsconfigSetFd(fs, part+"dir", at)
		unix.Close(at)
		if err != nil {
			return fmt.Errorf("set %sdir: %w", part, err)
		}
	}
	return nil
}

// stage gives this thread a mount name-space of its own, in which layers can be
// mounted without anybody seeing it.
func stage() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make overlay: unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make overlay: cut mounts off: %w", err)
	}
	return nil
}

// setByPath names the layers by path: it mounts them on directories of one byte
// below the working directory, for an option has room for 255. Call stage first.
func setByPath(fs int, lower []int, own int) error {
	at, err := emptyFS()
	if err != nil {
		return fmt.Errorf("make a place for the layers: %w", err)
	}
	defer unix.Close(at)
	// On top of the root: the one place that is there in any case.
	if err := unix.MoveMount(at, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount the place for the layers: %w", err)
	}
	if err := unix.Fchdir(at); err != nil {
		return fmt.Errorf("go to the place for the layers: %w", err)
	}
	put := func(mount int, name string) error {
		if err := unix.Mkdir(name, 0o755); err != nil {
			return fmt.Errorf("make a place for a layer: %w", err)
		}
		if err := unix.MoveMount(mount, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount a layer: %w", err)
		}
		return nil
	}
	names := layerNames(len(lower))
	for i, layer := range lower {
		if err := put(layer, names[i]); err != nil {
			return err
		}
	}
	if err := put(own, "own"); err != nil {
		return err
	}
	for _, option := range [][2]string{
		{"lowerdir", strings.Join(names, ":")}, {"upperdir", "own/upper"}, {"workdir", "own/work"},
	} {
		if err := unix.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return fmt.Errorf("set %s: %w", option[0], err)
		}
	}
	return nil
}

// emptyFS makes a file system in memory, attached to nothing.
func emptyFS() (fd int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "mode", "0755"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
}

// create creates the overlay. It keeps the credentials of its maker and works
// in its layers with them. There, root outside has no id once ids are mapped, so
// this thread takes the id of root inside for as long as that takes; the secure
// bit lets it keep its capabilities meanwhile. The thread is locked.
func create(fs int, mapped bool, owner uint32) error {
	if !mapped {
		return unix.FsconfigCreate(fs)
	}
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("read secure bits: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits)|secbitNoSetuidFixup, 0, 0, 0); err != nil {
		return fmt.Errorf("set secure bits: %w", err)
	}
	// Raw calls, for this thread only: they return the id before, never an error.
	syscall.RawSyscall(unix.SYS_SETFSGID, uintptr(owner), 0, 0)
	syscall.RawSyscall(unix.SYS_SETFSUID, uintptr(owner), 0, 0)
	err = unix.FsconfigCreate(fs)
	syscall.RawSyscall(unix.SYS_SETFSUID, uintptr(os.Geteuid()), 0, 0)
	syscall.RawSyscall(unix.SYS_SETFSGID, uintptr(os.Getegid()), 0, 0)
	if e := unix.Prctl(unix.PR_SET_SECUREBITS, uintptr(bits), 0, 0, 0); err == nil && e != nil {
		return fmt.Errorf("set secure bits back: %w", e)
	}
	return err
}

const secbitNoSetuidFixup = 1 << 2

// fsLog returns what the kernel has to say about a file system being made.
func fsLog(fs int) string {
	var lines []string
	buf := make([]byte, 1024)
	for len(lines) < 8 {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 2 {
			break
		}
		lines = append(lines, strings.TrimSpace(string(buf[2:n])))
	}
	if len(lines) == 0 {
		return ""
	}
	return " (" + strings.Join(lines, "; ") + ")"
}
