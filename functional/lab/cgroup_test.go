package lab

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatOutlivesUsKeepsNothingOpen(t *testing.T) {
	inherited, err := unix.Open("/dev/null", unix.O_RDONLY, 0) // without O_CLOEXEC, as a shell's
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	var out bytes.Buffer
	cmd := exec.Command("readlink", fmt.Sprintf("/proc/self/fd/%d", inherited))
	cmd.Stdout, cmd.SysProcAttr = &out, &unix.SysProcAttr{Setsid: true}
	if err := startIn(nil, "", cmd, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || strings.Contains(out.String(), "null") {
		t.Errorf("%v: it has %s", err, out.String())
	}
}
