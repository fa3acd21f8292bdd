package image

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOpenNowhere: a store with a whole path needs no working directory.
func TestOpenNowhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if s, err := Open("/images/"); err != nil || s.Dir() != "/images" {
		t.Errorf("%v, %v", s, err)
	}
}
