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
	removed, gone, err := s.sweepLocked()
	lock.release()
	return removed, errors.Join(err, os.RemoveAll(gone))
}

// sweepLocked moves what nothing uses to the directory gone, which the caller
// removes when it has let go of the store: with large layers that takes a while, in
// which containers are to start. gone may be "".
func (s *Store) sweepLocked() (removed Removed, gone string, err error) {
	live, err := s.live()
	if err != nil { // what can't be read might need anything: remove nothing
		return removed, "", fmt.Errorf("prune images: nothing removed: %w", err)
	}
	tmp := filepath.Join(s.dir, "tmp")
	err = errors.Join(s.emptyTmp(), s.dropPartials(partialAge), os.RemoveAll(filepath.Join(s.dir, "locks")), os.MkdirAll(tmp, 0o700))
	if err != nil {
		return removed, "", err
	}
	if gone, err = os.MkdirTemp(tmp, "gone-"); err != nil {
		return removed, "", err
	}
	if removed.Layers, err = s.drop("layers", gone, live, &removed.Bytes); err != nil {
		return removed, gone, err
	}
	if removed.Blobs, err = s.drop("blobs/sha256", gone, live, &removed.Bytes); err != nil {
		return removed, gone, err
	}
	_, err = s.drop("blueprints", gone, live, &removed.Bytes)
	return removed, gone, err
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

// drop moves what is not live from one directory to gone: a rename is all or
// nothing, so that no half of it can be found under its name.
func (s *Store) drop(sub, gone string, live map[Digest]bool, bytes *int64) (dropped []Digest, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, sub))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		hex, _, isBeside := strings.Cut(e.Name(), ".") // .sums, .frame, .damaged, .old-*
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
		away := filepath.Join(gone, filepath.Base(sub)+"-"+e.Name())
		if err := os.Rename(filepath.Join(s.dir, sub, e.Name()), away); err != nil {
			return dropped, err
		}
		*bytes += size
		if !isBeside {
			dropped = append(dropped, d)
		}
	}
	return dropped, nil
}
