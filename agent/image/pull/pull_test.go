package pull

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/clusterd/clusterd/agent/image"
)

// fixture is a registry over TLS, a store, and what was asked of the one for the other.
type fixture struct {
	t      *testing.T
	stall  time.Duration // of pullers; 0: their own
	login  authn.Authenticator
	server *httptest.Server
	conf   string // registries.conf
	store  *image.Store

	mu     sync.Mutex
	asked  []string
	change func(path string, body []byte) []byte // what the registry lies
	answer func(w http.ResponseWriter, r *http.Request) bool
	inner  func(w http.ResponseWriter, r *http.Request) bool // in the place of the registry
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.server = httptest.NewTLSServer(f.spy(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(f.server.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	f.conf = fmt.Sprintf("[Registry docker.io]\nLocation=%s\n[Registry %s]\nCAFile=%s\n", f.host(), f.host(), ca)
	store, err := image.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	f.store = store
	return f
}

func (f *fixture) host() string { return f.server.Listener.Addr().String() }

func (f *fixture) spy(registry http.Handler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		instead := f.inner
		f.mu.Unlock()
		if instead == nil || !instead(w, r) {
			registry.ServeHTTP(w, r)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		if r.Header.Get("User-Agent") != "" && strings.Contains(r.UserAgent(), "nsrun") {
			f.asked = append(f.asked, r.Method+" "+r.URL.Path)
		}
		change, answer := f.change, f.answer
		f.mu.Unlock()
		if answer != nil && answer(w, r) {
			return
		}
		if change == nil {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			if k != "Content-Length" {
				w.Header()[k] = v
			}
		}
		w.WriteHeader(rec.Code)
		if rec.Code == http.StatusOK && r.Method == http.MethodGet {
			_, _ = w.Write(change(r.URL.Path, rec.Body.Bytes()))
			return
		}
		_, _ = w.Write(rec.Body.Bytes())
	})
}

func (f *fixture) requests() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := strings.Join(f.asked, "\n")
	f.asked = nil
	return all
}

func (f *fixture) set(change func(string, []byte) []byte, answer func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change, f.answer = change, answer
}

func (f *fixture) puller(platform image.Platform) *Puller {
	f.t.Helper()
	registries, err := image.ParseRegistries("registries.conf", []byte(f.conf))
	if err != nil {
		f.t.Fatal(err)
	}
	p := New(Config{Store: f.store, Registries: registries, Keychain: f.keychain(), Platform: platform, Stall: f.stall})
	f.t.Cleanup(p.Close)
	return p
}

func (f *fixture) pull(ref string) (*image.Image, bool, error) {
	f.t.Helper()
	return f.puller(image.Platform{}).Pull(f.t.Context(), ref)
}

func (f *fixture) keychain() authn.Keychain {
	if f.login != nil {
		return one{f.login}
	}
	return authn.NewMultiKeychain()
}

func (f *fixture) options() []remote.Option {
	return []remote.Option{remote.WithTransport(f.server.Client().Transport)}
}

func (f *fixture) push(ref string, img v1.Image) image.Digest {
	f.t.Helper()
	r, err := name.ParseReference(f.host() + "/" + ref)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := remote.Write(r, img, f.options()...); err != nil {
		f.t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		f.t.Fatal(err)
	}
	return image.Digest(d.String())
}

// makeImage makes an image with one layer for each of contents, holding a file that has it.
func makeImage(t *testing.T, architecture string, contents ...string) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for i, content := range contents {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("file%d", i), Mode: 0o644, Size: int64(len(content)), Uid: os.Geteuid(), Gid: os.Getegid()}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil },
			tarball.WithCompressedCaching, tarball.WithCompressionLevel(gzip.BestSpeed))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	config.Config = v1.Config{Cmd: []string{"sh"}, Env: []string{"A=1"}, Labels: map[string]string{"l": "v"}, StopSignal: "SIGINT"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// empty says what the store has that can be seen.
func (f *fixture) visible() string {
	f.t.Helper()
	var found []string
	for _, dir := range []string{"refs", "layers", "tmp"} {
		err := filepath.WalkDir(filepath.Join(f.store.Dir(), dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !(d.IsDir() && d.Name() == dir) {
				found = append(found, path)
			}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return strings.Join(found, " ")
}

func TestPullThenResolve(t *testing.T) {
	f := newFixture(t)
	digest := f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "lower", "upper"))
	img, fresh, err := f.pull("busybox")
	if err != nil || !fresh {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	if img.Digest != digest || img.Ref != "docker.io/library/busybox:latest" {
		t.Errorf("pulled %s %s, want %s", img.Ref, img.Digest, digest)
	}
	again, err := f.store.Resolve("docker.io/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(again.Config) != "{[A=1] [] [sh]   SIGINT map[l:v] map[] map[]}" {
		t.Errorf("configuration %v", again.Config)
	}
	for i, want := range []string{"lower", "upper"} {
		got, err := os.ReadFile(filepath.Join(again.Layers[i], fmt.Sprintf("file%d", i)))
		if err != nil || string(got) != want {
			t.Errorf("layer %d has %q, %v", i, got, err)
		}
	}
	if info, err := os.Stat(f.store.Dir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("store's mode: %v, %v", info.Mode(), err)
	}
	if f.store.Bytes(again) != 10 {
		t.Errorf("takes %d bytes", f.store.Bytes(again))
	}
}

func TestPullAgainAsksLittle(t *testing.T) {
	f := newFixture(t)
	digest := f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "x"))
	if _, _, err := f.pull("busybox"); err != nil {
		t.Fatal(err)
	}
	f.requests()
	if _, fresh, err := f.pull("busybox"); err != nil || fresh {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	if got := f.requests(); got != "GET /v2/\nHEAD /v2/library/busybox/manifests/latest" {
		t.Errorf("the tag again asks\n%s", got)
	}
	img, fresh, err := f.pull("busybox@" + digest.String())
	if err != nil || fresh || img.Digest != digest {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	if got := f.requests(); got != "" {
		t.Errorf("the digest again asks\n%s", got)
	}
	newer := f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "x", "y"))
	f.requests()
	img, fresh, err = f.pull("busybox")
	if err != nil || !fresh || img.Digest != newer {
		t.Fatalf("fresh %v, %v", fresh, err)
	}
	if got := strings.Count(f.requests(), "/blobs/"); got != 2 {
		t.Errorf("a new tag with one old layer fetches %d blobs, want the configuration and one layer", got)
	}
}

func TestPullByDigestAndPlatform(t *testing.T) {
	f := newFixture(t)
	arm, amd := makeImage(t, "arm64", "arm"), makeImage(t, "amd64", "amd")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	ref, err := name.ParseReference(f.host() + "/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index, f.options()...); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	f.conf += fmt.Sprintf("[Registry apps.example]\nLocation=%s\n", f.host())
	pinned := "apps.example/app@" + digest.String()
	img, _, err := f.puller(image.Platform{OS: "linux", Architecture: "arm64"}).Pull(t.Context(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	if img.Platform.Architecture != "arm64" || img.Digest.String() != digest.String() || img.Manifest == img.Digest || img.Ref != pinned {
		t.Errorf("got %+v", img)
	}
	// The other variant takes its place when it is asked for, and only then.
	img, fresh, err := f.puller(image.Platform{OS: "linux", Architecture: "amd64"}).Pull(t.Context(), pinned)
	if err != nil || !fresh || img.Platform.Architecture != "amd64" {
		t.Errorf("got %+v, fresh %v, %v", img, fresh, err)
	}
	if img, fresh, err = f.puller(image.Platform{}).Pull(t.Context(), pinned); err != nil || fresh || img.Platform.Architecture != "amd64" {
		t.Errorf("again: got %+v, fresh %v, %v", img, fresh, err)
	}
	_, _, err = f.puller(image.Platform{OS: "linux", Architecture: "riscv64"}).Pull(t.Context(), "apps.example/app:1")
	if err == nil || !strings.Contains(err.Error(), "no variant for this platform linux/riscv64; there are linux/arm64/v8, linux/amd64") {
		t.Errorf("got %v", err)
	}
}

func TestB09_OneFlippedByteIsRefusedAndNothingUnpacked(t *testing.T) {
	img := makeImage(t, image.Here().Architecture, strings.Repeat("content ", 500))
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	digest := f.push("library/busybox:latest", img)
	for what, path := range map[string]string{
		"manifest":      "/manifests/" + digest.String(),
		"configuration": "/blobs/" + manifest.Config.Digest.String(),
		"layer":         "/blobs/" + manifest.Layers[0].Digest.String(),
	} {
		for _, ref := range []string{"busybox", "busybox@" + digest.String()} {
			f.set(func(p string, body []byte) []byte {
				if strings.HasSuffix(p, path) {
					body = bytes.Clone(body)
					body[len(body)/2] ^= 1
				}
				return body
			}, nil)
			_, _, err := f.pull(ref)
			if !errors.Is(err, image.ErrMismatch) || !strings.Contains(err.Error(), "nothing was kept") {
				t.Errorf("%s of %s: got %v", what, ref, err)
			}
			if got := f.visible(); got != "" {
				t.Errorf("%s of %s: left %s", what, ref, got)
			}
		}
	}
	f.set(nil, nil)
	if _, _, err := f.pull("busybox"); err != nil {
		t.Errorf("as it is: %v", err)
	}
}

func TestAmbiguousManifestIsRefused(t *testing.T) {
	f := newFixture(t)
	f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "x"))
	var both []byte
	f.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		both = []byte(`{"schemaVersion":2,"mediaType":"` + image.TypeManifest + `","config":{},"layers":[],"manifests":[]}`)
		w.Header().Set("Content-Type", image.TypeManifest)
		w.Header().Set("Docker-Content-Digest", image.DigestOf(both).String())
		_, _ = w.Write(both)
		return true
	})
	_, _, err := f.pull("busybox")
	if err == nil || !strings.Contains(err.Error(), "has both layers and manifests") {
		t.Errorf("got %v", err)
	}
}

func TestPullErrorsNameTheFix(t *testing.T) {
	f := newFixture(t)
	f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "x"))
	plain := httptest.NewServer(f.server.Config.Handler)
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(code)
			return true
		}
	}
	for _, tt := range []struct {
		name, conf, ref string
		answer          func(http.ResponseWriter, *http.Request) bool
		is              error
		want            string
	}{
		{"missing image", f.conf, "nothing", nil, ErrNoSuchImage,
			"pull nothing: " + f.host() + "/library/nothing: no such image; check the name and the tag"},
		{"missing tag", f.conf, "busybox:7", nil, ErrNoSuchImage, "check the name and the tag"},
		{"missing digest", f.conf, "busybox@" + image.DigestOf(nil).String(), nil, ErrNoSuchImage, "no such image"},
		{"unknown authority", "[Registry docker.io]\nLocation=" + f.host(), "busybox", nil, ErrUntrusted,
			"put CAFile= with that one's certificate under [Registry " + f.host() + "] of registries.conf"},
		{"no TLS", "[Registry docker.io]\nLocation=" + plain.Listener.Addr().String(), "busybox", nil, ErrUntrusted, "put Insecure=plaintext under"},
		{"not there", "[Registry docker.io]\nLocation=" + closed.Listener.Addr().String(), "busybox", nil, ErrUnreachable,
			"connection refused; check the network, or name another place under [Registry docker.io] of registries.conf"},
		{"login wanted", f.conf, "busybox", status(401), ErrUnauthorized, "log in: nsrun login " + f.host()},
		{"forbidden", f.conf, "busybox", status(403), ErrUnauthorized, "log in: nsrun login " + f.host()},
		{"no name", f.conf, "Busy", nil, nil, "names are lower case; try busy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.conf = tt.conf
			f.set(nil, tt.answer)
			_, _, err := f.pull(tt.ref)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
	t.Run("plaintext when it was said", func(t *testing.T) {
		host := plain.Listener.Addr().String()
		f.set(nil, nil)
		f.conf = "[Registry docker.io]\nLocation=" + host + "\n[Registry " + host + "]\nInsecure=plaintext"
		if _, _, err := f.pull("busybox"); err != nil {
			t.Error(err)
		}
	})
	t.Run("any certificate when it was said", func(t *testing.T) {
		f.conf = "[Registry docker.io]\nLocation=" + f.host() + "\n[Registry " + f.host() + "]\nInsecure=unverified"
		if _, _, err := f.pull("busybox"); err != nil {
			t.Error(err)
		}
	})
}

func TestMirrorsComeFirstAndMayFail(t *testing.T) {
	f := newFixture(t)
	f.push("mirror/library/busybox:latest", makeImage(t, image.Here().Architecture, "mirrored"))
	f.push("library/other:latest", makeImage(t, image.Here().Architecture, "own"))
	f.conf = strings.Replace(f.conf, "Location=", "Mirror="+f.host()+"/mirror\nLocation=", 1)
	for _, ref := range []string{"busybox", "other"} {
		if _, _, err := f.pull(ref); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// TestMirrorsMayWantALogin: the login is the mirror's own, over the authority of
// its section, and the registry behind it is not told.
func TestMirrorsMayWantALogin(t *testing.T) {
	f := newFixture(t)
	f.push("mirror/library/busybox:latest", makeImage(t, image.Here().Architecture, "mirrored"))
	f.login = &authn.Basic{Username: "me", Password: "secret"}
	var mu sync.Mutex
	right, wrong := 0, 0
	f.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		if user == "me" && password == "secret" {
			right++
			return false
		}
		wrong++
		w.Header().Set("WWW-Authenticate", `Basic realm="mirror"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	f.conf = fmt.Sprintf("[Registry docker.io]\nMirror=%s/mirror\nLocation=127.0.0.1:1\n", f.host()) + f.conf[strings.Index(f.conf, "[Registry "+f.host()):]
	if _, _, err := f.pull("busybox"); err != nil || right < 3 || wrong == 0 {
		t.Errorf("%d requests with the login, %d without, %v", right, wrong, err)
	}
	f.login = &authn.Basic{Username: "me", Password: "old"}
	if _, _, err := f.pull("busybox:other"); err == nil || !strings.Contains(err.Error(), "log in: nsrun login "+f.host()) || strings.Contains(err.Error(), "old") {
		t.Errorf("with the wrong one: %v", err)
	}
}

func TestConcurrentPullsFetchEachLayerOnce(t *testing.T) {
	f := newFixture(t)
	f.push("library/busybox:latest", makeImage(t, image.Here().Architecture, "1", "2", "3"))
	var wg sync.WaitGroup
	for range 8 {
		p := f.puller(image.Platform{})
		wg.Go(func() {
			if _, _, err := p.Pull(t.Context(), "busybox"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for line := range strings.Lines(f.requests()) {
		if strings.Contains(line, "/blobs/") {
			seen[strings.TrimSpace(line)]++
		}
	}
	layers := 0
	for _, n := range seen {
		if n == 1 {
			layers++
		}
	}
	if layers < 3 {
		t.Errorf("blobs were fetched %v", seen)
	}
}

func TestBrokenTransferIsTriedAgain(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, strings.Repeat("x", 1000))
	f.push("library/busybox:latest", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	f.set(nil, func(w http.ResponseWriter, r *http.Request) (done bool) {
		if strings.HasSuffix(r.URL.Path, manifest.Layers[0].Digest.String()) {
			once.Do(func() {
				done = true
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte{0x1f, 0x8b})
			})
		}
		return done
	})
	if _, _, err := f.pull("busybox"); err != nil {
		t.Error(err)
	}
}

func TestCancelledPullLeavesNothing(t *testing.T) {
	f := newFixture(t)
	img := makeImage(t, image.Here().Architecture, strings.Repeat("x", 1000))
	f.push("library/busybox:latest", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, manifest.Layers[0].Digest.String()) {
			return false
		}
		cancel()
		<-r.Context().Done()
		return true
	})
	_, _, err = f.puller(image.Platform{}).Pull(ctx, "busybox")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := f.visible(); got != "" {
		t.Errorf("left %s", got)
	}
}
