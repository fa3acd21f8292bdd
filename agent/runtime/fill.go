package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fillDepthMax bounds how deep a directory of an image's is copied: each level
// holds two descriptors open.
const fillDepthMax = 200

// filler copies a directory of an image into a volume. It follows no link and
// makes no device: the image may be anybody's.
type filler struct {
	base  uint32 // what the container's id 0 is outside; its ids are put back by that
	count uint32 // how many ids it has; 0: ids are the same in and out
}

// fillVolume copies what the container's root has at target into a volume, when
// that is empty, as docker does with named volumes: the image's files, and whom
// they and the directory belong to. It appears in the volume in one piece; scratch
// is where it is put together, on the same file system. When the root has nothing
// there, or another start is faster, nothing happens.
func (f filler) fillVolume(root int, target, volume, scratch string) error {
	empty, err := isEmpty(volume)
	if err != nil || !empty {
		return err
	}
	from, err := unix.Openat2(root, strings.TrimPrefix(filepath.Clean(target), "/"), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(scratch); err != nil {
		unix.Close(from)
		return err
	}
	if err := unix.Mkdir(scratch, 0o700); err != nil {
		unix.Close(from)
		return err
	}
	to, err := unix.Open(scratch, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(from)
		return err
	}
	if err := f.dir(from, to, 0); err != nil {
		return errors.Join(err, os.RemoveAll(scratch))
	}
	err = unix.Rename(scratch, volume)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return os.RemoveAll(scratch)
	}
	return err
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// dir copies one directory and what is in it; it closes both.
func (f filler) dir(from, to, depth int) error {
	source, dest := os.NewFile(uintptr(from), ""), os.NewFile(uintptr(to), "")
	defer source.Close()
	defer dest.Close()
	if depth > fillDepthMax {
		return fmt.Errorf("directories are deeper than %d", fillDepthMax)
	}
	var own unix.Stat_t
	if err := unix.Fstat(from, &own); err != nil {
		return err
	}
	names, err := source.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f.entry(from, to, name, depth); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return f.like(to, &own)
}

func (f filler) entry(from, to int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return err
		}
		source, err := unix.Openat(from, name, flags, 0)
		if err != nil {
			return err
		}
		dest, err := unix.Openat(to, name, flags, 0)
		if err != nil {
			unix.Close(source)
			return err
		}
		return f.dir(source, dest, depth+1)
	case unix.S_IFREG:
		return f.file(from, to, name, &st)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(from, name, buf)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
			return err
		}
		return unix.Fchownat(to, name, f.id(st.Uid), f.id(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	return nil // a device, a socket, a pipe: nothing to keep
}

func (f filler) file(from, to int, name string, st *unix.Stat_t) error {
	in, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	source := os.NewFile(uintptr(in), name)
	defer source.Close()
	out, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	dest := os.NewFile(uintptr(out), name)
	_, err = io.Copy(dest, source)
	if err == nil {
		err = f.like(out, st)
	}
	return errors.Join(err, dest.Close())
}

// like gives a copy the owner, mode and time of what it is a copy of.
func (f filler) like(fd int, st *unix.Stat_t) error {
	if err := unix.Fchown(fd, f.id(st.Uid), f.id(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return err
	}
	at := unix.NsecToTimeval(st.Mtim.Nano())
	return unix.Futimes(fd, []unix.Timeval{at, at})
}

// id is what an id of the container's, as it is seen out here, is in there: that
// is how it lies on disk.
func (f filler) id(outside uint32) int {
	if f.count > 0 && outside >= f.base && outside-f.base < f.count {
		return int(outside - f.base)
	}
	return int(outside)
}
