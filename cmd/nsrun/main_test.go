package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "nsrun" && filepath.Base(os.Args[0]) != "docker" {
		if err := ownNetwork(); err != nil {
			fmt.Fprintf(os.Stderr, "make a network for the tests: %v\n", err)
			os.Exit(1)
		}
	}
	main := func(name string) func() {
		return func() { os.Exit(run(append([]string{name}, os.Args[1:]...), os.Stdout, os.Stderr)) }
	}
	testscript.Main(m, map[string]func(){"nsrun": main("nsrun"), "docker": main("docker"), "without": without})
}

// ownNetwork runs the tests in a network name-space of their own: containers
// change their machine's, and this machine's must not be.
func ownNetwork() error {
	const mark = "NSRUN_TEST_NETWORK"
	if os.Geteuid() != 0 || os.Getenv(mark) != "" {
		return nil
	}
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), mark+"=own"))
}

// needRoot fails a test that makes name-spaces: CI is root, and a test that is
// left out there proves nothing.
func needRoot(t interface{ Fatal(...any) }) {
	if os.Geteuid() != 0 {
		t.Fatal("these tests start containers: run them as root")
	}
}

// busybox makes a root directory with nothing but a static busybox in it.
func busybox(t interface{ Fatal(...any) }, dir string) {
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("busybox: not found; install busybox-static")
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("sh true echo ls cat id mount ps sleep kill readlink stat hostname env pwd touch mkdir rm chmod wc grep ifconfig date ln logger") {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
}

// raceExit keeps the race detector, when it is in, from sleeping for a second at
// every end of nsrun.
const raceExit = "GORACE=atexit_sleep_ms=0"

func TestScripts(t *testing.T) {
	needRoot(t)
	t.Run("by descriptor", func(t *testing.T) { runScripts(t, "testdata/script", "") })
	// As on kernels before Linux 6.15.
	t.Run("by path", func(t *testing.T) { runScripts(t, "testdata/script", "paths") })
}

func runScripts(t *testing.T, dir, overlay string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			busybox(e.T(), filepath.Join(e.WorkDir, "root"))
			if err := os.Mkdir(filepath.Join(e.WorkDir, "tiny"), 0o755); err != nil {
				return err
			}
			if err := os.Link(filepath.Join(e.WorkDir, "root/bin/busybox"), filepath.Join(e.WorkDir, "tiny/busybox")); err != nil {
				return err
			}
			name, value, _ := strings.Cut(raceExit, "=")
			e.Setenv(name, value)
			e.Setenv("NSRUN_DIR", filepath.Join(e.WorkDir, "state"))
			e.Setenv("NSRUN_OVERLAY", overlay)
			e.Setenv("NL", "\n")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// TestImports keeps the run path small: what is imported is initialised at every
// start, and net/http alone would cost half of one.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	allowed := strings.Fields(`golang.org/x/sys/unix
		github.com/clusterd/clusterd/agent/network github.com/clusterd/clusterd/unit/publish
		github.com/clusterd/clusterd/agent/image github.com/clusterd/clusterd/agent/runtime
		github.com/clusterd/clusterd/agent/runtime/seccomp github.com/clusterd/clusterd/agent/sheet
		github.com/clusterd/clusterd/agent/runtime/startlimit github.com/clusterd/clusterd/cmd/nsrun`)
	for _, dep := range strings.Fields(string(out)) {
		if !slices.Contains(allowed, dep) {
			t.Errorf("nsrun imports %s: it would be initialised at every start of a container; leave it to nsrun-image", dep)
		}
	}
	out, err = exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for _, dep := range strings.Fields(string(out)) {
		if slices.Contains(strings.Fields("net net/http crypto/tls regexp math/big encoding/gob text/template"), dep) {
			t.Errorf("nsrun imports %s: too dear for every start of a container", dep)
		}
	}
}
