package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// Wanted is an image to save, and the tags to save it under.
type Wanted struct {
	Image *image.Image
	Tags  []image.Reference
}

// Save writes images to w as one tar file in OCI layout, which as a docker-archive has
// docker's manifest.json besides. The same images give the same bytes. A layer
// that is not any more what it was is ErrDamaged, and what was written is no archive then.
func Save(ctx context.Context, store *image.Store, form image.Transport, images []Wanted, w io.Writer) error {
	s := &saver{ctx: ctx, store: store, out: tar.NewWriter(w), done: map[image.Digest]bool{}}
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := s.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, img := range images {
		if err := s.add(img); err != nil {
			return fmt.Errorf("save image %s: %w", img.Image.Ref, err)
		}
	}
	if form == image.DockerArchive {
		if err := s.json(manifestFile, s.docker); err != nil {
			return err
		}
	}
	index := map[string]any{"schemaVersion": 2, "mediaType": image.TypeIndex, "manifests": s.manifests}
	if err := errors.Join(s.json(indexFile, index), s.json(layoutFile, map[string]string{"imageLayoutVersion": "1.0.0"})); err != nil {
		return err
	}
	return s.out.Close()
}

type saver struct {
	ctx       context.Context
	store     *image.Store
	out       *tar.Writer
	done      map[image.Digest]bool // blobs that are written
	docker    []dockerEntry
	manifests []image.Descriptor
}

func (s *saver) add(img Wanted) error {
	config, err := s.store.Blob(img.Image.ConfigID)
	if err != nil {
		return err
	}
	configDesc := image.Descriptor{MediaType: image.TypeConfig, Digest: img.Image.ConfigID, Size: int64(len(config))}
	if err := s.blob(configDesc.Digest, config); err != nil {
		return err
	}
	entry := dockerEntry{Config: blobName(img.Image.ConfigID), RepoTags: []string{}}
	layers := []image.Descriptor{}
	for _, id := range img.Image.DiffIDs {
		desc, err := s.layer(id)
		if err != nil {
			return fmt.Errorf("layer %s: %w", id.Short(), err)
		}
		layers = append(layers, desc)
		entry.Layers = append(entry.Layers, blobName(id))
	}
	manifest, err := json.Marshal(struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Config        image.Descriptor   `json:"config"`
		Layers        []image.Descriptor `json:"layers"`
	}{2, image.TypeManifest, configDesc, layers})
	if err != nil {
		return err
	}
	desc := image.Descriptor{MediaType: image.TypeManifest, Digest: image.DigestOf(manifest), Size: int64(len(manifest))}
	if img.Image.Platform.OS != "" && img.Image.Platform.Architecture != "" {
		desc.Platform = &img.Image.Platform
	}
	if err := s.blob(desc.Digest, manifest); err != nil {
		return err
	}
	if len(img.Tags) == 0 {
		s.manifests = append(s.manifests, desc)
	}
	for _, tag := range img.Tags {
		entry.RepoTags = append(entry.RepoTags, tag.Familiar())
		named := desc
		named.Annotations = map[string]string{nameAnnotation: tag.String(), refNameAnnotation: tag.String()}
		s.manifests = append(s.manifests, named)
	}
	s.docker = append(s.docker, entry)
	return nil
}

// layer writes a layer's archive as it was, and finds out on the way whether it is that.
func (s *saver) layer(id image.Digest) (image.Descriptor, error) {
	frame := s.store.FramePath(id)
	size, err := unpack.ArchiveBytes(frame)
	if errors.Is(err, fs.ErrNotExist) {
		return image.Descriptor{}, errors.New("it was pulled by an nsrun that couldn't save yet; remove the image and pull it again")
	}
	if err != nil {
		return image.Descriptor{}, err
	}
	desc := image.Descriptor{MediaType: image.TypeLayer, Digest: id, Size: size}
	if s.done[id] {
		return desc, nil
	}
	s.done[id] = true
	if err := s.header(blobName(id), size); err != nil {
		return desc, err
	}
	sum := sha256.New()
	if err := unpack.Join(s.ctx, frame, s.store.LayerDir(id), io.MultiWriter(s.out, sum)); err != nil {
		return desc, err
	}
	if got := image.DigestFrom(sum.Sum(nil)); got != id {
		return desc, fmt.Errorf("%w: it is %s now; see nsrun verify (an archive that has a file twice can't be saved, either)", image.ErrDamaged, got)
	}
	return desc, nil
}

func (s *saver) blob(d image.Digest, data []byte) error {
	if s.done[d] {
		return nil
	}
	s.done[d] = true
	return s.file(blobName(d), data)
}

func (s *saver) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.file(name, data)
}

func (s *saver) file(name string, data []byte) error {
	if err := s.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := s.out.Write(data)
	return err
}

func (s *saver) header(name string, size int64) error {
	return s.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
}

// SaveFile is Save to a file, which is there as a whole or not at all.
func SaveFile(ctx context.Context, store *image.Store, form image.Transport, images []Wanted, path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a device, a pipe
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(Save(ctx, store, form, images, f), f.Close())
	}
	// Without a name until it is whole, it goes with this process.
	tmp := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	f, err := os.OpenFile(filepath.Dir(path), os.O_WRONLY|unix.O_TMPFILE, 0o600)
	nameless := err == nil
	if !nameless { // a file system that can't, or no such directory
		f, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	err = errors.Join(Save(ctx, store, form, images, f), f.Sync())
	if err == nil && nameless {
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, tmp, unix.AT_SYMLINK_FOLLOW)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
