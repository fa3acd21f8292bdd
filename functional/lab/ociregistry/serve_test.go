package ociregistry

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// busybox returns a stand-in for the real one, which only lists its commands.
func busybox(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho busybox\necho cat\necho sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve runs a registry until the function it returns is called.
func serve(t *testing.T, dir, busybox string) (host string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, Config{
			Listener: listener, Dir: dir, Names: []string{"127.0.0.1", "registry.lab"},
			CAFile: filepath.Join(dir, "out", "ca.crt"), Busybox: busybox, Ready: func() { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("serve: %v", err)
	}
	return listener.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

func TestServedBusyboxIsValidAndTheSameAfterARestart(t *testing.T) {
	dir, box := t.TempDir(), busybox(t)
	digests := map[string]bool{}
	var firstCA string
	for range 2 {
		host, stop := serve(t, dir, box)
		pem, err := os.ReadFile(filepath.Join(dir, "out", "ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		if firstCA == "" {
			firstCA = string(pem)
		}
		if string(pem) != firstCA {
			t.Error("the authority changed with a restart")
		}
		transport, err := trusting(pem)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(host + "/library/busybox")
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref, remote.WithTransport(transport), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Error(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[digest.String()] = true
		again, err := Seed(t.Context(), host, filepath.Join(dir, "ca.crt"), box)
		if err != nil || again != digest.String() {
			t.Errorf("seeding again gives %s, %v; want %s", again, err, digest)
		}
		transport.CloseIdleConnections()
		stop()
	}
	if len(digests) != 1 {
		t.Errorf("digests differ: %v", digests)
	}
}

func TestServeSaysWhatIsMissing(t *testing.T) {
	if err := Serve(t.Context(), Config{}); err == nil || err.Error() != "serve images: no listener" {
		t.Errorf("got %v", err)
	}
}
