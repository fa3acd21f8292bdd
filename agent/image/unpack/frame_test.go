package unpack

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/agent/image"
)

// framed unpacks an archive and returns its directory and frame.
func framed(t *testing.T, data []byte) (dir, frame string) {
	t.Helper()
	dir, frame = filepath.Join(t.TempDir(), "layer"), filepath.Join(t.TempDir(), "frame")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(frame)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := wantOf(data, data)
	want.Frame = f
	if _, err := Layer(t.Context(), dir, bytes.NewReader(data), want, Limits{}); err != nil {
		t.Fatal(err)
	}
	return dir, frame
}

func TestJoinGivesTheArchiveAgain(t *testing.T) {
	long := strings.Repeat("deep/", 60)
	data := archive(t, append(files("dir etc/", "link lib -> etc", "dir gone/", "file .wh.old", "file gone/.wh..wh..opq", "fifo pipe", "char null", "dir "+long),
		entry{what: "file lib/through-link", content: strings.Repeat("a", 3000)},
		entry{what: "file " + long + "f", content: strings.Repeat("content ", 100<<10), xattrs: map[string]string{"user.x": "y", "security.selinux": "left out"}},
		entry{what: "hard copy -> etc/through-link"}, entry{what: "file empty"})...)
	data = append(data, bytes.Repeat([]byte("not zero, behind the end"), 1000)...)
	dir, frame := framed(t, data)
	var out bytes.Buffer
	if err := Join(t.Context(), frame, dir, &out); err != nil {
		t.Fatal(err)
	}
	if image.DigestOf(out.Bytes()) != image.DigestOf(data) {
		t.Errorf("joined to %d bytes, were %d", out.Len(), len(data))
	}
	if n, err := ArchiveBytes(frame); err != nil || n != int64(len(data)) {
		t.Errorf("size %d, %v; want %d", n, err, len(data))
	}
	if info, err := os.Stat(frame); err != nil || info.Size() > 4096 {
		t.Errorf("the frame takes %d bytes, %v", info.Size(), err)
	}
}

func TestJoinOfWhatChanged(t *testing.T) {
	data := archive(t, entry{what: "file a", content: "content"})
	dir, frame := framed(t, data)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("longer content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Join(t.Context(), frame, dir, &bytes.Buffer{}); !errors.Is(err, image.ErrDamaged) {
		t.Errorf("longer: got %v", err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "a")), os.Symlink("/etc/passwd", filepath.Join(dir, "a"))); err != nil {
		t.Fatal(err)
	}
	if err := Join(t.Context(), frame, dir, &bytes.Buffer{}); !errors.Is(err, image.ErrDamaged) {
		t.Errorf("a link out: got %v", err)
	}
	if err := os.WriteFile(frame, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Join(t.Context(), frame, dir, &bytes.Buffer{}); !errors.Is(err, errFrame) {
		t.Errorf("no frame: got %v", err)
	}
}
