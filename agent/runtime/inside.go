package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// What is different without root: there is one id, the caller's own, and only
// the new process, in its user name-space, may mount anything.

// isRoot says whether a --user is the one that a container has anyway.
func isRoot(user string) bool {
	switch user {
	case "", "0", "root", "0:0", "root:root", "root:0", "0:root":
		return true
	}
	return false
}

// usersRefused says which setting below sys, /proc/sys, may keep ordinary users
// from user name-spaces, and what to do about it; empty is none.
func usersRefused(sys string) string {
	for _, setting := range []struct{ file, value, fix string }{
		{"kernel/unprivileged_userns_clone", "0", "set it to 1"},
		{"user/max_user_namespaces", "0", "set it to 10000, say"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "set it to 0, or give nsrun an AppArmor profile that has userns"},
	} {
		if data, err := sheet.ReadFile(path.Join(sys, setting.file)); err == nil && strings.TrimSpace(string(data)) == setting.value {
			return fmt.Sprintf("%s=%s keeps ordinary users from user name-spaces: %s, in /etc/sysctl.d, or run it as root",
				strings.ReplaceAll(setting.file, "/", "."), setting.value, setting.fix)
		}
	}
	return ""
}

// compile mounts the overlay in the child. Its layers are named by links, of one
// byte, in a file system in memory: an option has room for 255 bytes, and
// descriptors are taken from Linux 6.13 on only. No ids are mapped: a layer that
// an ordinary user unpacked is all that user's.
func (s makeOverlay) compile(b *builder, in *inputs) {
	const what = "make the root"
	makeFS{Name: "place", Type: "tmpfs", Options: "mode=0755", Attr: "nosuid,nodev,noexec"}.compile(b, in)
	place, fs := b.cell("place"), b.cell("overlay")
	// On top of the root: the one place that is there in any case.
	b.call(what, unix.SYS_MOVE_MOUNT, place, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
	b.call(what, unix.SYS_FCHDIR, place)
	names := layerNames(len(s.Layers) + 1)
	for i, name := range names { // top first
		layer := in.base
		if i < len(s.Layers) {
			layer = s.Layers[len(s.Layers)-1-i]
		}
		b.call(what, unix.SYS_SYMLINKAT, layer, place, name)
	}
	b.call(what, unix.SYS_SYMLINKAT, in.own, place, "own")
	b.call(what, unix.SYS_FSOPEN, "overlay", unix.FSOPEN_CLOEXEC).into(b, fs)
	for _, o := range [][2]string{{"lowerdir", strings.Join(names, ":")}, {"upperdir", "own/upper"}, {"workdir", "own/work"}} {
		b.call(what+": "+o[0], unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, o[0], o[1], 0)
	}
	b.call(what+": overlay without root needs Linux 5.11", unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, "userxattr", 0, 0)
	if s.Volatile {
		b.call(what+": volatile", unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, "volatile", 0, 0)
	}
	b.call(what+": overlay without root, which needs Linux 5.11 and a store on ext4, xfs, btrfs or tmpfs", unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	b.call(what, unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, s.attr()).into(b, b.cell("root"))
	// Overlay needs the links no more, and on top of the machine's root this would
	// be what pivot lets go of, in place of that.
	b.call(what+": let go of the links", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	b.call(what, unix.SYS_CLOSE, place)
	b.call(what, unix.SYS_CLOSE, fs)
}

// layersMax is how many names of one byte, with a colon between, an option of a
// file system has room for.
const layersMax = 128

// layerNames returns names for the layers of an overlay: of one byte as long as
// there is room, and with nothing in them that means something to overlay.
func layerNames(n int) []string {
	names := make([]string, 0, n)
	for c := '0'; len(names) < n; c++ {
		if !strings.ContainsRune(`\:`, c) {
			names = append(names, string([]byte{byte(c)}))
		}
	}
	return names
}

// compile lets the program be another user than root in there. With one id that
// takes a name-space more: file systems such as devpts can be made only where
// there is a root, and an id can't be root and somebody else.
func (s mapUser) compile(b *builder, in *inputs) {
	what := s.String()
	b.call(what, unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	b.mapSelf(what, b.cell("proc"), "", int(in.mail.uid), 0, int(in.mail.gid), 0)
}

// mapSelf has the child map its own ids, each being another outside. Where /proc
// is says a directory, a cell or AT_FDCWD, and a path from there.
func (b *builder) mapSelf(what string, dir any, proc string, uid, uidOutside, gid, gidOutside int) {
	c := b.cell("map")
	for _, m := range [][2]string{
		{"setgroups", "deny"},
		{"uid_map", fmt.Sprintf("%d %d 1", uid, uidOutside)}, {"gid_map", fmt.Sprintf("%d %d 1", gid, gidOutside)},
	} {
		b.call(what, unix.SYS_OPENAT, dir, proc+"self/"+m[0], unix.O_WRONLY|unix.O_CLOEXEC).into(b, c)
		b.call(what, unix.SYS_WRITE, c, m[1], len(m[1]))
		b.call(what, unix.SYS_CLOSE, c)
	}
}

// readLayers reads a file as an overlay of these layers, bottom first, would
// show it; one that isn't there is empty. It is for short paths: a link that
// leads from one layer into another isn't followed.
func readLayers(layers []string, file string) ([]byte, error) {
	for i := len(layers) - 1; i >= 0; i-- {
		fd, err := unix.Open(layers[i], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", layers[i], err)
		}
		data, lower, err := readLayer(fd, file)
		unix.Close(fd)
		if err != nil || !lower {
			return data, err
		}
	}
	return nil, nil
}

// readLayer reads a file in one layer; lower says that what is below it counts.
func readLayer(root int, file string) (data []byte, lower bool, err error) {
	for at := path.Dir(file); at != "/"; at = path.Dir(at) {
		fd, err := openIn(root, at, unix.O_RDONLY|unix.O_DIRECTORY)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue // a whiteout would be no directory
		case errors.Is(err, unix.ENOTDIR):
			return nil, false, nil
		case err != nil:
			return nil, false, fmt.Errorf("read the image's %s: %w", file, err)
		}
		value := make([]byte, 1)
		n, err := unix.Fgetxattr(fd, "user.overlay.opaque", value)
		unix.Close(fd)
		if err == nil && n == 1 && value[0] == 'y' {
			data, err := readIn(root, file)
			return data, false, err
		}
	}
	fd, err := openIn(root, file, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the image's %s: %w", file, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return nil, false, nil // a whiteout
	}
	data, err = readIn(root, file)
	return data, false, err
}

// openIn opens a path below root; no link in it leads out.
func openIn(root int, file string, flags uint64) (int, error) {
	return unix.Openat2(root, strings.TrimPrefix(file, "/"), &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// powerOffInside is powerOffFrom without root: a process must be in the user
// name-space that the pid name-space belongs to before it may enter the latter,
// and no process of a Go program, with its threads, can enter the former. So a
// child does both, and its child is in there.
func powerOffInside(proc string, pidfd int) error {
	ns, err := unix.Open(proc+"pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open pid name-space: %w", err)
	}
	defer unix.Close(ns)
	owner, err := unix.IoctlRetInt(ns, unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("find the user name-space: %w", err)
	}
	defer unix.Close(owner)
	b := newBuilder("nsrun: stop: ")
	b.call("enter user name-space", unix.SYS_SETNS, owner, unix.CLONE_NEWUSER)
	b.call("enter pid name-space", unix.SYS_SETNS, pidfd, unix.CLONE_NEWPID)
	fork := b.call("clone", unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|int(unix.SIGCHLD), 0, 0, 0, 0)
	fork.flags, fork.skip = flagIgnore|flagNonZero, 1 // zero: the child, which goes on with the next call
	b.call("power off", unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_POWER_OFF, 0)
	b.call("exit", unix.SYS_EXIT_GROUP, 0)
	pid, err := b.start(&cloneArgs{flags: cloneClearSighand, exitSignal: uint64(unix.SIGCHLD)})
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if status := waitChild(pid); !status.Exited() || status.ExitStatus() != 0 {
		return errors.New("power off: refused")
	}
	return nil
}

// removeAll is os.RemoveAll for directories that we made and whose modes are a
// container's: without root they may keep even their owner out.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || os.Geteuid() == 0 || !errors.Is(err, os.ErrPermission) {
		return err
	}
	openUp(dir)
	return os.RemoveAll(dir)
}

// openUp lets their owner into dir and all directories below it. It follows no
// link. What it can't change, the removal will name.
func openUp(dir string) {
	if unix.Fchmodat(unix.AT_FDCWD, dir, 0o700, 0) != nil {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			openUp(dir + "/" + e.Name())
		}
	}
}
