//go:build !machine

package systemd

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// TestVerifyAloneTakesDebiansUnits shows systemd each file of package unit's corpus
// alone, as on a machine where nothing of what it depends on is.
func TestVerifyAloneTakesDebiansUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("needs systemd-analyze; install systemd, as make deps does")
	}
	d := New(Config{Log: slog.New(slog.DiscardHandler)})
	paths, err := filepath.Glob("../../unit/testdata/corpus/*/*")
	if err != nil || len(paths) < 300 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for i, path := range paths {
		if strings.HasSuffix(path, ".service") && i%5 > 0 {
			continue // they are many, and alike
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := unit.ParseName(filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		said, err := d.analyze(t.Context(), []api.VerifyFile{{Name: name, File: src}}, false, true)
		if why := reasons(said); err != nil || why != "" {
			t.Errorf("%s: %s, %v", path, why, err)
		}
	}
}
