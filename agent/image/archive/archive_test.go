package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// tarOf makes a tar file of name, content pairs; a name may be "link NAME -> TARGET".
func tarOf(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), Uid: os.Geteuid(), Gid: os.Getegid()}
		if strings.HasSuffix(h.Name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		kind, rest, _ := strings.Cut(pairs[i], " ")
		if from, to, ok := strings.Cut(rest, " -> "); ok {
			h.Typeflag, h.Name, h.Linkname, h.Size = tar.TypeSymlink, from, to, 0
			if kind == "hard" {
				h.Typeflag = tar.TypeLink
			}
		} else if kind == "fifo" {
			h.Typeflag, h.Name, h.Size = tar.TypeFifo, rest, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, pairs[i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// makeImage makes an image of layers, each a tar file.
func makeImage(t testing.TB, architecture string, layers ...[]byte) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, data := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err == nil {
			img, err = mutate.AppendLayers(img, layer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	config.Config = v1.Config{Cmd: []string{"sh"}, Env: []string{"A=1"}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// someImage has what is easily lost: whiteouts, links, times, long names.
func someImage(t testing.TB) v1.Image {
	return makeImage(t, image.Here().Architecture,
		tarOf(t, "etc/", "", "etc/old", "old", "dir/a", "a"),
		tarOf(t, "etc/.wh.old", "", "dir/.wh..wh..opq", "", "link l -> etc", "", "l/new", strings.Repeat("new ", 5000), strings.Repeat("long/", 50)+"x", "x"))
}

func newLoader(t testing.TB, policy string) (*Loader, *image.Store) {
	t.Helper()
	store, err := image.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := image.ParsePolicy("policy.conf", []byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Store: store, Policy: rules}), store
}

func load(l *Loader, data []byte, dir string) ([]Loaded, error) {
	path := filepath.Join(dir, "archive")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return l.LoadFile(context.Background(), f)
}

// visible lists what a store has that can be seen, and what is left in tmp.
func visible(t *testing.T, s *image.Store) string {
	t.Helper()
	var found []string
	for _, dir := range []string{"refs", "layers", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(s.Dir(), dir))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			found = append(found, dir+"/"+e.Name())
		}
	}
	return strings.Join(found, " ")
}

func dockerArchive(t testing.TB, ref string, img v1.Image) []byte {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(tag, img, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestLoadPlainCompressedAndFromAPipe(t *testing.T) {
	img := someImage(t)
	plain := dockerArchive(t, "app:1", img)
	var zipped, zstandard bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	zs, err := zstd.NewWriter(&zstandard)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gz, zs} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	check := func(how string, loaded []Loaded, err error) {
		t.Helper()
		if err != nil || len(loaded) != 1 || loaded[0].ConfigID.String() != id.String() || loaded[0].Ref != "docker.io/library/app:1" || !loaded[0].Named {
			t.Errorf("%s: %+v, %v", how, loaded, err)
		}
	}
	for how, data := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes(), "zstd": zstandard.Bytes()} {
		l, _ := newLoader(t, "")
		loaded, err := load(l, data, t.TempDir())
		check(how, loaded, err)
	}
	l, store := newLoader(t, "")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = w.Write(plain)
		w.Close()
	}()
	loaded, err := l.LoadFile(t.Context(), r)
	check("pipe", loaded, err)
	if got := visible(t, store); strings.Contains(got, "tmp/") {
		t.Errorf("left %s", got)
	}
}

func TestSavedArchivesAreReadByOthersAndByUs(t *testing.T) {
	img := someImage(t)
	l, store := newLoader(t, "")
	loaded, err := load(l, dockerArchive(t, "app:1", img), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []image.Transport{image.DockerArchive, image.OCIArchive} {
		file := filepath.Join(t.TempDir(), "saved.tar")
		if err := SaveFile(t.Context(), store, form, []Wanted{{loaded[0].Image, loaded[0].Refs}}, file); err != nil {
			t.Fatal(err)
		}
		theirs := readByOthers(t, form, file)
		if err := checkLayers(theirs); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		for what, digests := range map[string]func(v1.Image) (any, error){
			"image id": func(i v1.Image) (any, error) { return i.ConfigName() },
			"diffIDs": func(i v1.Image) (any, error) {
				c, err := i.ConfigFile()
				return fmt.Sprint(c.RootFS.DiffIDs), err
			},
		} {
			was, err1 := digests(img)
			is, err2 := digests(theirs)
			if err1 != nil || err2 != nil || was != is {
				t.Errorf("%s: %s was %v, is %v (%v, %v)", form, what, was, is, err1, err2)
			}
		}
		again, fresh := newLoader(t, "")
		place, err := image.ParsePlace(string(form) + ":" + file + ":app:1")
		if err != nil {
			t.Fatal(err)
		}
		ours, err := again.LoadPlace(t.Context(), place)
		if err != nil || ours.ConfigID != loaded[0].ConfigID || ours.Ref != loaded[0].Ref || !ours.Fresh {
			t.Fatalf("%s: loaded %+v, %v", form, ours, err)
		}
		if ours, err = again.LoadPlace(t.Context(), place); err != nil || ours.Fresh {
			t.Errorf("%s again: %+v, %v", form, ours, err)
		}
		var first, second bytes.Buffer
		if err := errors.Join(Save(t.Context(), store, form, []Wanted{{loaded[0].Image, loaded[0].Refs}}, &first), Save(t.Context(), fresh, form, []Wanted{{ours.Image, ours.Refs}}, &second)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s: saved again it is another file", form)
		}
	}
}

// checkLayers reads all layers and compares their digests. (Package validate
// takes it for granted that layers are compressed.)
func checkLayers(img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		in, err := l.Uncompressed()
		if err != nil {
			return err
		}
		got, _, err := v1.SHA256(in)
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
		want, err := l.DiffID()
		if err != nil || got != want {
			return fmt.Errorf("layer is %s, should be %s, %v", got, want, err)
		}
	}
	if len(layers) != 2 {
		return fmt.Errorf("%d layers", len(layers))
	}
	return nil
}

// readByOthers reads what we saved with go-containerregistry.
func readByOthers(t *testing.T, form image.Transport, file string) v1.Image {
	t.Helper()
	if form == image.DockerArchive {
		tag, err := name.NewTag("app:1")
		if err != nil {
			t.Fatal(err)
		}
		img, err := tarball.ImageFromPath(file, &tag)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	dir := t.TempDir()
	data, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for in := tar.NewReader(data); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err == nil && h.Typeflag == tar.TypeDir {
			err = root.MkdirAll(strings.TrimSuffix(h.Name, "/"), 0o755)
		} else if err == nil {
			var content []byte
			if content, err = io.ReadAll(in); err == nil {
				err = root.WriteFile(h.Name, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil || len(list.Manifests) != 1 || list.Manifests[0].Annotations[refNameAnnotation] != "docker.io/library/app:1" {
		t.Fatalf("index %+v, %v", list, err)
	}
	img, err := index.Image(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestLoadOfALayoutDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "My.layout")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	other := "riscv64"
	for arch, tag := range map[string]string{image.Here().Architecture: "v1", other: "v2"} {
		img := makeImage(t, arch, tarOf(t, "file", arch))
		err := path.AppendImage(img, layout.WithAnnotations(map[string]string{refNameAnnotation: tag}), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
	}
	l, store := newLoader(t, "")
	for _, tt := range []struct{ place, ref, want string }{
		{"oci:" + dir, "localhost/my:v1", ""}, // by platform
		{"oci:" + dir + ":v2", "localhost/my:v2", ""},
		{"oci:" + dir + ":v3", "", "no image v3 in it; it has localhost/my:v"},
		{"oci:" + dir + "x", "", "no such file"},
		{"oci-archive:" + dir, "", "is a directory"},
	} {
		place, err := image.ParsePlace(tt.place)
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := l.LoadPlace(t.Context(), place)
		switch {
		case tt.want == "" && (err != nil || loaded.Refs[0].Familiar() != tt.ref || loaded.Digest == loaded.ConfigID):
			t.Errorf("%s: %+v, %v", tt.place, loaded, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %s", tt.place, err, tt.want)
		}
	}
	if got := visible(t, store); strings.Contains(got, "tmp/") {
		t.Errorf("left %s", got)
	}
}

func TestPolicyOfArchives(t *testing.T) {
	data := dockerArchive(t, "app:1", someImage(t))
	for policy, want := range map[string]string{
		"[Policy]\nArchives=no":                                       "policy.conf:2: Archives=no",
		"[Policy]\nAllow=docker.io":                                   "a file vouches for none; to let files in put Archives=yes there",
		"[Policy]\nAllow=docker.io/library/*\nArchives=yes":           "",
		"[Policy]\nAllow=reg.example\nArchives=yes":                   "policy.conf:2: no Allow= there matches docker.io/library/app",
		"[Policy]\nAllow=docker.io\nArchives=yes\nBlock=docker.io/**": "policy.conf:4: Block=docker.io/**",
	} {
		l, store := newLoader(t, policy)
		_, err := load(l, data, t.TempDir())
		if want == "" && err != nil || want != "" && (!errors.Is(err, image.ErrRefused) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %s", policy, err, want)
		}
		if got := visible(t, store); want != "" && got != "" {
			t.Errorf("%s: left %s", policy, got)
		}
	}
}

// TestB09_HostileArchives: nothing of them is kept, nothing outside is touched.
func TestB09_HostileArchives(t *testing.T) {
	layer := string(tarOf(t, "file", "content"))
	diffID := image.DigestOf([]byte(layer))
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + diffID.String() + `"]}}`
	id := image.DigestOf([]byte(config))
	manifest := func(rest string) string {
		return `[{"Config":"` + id.Hex() + `.json","RepoTags":["app:1"],"Layers":["layer.tar"]` + rest + `}]`
	}
	docker := []string{"manifest.json", manifest(""), id.Hex() + ".json", config, "layer.tar", layer}
	with := func(pairs ...string) []byte { return tarOf(t, append(append([]string{}, docker...), pairs...)...) }
	without := func(name string, instead ...string) []byte {
		var kept []string
		for i := 0; i < len(docker); i += 2 {
			if docker[i] != name {
				kept = append(kept, docker[i], docker[i+1])
			}
		}
		return tarOf(t, append(kept, instead...)...)
	}
	flipped := strings.Replace(layer, "content", "cOntent", 1)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(layer), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string // "" is fine
	}{
		{"as it should be", with(), ""},
		{"a link inside", without("layer.tar", "real/layer.tar", layer, "link layer.tar -> real/layer.tar", ""), ""},
		{"a hard link inside", without("layer.tar", "real", layer, "hard layer.tar -> real", ""), ""},
		{"layer flipped", without("layer.tar", "layer.tar", flipped), "does not match its digest"},
		{"layer missing", without("layer.tar"), "does not exist in the archive"},
		{"configuration flipped", without(id.Hex()+".json", id.Hex()+".json", config+" "), "does not match its digest"},
		{"configuration missing", without(id.Hex() + ".json"), "does not exist in the archive"},
		{"configuration without digest", tarOf(t, "manifest.json", strings.ReplaceAll(manifest(""), id.Hex(), "x"), "x.json", config, "layer.tar", layer), "its name is no digest"},
		{"name twice", with("layer.tar", layer), "stands there twice"},
		{"name twice, otherwise written", with("./layer.tar", layer), "stands there twice"},
		{"link out", without("layer.tar", "link layer.tar -> ../../secret", ""), "leads out"},
		{"absolute link", without("layer.tar", "link layer.tar -> "+secret, ""), "leads out"},
		{"links in a circle", without("layer.tar", "link layer.tar -> b", "", "link b -> layer.tar", ""), "one after another"},
		{"name with ..", with("../x", ""), "leads out"},
		{"absolute name", with("/x", ""), "leads out"},
		{"layer by a path out", without("manifest.json", "manifest.json", strings.Replace(manifest(""), "layer.tar", "../../../.."+secret, 1)), "leads out"},
		{"layer by absolute path", without("manifest.json", "manifest.json", strings.Replace(manifest(""), "layer.tar", secret, 1)), "leads out"},
		{"a pipe", with("fifo p", ""), "is of kind"},
		{"more layers than the configuration", without("manifest.json", "manifest.json", strings.Replace(manifest(""), `"layer.tar"`, `"layer.tar","layer.tar"`, 1)), "2 layers, but its configuration has 1"},
		{"bad tag", without("manifest.json", "manifest.json", strings.Replace(manifest(""), "app:1", "../x:1", 1)), "is no host name"},
		{"tag that is a digest", without("manifest.json", "manifest.json", strings.Replace(manifest(""), "app:1", "app@"+id.String(), 1)), "is no tag"},
		{"cut off", with()[:len(with())-4096], "ended early"},
		{"nothing", tarOf(t, "x", "y"), "no image's archive"},
		{"no archive", []byte(strings.Repeat("not a tar file ", 100)), "read archive"},
		{"empty list", tarOf(t, "manifest.json", "[]"), "no image in it"},
	} {
		l, store := newLoader(t, "")
		_, err := load(l, tt.data, t.TempDir())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
		if got := visible(t, store); tt.want != "" && got != "" {
			t.Errorf("%s: left %s", tt.name, got)
		}
	}
}

func TestB09_HostileLayouts(t *testing.T) {
	layer := string(tarOf(t, "file", "content"))
	diffID := image.DigestOf([]byte(layer))
	config := `{"os":"linux","architecture":"` + image.Here().Architecture + `","rootfs":{"type":"layers","diff_ids":["` + diffID.String() + `"]}}`
	desc := func(data string) string {
		return fmt.Sprintf(`{"digest":%q,"size":%d}`, image.DigestOf([]byte(data)), len(data))
	}
	name := func(data string) string { return blobName(image.DigestOf([]byte(data))) }
	manifest := manifestOf(desc(config), desc(layer))
	index := func(d string) string { return `{"schemaVersion":2,"manifests":[` + d + `]}` }
	version := `{"imageLayoutVersion":"1.0.0"}`
	wrongSize := manifestOf(desc(config), strings.Replace(desc(layer), `"size":`, `"size":1`, 1))
	whole := []string{"oci-layout", version, "index.json", index(desc(manifest)), name(manifest), manifest, name(config), config, name(layer), layer}
	swap := func(at int, content string) []byte {
		pairs := append([]string{}, whole...)
		pairs[at] = content
		return tarOf(t, pairs...)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"as it should be", tarOf(t, whole...), ""},
		{"manifest flipped", swap(5, strings.Replace(manifest, "2", "3", 1)), "does not match its digest"},
		{"configuration flipped", swap(7, strings.Replace(config, "linux", "linuX", 1)), "does not match its digest"},
		{"layer flipped", swap(9, strings.Replace(layer, "content", "cOntent", 1)), "does not match its digest"},
		{"layer longer", swap(9, layer+"x"), "should have"},
		{"manifest of another size", swap(3, index(strings.Replace(desc(manifest), `"size":`, `"size":1`, 1))), "should have"},
		{"layer of another size", tarOf(t, "oci-layout", version, "index.json", index(desc(wrongSize)), name(wrongSize), wrongSize, name(config), config, name(layer), layer), "should have"},
		{"layer missing", tarOf(t, whole[:8]...), "does not exist"},
		{"digest with a path", swap(3, index(`{"digest":"sha256:../../x","size":1}`)), "64 lower-case"},
		{"other version", swap(1, `{"imageLayoutVersion":"7"}`), "only 1.… is understood"},
		{"an index that is a manifest", swap(3, manifest), "is no list of images"},
		{"list within a list", tarOf(t, "oci-layout", version, "index.json", index(desc(index(desc(index(desc(manifest)))))), name(index(desc(index(desc(manifest))))), index(desc(index(desc(manifest)))), name(index(desc(manifest))), index(desc(manifest)), name(manifest), manifest), "a list within a list"},
	} {
		l, store := newLoader(t, "")
		_, err := load(l, tt.data, t.TempDir())
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
		if got := visible(t, store); tt.want != "" && got != "" {
			t.Errorf("%s: left %s", tt.name, got)
		}
	}
}

func manifestOf(config, layer string) string {
	return `{"schemaVersion":2,"mediaType":"` + image.TypeManifest + `","config":` + config + `,"layers":[` + layer + `]}`
}

// Of an image that is refused nothing stays, not even a layer that was right.
func TestRefusedImageLeavesNoLayer(t *testing.T) {
	good, bad := string(tarOf(t, "file", "good")), string(tarOf(t, "file", "bad"))
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + image.DigestOf([]byte(good)).String() + `","` + image.DigestOf([]byte(bad)).String() + `"]}}`
	id := image.DigestOf([]byte(config)).Hex()
	manifest := `[{"Config":"` + id + `","RepoTags":["app:1"],"Layers":["good","bad"]}]`
	for content, want := range map[string]string{bad: "", strings.Replace(bad, "bad", "BAD", 1): "does not match its digest"} {
		l, store := newLoader(t, "")
		l.cfg.LayersAtOnce = 1
		_, err := load(l, tarOf(t, "manifest.json", manifest, id, config, "good", good, "bad", content), t.TempDir())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %s", err, want)
		}
		if got := visible(t, store); want != "" && got != "" {
			t.Errorf("left %s", got)
		}
	}
}

func TestBombsInsideArchives(t *testing.T) {
	zeros := string(tarOf(t, "zeros", strings.Repeat("\x00", 2<<20)))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, zeros)
	w.Close()
	l, store := newLoader(t, "")
	l.cfg.Limits = unpack.Limits{Ratio: 10, FreeBytes: 1 << 20}
	if _, err := load(l, zipped.Bytes(), t.TempDir()); !errors.Is(err, unpack.ErrBomb) {
		t.Errorf("compressed archive: got %v", err)
	}
	if got := visible(t, store); got != "" {
		t.Errorf("left %s", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(dockerArchive(f, "app:1", someImage(f)))
	f.Add(tarOf(f, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`, "index.json", `{"schemaVersion":2,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, _ := newLoader(t, "")
		dir := t.TempDir()
		_, _ = load(l, data, dir)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Fatalf("beside the archive: %v, %v", entries, err)
		}
	})
}

// TestSaveLeavesNothingOnTheWay: until an archive is whole, there is nothing to
// see of it that somebody who is killed could leave.
func TestSaveLeavesNothingOnTheWay(t *testing.T) {
	l, store := newLoader(t, "")
	loaded, err := load(l, dockerArchive(t, "app:1", someImage(t)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "saved.tar")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wanted := []Wanted{{loaded[0].Image, loaded[0].Refs}}
	if err := SaveFile(ctx, store, image.OCIArchive, wanted, file); err == nil {
		t.Error("no error from a save that was called off")
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := SaveFile(t.Context(), store, image.OCIArchive, wanted, file); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "saved.tar" {
		t.Errorf("left %v", left)
	}
	if err := SaveFile(t.Context(), store, image.OCIArchive, wanted, filepath.Join(dir, "none", "saved.tar")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("to a directory that isn't there: %v", err)
	}
}
