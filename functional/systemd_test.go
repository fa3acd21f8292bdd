package functional

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clusterd/clusterd/functional/lab"
)

// TestDriverOnSystemd runs the tests of the agent's systemd driver.
func TestDriverOnSystemd(t *testing.T) {
	runOnSystemd(t, "driver", "../agent/systemd", ".")
}

// TestUnitsAsSystemdHasThem compares what package unit says of some thousand
// files with what systemd has of them.
func TestUnitsAsSystemdHasThem(t *testing.T) {
	runOnSystemd(t, "unit", "../unit", "^(TestMachine|TestKeysAreThoseOfSystemd)")
}

// runOnSystemd runs tests of a package that need a real systemd, and spoil it,
// on a machine of their own: booting one takes less time than cleaning up.
func runOnSystemd(t *testing.T, name, pkg, tests string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name+".test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "machine", "-o", program, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", pkg, err, out)
	}
	name = prefix + name
	t.Cleanup(func() {
		if _, err := lab.Down(name); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
	})
	l, err := up(t.Context(), lab.Options{Name: name, Machines: 1, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var out bytes.Buffer
	run := "cat >/root/machine.test && chmod +x /root/machine.test && exec /root/machine.test -test.v -test.timeout 3m -test.run '" + tests + "'"
	code, err := l.Shell(t.Context(), "m1", []string{"sh", "-c", run}, content, &out, &out)
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, out.String())
	}
}
