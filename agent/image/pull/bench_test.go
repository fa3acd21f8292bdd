package pull

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
)

// benchLayers makes archives of text, 200 MB of them: a few thousand files as
// documentation and libraries have them, some of them large.
func benchLayers(b *testing.B) [][]byte {
	random := rand.New(rand.NewSource(1))
	words := make([]string, 8192)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", random.Int63n(1<<uint(6+random.Intn(26))))
	}
	var layers [][]byte
	for l := range 5 {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for f := 0; out.Len() < 40<<20; f++ {
			size := 2000 + random.Intn(30<<10)
			if f%50 == 0 {
				size = 2 << 20
			}
			var text bytes.Buffer
			for text.Len() < size {
				text.WriteString(words[random.Intn(1+random.Intn(len(words)))])
			}
			h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/lib/d%d/f%d-%d", f/40, l, f), Mode: 0o644, Size: int64(text.Len()), Uid: os.Geteuid(), Gid: os.Getegid()}
			if err := w.WriteHeader(h); err != nil {
				b.Fatal(err)
			}
			if _, err := text.WriteTo(w); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		layers = append(layers, out.Bytes())
	}
	return layers
}

func compressed(b *testing.B, kind string, data []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if kind == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Write(data); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// serveBlobs is a registry of one image; it does as little as it can.
func serveBlobs(b *testing.B, kind string, layers, blobs [][]byte) *httptest.Server {
	type object = map[string]any
	content := map[string][]byte{}
	describe := func(mediaType string, data []byte) object {
		d := image.DigestOf(data).String()
		content[d] = data
		return object{"mediaType": mediaType, "digest": d, "size": len(data)}
	}
	var descriptors []any
	var diffIDs []string
	for i, blob := range blobs {
		descriptors = append(descriptors, describe(image.TypeLayer+"+"+kind, blob))
		diffIDs = append(diffIDs, image.DigestOf(layers[i]).String())
	}
	text := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	config := text(object{"os": "linux", "architecture": image.Here().Architecture, "rootfs": object{"type": "layers", "diff_ids": diffIDs}})
	manifest := text(object{"schemaVersion": 2, "mediaType": image.TypeManifest, "config": describe(image.TypeConfig, config), "layers": descriptors})
	content["latest"], content[image.DigestOf(manifest).String()] = manifest, manifest
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := content[filepath.Base(r.URL.Path)]
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", image.TypeManifest)
			w.Header().Set("Docker-Content-Digest", image.DigestOf(data).String())
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	b.Cleanup(server.Close)
	return server
}

// alone is the work that no pull can do without: decompress, both digests, untar.
func alone(dir, kind string, blob []byte, want image.Digest) error {
	packed, plain := sha256.New(), sha256.New()
	in := io.TeeReader(bytes.NewReader(blob), packed)
	var unzip io.Reader
	if kind == "zstd" {
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer d.Close()
		unzip = d
	} else {
		d, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		unzip = d
	}
	all := io.TeeReader(unzip, plain)
	archive := tar.NewReader(all)
	buf := make([]byte, 256<<10)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, os.FileMode(h.Mode))
		if err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{f}, archive, buf); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		return err
	}
	if got := image.DigestFrom(plain.Sum(nil)); got != want {
		return fmt.Errorf("unpacked to %s, want %s", got, want)
	}
	return nil
}

// BenchmarkPull pulls an image of 200 MB from a registry in this process, by turns
// with what no pull can do without, as many layers at once. The ratio is
// how much of the latter's speed a pull has; its server's work, the copy that lets
// it go on after a cut, what is kept for verify and save, and the wait
// for the disk are all against it. Other figures tell where a ratio comes
// from: cpu-ratio compares processor time, durable-ratio lets the work alone wait
// for the disk, too, best-ratio takes each side's best round.
func BenchmarkPull(b *testing.B) {
	layers := benchLayers(b)
	root := b.TempDir() // of all kinds: see settleDisk
	for _, kind := range []string{"gzip", "zstd"} {
		b.Run(kind, func(b *testing.B) {
			var blobs [][]byte
			var wants []image.Digest
			bytesPacked, bytesPlain := 0, 0
			for _, l := range layers {
				blobs = append(blobs, compressed(b, kind, l))
				wants = append(wants, image.DigestOf(l))
				bytesPacked, bytesPlain = bytesPacked+len(blobs[len(blobs)-1]), bytesPlain+len(l)
			}
			server := serveBlobs(b, kind, layers, blobs)
			host := strings.TrimPrefix(server.URL, "http://")
			registries, err := image.ParseRegistries("registries.conf", []byte("[Registry "+host+"]\nInsecure=plaintext\n"))
			if err != nil {
				b.Fatal(err)
			}
			var ratios, durable, cpu, floors, pulls []float64
			b.SetBytes(int64(bytesPlain))
			for b.Loop() {
				dir, err := os.MkdirTemp(root, "")
				if err != nil {
					b.Fatal(err)
				}
				settleDisk(b, dir)
				before := cpuTime(b)
				floor := timeAlone(b, filepath.Join(dir, "alone"), kind, wants, blobs)
				floorCPU := cpuTime(b) - before
				floorDisk := settleDisk(b, dir)
				store, err := image.Open(filepath.Join(dir, "images"))
				if err != nil {
					b.Fatal(err)
				}
				p := New(Config{Store: store, Registries: registries, Keychain: authn.NewMultiKeychain()})
				before = cpuTime(b)
				start := time.Now()
				if _, _, err := p.Pull(b.Context(), host+"/bench"); err != nil {
					b.Fatal(err)
				}
				took := time.Since(start)
				tookCPU := cpuTime(b) - before
				p.Close()
				b.Logf("alone %4d ms and sync %4d ms, CPU %4d ms; pull %4d ms, CPU %4d ms", floor.Milliseconds(), floorDisk.Milliseconds(), floorCPU.Milliseconds(), took.Milliseconds(), tookCPU.Milliseconds())
				floors = append(floors, float64(floor.Milliseconds()))
				ratios = append(ratios, floor.Seconds()/took.Seconds())
				durable = append(durable, (floor+floorDisk).Seconds()/took.Seconds())
				cpu = append(cpu, floorCPU.Seconds()/tookCPU.Seconds())
				pulls = append(pulls, float64(took.Milliseconds()))
			}
			median := func(of []float64, unit string) {
				slices.Sort(of)
				b.ReportMetric(of[len(of)/2], unit)
			}
			median(ratios, "ratio")
			median(durable, "durable-ratio")
			median(cpu, "cpu-ratio")
			median(pulls, "ms/pull")
			b.ReportMetric(float64(bytesPlain)/float64(bytesPacked), "compression")
			b.ReportMetric(slices.Min(floors)/slices.Min(pulls), "best-ratio") // of the quietest moments
		})
	}
}

// settleDisk waits until all that was written is on the disk, so that neither
// side of a comparison waits for what the other has written (a pull's sync is for
// all of a file system), and returns how long that took. Nothing is removed
// between rounds for the same reason: ext4 searches past inodes that were
// removed within the last minutes, with each new file.
func settleDisk(b *testing.B, dir string) time.Duration {
	d, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	start := time.Now()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// cpuTime is what this process has used, of both cores and in the kernel, too.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func timeAlone(b *testing.B, dir, kind string, wants []image.Digest, blobs [][]byte) time.Duration {
	slots := make(chan struct{}, 4)
	var wg sync.WaitGroup
	start := time.Now()
	for i, blob := range blobs {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := alone(filepath.Join(dir, fmt.Sprint(i)), kind, blob, wants[i]); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
