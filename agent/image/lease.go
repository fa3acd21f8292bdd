package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// Hold keeps img from being removed until [Store.Release] with the same holder,
// a container's id. Holding again replaces what was held. The error wraps
// [ErrDamaged] when a removal came first. It does not wait for the disk: no
// container outlives what a power cut takes from here.
func (s *Store) Hold(ctx context.Context, holder string, img *Image) error {
	path, err := s.leasePath(holder)
	if err != nil {
		return err
	}
	lock, err := waitLock(ctx, s.lockPath(), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("hold image %s: %w", img.Ref, err)
	}
	defer lock.release()
	for _, id := range img.DiffIDs {
		if info, err := os.Lstat(s.LayerDir(id)); err != nil || !info.IsDir() {
			return fmt.Errorf("hold image %s: %w: layer %s was removed", img.Ref, ErrDamaged, id)
		}
	}
	if s.holdName(path, img) {
		return nil
	}
	text := strings.Join([]string{img.Ref, string(img.Digest), string(img.Manifest), string(img.ConfigID)}, " ")
	err = os.Symlink(text, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.Symlink(text, path)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		next := path + ".new"
		os.Remove(next) // of a process that was killed
		if err = os.Symlink(text, next); err == nil {
			err = os.Rename(next, path)
		}
	}
	if err != nil {
		return fmt.Errorf("hold image %s: %w", img.Ref, err)
	}
	return nil
}

// holdName makes the lease a further name of the file that says what the image's
// reference stands for: that takes neither a file nor room of its own, which a
// disk feels at every start. It reports whether it could, and whether the reference
// stands for that image still.
func (s *Store) holdName(path string, img *Image) bool {
	ref, err := ParseReference(img.Ref)
	if err != nil || os.Link(s.refPath(ref), path) != nil {
		return false
	}
	l, err := readLease(path)
	if err == nil && l == (lease{img.Ref, record{Digest: img.Digest, Manifest: img.Manifest, Config: img.ConfigID}}) {
		return true
	}
	os.Remove(path)
	return false
}

// Release ends what Hold began, and notes on the image that it was in use until
// now. A holder of nothing is no error.
func (s *Store) Release(holder string) error {
	path, err := s.leasePath(holder)
	if err != nil {
		return err
	}
	l, readErr := readLease(path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if readErr == nil { // it was in use up to now
		if ref, err := ParseReference(l.Ref); err == nil {
			_ = os.Chtimes(s.refPath(ref), time.Time{}, time.Now()) // gone, perhaps
		}
	}
	return nil
}

// Holders returns who holds images, in no order.
func (s *Store) Holders() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "leases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var holders []string
	for _, e := range entries {
		holders = append(holders, e.Name())
	}
	return holders, nil
}

// Held returns the image that holder holds, whatever its tag stands for by now.
func (s *Store) Held(holder string) (*Image, error) {
	path, err := s.leasePath(holder)
	if err != nil {
		return nil, err
	}
	l, err := readLease(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("image of %s: %w", holder, ErrNoImage)
	}
	if err != nil {
		return nil, err
	}
	return s.build(l.Ref, l.record)
}

// lease is what a file in leases/ says: it is a further name of a file in refs/,
// or a link that says it in its target. Made in one call, it is there as a whole
// or not at all.
type lease struct {
	Ref string
	record
}

func (s *Store) leasePath(holder string) (string, error) {
	if !validTag(holder) {
		return "", fmt.Errorf("%q can't hold an image: use letters, digits, _, . and -", holder)
	}
	return filepath.Join(s.dir, "leases", holder), nil
}

func readLease(path string) (l lease, err error) {
	text, err := os.Readlink(path)
	if errors.Is(err, unix.EINVAL) { // no link
		data, err := sheet.ReadFile(path)
		if err != nil {
			return l, err
		}
		if l.Ref, l.record, err = decodeRef(data); err != nil {
			return l, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
		}
		return l, nil
	}
	if err != nil {
		return l, err
	}
	part := strings.Split(text, " ")
	if len(part) != 4 {
		return l, fmt.Errorf("%w: %s: %d words, want 4", ErrDamaged, path, len(part))
	}
	l = lease{part[0], record{Digest: Digest(part[1]), Manifest: Digest(part[2]), Config: Digest(part[3])}}
	if err := l.check(); err != nil {
		return l, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return l, nil
}

// leases returns what is held, by holder.
func (s *Store) leases() (map[string]lease, error) {
	holders, err := s.Holders()
	if err != nil {
		return nil, err
	}
	held := map[string]lease{}
	for _, holder := range holders {
		l, err := readLease(filepath.Join(s.dir, "leases", holder))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		held[holder] = l
	}
	return held, nil
}
