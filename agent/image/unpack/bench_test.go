package unpack

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
)

// someFiles makes an archive of many small files and a few large ones, of text that compresses about 3:1.
func someFiles(b *testing.B) []byte {
	random := rand.New(rand.NewSource(1))
	words := make([]string, 4096)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", random.Int63n(1<<uint(8+random.Intn(30))))
	}
	text := func(size int) string {
		var out bytes.Buffer
		for out.Len() < size {
			out.WriteString(words[random.Intn(len(words))])
		}
		return out.String()
	}
	var entries []entry
	for d := range 50 {
		entries = append(entries, entry{what: fmt.Sprintf("dir d%d/", d)})
		for f := range 40 {
			entries = append(entries, entry{what: fmt.Sprintf("file d%d/f%d", d, f), content: text(random.Intn(24 << 10))})
		}
	}
	for f := range 8 {
		entries = append(entries, entry{what: fmt.Sprintf("file large%d", f), content: text(4 << 20)})
	}
	return archive(b, entries...)
}

func BenchmarkLayer(b *testing.B) {
	plain := someFiles(b)
	for _, c := range []struct {
		name string
		blob []byte
	}{{"plain", plain}, {"gzip", gzipped(b, plain)}, {"zstd", zstandard(b, plain)}} {
		b.Run(c.name, func(b *testing.B) {
			root := b.TempDir()
			b.SetBytes(int64(len(plain)))
			n := 0
			for b.Loop() {
				dir := filepath.Join(root, fmt.Sprint(n))
				if err := os.Mkdir(dir, 0o755); err != nil {
					b.Fatal(err)
				}
				if _, err := Layer(b.Context(), dir, bytes.NewReader(c.blob), wantOf(c.blob, plain), Limits{}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				n++
			}
			b.ReportMetric(float64(len(plain))/float64(len(c.blob)), "ratio")
		})
	}
}
