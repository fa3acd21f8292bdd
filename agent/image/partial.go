package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// partialAge is how long the beginning of a blob is kept for a pull that goes on.
const partialAge = 24 * time.Hour

// Partial is the beginning of a blob, kept when a pull ends early. Nothing in it
// is to be believed before the whole blob's digest was right.
type Partial struct {
	file *os.File
	size int64
}

// Partial returns what an earlier pull has left of the blob d, which has
// blobBytes at most; perhaps nothing. It is nil when another process is fetching that blob.
func (x *Session) Partial(d Digest, blobBytes int64) (*Partial, error) {
	path := filepath.Join(x.store.dir, "partial", d.Hex())
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	lock := fileLock{path, int(file.Fd())}
	if err := lock.change(unix.LOCK_EX); err != nil {
		file.Close()
		if errors.Is(err, errLocked) {
			return nil, nil
		}
		return nil, err
	}
	x.remember(path)
	p := &Partial{file: file}
	info, err := file.Stat()
	if err == nil {
		p.size = info.Size()
		if p.size > blobBytes {
			err = p.Empty()
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Size is how much there is.
func (p *Partial) Size() int64 { return p.size }

// Reader reads what there is, from the beginning.
func (p *Partial) Reader() io.Reader { return io.NewSectionReader(p.file, 0, p.size) }

// Append keeps what comes next.
func (p *Partial) Append(data []byte) error {
	n, err := p.file.WriteAt(data, p.size)
	p.size += int64(n)
	return err
}

// Empty forgets what there is.
func (p *Partial) Empty() error {
	p.size = 0
	return p.file.Truncate(0)
}

// Close keeps what there is for later; Remove doesn't. Remove closes, too.
func (p *Partial) Close() error {
	if p.size == 0 {
		return p.Remove()
	}
	return p.file.Close()
}

// Remove is for a blob that is whole now.
func (p *Partial) Remove() error {
	return errors.Join(os.Remove(p.file.Name()), p.file.Close())
}

// dropPartials removes the beginnings of blobs that are older than age. The
// caller has the store for itself.
func (s *Store) dropPartials(age time.Duration) error {
	dir := filepath.Join(s.dir, "partial")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if info, infoErr := e.Info(); infoErr == nil && time.Since(info.ModTime()) >= age {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
