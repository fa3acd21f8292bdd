package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tree makes a detached copy of the mounts at source, private: what is mounted
// on one later is not on the other. With a user name-space the ids of its files
// are mapped into that, so that a file of uid 0 belongs to the container's root
// and to nobody else.
func tree(source string, userns int, attr uint64) (fd int, err error) {
	return treeAt(unix.AT_FDCWD, source, source, userns, attr, unix.MS_PRIVATE)
}

// resolvedTree is tree for a source that was resolved and found harmless: whoever
// owns a directory on the way may have put a link there since.
func resolvedTree(source string, userns int, attr uint64) (fd int, err error) {
	return resolvedTreeAs(source, userns, attr, unix.MS_PRIVATE)
}

// slaveTree is resolvedTree, but what is mounted below source later is below the
// copy, too; never the other way round.
func slaveTree(source string, userns int, attr uint64) (fd int, err error) {
	return resolvedTreeAs(source, userns, attr, unix.MS_SLAVE)
}

func resolvedTreeAs(source string, userns int, attr, propagation uint64) (fd int, err error) {
	at, err := unix.Openat2(unix.AT_FDCWD, source, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.ELOOP) {
		return -1, fmt.Errorf("take %s: somebody has just put a symbolic link there; name what it should be", source)
	}
	if err != nil {
		return -1, fmt.Errorf("take %s: %w", source, err)
	}
	defer unix.Close(at)
	return treeAt(at, "", source, userns, attr, propagation)
}

// treeAt makes a detached copy of the mounts at a path below a directory, or
// with an empty path at that itself; source is what messages call it.
func treeAt(at int, file, source string, userns int, attr, propagation uint64) (fd int, err error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE)
	if file == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err = unix.OpenTree(at, file, flags)
	if err != nil {
		return -1, fmt.Errorf("take %s: %w", source, err)
	}
	// A copy joins the peers of what it is a copy of, and systemd makes all of a
	// machine's mounts shared: what is mounted on one is mounted on the other. A
	// root that has peers can't even be pivoted to.
	set := unix.MountAttr{Attr_set: attr, Propagation: propagation}
	if userns >= 0 {
		set.Attr_set |= unix.MOUNT_ATTR_IDMAP
		set.Userns_fd = uint64(userns)
	}
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &set)
	if err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if userns >= 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM)) {
		return -1, fmt.Errorf("map ids of %s: %s can't do that; "+
			"put it on ext4, xfs or btrfs (tmpfs from Linux 6.3 on), or give up the user name-space: --userns=host", source, cantMap(source, userns))
	}
	return -1, fmt.Errorf("set attributes of the mount of %s: %w", source, err)
}

// fsName names the file system of a path, for messages.
func fsName(file string) string {
	var st unix.Statfs_t
	if unix.Statfs(file, &st) != nil {
		return "unknown"
	}
	switch uint32(st.Type) {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.PROC_SUPER_MAGIC:
		return "proc"
	case unix.SYSFS_MAGIC:
		return "sysfs"
	case 0x65735546:
		return "fuse"
	}
	return fmt.Sprintf("type %#x", uint32(st.Type))
}

// readIn reads a file below root as the container sees it: no link in it leads
// out. A file that isn't there is empty.
func readIn(root int, file string) ([]byte, error) {
	fd, err := unix.Openat2(root, strings.TrimPrefix(file, "/"), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the container's %s: %w", file, err)
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return nil, fmt.Errorf("read the container's %s: it must be a file of at most 1 MiB", file)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) && err != nil {
		return nil, fmt.Errorf("read the container's %s: %w", file, err)
	}
	return data, nil
}

// PrepareVolumes finds out what volumes bind, whatever links lead there. With
// make, what isn't there is made, a directory, as docker does.
func PrepareVolumes(volumes []Volume, make bool) error {
	if len(volumes) == 0 {
		return nil
	}
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for i, v := range volumes {
		real, err := resolve(v.Source)
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Source, err)
		}
		if err := checkSource(real); err != nil { // before anything is made there
			return fmt.Errorf("volume %w", err)
		}
		make := make && !v.Made // that is made when the container's record names it
		if make && v.Exists {
			if _, err := os.Lstat(real); err != nil {
				return fmt.Errorf("volume %s: no such file or directory on this machine; make it, or write --volume, which does", v.Source)
			}
		} else if make {
			if err := makeSource(real); err != nil {
				return fmt.Errorf("make volume %s: %w", v.Source, err)
			}
		}
		info, err := os.Stat(real)
		if err != nil && make {
			return fmt.Errorf("volume %s: %w", v.Source, err)
		}
		volumes[i].Source, volumes[i].file = real, err == nil && !info.IsDir()
		if err := checkVolume(mounts, volumes[i]); err != nil {
			return fmt.Errorf("volume %w", err)
		}
		if err == nil && info.Mode()&os.ModeSocket != 0 && info.Sys().(*syscall.Stat_t).Nlink > 1 {
			return fmt.Errorf("volume %s: is a socket with several names, of which another may be one that rules this machine; bind the directory it is in", real)
		}
	}
	return nil
}

// PrepareDevices finds out what devices are, whatever links lead there, and
// leaves out those that needn't be there and aren't. hostIDs says that there
// will be no user name-space.
func PrepareDevices(devices []Device, hostIDs bool) ([]Device, error) {
	var there []Device
	for _, d := range devices {
		real, err := filepath.EvalSymlinks(d.Source)
		if d.Optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("device %s: this machine hasn't got it: %w", d.Source, err)
		}
		info, err := os.Stat(real)
		switch {
		case err != nil:
			return nil, fmt.Errorf("device %s: %w", d.Source, err)
		case !strings.HasPrefix(real, "/dev/"), info.Mode()&os.ModeDevice == 0 && !info.IsDir():
			return nil, fmt.Errorf("device %s: no device and no directory below /dev; bind it: --volume", d.Source)
		case info.IsDir() && !holdsDevices(real, info):
			return nil, fmt.Errorf("device %s: no directory of devices but one that the machine's programs share, terminals or memory; a container has its own; leave it out, or name one device in it", d.Source)
		case isMemory(info):
			return nil, fmt.Errorf("device %s: is the machine's whole memory, or all its ports, and so the machine; name the one device that the program is for", d.Source)
		case !info.IsDir() && !hostIDs && info.Mode().Perm()&0o006 != 0o006:
			// Its owner and group are nobody in there, and devtmpfs maps no ids.
			return nil, fmt.Errorf("device %s: only its owner and group may use it (%s), and in a user name-space a container is neither; give that up: --userns=host",
				d.Source, info.Mode().Perm())
		}
		d.Source, d.dir = real, info.IsDir()
		there = append(there, d)
	}
	return there, nil
}

// sharedDirs of /dev hold what programs make, even where they are no mounts.
var sharedDirs = []string{"hugepages", "mqueue", "pts", "shm"}

// holdsDevices says whether a directory below /dev is a part of that, with the
// nodes that the kernel and udev make.
func holdsDevices(dir string, info os.FileInfo) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(dir, "/dev/"), "/")
	dev, err := os.Stat("/dev")
	return err == nil && !slices.Contains(sharedDirs, top) && info.Sys().(*syscall.Stat_t).Dev == dev.Sys().(*syscall.Stat_t).Dev
}

// isMemory says whether a node, by whatever name, is /dev/mem, kmem or port: no
// capability should be all that is between a container and those.
func isMemory(info os.FileInfo) bool {
	whole := []uint64{unix.Mkdev(1, 1), unix.Mkdev(1, 2), unix.Mkdev(1, 4)}
	return info.Mode()&os.ModeCharDevice != 0 && slices.Contains(whole, info.Sys().(*syscall.Stat_t).Rdev)
}

// resolve follows all links of an absolute path; its end need not exist.
func resolve(file string) (string, error) {
	real, err := filepath.EvalSymlinks(file)
	if !errors.Is(err, os.ErrNotExist) || file == "/" {
		return real, err
	}
	if _, err := os.Lstat(file); err == nil {
		return "", errors.New("a symbolic link that leads nowhere")
	}
	up, err := resolve(filepath.Dir(file))
	return filepath.Join(up, filepath.Base(file)), err
}

func makeSource(file string) error {
	if _, err := os.Lstat(file); err == nil {
		return nil // MkdirAll wants a directory
	}
	return os.MkdirAll(file, 0o755)
}
