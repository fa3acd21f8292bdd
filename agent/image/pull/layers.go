package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

const (
	attemptsMax   = 3 // to fetch a layer whose transfer breaks off
	progressEvery = 5 * time.Second
)

// layers brings all layers into the store, several at a time. The first
// failure ends the others.
func (p *Puller) layers(ctx context.Context, session *image.Session, from *repository, blobs []image.Descriptor, diffIDs []image.Digest) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, p.cfg.LayersAtOnce)
	var wg sync.WaitGroup
	for i, blob := range blobs {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			_, err := session.Layer(ctx, diffIDs[i], func(fresh image.Fresh) error {
				return p.layer(ctx, from, blob, diffIDs[i], fresh)
			})
			if err != nil {
				cancel(fmt.Errorf("layer %s: %w", blob.Digest.Short(), err))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// layer fetches one layer, again when the connection breaks.
func (p *Puller) layer(ctx context.Context, from *repository, blob image.Descriptor, diffID image.Digest, fresh image.Fresh) error {
	for attempt := 1; ; attempt++ {
		err := p.layerOnce(ctx, from, blob, diffID, fresh)
		if err == nil || ctx.Err() != nil || attempt == attemptsMax || !broken(err) {
			return err
		}
		p.say("layer %s: %v; fetching it again", blob.Digest.Short(), err)
		if err := errors.Join(os.RemoveAll(fresh.Root()), os.Mkdir(fresh.Root(), 0o755)); err != nil {
			return err
		}
	}
}

func (p *Puller) layerOnce(ctx context.Context, from *repository, blob image.Descriptor, diffID image.Digest, fresh image.Fresh) error {
	start := time.Now()
	body, err := from.blob(ctx, blob.Digest)
	if err != nil {
		return err
	}
	defer body.Close()
	watched := &meter{Reader: body, p: p, blob: blob, last: start}
	report, err := unpack.Into(ctx, fresh, watched, unpack.Want{Blob: blob.Digest, BlobBytes: blob.Size, DiffID: diffID}, p.cfg.Limits)
	if err != nil {
		if watched.err != nil {
			return transferError{err}
		}
		return err
	}
	p.say("layer %s: %s unpacked to %s in %s", blob.Digest.Short(), Size(blob.Size), Size(report.Bytes), time.Since(start).Round(time.Millisecond))
	if report.Left > 0 {
		p.say("layer %s: left out %d things of the archive, such as %s", blob.Digest.Short(), report.Left, report.Skipped[0])
	}
	return nil
}

// transferError is a failure to get a blob's bytes, not one to like them.
type transferError struct{ error }

func (e transferError) Unwrap() error { return e.error }

func broken(err error) bool {
	var transfer transferError
	return errors.As(err, &transfer) || errors.Is(err, unpack.ErrShort)
}

// meter tells how far a long transfer is, and keeps the error that ended it.
type meter struct {
	io.Reader
	p    *Puller
	blob image.Descriptor
	read int64
	last time.Time
	err  error
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	m.read += int64(n)
	if err != nil && err != io.EOF {
		m.err = err
	}
	if now := time.Now(); now.Sub(m.last) >= progressEvery {
		m.last = now
		m.p.say("layer %s: %s of %s", m.blob.Digest.Short(), Size(m.read), Size(m.blob.Size))
	}
	return n, err
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
