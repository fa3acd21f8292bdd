package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

const (
	layoutFile   = "oci-layout"
	indexFile    = "index.json"
	manifestFile = "manifest.json" // docker's

	nameAnnotation    = "io.containerd.image.name" // whole
	refNameAnnotation = "org.opencontainers.image.ref.name"
)

// item is an image in an archive. resolve fills in what comes after desc.
type item struct {
	refs   []image.Reference
	desc   image.Descriptor // in an index; in docker's form only the configuration's digest
	docker *dockerEntry     // nil: of a layout

	top, manifest, config image.Digest
	documents             [][]byte
	platform              image.Platform
	layers                []layer
}

// layer is a layer's file and what it must be.
type layer struct {
	file string
	unpack.Want
}

// names are what people call the image.
func (it *item) names() []string {
	var names []string
	for _, ref := range it.refs {
		names = append(names, ref.Familiar())
	}
	if names == nil {
		names = []string{"without name, " + it.desc.Digest.Short()}
	}
	return names
}

func (it *item) isCalled(ref string) bool {
	if it.desc.Annotations[refNameAnnotation] == ref || it.desc.Digest.String() == ref {
		return true
	}
	parsed, err := image.ParseReference(ref)
	if err != nil {
		return false
	}
	for _, own := range it.refs {
		if own == parsed {
			return true
		}
	}
	return false
}

// list returns the images that from has. A file of docker's newer versions is both: then the
// layout is read, which has more digests, unless docker's form was asked for.
func (l *Loader) list(from files, as image.Transport, repository string) ([]*item, error) {
	has := func(name string) bool {
		f, _, err := from.open(name)
		if err == nil {
			f.Close()
		}
		return !errors.Is(err, fs.ErrNotExist)
	}
	switch layout := has(layoutFile) && has(indexFile); {
	case as == image.DockerArchive, as == "" && !layout && has(manifestFile):
		return listDocker(from)
	case layout:
		return listLayout(from, repository)
	case as == "":
		return nil, fmt.Errorf("no image's archive: neither %s nor %s in it", manifestFile, layoutFile)
	}
	return nil, fmt.Errorf("no OCI layout: no %s and %s in it", layoutFile, indexFile)
}

// document reads a small file.
func document(from files, name string) ([]byte, error) {
	f, size, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > image.DocumentBytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes", name, image.DocumentBytesMax)
	}
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

func listLayout(from files, repository string) ([]*item, error) {
	data, err := document(from, layoutFile)
	if err != nil {
		return nil, err
	}
	var layout struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(data, &layout); err != nil {
		return nil, fmt.Errorf("%s: %w", layoutFile, err)
	}
	if !strings.HasPrefix(layout.Version, "1.") {
		return nil, fmt.Errorf("%s: version %.20q; only 1.… is understood", layoutFile, layout.Version)
	}
	if data, err = document(from, indexFile); err != nil {
		return nil, err
	}
	index, err := image.ParseDocument(data, "")
	if err == nil && !index.IsIndex() {
		err = errors.New("is no list of images")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	var items []*item
	byDigest := map[image.Digest]*item{}
	for _, desc := range index.Manifests {
		if desc.Platform != nil && desc.Platform.OS == "unknown" { // an attestation
			continue
		}
		it := byDigest[desc.Digest]
		if it == nil {
			it = &item{desc: desc}
			byDigest[desc.Digest], items = it, append(items, it)
		}
		ref, named, err := refOf(desc, repository)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", indexFile, err)
		}
		if named {
			it.refs = append(it.refs, ref)
		}
	}
	return items, nil
}

// refOf reads an image's name from its annotations. A mere tag gets repository.
func refOf(desc image.Descriptor, repository string) (ref image.Reference, named bool, err error) {
	name := desc.Annotations[nameAnnotation]
	if name == "" {
		name = desc.Annotations[refNameAnnotation]
		if name != "" && !strings.ContainsAny(name, "/:@") {
			name = repository + ":" + name
		}
	}
	if name == "" {
		return ref, false, nil
	}
	ref, err = image.ParseReference(name)
	return ref, err == nil && ref.Tag != "", err
}

// dockerEntry is one image of docker's manifest.json.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func listDocker(from files) ([]*item, error) {
	data, err := document(from, manifestFile)
	if err != nil {
		return nil, err
	}
	var entries []dockerEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	var items []*item
	for i := range entries {
		it := &item{docker: &entries[i]}
		if it.desc.Digest, err = nameDigest(entries[i].Config); err != nil {
			return nil, fmt.Errorf("%s: %w", manifestFile, err)
		}
		for _, name := range entries[i].RepoTags {
			ref, err := image.ParseReference(name)
			if err == nil && ref.Digest != "" {
				err = fmt.Errorf("%q is no tag", name)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", manifestFile, err)
			}
			it.refs = append(it.refs, ref)
		}
		items = append(items, it)
	}
	return items, nil
}

// nameDigest finds the digest in the name of a configuration: docker calls it
// HEX.json, or blobs/sha256/HEX, others sha256:HEX.
func nameDigest(name string) (image.Digest, error) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	base = strings.TrimPrefix(strings.TrimSuffix(base, ".json"), "sha256:")
	d, err := image.ParseDigest("sha256:" + base)
	if err != nil {
		return "", fmt.Errorf("configuration %.200q: its name is no digest, so that nothing says what it must be", name)
	}
	return d, nil
}

// resolve reads and checks an image's documents.
func (l *Loader) resolve(from files, it *item) error {
	if it.docker != nil {
		return resolveDocker(from, it)
	}
	desc := it.desc
	doc, data, err := blobDocument(from, desc)
	if err != nil {
		return err
	}
	it.top, it.documents = desc.Digest, [][]byte{data}
	if doc.IsIndex() {
		if desc, err = image.Choose(doc.Manifests, l.cfg.Platform); err != nil {
			return err
		}
		if doc, data, err = blobDocument(from, desc); err != nil {
			return err
		}
		if doc.IsIndex() {
			return fmt.Errorf("%s is a list within a list; that is not supported", desc.Digest)
		}
		it.documents = append(it.documents, data)
	}
	it.manifest, it.config = desc.Digest, doc.Config.Digest
	if data, err = blob(from, doc.Config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	diffIDs, err := it.configure(data, len(doc.Layers))
	if err != nil {
		return err
	}
	for i, d := range doc.Layers {
		it.layers = append(it.layers, layer{blobName(d.Digest), unpack.Want{Blob: d.Digest, BlobBytes: d.Size, DiffID: diffIDs[i]}})
	}
	return nil
}

// resolveDocker: docker's form has no manifest. The image is known by its
// configuration's digest alone, as docker knows it.
func resolveDocker(from files, it *item) error {
	data, err := document(from, it.docker.Config)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := it.desc.Digest.Verify(data); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	it.top, it.manifest, it.config = it.desc.Digest, it.desc.Digest, it.desc.Digest
	diffIDs, err := it.configure(data, len(it.docker.Layers))
	if err != nil {
		return err
	}
	for i, file := range it.docker.Layers {
		it.layers = append(it.layers, layer{file, unpack.Want{DiffID: diffIDs[i]}})
	}
	return nil
}

func (it *item) configure(data []byte, layers int) ([]image.Digest, error) {
	print, err := image.ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", it.config, err)
	}
	if len(print.DiffIDs) != layers {
		return nil, fmt.Errorf("%d layers, but its configuration has %d", layers, len(print.DiffIDs))
	}
	if layers > image.LayersMax {
		return nil, fmt.Errorf("%d layers; at most %d can be stacked", layers, image.LayersMax)
	}
	it.platform, it.documents = print.Platform, append(it.documents, data)
	return print.DiffIDs, nil
}

func blobName(d image.Digest) string { return "blobs/sha256/" + d.Hex() }

// blob reads a small blob and checks its size and digest.
func blob(from files, desc image.Descriptor) ([]byte, error) {
	data, err := document(from, blobName(desc.Digest))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != desc.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes, should have %d", image.ErrMismatch, desc.Digest, len(data), desc.Size)
	}
	return data, desc.Digest.Verify(data)
}

func blobDocument(from files, desc image.Descriptor) (*image.Document, []byte, error) {
	data, err := blob(from, desc)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest: %w", err)
	}
	doc, err := image.ParseDocument(data, desc.MediaType)
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s %w", desc.Digest, err)
	}
	return doc, data, nil
}
