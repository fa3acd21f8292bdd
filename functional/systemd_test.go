package functional

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clusterd/clusterd/functional/lab"
)

// TestDriverOnSystemd runs the tests of the agent's systemd driver on a
// machine of their own, since they need a real systemd and spoil it.
func TestDriverOnSystemd(t *testing.T) {
	program := filepath.Join(t.TempDir(), "driver.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "machine", "-o", program, "../agent/systemd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the driver's tests: %v\n%s", err, out)
	}
	name := prefix + "driver"
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
	code, err := l.Shell(t.Context(), "m1", []string{"sh", "-c", "cat >/root/driver.test && chmod +x /root/driver.test && exec /root/driver.test -test.v -test.timeout 3m"}, content, &out, &out)
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v\n%s", code, err, out.String())
	}
}
