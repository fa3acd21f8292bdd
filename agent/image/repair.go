package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// MarkDamaged notes that a layer isn't what was unpacked: whoever needs it next in
// a session makes it again. Until then it stays usable, as far as it is.
func (x *Session) MarkDamaged(diffID Digest) error {
	if err := x.store.writeFile(x.store.markPath(diffID), nil); err != nil {
		return fmt.Errorf("mark layer %s as damaged: %w", diffID.Short(), err)
	}
	return nil
}

// Sound says whether nothing is known to be wrong with img: no layer is marked and
// its blobs are what they should be. What isn't sound is to be pulled again.
func (s *Store) Sound(img *Image) bool {
	if slices.ContainsFunc(img.DiffIDs, s.isMarked) {
		return false
	}
	for _, d := range []Digest{img.Digest, img.Manifest, img.ConfigID} {
		if _, err := s.Blob(d); err != nil {
			return false
		}
	}
	return true
}

func (s *Store) markPath(diffID Digest) string { return s.LayerDir(diffID) + ".damaged" }

func (s *Store) isMarked(diffID Digest) bool {
	_, err := os.Lstat(s.markPath(diffID))
	return err == nil
}

// place gives the finished directory root the layer's name. A damaged layer trades
// places with it in one call, so that no start finds nothing, and stays beside it:
// containers may have it mounted. It goes, like all that is beside a layer, when
// no image and no container needs that layer any more.
func (s *Store) place(root string, diffID Digest) error {
	dir := s.LayerDir(diffID)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(root, dir); err != nil {
			return err
		}
		return s.unmark(diffID)
	}
	old, err := os.MkdirTemp(filepath.Dir(dir), diffID.Hex()+".old-")
	if err != nil {
		return err
	}
	if err := unix.Rename(root, old); err != nil { // os.Rename won't replace even an empty directory
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("replace damaged layer %s: %w", diffID.Short(), err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil { // before the mark goes
		return err
	}
	return s.unmark(diffID)
}

func (s *Store) unmark(diffID Digest) error {
	err := os.Remove(s.markPath(diffID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
