package unpack

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// resolveAttempts bounds retries of EAGAIN, by which openat2 says that something,
// anywhere in the system, was renamed while it walked through a "..".
const resolveAttempts = 1000

// open opens a directory of the layer. Links lead to the layer's root at most.
func (t *tree) open(dir string) (int, error) { return t.openWith(dir, 0) }

func (t *tree) openWith(dir string, flags uint64) (int, error) {
	if dir == "" {
		dir = "."
	}
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	return t.openHow(dir, how)
}

func (t *tree) openHow(name string, how *unix.OpenHow) (int, error) {
	for range resolveAttempts {
		fd, err := unix.Openat2(t.root, name, how)
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// parent opens the directory dir, making it when the archive didn't. The handle is
// the tree's and good until the next call.
func (t *tree) parent(dir string) (int, error) {
	dir = path.Clean(dir)
	if t.lastFD >= 0 && dir == t.lastPath {
		return t.lastFD, nil
	}
	t.forget()
	fd, err := t.open(dir)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		fd, err = t.makeParents(dir)
	}
	if err != nil {
		return -1, fmt.Errorf("directory %q: %w", clip(dir), err)
	}
	t.lastPath, t.lastFD = dir, fd
	return fd, nil
}

func (t *tree) forget() {
	if t.lastFD >= 0 {
		unix.Close(t.lastFD)
		t.lastFD = -1
	}
}

// makeParents makes the missing parts of dir, one by one.
func (t *tree) makeParents(dir string) (int, error) {
	at, err := t.open(".")
	if err != nil {
		return -1, err
	}
	done := ""
	for part := range strings.SplitSeq(dir, "/") {
		prefix := path.Join(done, part)
		next, err := t.open(prefix)
		if err == unix.ENOENT || err == unix.ENOTDIR {
			next, err = t.makeParent(at, part, prefix)
		}
		unix.Close(at)
		if err != nil {
			return -1, err
		}
		at, done = next, prefix
	}
	return at, nil
}

func (t *tree) makeParent(at int, base, prefix string) (int, error) {
	var st unix.Stat_t
	err := unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT:
		err = t.makeDir(at, base, false)
	case err == nil && isWhiteout(&st):
		err = t.makeDir(at, base, true)
	case err == nil:
		err = errors.New("in its place the layer has something else, or a link to nothing")
	}
	if err != nil {
		return -1, err
	}
	if err := t.count(); err != nil { // the archive has no entry for it
		return -1, err
	}
	if err := t.later(prefix, meta{mode: 0o755}); err != nil {
		return -1, err
	}
	return t.open(prefix)
}
