package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sweep removes what nothing uses, without waiting: it returns errLocked.
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
	if removed.Layers, err = s.drop("layers", live, &removed.Bytes); err != nil {
		return removed, err
	}
	if removed.Blobs, err = s.drop("blobs/sha256", live, &removed.Bytes); err != nil {
		return removed, err
	}
	if _, err = s.drop("blueprints", live, &removed.Bytes); err != nil {
		return removed, err
	}
	err = os.RemoveAll(filepath.Join(s.dir, "locks"))
	return removed, errors.Join(err, s.emptyTmp(), s.dropPartials(partialAge))
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
			return nil, fmt.Errorf("image %s: %w; repair it: nsrun pull %s", ref.Familiar(), err, ref.Familiar())
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
func (s *Store) drop(sub string, live map[Digest]bool, bytes *int64) (dropped []Digest, err error) {
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
		var size int64
		if e.IsDir() {
			size = s.LayerBytes(d)
		} else if info, err := e.Info(); err == nil {
			size = info.Size()
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
		*bytes += size
		if !isBeside {
			dropped = append(dropped, d)
		}
	}
	return dropped, nil
}
