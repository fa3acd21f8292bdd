package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// Config is what a Puller works with. Store is required.
type Config struct {
	Store        *image.Store
	Registries   *image.Registries // nil: every registry itself, securely
	Keychain     authn.Keychain    // nil: docker's and podman's files of logins
	Platform     image.Platform    // zero: this machine's
	Limits       unpack.Limits
	LayersAtOnce int // 0: 4
	// Stall ends a transfer that brings less than 4 KiB in that time; it is begun
	// again where it was, a few times. 0: a minute.
	Stall    time.Duration
	Progress io.Writer          // gets a line for each step; nil: silence
	Watch    func(image.Status) // told how far each layer is, from several goroutines at once; nil: nobody
}

// Puller fetches images. It may be used by several goroutines at once.
type Puller struct {
	cfg    Config
	chosen bool // the platform was: what is here must be for that
	hosts  *hosts

	mu sync.Mutex // guards Progress
}

// New returns a puller; the caller closes it.
func New(cfg Config) *Puller {
	if cfg.Registries == nil {
		cfg.Registries = &image.Registries{}
	}
	if cfg.Keychain == nil {
		cfg.Keychain = authn.DefaultKeychain
	}
	chosen := cfg.Platform != (image.Platform{})
	if !chosen {
		cfg.Platform = image.Here()
	}
	if cfg.LayersAtOnce == 0 {
		cfg.LayersAtOnce = 4
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Stall == 0 {
		cfg.Stall = stallTimeout
	}
	if cfg.Watch == nil {
		cfg.Watch = func(image.Status) {}
	}
	return &Puller{cfg: cfg, chosen: chosen, hosts: newHosts(cfg.Registries, cfg.Stall)}
}

// Close lets go of idle connections.
func (p *Puller) Close() { p.hosts.close() }

// Pull makes sure that ref is in the store and as its registry has it. A
// reference with a digest that is here already touches no network; a tag that
// is up to date costs one question. fresh says whether anything was fetched.
func (p *Puller) Pull(ctx context.Context, ref string) (img *image.Image, fresh bool, err error) {
	r, err := image.ParseReference(ref)
	if err != nil {
		return nil, false, err
	}
	if r.Digest != "" {
		r.Tag = ""
		if img, err := p.cfg.Store.Get(r); err == nil && p.fits(img) {
			return img, false, nil
		}
	}
	session, err := p.cfg.Store.Begin(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("pull %s: %w", ref, err)
	}
	defer session.Close()
	var failed []error
	for _, src := range p.cfg.Registries.Sources(r) {
		fresh, err := p.pullFrom(ctx, session, r, src)
		if err == nil {
			img, err := p.cfg.Store.Get(r)
			return img, fresh, err
		}
		if ctx.Err() != nil {
			return nil, false, fmt.Errorf("pull %s: %w", ref, context.Cause(ctx))
		}
		failed = append(failed, explain(err, r, src, p.cfg.Registries))
	}
	err = errors.Join(failed...)
	if !interrupted(err) {
		session.Undo()
	}
	return nil, false, fmt.Errorf("pull %s: %w", ref, err)
}

// fits says whether an image that is here is the variant that is wanted, and sound.
func (p *Puller) fits(img *image.Image) bool {
	return (!p.chosen || img.Platform.Fits(p.cfg.Platform)) && p.cfg.Store.Sound(img)
}

func (p *Puller) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.cfg.Progress, format+"\n", args...)
}

// pullFrom does the whole of it from one source.
func (p *Puller) pullFrom(ctx context.Context, session *image.Session, ref image.Reference, src image.Source) (fresh bool, err error) {
	from, err := connect(ctx, src, p.hosts, p.cfg.Keychain)
	if err != nil {
		return false, err
	}
	want, what := ref.Digest, ref.Digest.String()
	if want == "" {
		if want, err = from.digest(ctx, ref.Tag); err != nil {
			return false, err
		}
		if here, err := p.cfg.Store.Get(ref); err == nil && here.Digest == want && p.fits(here) {
			return false, nil
		}
		if what = want.String(); want == "" {
			what = ref.Tag
		}
	}
	p.say("%s: fetching from %s", ref.Familiar(), src)
	chosen, err := p.find(ctx, session, from, what, want)
	if err != nil {
		return false, err
	}
	config, err := from.smallBlob(ctx, chosen.doc.Config)
	if err != nil {
		return false, fmt.Errorf("configuration: %w", err)
	}
	print, err := image.ParseConfig(config)
	if err != nil {
		return false, fmt.Errorf("configuration %s: %w", chosen.doc.Config.Digest, err)
	}
	if len(print.DiffIDs) != len(chosen.doc.Layers) {
		return false, fmt.Errorf("manifest %s has %d layers, its configuration %d", chosen.digest, len(chosen.doc.Layers), len(print.DiffIDs))
	}
	if print.Platform.Architecture != "" && print.Platform.Architecture != p.cfg.Platform.Architecture {
		p.say("%s: warning: made for %s, this is %s", ref.Familiar(), print.Platform, p.cfg.Platform)
	}
	if err := p.layers(ctx, session, from, chosen.doc.Layers, print.DiffIDs); err != nil {
		return false, err
	}
	configID, err := session.PutBlob(config)
	if err != nil {
		return false, err
	}
	return true, session.Tag(ref, chosen.top, chosen.digest, configID)
}

// chosen is the manifest to take.
type chosen struct {
	top    image.Digest // what the reference stands for: an index, or digest itself
	digest image.Digest
	doc    *image.Document
}

// find fetches the document called what, and if that is an index the manifest in it for our platform.
func (p *Puller) find(ctx context.Context, session *image.Session, from *repository, what string, want image.Digest) (chosen, error) {
	data, doc, err := from.document(ctx, what, want)
	if err != nil {
		return chosen{}, err
	}
	top, err := session.PutBlob(data)
	if err != nil {
		return chosen{}, err
	}
	if !doc.IsIndex() {
		return chosen{top: top, digest: top, doc: doc}, nil
	}
	desc, err := image.Choose(doc.Manifests, p.cfg.Platform)
	if err != nil {
		return chosen{}, err
	}
	data, doc, err = from.document(ctx, desc.Digest.String(), desc.Digest)
	switch {
	case err != nil:
		return chosen{}, err
	case doc.IsIndex():
		return chosen{}, fmt.Errorf("%s is a list within a list; that is not supported", desc.Digest)
	case int64(len(data)) != desc.Size:
		return chosen{}, fmt.Errorf("manifest: %w: %s has %d bytes, its list says %d", image.ErrMismatch, desc.Digest, len(data), desc.Size)
	case desc.MediaType != "" && desc.MediaType != doc.MediaType:
		return chosen{}, fmt.Errorf("manifest %s calls itself %q, its list calls it %q", desc.Digest, doc.MediaType, desc.MediaType)
	}
	if _, err := session.PutBlob(data); err != nil {
		return chosen{}, err
	}
	return chosen{top: top, digest: desc.Digest, doc: doc}, nil
}
