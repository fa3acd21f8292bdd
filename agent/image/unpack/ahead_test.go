package unpack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

func sourceOf(r io.Reader) *source {
	return &source{ctx: context.Background(), r: r, sum: sha256.New()}
}

// noGoroutineStays waits until there are no more goroutines than before.
func noGoroutineStays(t *testing.T, before int) {
	t.Helper()
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestAheadBringsAllInOrder(t *testing.T) {
	before := runtime.NumGoroutine()
	want := make([]byte, 5*aheadBytes+77)
	rand.New(rand.NewSource(1)).Read(want)
	for name, blob := range map[string][]byte{"plain": want, "gzip": gzipped(t, want), "zstd": zstandard(t, want)} {
		a, err := readAhead(sourceOf(iotest.HalfReader(bytes.NewReader(blob))))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(a))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
		if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: after the end %d, %v", name, n, err)
		}
		if a.took() != int64(len(blob)) {
			t.Errorf("%s: took %d bytes of %d", name, a.took(), len(blob))
		}
		if err := a.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	noGoroutineStays(t, before)
}

// An error comes after all the bytes before it, and again and again.
func TestAheadBringsErrorsInTheirPlace(t *testing.T) {
	const size = 3*aheadBytes + 5
	in := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), iotest.ErrReader(unix.EIO))
	a, err := readAhead(sourceOf(in))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	got, err := io.ReadAll(a)
	if len(got) != size || !errors.Is(err, unix.EIO) {
		t.Errorf("got %d bytes of %d, %v", len(got), size, err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, unix.EIO) {
		t.Errorf("then %v", err)
	}
}

// Who has had enough after a few bytes leaves no goroutine behind, though there
// is no end to the blob; and what was read of it is read no further.
func TestAheadIsClosedEarly(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, bytesRead := range []int64{0, 1, aheadBytes, 3 * aheadBytes} {
		in := sourceOf(endless{})
		a, err := readAhead(in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, a, bytesRead); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		most := bytesRead + (aheadBuffers+2)*aheadBytes // those, one it is at, and bufio's
		if at := in.read; at > most {
			t.Errorf("after %d bytes it was at %d, more than %d", bytesRead, at, most)
		}
		noGoroutineStays(t, before)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
