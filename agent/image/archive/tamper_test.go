package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/clusterd/clusterd/agent/image"
)

// unharmed says whether what was loaded is just what the image is: the same
// configuration, and by that the same layers.
func unharmed(t *testing.T, loaded []Loaded, id string) bool {
	t.Helper()
	for _, l := range loaded {
		if l.ConfigID.String() != id {
			return false
		}
	}
	return true
}

// TestB09_TamperedArchives flips bits all over archives. What is loaded all the
// same was flipped where nothing is read, such as in an entry's time.
func TestB09_TamperedArchives(t *testing.T) {
	inMemory(t)
	img := someImage(t)
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	var oci bytes.Buffer
	l, store := newLoader(t, "")
	loaded, err := load(l, dockerArchive(t, "app:1", img), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := Save(t.Context(), store, image.OCIArchive, []Wanted{{Image: loaded[0].Image, Tags: loaded[0].Refs}}, &oci); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for form, whole := range map[string][]byte{"docker": dockerArchive(t, "app:1", img), "oci": oci.Bytes()} {
		refused := 0
		const flips = 40
		for range flips {
			at, bit := random.IntN(len(whole)), random.IntN(8)
			bad := bytes.Clone(whole)
			bad[at] ^= 1 << bit
			l, store := newLoader(t, "")
			loaded, err := load(l, bad, t.TempDir())
			where := fmt.Sprintf("%s, bit %d of byte %d of %d", form, bit, at, len(whole))
			switch {
			case err == nil && !unharmed(t, loaded, name.String()):
				t.Errorf("%s: loaded as another image", where)
			case err != nil && visible(t, store) != "":
				t.Errorf("%s: %v, and left %s", where, err, visible(t, store))
			case err != nil:
				refused++
			}
		}
		if refused < flips/4 {
			t.Errorf("%s: of %d flips %d were refused", form, flips, refused)
		}
		for part := range 10 {
			l, store := newLoader(t, "")
			cut := whole[:len(whole)*part/10]
			if loaded, err := load(l, cut, t.TempDir()); err == nil && !unharmed(t, loaded, name.String()) {
				t.Errorf("%s cut at %d: loaded", form, len(cut))
			} else if err != nil && visible(t, store) != "" {
				t.Errorf("%s cut at %d: left %s", form, len(cut), visible(t, store))
			}
		}
	}
}

// TestB09_TamperedLayout flips bits in each file of a layout: all of it is hashed
// but the list at its top, which names what it means by its hash.
func TestB09_TamperedLayout(t *testing.T) {
	inMemory(t)
	img := someImage(t)
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	place, err := image.ParsePlace("oci:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 8))
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		whole, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for range 8 {
			at, bit := random.IntN(len(whole)), random.IntN(8)
			bad := bytes.Clone(whole)
			bad[at] ^= 1 << bit
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				return err
			}
			l, store := newLoader(t, "")
			loaded, err := l.LoadPlace(t.Context(), place)
			blob := strings.Contains(file, "/blobs/")
			switch {
			case err == nil && (blob || loaded.ConfigID.String() != name.String()):
				t.Errorf("%s, bit %d of byte %d: loaded", file, bit, at)
			case err != nil && blob && !errors.Is(err, image.ErrMismatch):
				t.Errorf("%s, bit %d of byte %d: %v", file, bit, at, err)
			case err != nil && visible(t, store) != "":
				t.Errorf("%s, bit %d of byte %d: %v, and left %s", file, bit, at, err, visible(t, store))
			}
		}
		return os.WriteFile(file, whole, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// inMemory has a test's directories where syncing hundreds of stores costs nothing.
func inMemory(t *testing.T) {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", memory)
	}
}
