package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/clusterd/clusterd/agent/image/unpack"
)

const (
	entriesMax = 100_000 // in an archive of an image: blobs, directories
	linksMax   = 8       // one after another
)

// files are what an archive or a layout holds, by name.
type files interface {
	// open returns a file's content and size; the error wraps fs.ErrNotExist
	// when there is none.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

// directory is a layout that is a directory. Links may lead about in it, not out.
type directory struct{ root *os.Root }

func openDirectory(dir string) (files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return directory{root}, nil
}

func (d directory) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would keep us waiting
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (d directory) close() error { return d.root.Close() }

// tarFile is one, of which the places of its entries are known.
type tarFile struct {
	file    *os.File
	entries map[string]entry
}

type entry struct {
	offset, size int64
	link         string // name of another entry; "": a file
}

func openTar(file *os.File) (files, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	t := &tarFile{file: file, entries: map[string]entry{}}
	in := io.NewSectionReader(file, 0, info.Size())
	archive := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		if n == entriesMax {
			return nil, fmt.Errorf("%w: more than %d entries", unpack.ErrBomb, entriesMax)
		}
		at, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if err := t.add(h, at, info.Size()); err != nil {
			return nil, fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
	return t, nil
}

func (t *tarFile) add(h *tar.Header, at, end int64) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	e := entry{offset: at, size: h.Size}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg:
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return errors.New("is a sparse file, which images' archives have none of")
			}
		}
		if h.Size > end-at {
			return fmt.Errorf("%w: the archive has %d bytes of %d", unpack.ErrShort, end-at, h.Size)
		}
	case tar.TypeSymlink: // docker wrote a layer once and linked to it
		if path.IsAbs(h.Linkname) {
			return fmt.Errorf("%w: links to %.200q", unpack.ErrEscape, h.Linkname)
		}
		e.link = path.Join(path.Dir(name), h.Linkname)
	case tar.TypeLink:
		e.link = path.Clean(h.Linkname)
	default:
		return fmt.Errorf("is of kind %q, which images' archives have none of", h.Typeflag)
	}
	if e.link == ".." || strings.HasPrefix(e.link, "../") || path.IsAbs(e.link) {
		return fmt.Errorf("%w: links to %.200q", unpack.ErrEscape, h.Linkname)
	}
	if _, twice := t.entries[name]; twice {
		return errors.New("stands there twice")
	}
	t.entries[name] = e
	return nil
}

// clean gives a name the form a/b/c.
func clean(name string) (string, error) {
	if path.IsAbs(name) || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%w: its name does", unpack.ErrEscape)
	}
	return path.Clean(name), nil
}

func (t *tarFile) open(name string) (io.ReadCloser, int64, error) {
	name, err := clean(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%.200q: %w", name, err)
	}
	for range linksMax {
		e, ok := t.entries[name]
		if !ok {
			return nil, 0, fmt.Errorf("%.200q: %w in the archive", name, fs.ErrNotExist)
		}
		if e.link == "" {
			return io.NopCloser(io.NewSectionReader(t.file, e.offset, e.size)), e.size, nil
		}
		name = e.link
	}
	return nil, 0, fmt.Errorf("%.200q: more than %d links one after another", name, linksMax)
}

func (t *tarFile) close() error { return t.file.Close() }

// seekable returns the plain tar file that in holds: in itself, or a copy without
// a name in dir when in is compressed or a pipe.
func seekable(ctx context.Context, in *os.File, dir string, limits unpack.Limits) (*os.File, error) {
	magic := make([]byte, 4)
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	if at, err := in.Seek(0, io.SeekCurrent); info.Mode().IsRegular() && err == nil && at == 0 {
		n, err := in.ReadAt(magic, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if !unpack.Compressed(magic[:n]) {
			return in, nil
		}
	}
	defer in.Close()
	plain, err := unpack.Plain(ctx, in, limits)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	spool, err := os.CreateTemp(dir, "archive-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(spool.Name())
	if err == nil {
		_, err = io.Copy(spool, plain)
	}
	if err != nil {
		spool.Close()
		return nil, fmt.Errorf("unpack the archive: %w", err)
	}
	return spool, nil
}
