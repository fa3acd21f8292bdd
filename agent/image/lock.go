package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another process holds is tried again. The
// kernel offers no wait that a context can end.
const lockPoll = 50 * time.Millisecond

// fileLock is an advisory lock on a file. It ends with the process that holds it.
type fileLock struct {
	path string
	fd   int // none of Go's files: see [sheet.ReadFile]
}

// errLocked says that somebody else has the lock.
var errLocked = errors.New("in use by another process")

// tryLock takes the lock at path, how being unix.LOCK_SH or LOCK_EX, or returns errLocked.
func tryLock(path string, how int) (*fileLock, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		fd, err = unix.Open(path, flags, 0o600)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	l := &fileLock{path, fd}
	if err := l.change(how); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// change turns a held lock into the other kind; on errLocked it may be lost.
func (l *fileLock) change(how int) error {
	for {
		err := unix.Flock(l.fd, how|unix.LOCK_NB)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			return errLocked
		}
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
}

// waitLock takes the lock at path as soon as it is free.
func waitLock(ctx context.Context, path string, how int) (*fileLock, error) {
	l, err := tryLock(path, how)
	if !errors.Is(err, errLocked) {
		return l, err
	}
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		if l, err = tryLock(path, how); !errors.Is(err, errLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w: %w", path, errLocked, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// release lets go; a second time does nothing.
func (l *fileLock) release() {
	if l.fd >= 0 {
		unix.Close(l.fd)
	}
	l.fd = -1
}
