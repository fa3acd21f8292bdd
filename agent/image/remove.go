package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrInUse says that a container still needs an image.
var ErrInUse = errors.New("in use")

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

// Release ends what Hold began. A holder of nothing is no error.
func (s *Store) Release(holder string) error {
	path, err := s.leasePath(holder)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
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

// lease is what a link in leases/ says, in its target: made in one call, it is
// there as a whole or not at all.
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

// Removed is what a removal took away.
type Removed struct {
	Untagged []string // references, in normal form
	Blobs    []Digest
	Layers   []Digest // diffIDs
	Later    bool     // a pull is under way: unused content goes with the next removal
}

// Remove takes the reference away and with it all content that nothing else
// uses. When it is the last name of an image that a container holds, that is
// [ErrInUse]; with force the name goes and the content stays as long as it is held.
func (s *Store) Remove(ctx context.Context, ref string, force bool) (Removed, error) {
	r, err := ParseReference(ref)
	if err != nil {
		return Removed{}, err
	}
	refs, err := s.matching(r)
	if err != nil {
		return Removed{}, fmt.Errorf("remove image %s: %w", ref, err)
	}
	if !force {
		if err := s.checkUnused(refs); err != nil {
			return Removed{}, fmt.Errorf("remove image %s: %w", ref, err)
		}
	}
	var removed Removed
	for _, r := range refs {
		if err := os.Remove(s.refPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove image %s: %w", ref, err)
		}
		removed.Untagged = append(removed.Untagged, r.String())
	}
	swept, err := s.sweep()
	if errors.Is(err, errLocked) {
		removed.Later = true
		return removed, nil
	}
	swept.Untagged = removed.Untagged
	return swept, err
}

// matching returns the references that r names: its own, or with a digest all
// of its repository that stand for that.
func (s *Store) matching(r Reference) ([]Reference, error) {
	if r.Digest == "" {
		if _, err := os.Lstat(s.refPath(r)); err != nil {
			return nil, ErrNoImage
		}
		return []Reference{r}, nil
	}
	all, err := s.references()
	if err != nil {
		return nil, err
	}
	var found []Reference
	for _, other := range all {
		if other.Registry != r.Registry || other.Repository != r.Repository {
			continue
		}
		rec, _, err := s.record(other)
		if other.Digest == r.Digest || err == nil && (rec.Digest == r.Digest || rec.Manifest == r.Digest) {
			found = append(found, other)
		}
	}
	if found == nil {
		return nil, ErrNoImage
	}
	return found, nil
}

// checkUnused returns ErrInUse when a container holds an image that has no name but refs.
func (s *Store) checkUnused(refs []Reference) error {
	held, err := s.leases()
	if err != nil || len(held) == 0 {
		return err
	}
	all, err := s.references()
	if err != nil {
		return err
	}
	names := map[Digest]int{} // by configuration
	for _, ref := range all {
		if rec, _, err := s.record(ref); err == nil {
			names[rec.Config]++
		}
	}
	for _, ref := range refs {
		rec, _, err := s.record(ref)
		if err != nil {
			continue // a damaged record keeps nothing alive
		}
		if names[rec.Config]--; names[rec.Config] > 0 {
			continue
		}
		for holder, l := range held {
			if l.Config == rec.Config {
				return fmt.Errorf("%w by container %s; remove that first: nsrun rm %s", ErrInUse, holder, holder)
			}
		}
	}
	return nil
}

// Prune removes what no reference and no container uses, waiting for pulls to end.
func (s *Store) Prune(ctx context.Context) (Removed, error) {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return Removed{}, nil
	}
	lock, err := waitLock(ctx, s.lockPath(), unix.LOCK_EX)
	if err != nil {
		return Removed{}, fmt.Errorf("prune images: %w", err)
	}
	defer lock.release()
	return s.sweepLocked()
}

// sweep is Prune for those who don't want to wait: it returns errLocked.
func (s *Store) sweep() (Removed, error) {
	lock, err := tryLock(s.lockPath(), unix.LOCK_EX)
	if err != nil {
		return Removed{}, err
	}
	defer lock.release()
	return s.sweepLocked()
}

func (s *Store) sweepLocked() (removed Removed, err error) {
	live, err := s.live()
	if err != nil { // what can't be read might need anything: remove nothing
		return removed, fmt.Errorf("prune images: nothing removed: %w", err)
	}
	if removed.Layers, err = s.drop("layers", live); err != nil {
		return removed, err
	}
	if removed.Blobs, err = s.drop("blobs/sha256", live); err != nil {
		return removed, err
	}
	err = os.RemoveAll(filepath.Join(s.dir, "locks"))
	return removed, errors.Join(err, s.emptyTmp())
}

// live returns the digests of all blobs and layers in use.
func (s *Store) live() (map[Digest]bool, error) {
	live := map[Digest]bool{}
	keep := func(rec record) error {
		live[rec.Digest], live[rec.Manifest], live[rec.Config] = true, true, true
		data, err := s.Blob(rec.Config)
		if err != nil {
			return err
		}
		print, err := ParseConfig(data)
		if err != nil {
			return err
		}
		for _, id := range print.DiffIDs {
			live[id] = true
		}
		return nil
	}
	refs, err := s.references()
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		rec, _, err := s.record(ref)
		if err == nil {
			err = keep(rec)
		}
		if err != nil && !errors.Is(err, ErrNoImage) {
			return nil, fmt.Errorf("image %s: %w", ref.Familiar(), err)
		}
	}
	held, err := s.leases()
	if err != nil {
		return nil, err
	}
	for holder, l := range held {
		if err := keep(l.record); err != nil {
			return nil, fmt.Errorf("image of container %s: %w", holder, err)
		}
	}
	return live, nil
}

// drop removes what is not live from one directory. Each thing is renamed away
// first, so that no half of it can be found under its name.
func (s *Store) drop(sub string, live map[Digest]bool) (dropped []Digest, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, sub))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		hex, _, isBeside := strings.Cut(e.Name(), ".") // .sums, .frame
		d := Digest(digestPrefix + hex)
		if live[d] {
			continue
		}
		away := filepath.Join(s.dir, "tmp", "gone-"+e.Name())
		if err := os.MkdirAll(filepath.Dir(away), 0o700); err != nil {
			return dropped, err
		}
		if err := os.Rename(filepath.Join(s.dir, sub, e.Name()), away); err != nil {
			return dropped, err
		}
		if err := os.RemoveAll(away); err != nil {
			return dropped, err
		}
		if !isBeside {
			dropped = append(dropped, d)
		}
	}
	return dropped, nil
}
