package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newStore returns an empty store and a function that puts an image with the
// given layers into it.
func newStore(t *testing.T) (*Store, func(ref string, layers ...string) *Image) {
	t.Helper()
	store, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return store, func(ref string, layers ...string) *Image {
		t.Helper()
		x, err := store.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		var ids []string
		for _, l := range layers {
			id := DigestOf([]byte(l))
			if _, err := x.Layer(t.Context(), id, func(f Fresh) error {
				return errors.Join(os.WriteFile(filepath.Join(f.Root(), l), nil, 0o600), os.WriteFile(f.Sums(), []byte("bytes 7\n"), 0o600))
			}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, fmt.Sprintf("%q", id))
		}
		config, err := x.PutBlob([]byte(`{"rootfs":{"diff_ids":[` + strings.Join(ids, ",") + `]}}`))
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := x.PutBlob([]byte("manifest of " + strings.Join(ids, ",")))
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Tag(r, manifest, manifest, config); err != nil {
			t.Fatal(err)
		}
		img, err := store.Get(r)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
}

func layersHere(t *testing.T, s *Store) string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.Dir(), "layers", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range dirs {
		dirs[i] = filepath.Base(dirs[i])
	}
	return strings.Join(dirs, " ")
}

func TestResolveOfWhatIsNotHere(t *testing.T) {
	store, put := newStore(t)
	_, err := store.Resolve("busybox")
	if !errors.Is(err, ErrNoImage) || err.Error() != "image busybox: not here; pull it first: nsrun pull busybox" {
		t.Errorf("got %v", err)
	}
	img := put("busybox", "a")
	if _, err := store.Resolve("busybox:other"); !errors.Is(err, ErrNoImage) {
		t.Errorf("got %v", err)
	}
	if _, err := store.Resolve("busybox@" + someDigest); !errors.Is(err, ErrNoImage) {
		t.Errorf("got %v", err)
	}
	if pinned, err := store.Resolve("busybox@" + img.Digest.String()); err != nil || pinned.Digest != img.Digest {
		t.Errorf("got %v", err)
	}
	if err := os.RemoveAll(img.Layers[0]); err != nil {
		t.Fatal(err)
	}
	_, err = store.Resolve("busybox")
	if !errors.Is(err, ErrDamaged) || !strings.HasSuffix(err.Error(), "is missing; repair it: nsrun pull busybox") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(store.blobPath(img.ConfigID), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = store.Resolve("busybox"); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}

func TestListLeavesOutWhatIsBroken(t *testing.T) {
	store, put := newStore(t)
	if images, err := store.List(); err != nil || len(images) != 0 {
		t.Errorf("empty: %v, %v", images, err)
	}
	put("reg.example:5000/b/c:2", "a")
	put("a", "a")
	broken := put("broken", "b")
	if err := os.RemoveAll(broken.Layers[0]); err != nil {
		t.Fatal(err)
	}
	images, err := store.List()
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "image broken:latest") {
		t.Errorf("error is %v", err)
	}
	var refs []string
	for _, img := range images {
		refs = append(refs, img.Ref)
	}
	if got := strings.Join(refs, " "); got != "docker.io/library/a:latest reg.example:5000/b/c:2" {
		t.Errorf("got %s", got)
	}
}

func TestRemoveTakesOnlyWhatNobodyUses(t *testing.T) {
	store, put := newStore(t)
	put("one", "base", "one")
	two := put("two", "base", "two")
	if err := store.Hold(t.Context(), "web", two); err != nil {
		t.Fatal(err)
	}
	removed, err := store.Remove(t.Context(), "one", false)
	if err != nil || len(removed.Layers) != 1 || len(removed.Blobs) != 2 || fmt.Sprint(removed.Untagged) != "[docker.io/library/one:latest]" {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if _, err := store.Remove(t.Context(), "one", false); !errors.Is(err, ErrNoImage) {
		t.Errorf("got %v", err)
	}
	_, err = store.Remove(t.Context(), "two", false)
	if !errors.Is(err, ErrInUse) || err.Error() != "remove image two: in use by container web; remove that first: nsrun rm web" {
		t.Errorf("got %v", err)
	}
	if _, err := store.Remove(t.Context(), "two", true); err != nil {
		t.Error(err)
	}
	held, err := store.Held("web")
	if err != nil || held.Digest != two.Digest || layersHere(t, store) != "base two" && layersHere(t, store) != "two base" {
		t.Errorf("held %v, %v, layers %s", held, err, layersHere(t, store))
	}
	if err := store.Release("web"); err != nil {
		t.Fatal(err)
	}
	if err := store.Release("web"); err != nil {
		t.Errorf("again: %v", err)
	}
	if removed, err := store.Prune(t.Context()); err != nil || len(removed.Layers) != 2 {
		t.Errorf("pruned %+v, %v", removed, err)
	}
	if err := store.Hold(t.Context(), "late", two); !errors.Is(err, ErrDamaged) {
		t.Errorf("held what is gone: %v", err)
	}
	if err := store.Hold(t.Context(), "../x", two); err == nil {
		t.Error("held by a path")
	}
}

func TestRemoveByDigestTakesAllItsNames(t *testing.T) {
	store, put := newStore(t)
	img := put("a:1", "x")
	put("a:2", "x")
	put("b", "x")
	removed, err := store.Remove(t.Context(), "a@"+img.Digest.String(), false)
	if err != nil || fmt.Sprint(removed.Untagged) != "[docker.io/library/a:1 docker.io/library/a:2]" || len(removed.Layers) != 0 {
		t.Errorf("removed %+v, %v", removed, err)
	}
}

func TestNothingIsRemovedDuringAPullOrFromADamagedStore(t *testing.T) {
	store, put := newStore(t)
	img := put("a", "x")
	x, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removed, err := store.Remove(t.Context(), "a", false)
	if err != nil || !removed.Later || !x.HasLayer(img.DiffIDs[0]) {
		t.Errorf("removed %+v, %v", removed, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Prune(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("pruned during a pull: %v", err)
	}
	x.Close()
	b := put("b", "y")
	if err := os.WriteFile(store.blobPath(b.ConfigID), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if removed, err := store.Prune(t.Context()); !errors.Is(err, ErrDamaged) || len(removed.Layers) != 0 {
		t.Errorf("pruned %+v, %v", removed, err)
	}
	if got := layersHere(t, store); got != "x y" && got != "y x" {
		t.Errorf("left %s", got)
	}
}

func TestFailedLayerLeavesNothing(t *testing.T) {
	store, _ := newStore(t)
	x, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	boom := errors.New("boom")
	made, err := x.Layer(t.Context(), DigestOf(nil), func(f Fresh) error {
		return errors.Join(os.WriteFile(filepath.Join(f.Root(), "half"), nil, 0o600), boom)
	})
	if made || !errors.Is(err, boom) || x.HasLayer(DigestOf(nil)) {
		t.Errorf("made %v, %v", made, err)
	}
	if left, err := os.ReadDir(filepath.Join(store.Dir(), "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// A container that has the damaged layer mounted keeps it; who comes later gets the new one.
func TestDamagedLayerIsMadeAgain(t *testing.T) {
	store, put := newStore(t)
	img := put("one", "x")
	x, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	file := filepath.Join(img.Layers[0], "x")
	if err := os.WriteFile(file, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	inUse, err := os.OpenRoot(img.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	if err := x.MarkDamaged(img.DiffIDs[0]); err != nil {
		t.Fatal(err)
	}
	if x.HasLayer(img.DiffIDs[0]) {
		t.Error("a damaged layer counts as here")
	}
	again := put("one", "x")
	if data, err := os.ReadFile(filepath.Join(again.Layers[0], "x")); err != nil || len(data) != 0 {
		t.Errorf("after the repair: %q, %v", data, err)
	}
	if !x.HasLayer(img.DiffIDs[0]) {
		t.Error("the mark outlives the repair")
	}
	x.Close()
	if _, err := store.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := inUse.ReadFile("x"); err != nil || string(data) != "rubbish" {
		t.Errorf("what a container has mounted: %q, %v", data, err)
	}
	if _, err := store.Remove(t.Context(), "one", false); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(store.Dir(), "layers")); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func BenchmarkResolve(b *testing.B) {
	store, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	x, err := store.Begin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := x.Layer(b.Context(), DigestOf(nil), func(Fresh) error { return nil }); err != nil {
		b.Fatal(err)
	}
	config, err := x.PutBlob([]byte(`{"rootfs":{"diff_ids":["` + string(DigestOf(nil)) + `"]}}`))
	if err != nil {
		b.Fatal(err)
	}
	ref, _ := ParseReference("busybox")
	if err := x.Tag(ref, config, config, config); err != nil {
		b.Fatal(err)
	}
	x.Close()
	for b.Loop() {
		if _, err := store.Resolve("busybox"); err != nil {
			b.Fatal(err)
		}
	}
}

// A lease is the reference's own file by another name; when the reference comes to
// stand for another image, the lease doesn't.
func TestALeaseKeepsWhatTheNameStoodFor(t *testing.T) {
	store, put := newStore(t)
	old := put("a", "x")
	if err := store.Hold(t.Context(), "web", old); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(store.dir, "leases", "web")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the lease is no further name: %v, %v", info, err)
	}
	put("a", "y")
	held, err := store.Held("web")
	if err != nil || held.ConfigID != old.ConfigID {
		t.Errorf("held %+v, %v, want what was held", held, err)
	}
	if err := store.Hold(t.Context(), "late", old); err != nil { // found before the name changed
		t.Fatal(err)
	}
	if held, err := store.Held("late"); err != nil || held.ConfigID != old.ConfigID {
		t.Errorf("held late %+v, %v, want what was asked for", held, err)
	}
}
