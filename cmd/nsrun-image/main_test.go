package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"encoding/pem"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/clusterd/clusterd/functional/lab/ociregistry"
)

// raceExit keeps the race detector, when it is in, from sleeping for a second at
// every end of nsrun-image.
const raceExit = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	os.Setenv("GORACE", raceExit)
	testscript.Main(m, map[string]func(){
		"nsrun-image": func() { os.Exit(runUntilSignal(os.Args)) },
	})
}

// busybox is a stand-in: it does nothing but list its commands.
const busybox = "#!/bin/sh\necho busybox\necho sh\n"

// serve runs a registry with a busybox image; its address and authority come back.
func serve(t *testing.T, dir string) (host, caFile string) {
	t.Helper()
	box := filepath.Join(dir, "busybox")
	if err := os.WriteFile(box, []byte(busybox), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- ociregistry.Serve(ctx, ociregistry.Config{
			Listener: listener, Dir: dir, Names: []string{"127.0.0.1"}, Busybox: box, Ready: func() { close(ready) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	<-ready
	return listener.Addr().String(), filepath.Join(dir, "ca.crt")
}

func TestScripts(t *testing.T) {
	host, ca := serve(t, t.TempDir())
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOST", host)
			env.Setenv("GORACE", raceExit)
			conf := fmt.Sprintf("[Registry docker.io]\nLocation=%s\n[Registry %s]\nCAFile=%s\n", host, host, ca)
			return os.WriteFile(filepath.Join(env.WorkDir, "registries.conf"), []byte(conf), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"damage": damage,
		},
	})
}

// damage changes all files of all layers in a store: damage ROOT
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage ROOT")
	}
	damaged := 0
	dirs := filepath.Join(ts.MkAbs(args[0]), "layers")
	ts.Check(filepath.WalkDir(dirs, func(path string, d fs.DirEntry, err error) error {
		beside, _ := filepath.Rel(dirs, path)
		if err != nil || !d.Type().IsRegular() || filepath.Dir(beside) == "." {
			return err
		}
		damaged++
		return os.WriteFile(path, []byte("rubbish"), 0o600)
	}))
	if damaged == 0 {
		ts.Fatalf("%s has nothing to damage", args[0])
	}
}

// exits runs a command and checks its exit code: exits CODE COMMAND ARGS…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s exits %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// TestB04_KilledPullIsRepeated kills a pull in the middle of its layer.
func TestB04_KilledPullIsRepeated(t *testing.T) {
	inner, ca := serve(t, t.TempDir())
	pool := clientFor(t, ca)
	halfway := make(chan struct{}, 100)
	release := make(chan struct{})
	proxy := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forward(t, pool, inner, w, r, func() bool {
			select {
			case <-release:
				return false
			default:
				halfway <- struct{}{}
				<-r.Context().Done()
				return true
			}
		})
	}))
	proxy.Config.ErrorLog = log.New(os.Stderr, "proxy: ", 0)
	t.Cleanup(proxy.Close)
	dir := t.TempDir()
	host := proxy.Listener.Addr().String()
	files := map[string][]byte{
		"ca.crt":          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}),
		"registries.conf": fmt.Appendf(nil, "[Registry docker.io]\nLocation=%s\n[Registry %s]\nCAFile=%s/ca.crt\n", host, host, dir),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "images")
	// By name, so that testscript's wrapper takes it for the command.
	pull := func() *exec.Cmd {
		cmd := exec.Command("nsrun-image", "--root", root, "--registries", filepath.Join(dir, "registries.conf"), "pull", "busybox")
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		return cmd
	}
	killed := pull()
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-halfway:
	case <-time.After(20 * time.Second):
		t.Error("waited 20s for the layer to be asked for")
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	for _, sub := range []string{"refs", "layers"} {
		if entries, err := os.ReadDir(filepath.Join(root, sub)); err != nil || len(entries) != 0 {
			t.Errorf("after the kill %s has %v, %v", sub, entries, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(root, "tmp")); err != nil || len(left) != 1 {
		t.Errorf("after the kill tmp has %v, %v; was it in the middle?", left, err)
	}
	close(release)
	if err := pull().Run(); err != nil {
		t.Fatalf("pull again: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(root, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("afterwards tmp has %v, %v", left, err)
	}
}
