package startlimit_test // from outside: inside, the test's imports would come first

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/clusterd/clusterd/agent/runtime/startlimit"
)

// TestLimitIsSeenBeforeItIsRaised starts this test again with a soft limit of
// its own. Should Go's order of initialisation ever change, it fails.
func TestLimitIsSeenBeforeItIsRaised(t *testing.T) {
	if os.Getenv("STARTLIMIT_CHILD") != "" {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			t.Fatal(err)
		}
		soft, hard := startlimit.Files()
		if soft != 321 || now.Cur <= 321 || hard != now.Max {
			t.Fatalf("remembered %d of %d, now %d of %d; want 321, and more now", soft, hard, now.Cur, now.Max)
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -S -n 321; exec "$0" -test.run=TestLimitIsSeen -test.v`, self)
	cmd.Env = append(os.Environ(), "STARTLIMIT_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
