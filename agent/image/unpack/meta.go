package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const paxXattr = "SCHILY.xattr."

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once, by crc32

// metaOf reads an entry's owner, mode, time and attributes.
func (t *tree) metaOf(h *tar.Header) (meta, error) {
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= math.MaxUint32 || h.Gid >= math.MaxUint32 {
		return meta{}, fmt.Errorf("owner %d:%d is no owner", h.Uid, h.Gid)
	}
	m := meta{
		mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid,
		mtime: unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())},
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if !t.welcome(attr) {
			t.skip(h.Name, fmt.Sprintf("attribute %q", clip(attr)))
			continue
		}
		if m.xattrs == nil {
			m.xattrs = map[string]string{}
		}
		m.xattrs[attr] = value
	}
	return m, nil
}

// welcome says which attributes a layer may bring. trusted.* would speak to
// overlay itself (and redirect lookups), security.* to the host's own policies;
// file capabilities are the exception.
func (t *tree) welcome(attr string) bool {
	switch {
	case strings.HasPrefix(attr, "user.overlay."):
		return false
	case attr == "security.capability":
		return !t.own
	}
	return strings.HasPrefix(attr, "user.") || attr == "system.posix_acl_access" || attr == "system.posix_acl_default"
}

// finishFD sets what an open file or directory is to have, st being what it has.
func (t *tree) finishFD(fd int, st *unix.Stat_t, m meta) error {
	if !t.own && (st.Uid != uint32(m.uid) || st.Gid != uint32(m.gid)) {
		if err := unix.Fchown(fd, m.uid, m.gid); err != nil {
			return fmt.Errorf("owner %d:%d: %w", m.uid, m.gid, err)
		}
	}
	// After the owner, since that takes set-id bits and capabilities away.
	if st.Mode&0o7777 != m.mode || m.mode&0o7000 != 0 {
		if err := unix.Fchmod(fd, m.mode); err != nil {
			return fmt.Errorf("mode %#o: %w", m.mode, err)
		}
	}
	for attr, value := range m.xattrs {
		err := unix.Fsetxattr(fd, attr, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) {
			t.skip(attr, "the file system has no such attributes")
			continue
		}
		if err != nil {
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	if err := unix.UtimesNanoAt(fd, "", []unix.Timespec{m.mtime, m.mtime}, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

// finishAt is finishFD for what can't be opened: links and pipes.
func (t *tree) finishAt(parent int, base string, m meta) error {
	if !t.own {
		if err := unix.Fchownat(parent, base, m.uid, m.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("owner %d:%d: %w", m.uid, m.gid, err)
		}
	}
	times := []unix.Timespec{m.mtime, m.mtime}
	if err := unix.UtimesNanoAt(parent, base, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return nil
}

// finish gives the directories their looks. It comes last, as each new entry
// changes its directory's time, and a strict mode could keep an ordinary user out.
func (t *tree) finish() error {
	t.forget()
	names := make([]string, 0, len(t.dirs))
	for name := range t.dirs {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names) // children before their parents
	for _, name := range names {
		if err := t.finishDir(name, t.dirs[name]); err != nil {
			return fmt.Errorf("directory %q: %w", clip(name), err)
		}
	}
	return nil
}

func (t *tree) finishDir(name string, m meta) error {
	path, err := t.openWith(name, unix.O_NOFOLLOW)
	switch err {
	case nil:
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP: // replaced by a later entry
		return nil
	default:
		return err
	}
	defer unix.Close(path)
	fd, err := unix.Openat(path, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if t.own { // else nobody could mount or remove it
		m.mode |= 0o700
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return t.finishFD(fd, &st, m)
}

// setOpaque hides all that lower layers have in a directory.
func (t *tree) setOpaque(parent int, base string) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attr := "trusted.overlay.opaque"
	if t.own {
		attr = "user.overlay.opaque"
	}
	if err := unix.Fsetxattr(fd, attr, []byte("y"), 0); err != nil {
		return fmt.Errorf("attribute %s: %w", attr, err)
	}
	return nil
}
