package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// noise is text that hardly compresses, of up to 6 MiB.
func noise(size int) string { return allNoise()[:size] }

var allNoise = sync.OnceValue(func() string {
	var out bytes.Buffer
	for i := 0; out.Len() < 6<<20; i++ {
		out.WriteString(image.DigestOf([]byte(strconv.Itoa(i))).Hex())
	}
	return out.String()
})

// cutting is a registry that closes the connection after some bytes of a layer.
type cutting struct {
	mu     sync.Mutex
	ranges []string
	sent   int
	cuts   int // connections that are to be cut
	after  int // bytes
	plain  bool
}

// seen returns the ranges that were asked for, and how many bytes were sent.
func (c *cutting) seen() (ranges []string, sent int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ranges, c.sent
}

func (c *cutting) answer(path string, blob []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, path) {
			return false
		}
		c.mu.Lock()
		c.ranges = append(c.ranges, r.Header.Get("Range"))
		cut := c.cuts > 0
		c.cuts--
		c.mu.Unlock()
		start := 0
		if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !c.plain {
			from, _, _ = strings.Cut(from, "-")
			start, _ = strconv.Atoi(from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(blob)-1, len(blob)))
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)-start))
		if start > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		rest := blob[start:]
		if cut {
			rest = rest[:min(len(rest), c.after)]
		}
		n, _ := w.Write(rest)
		c.mu.Lock()
		c.sent += n
		c.mu.Unlock()
		if cut {
			panic(http.ErrAbortHandler)
		}
		return true
	}
}

// layerOf returns where the image's only layer is, and its bytes.
func layerOf(t *testing.T, img v1.Image) (path string, blob []byte) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	in, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	return d.String(), out.Bytes()
}

func TestCutTransferGoesOnWhereItWas(t *testing.T) {
	for _, plain := range []bool{false, true} { // a registry that knows ranges, and one that doesn't
		f := newFixture(t)
		img := makeImage(t, image.Here().Architecture, noise(6<<20))
		f.push("library/busybox:latest", img)
		path, blob := layerOf(t, img)
		c := &cutting{cuts: 3, after: 1 << 20, plain: plain}
		f.set(nil, c.answer(path, blob))
		if _, _, err := f.pull("busybox"); err != nil {
			t.Fatal(err)
		}
		ranges, sent := c.seen()
		if len(ranges) != 4 || ranges[0] != "" || !strings.HasPrefix(ranges[1], "bytes=") {
			t.Errorf("asked for %q", ranges)
		}
		if !plain && sent > len(blob)+1<<20 {
			t.Errorf("%d bytes were sent for a blob of %d", sent, len(blob))
		}
		if left, err := os.ReadDir(filepath.Join(f.store.Dir(), "partial")); err != nil || len(left) != 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
}

func TestAbandonedPullIsGoneOnWith(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, noise(6<<20))
	f.push("library/busybox:latest", img)
	path, blob := layerOf(t, img)
	partial := filepath.Join(f.store.Dir(), "partial", strings.TrimPrefix(path, "sha256:"))
	c := &cutting{cuts: 100, after: len(blob) / 3}
	ctx, cancel := context.WithCancel(t.Context())
	answer := c.answer(path, blob)
	f.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, path) && r.Header.Get("Range") != "" {
			cancel()
			<-r.Context().Done()
			return true
		}
		return answer(w, r)
	})
	if _, _, err := f.puller(image.Platform{}).Pull(ctx, "busybox"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if got := f.visible(); got != "" {
		t.Errorf("left %s", got)
	}
	info, err := os.Stat(partial)
	if err != nil || info.Size() == 0 {
		t.Fatalf("kept %v, %v", info, err)
	}
	c = &cutting{}
	f.set(nil, c.answer(path, blob))
	if _, _, err := f.pull("busybox"); err != nil {
		t.Fatal(err)
	}
	if ranges, _ := c.seen(); len(ranges) != 1 || !strings.HasPrefix(ranges[0], fmt.Sprintf("bytes=%d-", info.Size())) {
		t.Errorf("asked for %q, had %d", ranges, info.Size())
	}
	if _, err := os.Stat(partial); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the beginning is still there: %v", err)
	}
}

func TestRubbishOfAnEarlierPullIsFetchedAnew(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, noise(6<<20))
	f.push("library/busybox:latest", img)
	path, blob := layerOf(t, img)
	for name, rubbish := range map[string][]byte{
		"flipped": append([]byte{blob[0] ^ 1}, blob[1:1<<20]...),
		"zeros":   make([]byte, 1<<20),
		"longer":  append(bytes.Clone(blob), 1),
		"whole":   blob,
	} {
		dir := filepath.Join(f.store.Dir(), "partial")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, strings.TrimPrefix(path, "sha256:")), rubbish, 0o600)); err != nil {
			t.Fatal(err)
		}
		c := &cutting{}
		f.set(nil, c.answer(path, blob))
		if _, _, err := f.pull("busybox"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ranges, _ := c.seen()
		if want := map[string]int{"flipped": 2, "zeros": 2, "longer": 1, "whole": 0}[name]; len(ranges) != want {
			t.Errorf("%s: asked for %q", name, ranges)
		}
		if _, err := f.store.Remove(t.Context(), "busybox", false); err != nil {
			t.Error(err)
		}
	}
}

// While somebody else is at work in the store nothing can be undone: what is
// wrong in a beginning must go all the same.
func TestRubbishIsNotGoneOnWithAgain(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, noise(6<<20))
	f.push("library/busybox:latest", img)
	path, blob := layerOf(t, img)
	other, err := f.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	partial := filepath.Join(f.store.Dir(), "partial", strings.TrimPrefix(path, "sha256:"))
	wrong := append(bytes.Clone(blob[:len(blob)-1]), blob[len(blob)-1]^1)
	for name, beginning := range map[string][]byte{"none": nil, "good": blob[:1<<20], "bad": make([]byte, 1<<20)} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(partial), 0o700), os.WriteFile(partial, beginning, 0o600)); err != nil {
			t.Fatal(err)
		}
		f.set(nil, (&cutting{}).answer(path, wrong))
		if _, _, err := f.pull("busybox"); !errors.Is(err, image.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(partial); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the beginning is still there: %v", name, err)
		}
	}
}

// A layer that is right, but too large or for a disk that is full, isn't fetched again for that.
func TestGoodBeginningIsNotBlamed(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, noise(6<<20))
	f.push("library/busybox:latest", img)
	path, blob := layerOf(t, img)
	partial := filepath.Join(f.store.Dir(), "partial", strings.TrimPrefix(path, "sha256:"))
	if err := errors.Join(os.MkdirAll(filepath.Dir(partial), 0o700), os.WriteFile(partial, blob[:1<<20], 0o600)); err != nil {
		t.Fatal(err)
	}
	c := &cutting{}
	f.set(nil, c.answer(path, blob))
	p := f.puller(image.Platform{})
	p.cfg.Limits.BytesMax = int64(len(blob)) + 1
	if _, _, err := p.Pull(t.Context(), "busybox"); !errors.Is(err, unpack.ErrBomb) {
		t.Errorf("got %v", err)
	}
	if ranges, _ := c.seen(); len(ranges) != 1 || !strings.HasPrefix(ranges[0], "bytes=1048576-") {
		t.Errorf("asked for %q", ranges)
	}
}

func TestFullDiskIsExplained(t *testing.T) {
	err := explain(fmt.Errorf("layer x: %w", unix.ENOSPC), image.Reference{}, image.Source{Host: "r.example", Repository: "a"}, &image.Registries{})
	if want := "r.example/a: layer x: no space left on device; nothing was kept: make room where images are, such as with nsrun image prune -a"; err.Error() != want || interrupted(err) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestCrawlingRegistryIsGivenUp(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, noise(6<<20))
	f.push("library/busybox:latest", img)
	path, blob := layerOf(t, img)
	f.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, path) {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		for i := range blob { // a byte now and then
			if _, err := w.Write(blob[i : i+1]); err != nil {
				break
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return true
			case <-time.After(10 * time.Millisecond):
			}
		}
		return true
	})
	f.stall = 200 * time.Millisecond
	p := f.puller(image.Platform{})
	start := time.Now()
	_, _, err := p.Pull(t.Context(), "busybox")
	if err == nil || !strings.Contains(err.Error(), "sent less than 4096 bytes in 200ms") || time.Since(start) > 20*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
	if got := f.visible(); got != "" {
		t.Errorf("left %s", got)
	}
}
