package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Session adds to a store. While it is open nothing is removed from the store,
// so that what it finds there is still there when it is done.
type Session struct {
	store *Store
	lock  *fileLock

	mu   sync.Mutex
	made []string // what is new by us, below the store's directory: see Undo
}

// Begin opens a session, waiting while a removal is under way. The caller closes it.
func (s *Store) Begin(ctx context.Context) (*Session, error) {
	for _, sub := range []string{"", "blobs/sha256", "blueprints", "layers", "refs", "leases", "tmp", "locks"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open images: %w", err)
		}
	}
	// Alone here? Then what is in tmp belongs to nobody any more.
	lock, err := tryLock(s.lockPath(), unix.LOCK_EX)
	if err == nil {
		err = errors.Join(s.emptyTmp(), s.dropPartials(partialAge), lock.change(unix.LOCK_SH))
		if err != nil {
			lock.release()
		}
	}
	if errors.Is(err, errLocked) {
		lock, err = waitLock(ctx, s.lockPath(), unix.LOCK_SH)
	}
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	return &Session{store: s, lock: lock}, nil
}

// Close ends the session.
func (x *Session) Close() { x.lock.release() }

func (s *Store) lockPath() string { return filepath.Join(s.dir, "lock") }

// PutBlob keeps data under its digest.
func (x *Session) PutBlob(data []byte) (Digest, error) {
	d := DigestOf(data)
	if _, err := x.store.Blob(d); err == nil {
		return d, nil
	}
	if err := x.store.writeFile(x.store.blobPath(d), data); err != nil {
		return "", fmt.Errorf("keep blob %s: %w", d, err)
	}
	x.remember(x.store.blobPath(d))
	return d, nil
}

// Fresh is a directory that a layer is being made in: Root becomes the layer,
// Sums the list of what is in it, Frame the rest of its archive.
type Fresh struct {
	dir string
}

// Root is the directory to unpack to; it exists and is empty.
func (f Fresh) Root() string { return filepath.Join(f.dir, "root") }

// Sums is the file to write the list to.
func (f Fresh) Sums() string { return filepath.Join(f.dir, "sums") }

// Frame is the file to write what the archive has besides files' content to.
func (f Fresh) Frame() string { return filepath.Join(f.dir, "frame") }

// Layer makes sure that the layer with this diffID is here, calling fill to
// make it if it is not; made says whether it did. Processes that want the
// same layer wait for each other. After an error nothing is left of it.
func (x *Session) Layer(ctx context.Context, diffID Digest, fill func(Fresh) error) (made bool, err error) {
	s := x.store
	if x.HasLayer(diffID) {
		return false, nil
	}
	lock, err := waitLock(ctx, filepath.Join(s.dir, "locks", diffID.Hex()), unix.LOCK_EX)
	if err != nil {
		return false, err
	}
	defer lock.release()
	if x.HasLayer(diffID) { // somebody else was quicker
		return false, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "layer-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	fresh := Fresh{dir: tmp}
	if err := os.Mkdir(fresh.Root(), 0o755); err != nil {
		return false, err
	}
	if err := fill(fresh); err != nil {
		return false, err
	}
	if err := s.settle(fresh, diffID); err != nil {
		return true, err
	}
	x.remember(s.LayerDir(diffID))
	return true, nil
}

// settle moves a finished layer to its place. All of it reaches the disk before
// its name does, so that a layer that can be seen is a layer that is whole.
func (s *Store) settle(fresh Fresh, diffID Digest) error {
	tmp, err := os.Open(fresh.dir)
	if err != nil {
		return err
	}
	defer tmp.Close()
	if err := unix.Syncfs(int(tmp.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", fresh.dir, err)
	}
	for from, to := range map[string]string{fresh.Sums(): s.SumsPath(diffID), fresh.Frame(): s.FramePath(diffID)} {
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.place(fresh.Root(), diffID); err != nil {
		return err
	}
	return syncDir(filepath.Join(s.dir, "layers"))
}

// HasLayer says whether the layer with this diffID is here and not marked as damaged.
func (x *Session) HasLayer(diffID Digest) bool {
	info, err := os.Lstat(x.store.LayerDir(diffID))
	return err == nil && info.IsDir() && !x.store.isMarked(diffID)
}

// SumsPath returns where the list of a layer's content is.
func (s *Store) SumsPath(diffID Digest) string { return s.LayerDir(diffID) + ".sums" }

// FramePath returns where the frame of a layer's archive is: what joined with
// the layer gives the archive again.
func (s *Store) FramePath(diffID Digest) string { return s.LayerDir(diffID) + ".frame" }

// Tag makes ref stand for an image whose manifest, configuration and layers are
// here. digest is what the reference stood for at its source: the manifest, or an index that lists it.
func (x *Session) Tag(ref Reference, digest, manifest, config Digest) error {
	if err := x.putBlueprint(config); err != nil {
		return fmt.Errorf("keep image %s: %w", ref.Familiar(), err)
	}
	data := record{Digest: digest, Manifest: manifest, Config: config}.encode(ref)
	if err := x.store.writeFile(x.store.refPath(ref), data); err != nil {
		return fmt.Errorf("keep image %s: %w", ref.Familiar(), err)
	}
	return nil
}

// writeFile puts a file in its place, whole or not at all.
func (s *Store) writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "file-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (s *Store) emptyTmp() error {
	tmp := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(tmp, e.Name())))
	}
	return err
}
