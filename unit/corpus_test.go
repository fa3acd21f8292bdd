package unit_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

// corpus calls look with each unit file of testdata/corpus.
func corpus(t testing.TB, look func(path string, name unit.Name, src []byte)) {
	count := 0
	err := filepath.WalkDir("testdata/corpus", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := unit.ParseName(entry.Name())
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		count++
		look(path, name, src)
		return nil
	})
	if err != nil || count < 100 {
		t.Fatalf("testdata/corpus: %d files, %v", count, err)
	}
}

// What Debian's packages install is read, kept as it is, and nothing is wrong
// with it.
func TestCorpus(t *testing.T) {
	corpus(t, func(path string, name unit.Name, src []byte) {
		f, err := unit.Parse(string(name), src)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if !bytes.Equal(f.Bytes(), src) {
			t.Errorf("%s: its bytes are not kept", path)
		}
		for _, p := range f.Check(name, unit.CheckOptions{Systemd: 252}) {
			t.Errorf("%s: %s", path, p)
		}
	})
}
