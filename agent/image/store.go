package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent/sheet"
)

// Dir is where root's store is.
const Dir = "/var/lib/nsrun/images"

// ErrNoImage says that an image is not in the store.
var ErrNoImage = errors.New("not here")

// ErrDamaged says that the store doesn't hold what it says it holds. Pulling again repairs it.
var ErrDamaged = errors.New("damaged")

// Image is an image that is wholly here.
type Image struct {
	Ref    string   // normal form: docker.io/library/busybox:latest
	Digest Digest   // what Ref stood for when it was pulled; name@Digest is this very image for ever
	Layers []string // unpacked layers, bottom first; the store's, to be mounted read-only
	Config Config

	Manifest Digest    // the manifest; differs from Digest when that is an index of several platforms
	ConfigID Digest    // the configuration blob: docker's image id
	Created  time.Time // when it was built; zero when it doesn't say
	Pulled   time.Time // or tagged, or let go by a container: what came last
	Platform Platform
	DiffIDs  []Digest // one for each of Layers
}

// Config is how an image wants to be run. Zero values: not said.
type Config struct {
	Env        []string // KEY=value
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	User       string // user[:group], names or numbers
	StopSignal string // "SIGTERM", "15"
	Labels     map[string]string
	Volumes    map[string]struct{} // directories to be kept outside the container's own layer

	ExposedPorts map[string]struct{} // "80/tcp", "8000-8010/udp"
}

// Store is the images of this machine. It holds no state but its directory,
// so that any number of Stores and processes may use the same one.
type Store struct {
	dir string
}

// Open returns the store in dir, which need not exist yet.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	return &Store{dir: abs}, nil
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// record is the content of a file in refs/.
type record struct {
	Digest, Manifest, Config Digest
}

// encode writes what the reference stands for.
func (r record) encode(ref Reference) []byte {
	var w sheet.Writer
	w.Text("ref", ref.String())
	w.Text("digest", string(r.Digest))
	w.Text("manifest", string(r.Manifest))
	w.Text("config", string(r.Config))
	return w.Bytes()
}

func decodeRef(data []byte) (ref string, r record, err error) {
	err = sheet.Read(data, func(l sheet.Line) error {
		switch l.Name {
		case "ref":
			ref = l.Text()
		case "digest":
			r.Digest = Digest(l.Text())
		case "manifest":
			r.Manifest = Digest(l.Text())
		case "config":
			r.Config = Digest(l.Text())
		}
		return nil
	})
	if err == nil {
		err = r.check()
	}
	return ref, r, err
}

func (r record) check() error {
	for _, d := range []Digest{r.Digest, r.Manifest, r.Config} {
		if _, err := ParseDigest(string(d)); err != nil {
			return err
		}
	}
	return nil
}

// Resolve finds an image by any form of its name; see [ParseReference]. The
// error wraps [ErrNoImage] when it is not here, [ErrDamaged] when only parts of it are.
func (s *Store) Resolve(ref string) (*Image, error) {
	r, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	img, err := s.Get(r)
	if errors.Is(err, ErrNoImage) {
		return nil, fmt.Errorf("image %s: %w; pull it first: nsrun pull %s", ref, ErrNoImage, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w; repair it: nsrun pull %s", ref, err, ref)
	}
	return img, nil
}

// Get is Resolve for a parsed reference.
func (s *Store) Get(ref Reference) (*Image, error) {
	if ref.Digest != "" {
		var err error
		if ref, err = s.findDigest(ref); err != nil {
			return nil, err
		}
	}
	return s.load(ref)
}

// findDigest returns the reference of ref's repository under which ref.Digest is
// kept: its own, or a tag that stands for it.
func (s *Store) findDigest(ref Reference) (Reference, error) {
	pinned := Reference{Registry: ref.Registry, Repository: ref.Repository, Digest: ref.Digest}
	if _, err := os.Lstat(s.refPath(pinned)); err == nil {
		return pinned, nil
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "refs", ref.dir()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ref, err
	}
	for _, e := range entries {
		tag, isTag := strings.CutPrefix(e.Name(), ":")
		if !isTag {
			continue
		}
		tagged := Reference{Registry: ref.Registry, Repository: ref.Repository, Tag: tag}
		if rec, _, err := s.record(tagged); err == nil && (rec.Digest == ref.Digest || rec.Manifest == ref.Digest) {
			return tagged, nil
		}
	}
	return ref, ErrNoImage
}

func (s *Store) refPath(ref Reference) string {
	return filepath.Join(s.dir, "refs", ref.dir(), ref.leaf())
}

func (s *Store) record(ref Reference) (rec record, written time.Time, err error) {
	path := s.refPath(ref)
	data, err := sheet.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return rec, written, ErrNoImage
	}
	if err != nil {
		return rec, written, err
	}
	if _, rec, err = decodeRef(data); err != nil {
		return rec, written, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if info, err := os.Lstat(path); err == nil {
		written = info.ModTime()
	}
	return rec, written, nil
}

// load reads the image that ref's own record stands for.
func (s *Store) load(ref Reference) (*Image, error) {
	rec, written, err := s.record(ref)
	if err != nil {
		return nil, err
	}
	img, err := s.build(ref.String(), rec)
	if err != nil {
		return nil, err
	}
	img.Pulled = written
	return img, nil
}

// build reads the image of a record.
func (s *Store) build(ref string, rec record) (*Image, error) {
	print, err := s.blueprint(rec.Config)
	if err != nil {
		return nil, err
	}
	img := &Image{
		Ref: ref, Digest: rec.Digest, Manifest: rec.Manifest, ConfigID: rec.Config,
		Config: print.Config, Created: print.Created, Platform: print.Platform, DiffIDs: print.DiffIDs,
	}
	for _, id := range print.DiffIDs {
		dir := s.LayerDir(id)
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("%w: layer %s is missing", ErrDamaged, id)
		}
		img.Layers = append(img.Layers, dir)
	}
	return img, nil
}

// Blob returns the blob that d names, having checked that it is that.
func (s *Store) Blob(d Digest) ([]byte, error) {
	data, err := os.ReadFile(s.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: blob %s is missing", ErrDamaged, d)
	}
	if err != nil {
		return nil, err
	}
	if got := DigestOf(data); got != d {
		return nil, fmt.Errorf("%w: blob %s has the content of %s", ErrDamaged, d, got)
	}
	return data, nil
}

func (s *Store) blobPath(d Digest) string {
	return filepath.Join(s.dir, "blobs", "sha256", d.Hex())
}

// LayerDir returns where the layer with this diffID is, or would be, unpacked.
func (s *Store) LayerDir(diffID Digest) string {
	return filepath.Join(s.dir, "layers", diffID.Hex())
}

// List returns the images that are here, sorted by reference. Those that can't be read
// are left out and named in the error, which comes beside the rest.
func (s *Store) List() ([]*Image, error) {
	refs, err := s.references()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var images []*Image
	var broken []error
	for _, ref := range refs {
		img, err := s.load(ref)
		switch {
		case err == nil:
			images = append(images, img)
		case !errors.Is(err, ErrNoImage): // removed meanwhile is no news
			broken = append(broken, fmt.Errorf("image %s: %w; repair it: nsrun pull %s", ref.Familiar(), err, ref.Familiar()))
		}
	}
	return images, errors.Join(broken...)
}

// references lists what refs/ has, sorted.
func (s *Store) references() ([]Reference, error) {
	root := filepath.Join(s.dir, "refs")
	var refs []Reference
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		leaf := d.Name()
		if d.IsDir() || leaf[0] != ':' && leaf[0] != '@' {
			return nil
		}
		name, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if ref, err := ParseReference(name + leaf); err == nil {
			refs = append(refs, ref)
		}
		return nil
	})
	sort.Slice(refs, func(i, j int) bool { return refs[i].String() < refs[j].String() })
	return refs, err
}

// Bytes returns how much space img's layers take, as far as that is known.
// Layers shared with other images count for each of them.
func (s *Store) Bytes(img *Image) int64 {
	var total int64
	for _, id := range img.DiffIDs {
		total += s.LayerBytes(id)
	}
	return total
}

// LayerBytes is Bytes for one layer.
func (s *Store) LayerBytes(diffID Digest) int64 {
	f, err := os.Open(s.SumsPath(diffID))
	if err != nil {
		return 0
	}
	defer f.Close()
	var n int64
	if _, err := fmt.Fscanf(f, "bytes %d\n", &n); err != nil {
		return 0
	}
	return n
}
