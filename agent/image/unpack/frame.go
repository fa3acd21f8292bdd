package unpack

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
)

// A frame is what an archive has besides the content of its files: headers,
// padding, whiteouts, what was left out, and where each file's content goes.
// Joined with the unpacked directory it gives the archive again, byte for byte, so that
// an image can be saved with the very diffIDs its configuration names while
// nothing is kept twice. (An archive written anew from the directory would be another
// one: order, header formats and attributes are its author's choice.)
//
// It is a zstd stream of frameMagic and of records, each of them an unsigned
// varint n<<1|kind: n bytes that follow, or n bytes of the file that is named by what
// follows, a varint length and as many bytes.
const (
	frameMagic = "nsrun frame 1\n"

	frameRaw  = 0
	frameFile = 1

	frameRawMax = 64 << 10 // bytes in one record
)

// errFrame says that a frame doesn't make sense or doesn't belong to its layer.
var errFrame = errors.New("its frame is damaged")

// framer writes a frame while an archive is read. A nil framer does nothing.
type framer struct {
	zip    *zstd.Encoder
	raw    []byte
	inFile bool
	held   int64 // bytes of the current file
}

func newFramer(w io.Writer) (*framer, error) {
	if w == nil {
		return nil, nil
	}
	zip, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(zip, frameMagic); err != nil {
		return nil, err
	}
	return &framer{zip: zip}, nil
}

// saw takes what was read of the archive.
func (f *framer) saw(data []byte) error {
	switch {
	case f == nil:
	case f.inFile:
		f.held += int64(len(data))
	default:
		f.raw = append(f.raw, data...)
		if len(f.raw) >= frameRawMax {
			return f.flush()
		}
	}
	return nil
}

// begin says that a file's content follows, end that that is over.
func (f *framer) begin() {
	if f != nil {
		f.inFile, f.held = true, 0
	}
}

func (f *framer) end(name string) error {
	if f == nil {
		return nil
	}
	f.inFile = false
	if f.held == 0 {
		return nil
	}
	if err := f.flush(); err != nil {
		return err
	}
	head := binary.AppendUvarint(nil, uint64(f.held)<<1|frameFile)
	head = binary.AppendUvarint(head, uint64(len(name)))
	_, err := f.zip.Write(append(head, name...))
	return err
}

func (f *framer) flush() error {
	for len(f.raw) > 0 {
		n := min(len(f.raw), frameRawMax)
		_, err := f.zip.Write(binary.AppendUvarint(nil, uint64(n)<<1|frameRaw))
		if err == nil {
			_, err = f.zip.Write(f.raw[:n])
		}
		if err != nil {
			return err
		}
		f.raw = f.raw[:copy(f.raw, f.raw[n:])]
	}
	return nil
}

func (f *framer) close() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.flush(), f.zip.Close())
}

// isSparse says whether an entry's content is not what its file has.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// ArchiveBytes returns the size of the archive that the frame in file belongs to.
func ArchiveBytes(file string) (int64, error) {
	var total int64
	err := readFrame(file, func(_ []byte, _ string, n int64) error {
		total += n
		return nil
	})
	return total, err
}

// Join writes to w the archive that was unpacked to dir, of which the frame is in
// file. The caller compares its digest: only that tells whether all is as it was.
func Join(ctx context.Context, file, dir string, w io.Writer) error {
	t, err := openTree(dir, nil)
	if err != nil {
		return err
	}
	defer t.close()
	out := bufio.NewWriterSize(w, 256<<10)
	err = readFrame(file, func(raw []byte, name string, n int64) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if name == "" {
			_, err := out.Write(raw)
			return err
		}
		return t.copyOut(out, name, n)
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// copyOut writes the content of a file of the layer, which must have n bytes.
func (t *tree) copyOut(out io.Writer, name string, n int64) error {
	how := &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := t.openHow(name, how)
	if err != nil {
		return fmt.Errorf("%w: file %q: %w", image.ErrDamaged, clip(name), err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != n {
		return fmt.Errorf("%w: file %q is not as it was unpacked", image.ErrDamaged, clip(name))
	}
	copied, err := io.Copy(out, io.LimitReader(f, n))
	if err == nil && copied != n {
		err = fmt.Errorf("%w: file %q ends early", image.ErrDamaged, clip(name))
	}
	return err
}

// readFrame calls yield for each record: raw bytes, or n bytes of the file called name.
func readFrame(file string, yield func(raw []byte, name string, n int64) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	unzip, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowBytesMax))
	if err != nil {
		return err
	}
	defer unzip.Close()
	in := bufio.NewReaderSize(unzip, frameRawMax)
	magic := make([]byte, len(frameMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != frameMagic {
		return fmt.Errorf("%w: %s has another form", errFrame, file)
	}
	buf := make([]byte, max(frameRawMax, pathBytesMax))
	for {
		head, err := binary.ReadUvarint(in)
		if err == io.EOF {
			return nil
		}
		n, short := head>>1, head>>1
		if err == nil && head&1 == frameFile {
			short, err = binary.ReadUvarint(in)
		}
		if err == nil && (short == 0 || short > uint64(len(buf))) {
			err = fmt.Errorf("record of %d bytes", short)
		}
		if err == nil {
			_, err = io.ReadFull(in, buf[:short])
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errFrame, file, err)
		}
		if head&1 == frameFile {
			err = yield(nil, string(buf[:short]), int64(n))
		} else {
			err = yield(buf[:short], "", int64(n))
		}
		if err != nil {
			return err
		}
	}
}

// Into is Layer for a layer that a session is making: with its frame and its sums.
func Into(ctx context.Context, fresh image.Fresh, blob io.Reader, want Want, limits Limits) (*Report, error) {
	frame, err := os.Create(fresh.Frame())
	if err != nil {
		return nil, err
	}
	defer frame.Close()
	want.Frame = frame
	report, err := Layer(ctx, fresh.Root(), blob, want, limits)
	if err != nil {
		return nil, err
	}
	if err := WriteSums(fresh.Sums(), fresh.Root(), report); err != nil {
		return nil, err
	}
	return report, frame.Close()
}
