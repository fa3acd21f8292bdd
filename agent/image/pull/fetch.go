package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

const (
	attemptsMax  = 5        // one after another, that bring next to nothing
	worthBytes   = 64 << 10 // more than that
	shortsMax    = 2        // the same, when the registry says that this was all
	backOffFirst = 100 * time.Millisecond
	backOffMax   = 5 * time.Second

	partialBytesMin = 1 << 20 // smaller blobs are fetched anew
)

// fetch reads a blob: first what an earlier pull has left of it, then the
// registry's rest. When a connection breaks off it goes on from there with the
// next. It vouches for nothing: the reader compares digests.
type fetch struct {
	ctx     context.Context
	p       *Puller
	from    *repository
	blob    image.Descriptor
	partial *image.Partial // nil: none is kept

	replay  io.Reader     // what partial had
	resumed int64         // how much that is
	body    io.ReadCloser // nil: no connection
	at      int64
	failed  int   // attempts, one after another, that brought less than worthBytes
	brought int64 // by this attempt
	err     error
}

func (p *Puller) fetch(ctx context.Context, session *image.Session, from *repository, blob image.Descriptor) (*fetch, error) {
	f := &fetch{ctx: ctx, p: p, from: from, blob: blob}
	if blob.Size < partialBytesMin {
		return f, nil
	}
	var err error
	if f.partial, err = session.Partial(blob.Digest, blob.Size); err != nil || f.partial == nil {
		return f, err
	}
	if f.resumed = f.partial.Size(); f.resumed > 0 {
		f.replay = f.partial.Reader()
		p.say("layer %s: going on after %s of an earlier pull", blob.Digest.Short(), Size(f.resumed))
	}
	return f, nil
}

// close keeps what there is of the blob for a later pull unless it is done.
func (f *fetch) close(done bool) error {
	if f.body != nil {
		f.body.Close()
	}
	switch {
	case f.partial == nil:
		return nil
	case done:
		return f.partial.Remove()
	}
	return f.partial.Close()
}

// restart forgets what was read, to begin anew with the registry.
func (f *fetch) restart() error {
	if f.body != nil {
		f.body.Close()
	}
	*f = fetch{ctx: f.ctx, p: f.p, from: f.from, blob: f.blob, partial: f.partial}
	if f.partial == nil {
		return nil
	}
	return f.partial.Empty()
}

func (f *fetch) Read(b []byte) (int, error) {
	for f.err == nil {
		n, err := f.readOnce(b)
		if n > 0 || err == nil {
			f.at += int64(n)
			f.p.cfg.Watch(image.Status{Layer: f.blob.Digest, Phase: image.Downloading, Done: f.at, Total: f.blob.Size})
			return n, nil
		}
		if f.err = f.again(err); f.err != nil && f.err != io.EOF && passing(f.err) && !errors.Is(f.err, unpack.ErrShort) {
			f.err = transferError{f.err}
		}
	}
	return 0, f.err
}

// readOnce reads from what there is to read from just now.
func (f *fetch) readOnce(b []byte) (int, error) {
	if f.replay != nil {
		n, err := f.replay.Read(b)
		if err != io.EOF {
			return n, err
		}
		f.replay = nil
	}
	if f.body == nil {
		if f.at >= f.blob.Size {
			return 0, io.EOF
		}
		var err error
		if f.body, err = f.from.blobFrom(f.ctx, f.blob, f.at); err != nil {
			return 0, err
		}
	}
	n, err := f.body.Read(b)
	if n > 0 {
		if f.brought += int64(n); f.brought >= worthBytes {
			f.failed = 0
		}
		if f.partial != nil && f.at+int64(n) <= f.blob.Size {
			if bad := f.partial.Append(b[:n]); bad != nil { // it is only for comfort
				f.p.say("layer %s: %v; it can't be gone on with later", f.blob.Digest.Short(), bad)
				_ = f.partial.Remove()
				f.partial = nil
			}
		}
		return n, nil
	}
	if err == io.EOF && f.at < f.blob.Size {
		err = fmt.Errorf("%w: after %d of %d bytes", unpack.ErrShort, f.at, f.blob.Size)
	} else if err != nil && f.at >= f.blob.Size {
		err = io.EOF
	}
	return n, err
}

// again decides whether to try again after err, and waits a little if so.
func (f *fetch) again(err error) error {
	if err == io.EOF || f.ctx.Err() != nil || f.replay != nil || !passing(err) {
		return err
	}
	if f.body != nil {
		f.body.Close()
		f.body = nil
	}
	f.brought = 0
	f.failed++
	if errors.Is(err, unpack.ErrShort) && f.failed >= shortsMax {
		return err
	}
	if f.failed >= attemptsMax {
		return fmt.Errorf("%w; given up after %d attempts at byte %d of %d", err, f.failed, f.at, f.blob.Size)
	}
	f.p.cfg.Watch(image.Status{Layer: f.blob.Digest, Phase: image.Retrying, Done: f.at, Total: f.blob.Size})
	f.p.say("layer %s: %v; going on from %s", f.blob.Digest.Short(), inner(err), Size(f.at))
	wait := min(backOffFirst<<(f.failed-1), backOffMax)
	wait = wait/2 + rand.N(wait/2) // not all at once
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

// transferError is a failure to get a blob's bytes, not one to like them.
type transferError struct{ error }

func (e transferError) Unwrap() error { return e.error }

// passing says whether an error may be gone at the next attempt.
func passing(err error) bool {
	var answer *transport.Error
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answer):
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
	case errors.As(err, &unverified), errors.Is(err, errPlaintext), errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errWrongRange), errors.Is(err, errNoBlob):
		return false
	}
	return true
}
