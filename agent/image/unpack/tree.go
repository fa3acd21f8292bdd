package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..wh..opq"
	reservedPrefix = ".wh..wh."

	pathBytesMax = 3072 // leaves room, within the kernel's 4096, for where the layer lies
	skippedMax   = 5

	// depthMax bounds directories within directories: who removes them again
	// holds a descriptor for each, and a process may have as few as 1024.
	depthMax = 200
)

// tree writes a layer below one directory handle.
type tree struct {
	root    int // the layer's directory
	guard   *guard
	framer  *framer
	report  *Report
	own     bool // we are not root: no owners, no trusted attributes
	dirs    map[string]meta
	waiting int64          // bytes in dirs
	depths  map[uint64]int // of directories, by inode: by links a name can be deeper than it looks
	buf     []byte

	// The directory that was used last, since most entries share it with their neighbour.
	lastPath string
	lastFD   int
}

// meta is what is set on a thing once it has its content.
type meta struct {
	mode     uint32
	uid, gid int
	mtime    unix.Timespec
	xattrs   map[string]string
}

func openTree(dir string, g *guard) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return &tree{
		root: fd, lastFD: -1, guard: g, own: os.Geteuid() != 0,
		report: &Report{crcs: map[uint64]uint32{}},
		dirs:   map[string]meta{}, depths: map[uint64]int{}, buf: make([]byte, 256<<10),
	}, nil
}

func (t *tree) close() {
	t.forget()
	unix.Close(t.root)
}

// count counts something that is about to be made.
func (t *tree) count() error {
	if t.report.Entries++; t.report.Entries > t.guard.limits.EntriesMax {
		return fmt.Errorf("%w: more than %d entries", ErrBomb, t.guard.limits.EntriesMax)
	}
	return nil
}

// add makes one entry of the archive.
func (t *tree) add(h *tar.Header, body io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar, tar.TypeBlock:
		t.skip(h.Name, "device node")
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	switch {
	case name != "." && !single(base):
		return fmt.Errorf("%w: %q is no single name", ErrEscape, clip(base))
	case strings.HasPrefix(dir, reservedPrefix) || strings.Contains(dir, "/"+reservedPrefix):
		t.skip(name, "other layer format's bookkeeping")
		return nil
	case strings.HasPrefix(dir, whiteoutPrefix) || strings.Contains(dir, "/"+whiteoutPrefix):
		return errors.New("lies in a whiteout")
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return t.whiteOut(dir, base)
	}
	m, err := t.metaOf(h)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the layer's own root is no directory here")
		}
		return t.later(".", m)
	}
	parent, err := t.parent(dir)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return t.link(h.Linkname, name, parent, base)
	}
	if h.Typeflag == tar.TypeDir {
		return t.directory(name, parent, base, m)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		if isSparse(h) { // its frame holds it as it stands in the archive
			return t.file(parent, base, body, m)
		}
		t.framer.begin()
		return errors.Join(t.file(parent, base, body, m), t.framer.end(name))
	}
	if err := t.clear(parent, base); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		if h.Linkname == "" {
			return errors.New("symbolic link to nothing")
		}
		if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
		// Made by us a moment ago in a directory nobody else sees: no link to follow.
		if err := unix.Fchmodat(parent, base, m.mode, 0); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown kind %q of entry", h.Typeflag)
	}
	return t.finishAt(parent, base, m)
}

// cleanName gives an entry's name the form a/b/c, "." being the root.
func cleanName(name string) (string, error) {
	if len(name) > pathBytesMax {
		return "", fmt.Errorf("name of %d bytes; at most %d", len(name), pathBytesMax)
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("name with a zero byte")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%w: its name has ..", ErrEscape)
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return ".", nil
	}
	return clean, nil
}

// single says whether name, next to a handle, stays right there. After cleanName
// it always does: this is the wall behind that one.
func single(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func (t *tree) skip(what, why string) {
	t.report.Left++
	if len(t.report.Skipped) < skippedMax {
		t.report.Skipped = append(t.report.Skipped, fmt.Sprintf("%q: %s", clip(what), why))
	}
}

func (t *tree) directory(name string, parent int, base string, m meta) error {
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && err != unix.ENOENT {
		return err
	}
	if err == unix.ENOENT || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if err := t.makeDir(parent, base, err == nil && isWhiteout(&st)); err != nil {
			return err
		}
	}
	return t.later(name, m)
}

// later keeps what a directory is to look like for finish.
func (t *tree) later(name string, m meta) error {
	const each = 128 // about what the map takes
	t.waiting += int64(each + len(name))
	for attr, value := range m.xattrs {
		t.waiting += int64(len(attr) + len(value))
	}
	if t.waiting > t.guard.limits.MemoryBytesMax {
		return fmt.Errorf("%w: names and attributes of directories take more than %d bytes", ErrBomb, t.guard.limits.MemoryBytesMax)
	}
	t.dirs[name] = m
	return nil
}

// makeDir makes a directory in the place of anything that is no directory. In
// the place of a whiteout it is opaque: what lower layers have there is gone.
func (t *tree) makeDir(parent int, base string, opaque bool) error {
	if err := t.clear(parent, base); err != nil {
		return err
	}
	var above, st unix.Stat_t
	if err := unix.Fstat(parent, &above); err != nil {
		return err
	}
	depth := t.depths[above.Ino] + 1
	if depth > depthMax {
		return fmt.Errorf("%w: more than %d directories, one in the other", ErrBomb, depthMax)
	}
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return err
	}
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	t.depths[st.Ino] = depth
	if opaque {
		return t.setOpaque(parent, base)
	}
	return nil
}

func (t *tree) file(parent int, base string, body io.Reader, m meta) error {
	fd, err := create(parent, base, m.mode)
	if err == unix.EEXIST {
		if err = t.clear(parent, base); err == nil {
			fd, err = create(parent, base, m.mode)
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	sum, err := t.copy(fd, body)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	t.report.crcs[st.Ino] = sum
	return t.finishFD(fd, &st, m)
}

// create makes a file that isn't there yet, with as much of its mode as the umask and
// caution allow. Most files then need no other.
func create(parent int, base string, mode uint32) (int, error) {
	return unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o777)
}

// copy writes body to fd and returns its checksum. The guard counts these bytes too, as
// holes of a sparse file never pass through the stream.
func (t *tree) copy(fd int, body io.Reader) (uint32, error) {
	sum := uint32(0)
	for {
		n, err := body.Read(t.buf)
		data := t.buf[:n]
		sum = crc32.Update(sum, castagnoli(), data)
		t.report.Bytes += int64(n)
		if bytesOver := t.report.Bytes - t.guard.out; bytesOver > 0 {
			if bad := t.guard.add(bytesOver); bad != nil {
				return 0, bad
			}
		}
		for len(data) > 0 {
			written, err := unix.Write(fd, data)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return 0, err
			}
			data = data[written:]
		}
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read archive: %w", err)
		}
	}
}

// link makes a hard link to something this layer already has.
func (t *tree) link(linked, name string, parent int, base string) error {
	target, err := cleanName(linked)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", clip(linked), err)
	}
	if target == name {
		return errors.New("hard link to itself")
	}
	dir, targetBase := path.Split(target)
	if target != "." && !single(targetBase) {
		return fmt.Errorf("hard link to %q: %w", clip(linked), ErrEscape)
	}
	from, err := t.open(dir)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", clip(target), err)
	}
	defer unix.Close(from)
	if err := t.clear(parent, base); err != nil {
		return err
	}
	if err := unix.Linkat(from, targetBase, parent, base, 0); err != nil {
		return fmt.Errorf("hard link to %q: %w", clip(target), err)
	}
	return nil
}

// whiteOut hides what lower layers have; what this layer has itself stays,
// whichever comes first in the archive.
func (t *tree) whiteOut(dir, base string) error {
	if base == opaqueMark {
		parent, err := t.parent(dir)
		if err != nil {
			return err
		}
		return t.setOpaque(parent, ".")
	}
	if strings.HasPrefix(base, reservedPrefix) {
		t.skip(base, "other layer format's bookkeeping")
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("%w: it hides %q", ErrEscape, hidden)
	}
	parent, err := t.parent(dir)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	switch err := unix.Fstatat(parent, hidden, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		return unix.Mknodat(parent, hidden, unix.S_IFCHR, 0)
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return t.setOpaque(parent, hidden)
	}
	return nil
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// clear removes what is at base, if anything.
func (t *tree) clear(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err == unix.EISDIR || err == unix.EPERM {
		err = removeAll(parent, base)
	}
	return err
}

func removeAll(parent int, base string) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), base)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := unix.Unlinkat(fd, name, 0)
		if err == unix.EISDIR || err == unix.EPERM {
			err = removeAll(fd, name)
		}
		if err != nil {
			return err
		}
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}
