package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// Config is what a Loader works with. Store is required.
type Config struct {
	Store        *image.Store
	Policy       *image.Policy  // nil: everything is allowed
	Platform     image.Platform // zero: this machine's
	Limits       unpack.Limits
	LayersAtOnce int                // 0: 2; a disk gains nothing from more
	Progress     io.Writer          // gets a line for what is odd; nil: silence
	Watch        func(image.Status) // told how far each layer is, from several goroutines at once; nil: nobody
}

// Loader brings images out of files into the store.
type Loader struct{ cfg Config }

// New returns a loader.
func New(cfg Config) *Loader {
	if cfg.Policy == nil {
		cfg.Policy = &image.Policy{}
	}
	if cfg.Platform == (image.Platform{}) {
		cfg.Platform = image.Here()
	}
	if cfg.LayersAtOnce == 0 {
		cfg.LayersAtOnce = 2
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Watch == nil {
		cfg.Watch = func(image.Status) {}
	}
	return &Loader{cfg}
}

// Untagged is the repository under which images are kept that come without a
// name; their digest tells them apart.
const Untagged = "localhost/loaded"

// Loaded is an image that is in the store now.
type Loaded struct {
	*image.Image
	Named bool // false: it has no name but Untagged and its digest
	Refs  []image.Reference
	Fresh bool // a layer of it was not here
}

// LoadFile loads all images of the archive that in holds, plain or compressed, a
// file or a pipe. It closes in.
func (l *Loader) LoadFile(ctx context.Context, in *os.File) (loaded []Loaded, err error) {
	if err := l.cfg.Policy.CheckArchive(); err != nil {
		in.Close()
		return nil, err
	}
	session, err := l.cfg.Store.Begin(ctx)
	if err != nil {
		in.Close()
		return nil, err
	}
	defer func() { end(ctx, session, err) }()
	from, err := l.openArchive(ctx, in)
	if err != nil {
		return nil, err
	}
	defer from.close()
	items, err := l.list(from, "", Untagged)
	if err != nil {
		return nil, err
	}
	return l.putAll(ctx, session, from, items)
}

// end closes a session. Of what was refused nothing stays; what was only broken
// off is gone on with next time.
func end(ctx context.Context, session *image.Session, err error) {
	if err != nil && ctx.Err() == nil {
		session.Undo()
	}
	session.Close()
}

// LoadPlace loads one image: the one called place.Ref, the one for our platform,
// or the only one.
func (l *Loader) LoadPlace(ctx context.Context, place image.Place) (loaded *Loaded, err error) {
	if err := l.cfg.Policy.CheckArchive(); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	session, err := l.cfg.Store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { end(ctx, session, err) }()
	if loaded, err = l.loadPlace(ctx, session, place); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return loaded, nil
}

func (l *Loader) loadPlace(ctx context.Context, session *image.Session, place image.Place) (*Loaded, error) {
	from, err := l.openPlace(ctx, place)
	if err != nil {
		return nil, err
	}
	defer from.close()
	items, err := l.list(from, place.Transport, fallback(place.Path))
	if err != nil {
		return nil, err
	}
	it, err := l.pick(items, place.Ref)
	if err != nil {
		return nil, err
	}
	loaded, err := l.putAll(ctx, session, from, []*item{it})
	if err != nil {
		return nil, err
	}
	return &loaded[0], nil
}

func (l *Loader) openPlace(ctx context.Context, place image.Place) (files, error) {
	if place.Transport == image.OCILayout {
		return openDirectory(place.Path)
	}
	in, err := os.Open(place.Path)
	if err != nil {
		return nil, err
	}
	return l.openArchive(ctx, in)
}

func (l *Loader) openArchive(ctx context.Context, in *os.File) (files, error) {
	plain, err := seekable(ctx, in, filepath.Join(l.cfg.Store.Dir(), "tmp"), l.cfg.Limits)
	if err != nil {
		in.Close()
		return nil, err
	}
	from, err := openTar(plain)
	if err != nil {
		plain.Close()
	}
	return from, err
}

// fallback is the repository for tags that stand there without a name.
func fallback(path string) string {
	base, _, _ := strings.Cut(strings.ToLower(filepath.Base(path)), ".")
	name := "localhost/" + base
	if _, err := image.ParseReference(name); err != nil {
		return Untagged
	}
	return name
}

// pick finds the one image that is meant.
func (l *Loader) pick(items []*item, ref string) (*item, error) {
	var found []*item
	var names []string
	for _, it := range items {
		names = append(names, it.names()...)
		if ref == "" || it.isCalled(ref) {
			found = append(found, it)
		}
	}
	if len(found) > 1 && ref == "" {
		var manifests []image.Descriptor
		for _, it := range found {
			manifests = append(manifests, it.desc)
		}
		if d, err := image.Choose(manifests, l.cfg.Platform); err == nil {
			for _, it := range found {
				if it.desc.Digest == d.Digest {
					return it, nil
				}
			}
		}
	}
	has := strings.Join(names, ", ")
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0 && ref != "":
		return nil, fmt.Errorf("no image %s in it; it has %s", ref, has)
	case len(found) == 0:
		return nil, errors.New("no image in it")
	}
	return nil, fmt.Errorf("%d images in it; name one of %s after another colon", len(found), has)
}

func (l *Loader) putAll(ctx context.Context, session *image.Session, from files, items []*item) ([]Loaded, error) {
	if len(items) == 0 {
		return nil, errors.New("no image in it")
	}
	// What isn't allowed is known before anything is unpacked.
	for _, it := range items {
		for _, ref := range it.refs {
			if err := l.cfg.Policy.Check(ref); err != nil {
				return nil, fmt.Errorf("image %s: %w", ref.Familiar(), err)
			}
		}
	}
	var loaded []Loaded
	for _, it := range items {
		one, err := l.put(ctx, session, from, it)
		if err != nil {
			return loaded, fmt.Errorf("image %s: %w", strings.Join(it.names(), ", "), err)
		}
		loaded = append(loaded, one)
	}
	return loaded, nil
}

// put brings one image into the store; its names come last.
func (l *Loader) put(ctx context.Context, session *image.Session, from files, it *item) (done Loaded, err error) {
	if err := l.resolve(from, it); err != nil {
		return done, err
	}
	if it.platform.Architecture != "" && it.platform.Architecture != l.cfg.Platform.Architecture {
		fmt.Fprintf(l.cfg.Progress, "%s: warning: made for %s, this is %s\n", strings.Join(it.names(), ", "), it.platform, l.cfg.Platform)
	}
	if done.Fresh, err = l.layers(ctx, session, from, it.layers); err != nil {
		return done, err
	}
	for _, data := range it.documents {
		if _, err := session.PutBlob(data); err != nil {
			return done, err
		}
	}
	done.Named, done.Refs = len(it.refs) > 0, it.refs
	if !done.Named {
		ref, err := image.ParseReference(Untagged + "@" + it.top.String())
		if err != nil {
			return done, err
		}
		done.Refs = []image.Reference{ref}
	}
	for _, ref := range done.Refs {
		if err := session.Tag(ref, it.top, it.manifest, it.config); err != nil {
			return done, err
		}
	}
	done.Image, err = l.cfg.Store.Get(done.Refs[0])
	return done, err
}

// layers unpacks what isn't here, some at a time. The first failure ends the others.
func (l *Loader) layers(ctx context.Context, session *image.Session, from files, layers []layer) (fresh bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, l.cfg.LayersAtOnce)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards fresh
	for _, want := range layers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			made, err := session.Layer(ctx, want.DiffID, func(f image.Fresh) error { return l.layer(ctx, from, want, f) })
			if err != nil {
				cancel(fmt.Errorf("layer %s: %w", want.DiffID.Short(), err))
				return
			}
			if !made {
				l.cfg.Watch(image.Status{Layer: want.DiffID, Phase: image.Exists})
			}
			mu.Lock()
			defer mu.Unlock()
			fresh = fresh || made
		})
	}
	wg.Wait()
	return fresh, context.Cause(ctx)
}

func (l *Loader) layer(ctx context.Context, from files, want layer, fresh image.Fresh) error {
	in, size, err := from.open(want.file)
	if err != nil {
		return err
	}
	defer in.Close()
	if want.Blob == "" {
		want.BlobBytes = size
	} else if size != want.BlobBytes {
		return fmt.Errorf("%w: %s has %d bytes, should have %d", image.ErrMismatch, want.Blob, size, want.BlobBytes)
	}
	watched := &watched{Reader: in, watch: l.cfg.Watch, status: image.Status{Layer: want.DiffID, Phase: image.Downloading, Total: size}}
	report, err := unpack.Into(ctx, fresh, watched, want.Want, l.cfg.Limits)
	if err != nil {
		return err
	}
	if report.Left > 0 {
		fmt.Fprintf(l.cfg.Progress, "layer %s: left out %d things of the archive, such as %s\n", want.DiffID.Short(), report.Left, report.Skipped[0])
	}
	l.cfg.Watch(image.Status{Layer: want.DiffID, Phase: image.Complete, Done: size, Total: size})
	return nil
}

// watched tells how far reading is.
type watched struct {
	io.Reader
	watch  func(image.Status)
	status image.Status
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.status.Done += int64(n)
	w.watch(w.status)
	return n, err
}
