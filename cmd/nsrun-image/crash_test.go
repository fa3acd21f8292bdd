package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// crashRounds is how many times four processes are started and killed.
const crashRounds = 12

// TestB04_StoreOutlivesKills starts pulls, loads, removals and prunings side by
// side on one store and kills each of them with SIGKILL at a random moment. What is
// there after that is whole, a pull completes, and nothing is left over.
func TestB04_StoreOutlivesKills(t *testing.T) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	host := serveTwo(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "registries.conf")
	if err := os.WriteFile(conf, []byte("[Registry docker.io]\nLocation="+host+"\n[Registry "+host+"]\nInsecure=plaintext\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "images")
	command := func(ctx context.Context, args ...string) *exec.Cmd {
		// By name, so that testscript's wrapper takes it for the command.
		return exec.CommandContext(ctx, "nsrun-image", append([]string{"--root", root, "--registries", conf, "--policy", filepath.Join(dir, "none")}, args...)...)
	}
	must := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := command(ctx, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("seed %d: %v: %v\n%s", seed, args, err, out)
		}
		return string(out)
	}
	saved := filepath.Join(dir, "saved.tar")
	must("pull", "one")
	start := time.Now()
	must("pull", "two")
	usual := time.Since(start)
	must("save", "-o", saved, "one", "two")
	work := [][]string{{"pull", "one"}, {"pull", "two"}, {"load", "-i", saved}, {"prune", "-af"}, {"rmi", "-f", "one"}, {"rmi", "-f", "two"}, {"prune", "-f", "--keep-storage", "1M"}}
	for range crashRounds {
		var wg sync.WaitGroup
		for range 4 {
			args, after := work[random.Intn(len(work))], time.Duration(random.Int63n(int64(2*usual)))
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				_ = command(ctx, args...).Run() // killed by SIGKILL, or done before
			})
		}
		wg.Wait()
		must("verify") // whatever is there is whole
	}
	must("pull", "one", "two")
	if out := must("verify"); strings.Count(out, "as it was pulled") < 2 {
		t.Errorf("seed %d: verify says %s", seed, out)
	}
	must("prune", "-af")
	for _, sub := range []string{"refs", "layers", "blobs/sha256", "tmp"} {
		if left := filesIn(t, filepath.Join(root, sub)); left != "" {
			t.Errorf("seed %d: %s has %s", seed, sub, left)
		}
	}
}

// filesIn lists the entries of a directory, but no empty directories.
func filesIn(t *testing.T, dir string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found = append(found, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

// serveTwo serves library/one and library/two, which share a layer.
func serveTwo(t *testing.T) (host string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	for _, image := range []string{"one", "two"} {
		img := empty.Image
		for _, layer := range []string{"shared", image, image + "more"} {
			img = withLayer(t, img, layer)
		}
		ref, err := name.ParseReference(host+"/library/"+image, name.Insecure)
		if err == nil {
			err = remote.Write(ref, img)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return host
}

func withLayer(t *testing.T, img v1.Image, seed string) v1.Image {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range 40 {
		content := strings.Repeat(fmt.Sprintf("%s %d ", seed, i), 4000)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/%d", seed, i), Mode: 0o644, Size: int64(len(content)), Uid: os.Geteuid(), Gid: os.Getegid()}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil })
	if err == nil {
		img, err = mutate.AppendLayers(img, layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}
