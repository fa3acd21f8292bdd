package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestImageScripts runs the scripts of testdata/images with a registry that is up
// and nsrun-image beside.
func TestImageScripts(t *testing.T) {
	needRoot(t)
	host := serveImages(t)
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "nsrun-image"), "../nsrun-image").CombinedOutput(); err != nil {
		t.Fatalf("build nsrun-image: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/images",
		Setup: func(e *testscript.Env) error {
			name, value, _ := strings.Cut(raceExit, "=")
			e.Setenv(name, value)
			e.Setenv("PATH", e.Getenv("PATH")+":"+bin)
			e.Setenv("HOST", host)
			e.Setenv("NSRUN_DIR", filepath.Join(e.WorkDir, "state"))
			e.Setenv("NSRUN_CONF", filepath.Join(e.WorkDir, "conf"))
			conf := fmt.Sprintf("[Registry docker.io]\nLocation=%s\n[Registry %[1]s]\nInsecure=plaintext\n", host)
			if err := os.MkdirAll(filepath.Join(e.WorkDir, "conf"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "conf/registries.conf"), []byte(conf), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}
