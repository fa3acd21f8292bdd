package unpack

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/clusterd/clusterd/agent/image"
)

var (
	// ErrBomb says that a layer grows beyond all measure.
	ErrBomb = errors.New("unpacks to far too much")
	// ErrEscape says that a layer names something outside of itself.
	ErrEscape = errors.New("leads out of the layer")
	// ErrShort says that a blob ended early: fetching it again may help.
	ErrShort = errors.New("ended early")
)

// Limits bound what one layer may cost. A zero field means its default.
type Limits struct {
	Ratio      int64 // unpacked bytes for each byte of the blob; default 200
	FreeBytes  int64 // not counted against Ratio; default 64 MiB
	BytesMax   int64 // unpacked; default 1 TiB
	EntriesMax int   // files, directories and so on; default 5,000,000

	MemoryBytesMax int64 // names and attributes of directories, which wait for the end; default 512 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Ratio == 0 {
		l.Ratio = 200
	}
	if l.FreeBytes == 0 {
		l.FreeBytes = 64 << 20
	}
	if l.BytesMax == 0 {
		l.BytesMax = 1 << 40
	}
	if l.EntriesMax == 0 {
		l.EntriesMax = 5_000_000
	}
	if l.MemoryBytesMax == 0 {
		l.MemoryBytesMax = 512 << 20
	}
	return l
}

// Want is what a manifest and a configuration say about a layer.
type Want struct {
	Blob      image.Digest // of the blob as it is sent; "" where nobody says
	BlobBytes int64
	DiffID    image.Digest // of the archive in it
	Frame     io.Writer    // gets the archive's frame, see Join; nil: it isn't wanted
}

// Report is what Layer did.
type Report struct {
	Entries int
	Bytes   int64    // in regular files
	Skipped []string // what was left out, and why; at most a few, for people
	Left    int      // how many were left out

	crcs map[uint64]uint32 // of regular files, by inode
}

// windowBytesMax bounds the memory a zstd stream may ask for: what zstd --long makes.
const windowBytesMax = 128 << 20

// Layer unpacks blob into dir, which exists and is empty. It returns nil only if both
// digests are right. Of several faults it names a wrong digest first, since that explains the others.
func Layer(ctx context.Context, dir string, blob io.Reader, want Want, limits Limits) (*Report, error) {
	limits = limits.withDefaults()
	if want.BlobBytes > limits.BytesMax { // whoever sends it need never end
		return nil, fmt.Errorf("%w: a blob of %d bytes", ErrBomb, want.BlobBytes)
	}
	in := &source{ctx: ctx, r: io.LimitReader(blob, want.BlobBytes+1), sum: sha256.New()}
	report, diffID, err := layer(in, dir, limits, want.Frame)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if in.err == nil { // read what is left, for the digest's sake
		_, _ = io.Copy(io.Discard, in)
	}
	switch got := image.DigestFrom(in.sum.Sum(nil)); {
	case in.err != io.EOF:
		return nil, in.err
	case in.read < want.BlobBytes:
		return nil, fmt.Errorf("%w: after %d of %d bytes", ErrShort, in.read, want.BlobBytes)
	case in.read > want.BlobBytes:
		return nil, fmt.Errorf("%w: %s has more than the %d bytes it should have", image.ErrMismatch, want.Blob, want.BlobBytes)
	case want.Blob != "" && got != want.Blob:
		return nil, fmt.Errorf("%w: %s has the content of %s", image.ErrMismatch, want.Blob, got)
	case err != nil:
		return nil, err
	case diffID != want.DiffID:
		return nil, fmt.Errorf("%w: unpacked it is %s, its image says %s", image.ErrMismatch, diffID, want.DiffID)
	}
	return report, nil
}

func layer(in *source, dir string, limits Limits, frame io.Writer) (*Report, image.Digest, error) {
	plain, err := readAhead(in)
	if err != nil {
		return nil, "", fmt.Errorf("decompress: %w", err)
	}
	defer plain.Close()
	guard := &guard{limits: limits}
	framer, err := newFramer(frame)
	if err != nil {
		return nil, "", err
	}
	diff := &counted{r: plain, guard: guard, sum: sha256.New(), framer: framer}
	t, err := openTree(dir, guard)
	if err != nil {
		return nil, "", err
	}
	t.framer = framer
	defer t.close()
	archive := tar.NewReader(diff)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, "", fmt.Errorf("read archive: %w", err)
		}
		err = t.count()
		if err == nil {
			err = t.add(header, archive)
		}
		if err != nil {
			return nil, "", fmt.Errorf("entry %q: %w", clip(header.Name), err)
		}
	}
	if err := t.finish(); err != nil {
		return nil, "", err
	}
	// The archive's end is not the stream's: the digest covers padding, too.
	if _, err := io.Copy(io.Discard, diff); err != nil {
		return nil, "", fmt.Errorf("read archive: %w", err)
	}
	if err := framer.close(); err != nil {
		return nil, "", fmt.Errorf("write frame: %w", err)
	}
	return t.report, image.DigestFrom(diff.sum.Sum(nil)), nil
}

// clip keeps error messages readable whatever a stranger calls his files.
func clip(name string) string {
	const most = 200
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// decompress looks at the first bytes, not at what a media type claims: the
// diffID tells anyway whether the result is right.
func decompress(in io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 256<<10)
	magic, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case isGzip(magic):
		return gzip.NewReader(buffered)
	case isZstd(magic):
		// Layers go in parallel already, and one decoder of one goroutine is the fastest.
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowBytesMax))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// Compressed says whether something that begins with these four bytes is.
func Compressed(magic []byte) bool { return isGzip(magic) || isZstd(magic) }

func isGzip(magic []byte) bool { return bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) }

func isZstd(magic []byte) bool {
	frame := bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd})
	return frame || len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18})
}

// Plain decompresses in, whatever it is compressed with, within limits.
func Plain(ctx context.Context, in io.Reader, limits Limits) (io.ReadCloser, error) {
	from := &source{ctx: ctx, r: in, sum: sha256.New()}
	plain, err := readAhead(from)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&counted{r: plain, guard: &guard{limits: limits.withDefaults()}, sum: sha256.New()}, plain}, nil
}

// source reads the blob, counts and hashes it, and keeps the error it ended with.
type source struct {
	ctx  context.Context
	r    io.Reader
	sum  hash.Hash
	read int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	s.read += int64(n)
	s.err = err
	return n, err
}

// guard compares what comes out with what went in.
type guard struct {
	limits  Limits
	in, out int64
}

func (g *guard) add(n int64) error {
	g.out += n
	switch {
	case g.out > g.limits.BytesMax:
		return fmt.Errorf("%w: more than %d bytes", ErrBomb, g.limits.BytesMax)
	case g.out > g.limits.FreeBytes && g.out/g.limits.Ratio > g.in:
		return fmt.Errorf("%w: %d bytes out of %d, more than %d times as many", ErrBomb, g.out, g.in, g.limits.Ratio)
	}
	return nil
}

// counted is the unpacked stream on its way through guard and hash.
type counted struct {
	r      *ahead
	guard  *guard
	sum    hash.Hash
	framer *framer
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.guard.in = c.r.took()
	if bad := c.guard.add(int64(n)); bad != nil {
		return n, bad
	}
	if bad := c.framer.saw(p[:n]); bad != nil {
		return n, bad
	}
	return n, err
}
