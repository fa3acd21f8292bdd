package pull

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// made is an image made by hand: two platforms, and for ours layers that are
// compressed in three ways. Its parts are plain values, to be tampered with.
type made struct {
	plain    [][]byte // archives, bottom first
	blobs    map[image.Digest][]byte
	layers   []image.Digest
	config   object
	manifest object
	index    object
	types    map[image.Digest]string // of documents, as they are delivered
	urls     string                  // of a host that must not be asked
}

type object = map[string]any

func layerArchive(t testing.TB, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), Uid: os.Geteuid(), Gid: os.Getegid()})
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func newMade(t testing.TB) *made {
	t.Helper()
	m := &made{blobs: map[image.Digest][]byte{}, types: map[image.Digest]string{}}
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() string {
		b := make([]byte, 3000)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	for i := range 3 {
		m.plain = append(m.plain, layerArchive(t, fmt.Sprintf("file%d", i), noise()))
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	const plain = "application/vnd.oci.image.layer.v1.tar"
	kinds := []string{plain + "+gzip", plain + "+zstd", plain}
	var layers, diffs []any
	for i, blob := range [][]byte{gzipped(t, m.plain[0]), encoder.EncodeAll(m.plain[1], nil), m.plain[2]} {
		layers = append(layers, m.descriptor(kinds[i], blob))
		diffs = append(diffs, image.DigestOf(m.plain[i]).String())
		m.layers = append(m.layers, image.DigestOf(blob))
	}
	m.config = object{
		"architecture": runtime.GOARCH, "os": "linux", "config": object{"Cmd": []any{"sh"}},
		"rootfs": object{"type": "layers", "diff_ids": diffs},
	}
	m.manifest = object{"schemaVersion": 2, "mediaType": image.TypeManifest, "layers": layers}
	m.index = object{"schemaVersion": 2, "mediaType": image.TypeIndex}
	return m
}

// descriptor keeps a blob and describes it.
func (m *made) descriptor(mediaType string, blob []byte) object {
	d := image.DigestOf(blob)
	m.blobs[d] = blob
	return object{"mediaType": mediaType, "digest": d.String(), "size": len(blob)}
}

func text(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tamper is what is done to an image while it is put together. Each part is
// made of the ones before, so that all digests are right but for what is changed.
type tamper struct {
	name     string
	want     string // in the error
	config   func(*made)
	manifest func(*made)
	index    func(*made)
	raw      func(data []byte) []byte // of the manifest
}

// build puts the image together and returns the digests of its documents.
func (m *made) build(t testing.TB, tr tamper) (config, manifest, index image.Digest) {
	t.Helper()
	step := func(change func(*made)) {
		if change != nil {
			change(m)
		}
	}
	step(tr.config)
	about := m.descriptor("application/vnd.oci.image.config.v1+json", text(t, m.config))
	config = image.Digest(about["digest"].(string))
	m.manifest["config"] = about
	step(tr.manifest)
	data := text(t, m.manifest)
	if tr.raw != nil {
		data = tr.raw(data)
	}
	about = m.descriptor(image.TypeManifest, data)
	about["platform"] = object{"os": "linux", "architecture": runtime.GOARCH}
	other := object{"mediaType": image.TypeManifest, "digest": image.DigestOf([]byte("other")).String(), "size": 5, "platform": object{"os": "linux", "architecture": "sparc"}}
	manifest = image.Digest(about["digest"].(string))
	m.index["manifests"] = []any{other, about}
	step(tr.index)
	return config, manifest, image.Digest(m.descriptor(image.TypeIndex, text(t, m.index))["digest"].(string))
}

// answer serves m as docker.io/library/made:latest.
func (m *made) answer(index image.Digest) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		d := image.Digest(what)
		if what == "latest" {
			d = index
		}
		data, ok := m.blobs[d]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", d.String())
			w.Header().Set("Content-Type", "application/octet-stream")
			if t := m.types[d]; t != "" {
				w.Header().Set("Content-Type", t)
			}
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write(data)
		}
		return true
	}
}

func (f *fixture) serve(inner func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inner = inner
}

// kept lists all that is in the store but for its locks.
func (f *fixture) kept() string {
	f.t.Helper()
	var found []string
	err := filepath.WalkDir(f.store.Dir(), func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(f.store.Dir(), path)
		if err == nil && name == "locks" {
			return filepath.SkipDir
		}
		if err == nil && name != "lock" && (!d.IsDir() || strings.Count(name, "/") > 0 && name != "blobs/sha256") {
			found = append(found, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.t.Fatal(err)
	}
	return strings.Join(found, "\n")
}

// refuses pulls ref and wants that to fail with want, and nothing kept.
func (f *fixture) refuses(t *testing.T, ref, want string) error {
	t.Helper()
	before := f.kept()
	_, _, err := f.pull(ref)
	switch {
	case err == nil:
		t.Errorf("%s is taken; want %q", ref, want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: got\n%v\nwant %s", ref, err, want)
	case strings.Contains(err.Error(), "\n"):
		t.Errorf("more than one line: %v", err)
	}
	if after := f.kept(); after != before {
		t.Errorf("%s: the store had\n%s\nand has\n%s", ref, before, after)
	}
	return err
}

// TestB09_TamperedBytes changes what a registry sends of an honest image, below
// digests that stay as they were.
func TestB09_TamperedBytes(t *testing.T) {
	inMemory(t)
	m := newMade(t)
	config, manifest, index := m.build(t, tamper{})
	random := rand.New(rand.NewPCG(3, 4))
	type change struct {
		name string
		make func([]byte) []byte
	}
	changes := []change{
		{"nothing in its place", func([]byte) []byte { return nil }},
		{"one byte less", func(b []byte) []byte { return b[:len(b)-1] }},
		{"half of it", func(b []byte) []byte { return b[:len(b)/2] }},
		{"one byte more", func(b []byte) []byte { return append(bytes.Clone(b), 0) }},
		{"a newline more", func(b []byte) []byte { return append(bytes.Clone(b), '\n') }},
		{"twice", func(b []byte) []byte { return append(bytes.Clone(b), b...) }},
		{"a layer in its place", func([]byte) []byte { return gzipped(t, layerArchive(t, "evil", "evil")) }},
		{"a document in its place", func([]byte) []byte { return []byte(`{"schemaVersion":2}`) }},
	}
	for range 28 {
		at, bit := random.Float64(), random.IntN(8)
		changes = append(changes, change{fmt.Sprintf("bit %d flipped at %.4f of its length", bit, at), func(b []byte) []byte {
			b = bytes.Clone(b)
			b[int(at*float64(len(b)))] ^= 1 << bit
			return b
		}})
	}
	f := newFixture(t)
	tries := 0
	for name, part := range map[string]image.Digest{
		"list": index, "manifest": manifest, "configuration": config, "layer of gzip": m.layers[0], "layer of zstd": m.layers[1], "plain layer": m.layers[2],
	} {
		for i, c := range changes {
			tries++
			t.Run(name+" with "+c.name, func(t *testing.T) {
				f.set(func(path string, body []byte) []byte {
					if strings.HasSuffix(path, part.String()) {
						return c.make(body)
					}
					return body
				}, nil)
				f.serve(m.answer(index))
				err := f.refuses(t, []string{"made", "made@" + index.String()}[i%2], part.Short())
				if !errors.Is(err, image.ErrMismatch) && !errors.Is(err, unpack.ErrShort) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	if tries < 200 {
		t.Errorf("%d tampered images; at least 200 are wanted", tries)
	}
	f.set(nil, nil)
	f.serve(m.answer(index))
	img, _, err := f.pull("made")
	if err != nil {
		t.Fatalf("untouched: %v", err)
	}
	for i, dir := range img.Layers {
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("file%d", i))); err != nil {
			t.Errorf("untouched: %v", err)
		}
	}
}

func list(o object, key string) []any { return o[key].([]any) }

func at(o object, key string, i int) object { return o[key].([]any)[i].(object) }

// structural are images whose documents contradict each other or themselves.
func structural(t testing.TB) []tamper {
	t.Helper()
	inManifest := func(name, want string, change func(m *made, doc object)) tamper {
		return tamper{name: name, want: want, manifest: func(m *made) { change(m, m.manifest) }}
	}
	inIndex := func(name, want string, change func(m *made, doc, own object)) tamper {
		return tamper{name: name, want: want, index: func(m *made) { change(m, m.index, at(m.index, "manifests", 1)) }}
	}
	inConfig := func(name, want string, change func(m *made, rootfs object)) tamper {
		return tamper{name: name, want: want, config: func(m *made) { change(m, m.config["rootfs"].(object)) }}
	}
	raw := func(name, want, from, to string) tamper {
		return tamper{name: name, want: want, raw: func(b []byte) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) }}
	}
	const mismatch, both = "content does not match", "has both layers and manifests"
	all := []tamper{
		inManifest("CVE-2021-41190: manifests beside layers", both, func(m *made, doc object) { doc["manifests"] = []any{} }),
		inIndex("CVE-2021-41190: layers beside manifests", both, func(m *made, doc, _ object) { doc["layers"] = m.manifest["layers"] }),
		inIndex("CVE-2021-41190: a configuration beside manifests", both, func(m *made, doc, _ object) { doc["config"] = m.manifest["config"] }),
		inManifest("CVE-2021-41190: a manifest that calls itself a list", "its content is something else", func(m *made, doc object) { doc["mediaType"] = image.TypeIndex }),
		inIndex("CVE-2021-41190: a list that calls itself a manifest", "its content is something else", func(m *made, doc, _ object) { doc["mediaType"] = image.TypeManifest }),
		inIndex("CVE-2021-41190: a list that its own entry calls a list", "its list calls it", func(m *made, _, own object) { own["mediaType"] = image.TypeIndex }),
		inIndex("CVE-2021-41190: a manifest that its list calls docker's", "its list calls it", func(m *made, _, own object) { own["mediaType"] = image.TypeDockerManifest }),
		raw("CVE-2021-41190: layers twice", `has the key "layers" twice`, `"layers":`, `"layers":[],"layers":`),
		raw("CVE-2021-41190: layers in capitals, too", `has the key "Layers", too like "layers"`, `"layers":`, `"Layers":[],"layers":`),
		raw("CVE-2021-41190: manifests in capitals", `too like "manifests"`, `"layers":`, `"MANIFESTS":[],"layers":`),
		{name: "something behind the manifest", want: "after its end", raw: func(b []byte) []byte { return append(b, "{}"...) }},
		{name: "a manifest that is a list of JSON", want: "is no JSON object", raw: func(b []byte) []byte { return []byte("[" + string(b) + "]") }},
		{name: "a manifest cut off, with a digest made for that", want: "unexpected EOF", raw: func(b []byte) []byte { return b[:len(b)/2] }},
		{name: "a manifest of five million bytes", want: "has more than", raw: func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 5_000_000)...) }},
		{name: "a manifest nested ten thousand deep", want: "exceeded max depth", raw: func(b []byte) []byte {
			return []byte(`{"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + "}")
		}},
		inManifest("schema version 1", "schema version 1", func(m *made, doc object) { doc["schemaVersion"] = 1 }),
		inManifest("no schema version", "schema version 0", func(m *made, doc object) { delete(doc, "schemaVersion") }),
		inManifest("no layers", "has 0 layers, its configuration 3", func(m *made, doc object) { delete(doc, "layers") }),
		inManifest("no configuration", "digest", func(m *made, doc object) { delete(doc, "config") }),
		inManifest("neither", "neither an image nor a list", func(m *made, doc object) { delete(doc, "config"); delete(doc, "layers") }),
		inManifest("a layer more", "has 4 layers, its configuration 3", func(m *made, doc object) { doc["layers"] = append(list(doc, "layers"), list(doc, "layers")[0]) }),
		inManifest("a layer less", "has 2 layers, its configuration 3", func(m *made, doc object) { doc["layers"] = list(doc, "layers")[:2] }),
		inManifest("two layers in the other order", mismatch, func(m *made, doc object) { slices.Reverse(list(doc, "layers")) }),
		inManifest("the same layer twice", mismatch, func(m *made, doc object) { list(doc, "layers")[1] = list(doc, "layers")[0] }),
		inManifest("the configuration as a layer", "read archive", func(m *made, doc object) {
			c := doc["config"].(object)
			at(doc, "layers", 0)["digest"], at(doc, "layers", 0)["size"] = c["digest"], c["size"]
		}),
		inManifest("a layer as the configuration", "configuration", func(m *made, doc object) {
			l := at(doc, "layers", 0)
			doc["config"] = object{"digest": l["digest"], "size": l["size"]}
		}),
		inManifest("a layer that was exchanged, under digests made for that", mismatch, func(m *made, doc object) {
			list(doc, "layers")[0] = m.descriptor("application/vnd.oci.image.layer.v1.tar", layerArchive(t, "evil", "evil"))
		}),
		inManifest("a layer with something behind its gzip", "gzip: invalid header", func(m *made, doc object) {
			list(doc, "layers")[0] = m.descriptor("application/vnd.oci.image.layer.v1.tar+gzip", append(bytes.Clone(m.blobs[m.layers[0]]), "something more"...))
		}),
		inManifest("a layer whose gzip is cut off", "unexpected EOF", func(m *made, doc object) {
			list(doc, "layers")[0] = m.descriptor("application/vnd.oci.image.layer.v1.tar+gzip", m.blobs[m.layers[0]][:1500])
		}),
		inManifest("five hundred layers", "has 500 layers; at most", func(m *made, doc object) {
			doc["layers"] = slices.Repeat(list(doc, "layers")[:1], 500)
		}),
		inManifest("a layer that is nowhere", "is not there", func(m *made, doc object) { delete(m.blobs, m.layers[1]) }),
		inManifest("a configuration that is nowhere", "is not there", func(m *made, doc object) {
			delete(m.blobs, image.Digest(doc["config"].(object)["digest"].(string)))
		}),
		inManifest("a foreign layer that is somewhere else: nobody is asked there", "is not there", func(m *made, doc object) {
			delete(m.blobs, m.layers[0])
			l := at(doc, "layers", 0)
			l["mediaType"], l["urls"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", []any{m.urls, "file:///etc/passwd"}
		}),
		inIndex("a manifest that is nowhere", "no such image", func(m *made, _, own object) { delete(m.blobs, image.Digest(own["digest"].(string))) }),
		inIndex("a list in a list", "a list within a list", func(m *made, doc, own object) {
			inner := m.descriptor(image.TypeIndex, text(t, object{"schemaVersion": 2, "mediaType": image.TypeIndex, "manifests": []any{own}}))
			inner["platform"] = own["platform"]
			doc["manifests"] = []any{inner}
		}),
		inIndex("a list of nothing", "no variant for this platform", func(m *made, doc, _ object) { doc["manifests"] = []any{} }),
		inConfig("a diffID more", "has 3 layers, its configuration 4", func(m *made, r object) { r["diff_ids"] = append(list(r, "diff_ids"), list(r, "diff_ids")[0]) }),
		inConfig("a diffID less", "has 3 layers, its configuration 2", func(m *made, r object) { r["diff_ids"] = list(r, "diff_ids")[:2] }),
		inConfig("no diffIDs", "names no layers", func(m *made, r object) { delete(r, "diff_ids") }),
		inConfig("diffIDs in the other order", mismatch, func(m *made, r object) { slices.Reverse(list(r, "diff_ids")) }),
		inConfig("the blob's digest as diffID", mismatch, func(m *made, r object) { list(r, "diff_ids")[0] = m.layers[0].String() }),
		inConfig("a diffID that climbs", "64 lower-case hexadecimal digits", func(m *made, r object) { list(r, "diff_ids")[0] = "sha256:../../../../canary" }),
		{name: "a configuration that is no JSON", want: "configuration sha256:", manifest: func(m *made) { m.manifest["config"] = m.descriptor("", []byte("#!/bin/sh")) }},
	}
	for _, size := range []int64{-1, 0, 1, 1 << 62} {
		all = append(all,
			inIndex(fmt.Sprintf("a list that says its manifest has %d bytes", size), map[bool]string{true: "negative size", false: "its list says"}[size < 0], func(m *made, _, own object) { own["size"] = size }),
			inManifest(fmt.Sprintf("a manifest that says its configuration has %d bytes", size), map[int64]string{-1: "negative size", 1 << 62: "its configuration has more than"}[size], func(m *made, doc object) { doc["config"].(object)["size"] = size }),
			inManifest(fmt.Sprintf("a manifest that says its layer has %d bytes", size), map[int64]string{-1: "negative size", 0: mismatch, 1: mismatch, 1 << 62: "far too much"}[size], func(m *made, doc object) { at(doc, "layers", 1)["size"] = size }),
		)
	}
	for _, digest := range []string{"", "sha256:", "sha512:" + strings.Repeat("0", 128), "md5:" + strings.Repeat("0", 32), "sha256:" + strings.Repeat("A", 64), "sha256:../../../etc/passwd", "sha256:" + strings.Repeat("0", 63) + "/"} {
		all = append(all, inManifest("a layer's digest "+fmt.Sprintf("%.20q", digest), "digest ", func(m *made, doc object) { at(doc, "layers", 0)["digest"] = digest }))
	}
	for _, kind := range []string{"application/vnd.in-toto+json", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/vnd.oci.image.layer.v1.tarball", "text/html\x1b[2J", "application/vnd.oci.image.config.v1+json"} {
		all = append(all, inManifest("a layer of type "+fmt.Sprintf("%q", kind), "which can't be unpacked", func(m *made, doc object) { at(doc, "layers", 0)["mediaType"] = kind }))
	}
	for _, kind := range []string{"application/vnd.cncf.helm.config.v1+json", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.layer.v1.tar"} {
		all = append(all, inManifest("a configuration of type "+kind, "this is no image to run", func(m *made, doc object) { doc["config"].(object)["mediaType"] = kind }))
	}
	return all
}

func TestB09_ContradictingDocuments(t *testing.T) {
	inMemory(t)
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	f := newFixture(t)
	for _, tr := range structural(t) {
		t.Run(tr.name, func(t *testing.T) {
			m := newMade(t)
			m.urls = elsewhere.URL
			_, manifest, index := m.build(t, tr)
			f.serve(m.answer(index))
			f.refuses(t, "made", tr.want)
			f.refuses(t, "made@"+index.String(), tr.want)
			if _, ok := m.blobs[manifest]; ok && tr.index == nil {
				f.refuses(t, "made@"+manifest.String(), tr.want)
			}
		})
	}
	for name, kind := range map[string]string{"a list delivered as a manifest": image.TypeManifest, "a list delivered as docker's": image.TypeDockerIndex} {
		t.Run("CVE-2021-41190: "+name, func(t *testing.T) {
			m := newMade(t)
			_, _, index := m.build(t, tamper{})
			m.types[index] = kind
			f.serve(m.answer(index))
			f.refuses(t, "made", "but was delivered as")
		})
	}
	if asked {
		t.Error("a layer's urls were asked")
	}
}

// TestB09_LayersThatAreHere: what decides is the diffID. An image that names an
// exchanged blob for a layer that is here already gets the layer that is here.
func TestB09_LayersThatAreHere(t *testing.T) {
	inMemory(t)
	f := newFixture(t)
	honest := newMade(t)
	_, _, index := honest.build(t, tamper{})
	f.serve(honest.answer(index))
	img, _, err := f.pull("made")
	if err != nil {
		t.Fatal(err)
	}
	evil := newMade(t)
	_, _, index = evil.build(t, tamper{manifest: func(m *made) {
		list(m.manifest, "layers")[0] = m.descriptor("application/vnd.oci.image.layer.v1.tar", layerArchive(t, "file0", "evil"))
	}})
	f.serve(evil.answer(index))
	other, _, err := f.pull("other")
	if err == nil && (!slices.Equal(other.Layers, img.Layers) || other.ConfigID != img.ConfigID) {
		t.Errorf("got %v, want the layers of %v", other, img)
	}
	data, err := os.ReadFile(filepath.Join(img.Layers[0], "file0"))
	if err != nil || string(data) == "evil" {
		t.Errorf("file0 is %.20q, %v", data, err)
	}
	// A tampered image beside an honest one changes nothing of that.
	for _, tr := range structural(t) {
		m := newMade(t)
		if tr.config == nil {
			continue
		}
		_, _, index := m.build(t, tr)
		f.serve(m.answer(index))
		if tr.name != "diffIDs in the other order" && tr.name != "the blob's digest as diffID" {
			f.refuses(t, "made", tr.want)
		}
	}
	if again, err := f.store.Resolve("made"); err != nil || !slices.Equal(again.Layers, img.Layers) {
		t.Errorf("the honest image is %v, %v", again, err)
	}
}

// inMemory has a test's directories where syncing hundreds of stores costs nothing.
func inMemory(t *testing.T) {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", memory)
	}
}
