package unit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// strict are bad files that systemd-analyze verify is content with, each with
// why we are not.
var strict = map[string]string{}

// TestBadFilesAreBadToSystemd has the real systemd look at each bad file that
// is about systemd's own settings. It asks for
// UNIT_VERIFY=1, since it takes half a minute.
func TestBadFilesAreBadToSystemd(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil || os.Getenv("UNIT_VERIFY") == "" {
		t.Skip("needs systemd-analyze and UNIT_VERIFY=1")
	}
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		if filepath.Base(path) == "cluster.txtar" {
			continue
		}
		for _, b := range badFiles(t, path) {
			dir := t.TempDir()
			file := filepath.Join(dir, b.name)
			if at := strings.Index(b.name, "@."); at >= 0 {
				file = filepath.Join(dir, b.name[:at]+"@i"+b.name[at+1:])
			}
			if err := os.WriteFile(file, []byte(b.src), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(program, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
			said := err != nil || strings.Contains(string(out), filepath.Base(file))
			if why, ours := strict[b.src]; said == ours {
				t.Errorf("%s: systemd-analyze says %v (%s) to\n%s%s", path, err, out, b.src, why)
			}
		}
	}
}
