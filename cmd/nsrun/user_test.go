package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// ordinaryID is a user that has nothing to do with this machine.
const ordinaryID = 54321

// TestB06_WithoutRootScripts runs the scripts of testdata/user as an ordinary
// user: this test starts itself again as that.
func TestB06_WithoutRootScripts(t *testing.T) {
	if dir := os.Getenv("NSRUN_TEST_USER"); dir != "" {
		if os.Geteuid() != ordinaryID {
			t.Fatalf("user %d, want %d", os.Geteuid(), ordinaryID)
		}
		runUserScripts(t, dir)
		return
	}
	needRoot(t)
	host := serveImages(t)
	dir := ordinaryDir(t)
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "nsrun-image"), "../nsrun-image").CombinedOutput(); err != nil {
		t.Fatalf("build nsrun-image: %v\n%s", err, out)
	}
	copyTree(t, "testdata/user", filepath.Join(dir, "scripts"))
	for _, overlay := range []string{"", "paths"} {
		cmd := ordinaryCommand(t, dir, "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(cmd.Env, "NSRUN_TEST_USER="+dir, "REGISTRY="+host, "NSRUN_OVERLAY="+overlay)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+"/") {
			t.Errorf("overlay %q: %v\n%s", overlay, err, out)
		}
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(data, []byte(dir)) {
		t.Errorf("%v; mounts are left:\n%s", err, data)
	}
}

// ordinaryDir makes a directory that is the ordinary user's, with this very
// program in it.
func ordinaryDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for up := dir; up != "/tmp" && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"bin", "tmp", "home", "scripts"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, sub), ordinaryID, ordinaryID); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "program.test"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ordinaryCommand is this program, started by the ordinary user.
func ordinaryCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "bin", "program.test"), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + filepath.Join(dir, "tmp"), raceExit}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryID, Gid: ordinaryID}}
	return cmd
}

func runUserScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join(dir, "scripts"),
		Setup: func(e *testscript.Env) error {
			busybox(e.T(), filepath.Join(e.WorkDir, "root"))
			home := filepath.Join(e.WorkDir, "home")
			config := filepath.Join(home, ".config/nsrun")
			if err := os.MkdirAll(config, 0o755); err != nil {
				return err
			}
			e.Setenv("HOME", home)
			e.Setenv("HOST", os.Getenv("REGISTRY"))
			e.Setenv("NSRUN_OVERLAY", os.Getenv("NSRUN_OVERLAY"))
			e.Setenv("USERID", fmt.Sprint(ordinaryID))
			key, value, _ := strings.Cut(raceExit, "=")
			e.Setenv(key, value)
			conf := fmt.Sprintf("[Registry docker.io]\nLocation=%s\n[Registry %[1]s]\nInsecure=plaintext\n", os.Getenv("REGISTRY"))
			return os.WriteFile(filepath.Join(config, "registries.conf"), []byte(conf), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// serveBusybox serves a registry with library/busybox.
func serveBusybox(t *testing.T) (host string, busybox v1.Image) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("busybox: not found; install busybox-static")
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	entries := []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/busybox", Mode: 0o755, Size: int64(len(data))},
		{Name: "bin/gone", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
		{Name: "srv/old/a", Mode: 0o644},
		{Name: "etc/passwd", Mode: 0o644, Linkname: "root:x:0:0:root:/root:/bin/sh\n"},
	}
	for _, applet := range strings.Fields("sh true echo ls cat id mount sleep stat touch mkdir rm chmod chown grep wc test") {
		entries = append(entries, tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"})
	}
	base := appendLayer(t, empty.Image, entries, data)
	push(t, host+"/library/busybox", base, v1.Config{Cmd: []string{"sh"}})
	return host, base
}

// serveImages serves library/odd, too, which has on top of busybox what needs
// care where there is one id only, and library/many, with many layers.
func serveImages(t *testing.T) (host string) {
	t.Helper()
	host, base := serveBusybox(t)
	odd := appendLayer(t, base, []tar.Header{
		{Name: "bin/.wh.gone"}, {Name: "srv/old/.wh..wh..opq"}, {Name: "srv/old/b", Mode: 0o644},
		{Name: "etc/passwd", Mode: 0o644, Linkname: "root:x:0:0::/:/bin/sh\nwww:x:101:7::/srv:/bin/sh\n"},
		{Name: "srv/theirs", Mode: 0o600, Uid: 33, Gid: 33, Linkname: "not root's\n"},
		{Name: "srv/setuid", Mode: 0o4755, Uid: 33},
		{Name: "srv/closed/", Typeflag: tar.TypeDir, Mode: 0},
		{Name: "srv/closed/f", Mode: 0},
		{Name: "srv/ro/", Typeflag: tar.TypeDir, Mode: 0o555},
		{Name: "srv/ro/f", Mode: 0o444},
		{Name: "dev/sda", Typeflag: tar.TypeBlock, Mode: 0o666, Devmajor: 8},
	}, nil)
	push(t, host+"/library/odd", odd, v1.Config{Cmd: []string{"id"}, User: "www"})
	many := base
	for i := range 120 {
		many = appendLayer(t, many, []tar.Header{{Name: fmt.Sprintf("srv/%d", i), Mode: 0o644}}, nil)
	}
	push(t, host+"/library/many", many, v1.Config{Cmd: []string{"sh", "-c", "ls /srv | wc -l"}})
	return host
}

// appendLayer adds a layer. A file's content is program's when its size says so,
// else what is in Linkname.
func appendLayer(t *testing.T, to v1.Image, entries []tar.Header, program []byte) v1.Image {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range entries {
		content := program
		if h.Size == 0 && h.Typeflag == 0 {
			content, h.Linkname = []byte(h.Linkname), ""
			h.Size = int64(len(content))
		}
		err := w.WriteHeader(&h)
		if err == nil && h.Size > 0 {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err == nil {
		to, err = mutate.AppendLayers(to, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func push(t *testing.T, ref string, img v1.Image, config v1.Config) {
	t.Helper()
	img, err := mutate.Config(img, config)
	at, parseErr := name.ParseReference(ref, name.Insecure)
	if err = errors.Join(err, parseErr); err == nil {
		err = remote.Write(at, img)
	}
	if err != nil {
		t.Fatalf("push %s: %v", ref, err)
	}
}

// newUserManager is an ordinary user's service manager.
func newUserManager(t *testing.T) *manager {
	t.Helper()
	m := newManager(t)
	m.user = &syscall.Credential{Uid: ordinaryID, Gid: ordinaryID}
	for dir := m.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The test binary itself lies in a directory of root's.
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(m.dir, "nsrun"), self, 0o755)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(m.dir, "state"), 0o755)
	}
	for _, file := range []string{"state", "root", "notify"} {
		err = errors.Join(err, os.Chown(filepath.Join(m.dir, file), ordinaryID, ordinaryID))
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestB06_WithoutRoot(t *testing.T) {
	m := newUserManager(t)
	cmd := m.command(nil, m.run("--rm", "sh", "-c", "id -u; cat /proc/self/uid_map; exit 5")...)
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 5 || !strings.HasPrefix(m.output.String(), "0\n") || !strings.Contains(m.output.String(), fmt.Sprintf("%d          1", ordinaryID)) {
		t.Errorf("exit %d\n%s", code, m.output)
	}
}

// TestB02_WithoutRoot: a user's own service manager gets the program, too.
func TestB02_WithoutRoot(t *testing.T) {
	m := newUserManager(t)
	for _, user := range []string{"0", "7"} {
		pid, ready := m.handOver("run", "--rootfs", filepath.Join(m.dir, "root")+":O", "--name", "web", "--rm", "--user", user,
			"sh", "-c", "trap 'exit 9' TERM; while true; do sleep 0.05; done")
		if !ready {
			t.Fatalf("not ready:\n%s", m.output)
		}
		if ids := statField(t, pid, "Uid"); !strings.HasPrefix(ids, fmt.Sprintf("%d\t", ordinaryID)) {
			t.Errorf("its user ids are %s, want %d", ids, ordinaryID)
		}
		// The shell may be to come to its trap yet.
		trapped := func() bool {
			caught, _ := strconv.ParseUint(statField(t, pid, "SigCgt"), 16, 64)
			return statField(t, pid, "Name") == "sh" && caught>>(syscall.SIGTERM-1)&1 == 1
		}
		for until := time.Now().Add(5 * time.Second); !trapped() && time.Now().Before(until); time.Sleep(time.Millisecond) {
		}
		if out, code := m.nsrun("stop", "web"); code != 0 {
			t.Errorf("stop: exit %d, %s", code, out)
		}
		if status := reap(t, pid); !status.Exited() || status.ExitStatus() != 9 {
			t.Errorf("user %s: status %v, want exit 9: the TERM handler's", user, status)
		}
	}
	if out, code := m.nsrun("ps", "-a", "-q"); code != 0 || out != "" {
		t.Errorf("ps -a: exit %d, %q; want nothing", code, out)
	}
}
