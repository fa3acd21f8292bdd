package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCVEs has what went wrong in other runtimes go right here. The scripts are
// named by the advisories.
func TestCVEs_B05(t *testing.T) {
	needRoot(t)
	runScripts(t, "testdata/cve", "")
}

// realNsrun builds nsrun as it is shipped: what a container gets to run by
// /proc/self/exe is the real thing.
func realNsrun(t *testing.T) (program, root string) {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	program, root = filepath.Join(dir, "nsrun"), filepath.Join(dir, "root")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	busybox(t, root)
	t.Setenv("NSRUN_DIR", filepath.Join(dir, "state"))
	return program, root
}

// TestCVE_2019_5736: an image whose program leads back to the machine's nsrun
// neither runs it nor writes to it, be root inside root outside or not.
func TestCVE_2019_5736(t *testing.T) {
	program, root := realNsrun(t)
	files := map[string]string{
		"bin/script":       "#!/proc/self/exe\n",
		"bin/with-a-verb":  "#!/proc/self/exe version\n",
		"bin/thread":       "#!/proc/thread-self/exe version\n",
		"bin/nsrun-image":  "#!/bin/sh\necho inside; echo evil >/proc/1/exe\n",
		"bin/through-link": "#!/bin/link version\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"link", "nsrun"} {
		if err := os.Symlink("/proc/self/exe", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, userns := range []string{"--userns=host", "--rm"} {
		for _, argv := range []string{
			"/proc/self/exe version", "/proc/1/exe version", "/proc/thread-self/exe version", "/bin/link version", "link version", "nsrun pull x",
			"/bin/script", "bin/with-a-verb", "/bin/thread", "/bin/through-link", "/proc/self/fd/3", "/proc/self/map_files/../exe version",
		} {
			args := append([]string{"run", "--rm", userns, "--rootfs", root + ":O"}, strings.Fields(argv)...)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
			cancel()
			if err == nil || strings.Contains(string(out), "nsrun dev") || strings.Contains(string(out), "inside") {
				t.Errorf("%s %s: %v: %s", userns, argv, err, out)
			}
		}
		// Who is inside already has only the program that runs there.
		out, err := exec.Command(program, "run", "--rm", userns, "--rootfs", root+":O", "sh", "-c", "readlink /proc/1/exe; readlink /proc/self/exe; echo evil >/proc/1/exe; true").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "/bin/busybox\n/bin/busybox") {
			t.Errorf("%s: %v: %s", userns, err, out)
		}
	}
	after, err := os.ReadFile(program)
	if err != nil || string(after) != string(before) {
		t.Errorf("nsrun was changed: %v", err)
	}
}

// TestCVE_2020_15257: the machine's abstract sockets are not the container's.
func TestCVE_2020_15257(t *testing.T) {
	program, root := realNsrun(t)
	name := fmt.Sprintf("nsrun-test-%d", os.Getpid())
	listener, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if seen, err := os.ReadFile("/proc/net/unix"); err != nil || !strings.Contains(string(seen), name) {
		t.Fatalf("the machine's own list lacks it: %v", err)
	}
	out, err := exec.Command(program, "run", "--rm", "--rootfs", root+":O", "cat", "/proc/net/unix").CombinedOutput()
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestCVE_2024_45310 swaps a directory of a volume for a link, again and again,
// while containers mount something below it.
func TestCVE_2024_45310(t *testing.T) {
	program, root := realNsrun(t)
	dir := t.TempDir()
	shared, away, data := filepath.Join(dir, "shared"), filepath.Join(dir, "away"), filepath.Join(dir, "data")
	for _, d := range []string{shared, away, data, filepath.Join(shared, "dir")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(away, filepath.Join(shared, "link")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		exchange := func(a, b string) { _ = renameExchange(filepath.Join(shared, a), filepath.Join(shared, b)) }
		for {
			select {
			case <-stop:
				return
			default:
				exchange("dir", "link")
			}
		}
	}()
	started := 0
	for range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := exec.CommandContext(ctx, program, "run", "--rm", "--userns=host", "--rootfs", root+":O", "-v", shared+":/x", "-v", data+":/x/dir/deep/er", "true").Run()
		cancel()
		if err == nil {
			started++
		}
	}
	close(stop)
	<-stopped
	if started == 0 { // each may fail, by the link; all have failed by something else
		t.Error("no container has started, so nothing was tried")
	}
	if made, err := os.ReadDir(away); err != nil || len(made) > 0 {
		t.Errorf("outside of the container there is %v, %v", made, err)
	}
}

func renameExchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// TestCVE_2025_52881 exchanges the directory that /proc goes on with another one,
// and with a link to that, while containers start: what is written to the kernel's
// files must not go to files of somebody's own, nor be left out. It can't, for it
// goes by descriptors of a procfs that is made for the container and that no path
// leads to yet, whatever becomes of the place it is mounted on.
func TestCVE_2025_52881(t *testing.T) {
	const setting = "sys/net/ipv4/ip_unprivileged_port_start"
	program, root := realNsrun(t)
	shared := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-a", root, shared).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	evil := filepath.Join(shared, "evil")
	for _, d := range []string{filepath.Join(shared, "proc"), filepath.Dir(filepath.Join(evil, setting))} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	decoy, err := os.OpenFile(filepath.Join(evil, setting), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer decoy.Close()
	if _, err := decoy.WriteString("decoy"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("evil", filepath.Join(shared, "link")); err != nil {
		t.Fatal(err)
	}
	machine, err := os.ReadFile("/proc/" + setting)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				other := "evil"
				if i%8 > 5 { // and back: most starts are to get somewhere
					other = "link"
				}
				_ = renameExchange(filepath.Join(shared, "proc"), filepath.Join(shared, other))
			}
		}
	}()
	started, wrong := 0, 0
	for range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		// The names go on changing: the procfs is under one of them.
		out, err := exec.CommandContext(ctx, program, "run", "--rm", "--network=none", "--rootfs", shared, "--sysctl", "net.ipv4.ip_unprivileged_port_start=77",
			"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do cat /proc/"+setting+" /evil/"+setting+" /link/"+setting+"; done 2>/dev/null; exit 0").CombinedOutput()
		cancel()
		if err != nil {
			continue // refused, for there was a link
		}
		started++
		if !strings.Contains(string(out), "77") {
			wrong++
			t.Logf("inside: %s", out)
		}
	}
	close(stop)
	<-stopped
	if started == 0 || wrong > 0 {
		t.Errorf("%d of 60 have started, in %d the setting isn't what was asked for", started, wrong)
	}
	said := make([]byte, 100)
	if n, err := decoy.ReadAt(said, 0); string(said[:n]) != "decoy" {
		t.Errorf("the decoy says %q, %v", said[:n], err)
	}
	if now, err := os.ReadFile("/proc/" + setting); err != nil || string(now) != string(machine) {
		t.Errorf("the machine's own setting was %s, is %s, %v", machine, now, err)
	}
	t.Logf("%d of 60 started", started)
}
