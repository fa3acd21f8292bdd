package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// layers brings all layers into the store, several at a time. The first
// failure ends the others.
func (p *Puller) layers(ctx context.Context, session *image.Session, from *repository, blobs []image.Descriptor, diffIDs []image.Digest) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, p.cfg.LayersAtOnce)
	var wg sync.WaitGroup
	for _, blob := range blobs {
		p.cfg.Watch(image.Status{Layer: blob.Digest, Phase: image.Waiting, Total: blob.Size})
	}
	for i, blob := range blobs {
		wg.Go(func() {
			slots <- struct{}{}
			leave := sync.OnceFunc(func() { <-slots })
			defer leave()
			if ctx.Err() != nil {
				return
			}
			made, err := session.Layer(ctx, diffIDs[i], func(fresh image.Fresh) error {
				defer leave() // the next needs not wait until this one is on the disk
				return p.layer(ctx, session, from, blob, diffIDs[i], fresh)
			})
			switch {
			case err != nil:
				cancel(fmt.Errorf("layer %s: %w", blob.Digest.Short(), err))
			case made:
				p.cfg.Watch(image.Status{Layer: blob.Digest, Phase: image.Complete, Done: blob.Size, Total: blob.Size})
			default:
				p.cfg.Watch(image.Status{Layer: blob.Digest, Phase: image.Exists, Done: blob.Size, Total: blob.Size})
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// layer fetches and unpacks one layer. What an earlier pull left may be rubbish,
// of a power cut or of another source: then all of it is fetched.
func (p *Puller) layer(ctx context.Context, session *image.Session, from *repository, blob image.Descriptor, diffID image.Digest, fresh image.Fresh) error {
	f, err := p.fetch(ctx, session, from, blob)
	if err != nil {
		return err
	}
	done := false
	defer func() { f.close(done) }()
	want := unpack.Want{Blob: blob.Digest, BlobBytes: blob.Size, DiffID: diffID}
	report, err := unpack.Into(ctx, fresh, f, want, p.cfg.Limits)
	if errors.Is(err, image.ErrMismatch) && f.resumed > 0 {
		p.say("layer %s: what there was of it is no good; fetching all of it", blob.Digest.Short())
		if err := errors.Join(f.restart(), os.RemoveAll(fresh.Root()), os.Mkdir(fresh.Root(), 0o755)); err != nil {
			return err
		}
		report, err = unpack.Into(ctx, fresh, f, want, p.cfg.Limits)
	}
	if errors.Is(err, image.ErrMismatch) && f.partial != nil { // nothing to go on with, by whomever
		return errors.Join(err, f.partial.Empty())
	}
	if err != nil {
		return err
	}
	done = true
	if report.Left > 0 {
		p.say("layer %s: left out %d things of the archive, such as %s", blob.Digest.Short(), report.Left, report.Skipped[0])
	}
	return nil
}

// Size writes a number of bytes as docker does: 4.26MB.
func Size(bytes int64) string {
	value, unit := float64(bytes), 0
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for value >= 1000 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g%s", value, units[unit])
}
