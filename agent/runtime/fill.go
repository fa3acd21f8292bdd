package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fillName is where in a container's directory a volume's content is put together.
const fillName = "fill"

// fillDepthMax bounds how deep a directory of an image's is copied: each level
// holds two descriptors open.
const fillDepthMax = 200

// filler copies a directory of an image into a volume. It follows no link and
// makes no device: the image may be anybody's.
type filler struct {
	base  uint32 // what the container's id 0 is outside; its ids are put back by that
	count uint32 // how many ids it has; 0: ids are the same in and out

	volumes placer
}

// fillVolume copies what the container's root has at target into a volume, when
// that is empty, as docker does with named volumes: the image's files, and whom
// they and the directory belong to. All is there when it returns, whoever copied
// it; see placer. scratch is where it is put together, on the same file system. When the
// root has nothing there, or another start is faster, nothing happens.
func (f filler) fillVolume(root int, target, volume, scratch string) error {
	empty, err := isEmpty(volume)
	if err != nil {
		return err
	}
	if !empty {
		return f.volumes.settle(volume)
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
	if err = f.volumes.place(scratch, volume); errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		err = nil
	} else if err == nil {
		return nil
	}
	return errors.Join(err, os.RemoveAll(scratch))
}

// placer makes a copy the content of a volume, for the container with an id. The
// copy takes the volume's place, whole or not at all, unless another container
// has that mounted: what that one wrote from then on would be lost. Then the files
// go there one by one, under the lock, and until all are there the copy has a name
// by which whoever comes next sees that: they wait, or finish it, if we are killed.
type placer struct {
	dir *Dir
	id  string
}

// filling is what the copy is called that goes to a volume file by file. No volume
// is called so.
func filling(volume string) string {
	return filepath.Join(filepath.Dir(volume), ".filling."+filepath.Base(volume))
}

// place is the placing itself. A volume that is no longer empty is ENOTEMPTY. Who
// is about to mount it has its record already.
func (p placer) place(scratch, volume string) error {
	unlock, err := p.dir.prepare()
	if err != nil {
		return err
	}
	defer unlock()
	if err := moveInto(filling(volume), volume); err != nil {
		return err
	}
	all, err := p.dir.List()
	if err != nil {
		return err
	}
	bound := func(v Volume) bool { return v.Source == volume }
	for _, c := range all {
		if c.ID != p.id && c.Live != nil && slices.ContainsFunc(c.Volumes, bound) {
			switch empty, err := isEmpty(volume); {
			case err != nil:
				return err
			case !empty:
				return unix.ENOTEMPTY
			}
			if err := unix.Rename(scratch, filling(volume)); err != nil {
				return err
			}
			return moveInto(filling(volume), volume)
		}
	}
	return unix.Rename(scratch, volume)
}

// settle is for a volume that isn't empty: it returns once nobody is filling it.
func (p placer) settle(volume string) error {
	if unix.Access(filling(volume), unix.F_OK) != nil {
		return nil // it is there before the first of its files is in the volume
	}
	unlock, err := p.dir.prepare()
	if err != nil {
		return err
	}
	defer unlock()
	return moveInto(filling(volume), volume)
}

// moveInto makes a directory like another one and moves what is in that there, if
// there is such a one. What somebody has made there stays.
func moveInto(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	fd, err := unix.Open(to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := (filler{}).like(fd, &st); err != nil { // before there is something to keep from others
		return err
	}
	for _, e := range entries {
		err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(from, e.Name()), fd, e.Name(), unix.RENAME_NOREPLACE)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("move %s: %w", e.Name(), err)
		}
	}
	return errors.Join(filler{}.like(fd, &st), os.RemoveAll(from)) // the time is another by now
}

func isEmpty(dir string) (bool, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	for buf := make([]byte, 1024); ; {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return false, &os.PathError{Op: "read", Path: dir, Err: err}
		}
		if _, names, _ := unix.ParseDirent(buf[:n], 1, nil); names > 0 || n == 0 {
			return names == 0, nil
		}
	}
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
