package pull

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/clusterd/clusterd/agent/image"
)

// A registry is a stranger. Whatever it answers, and whoever it sends us on to
// (for tokens, for blobs), costs bounded memory and ends in bounded time.
const (
	stallTimeout   = 60 * time.Second // by default, see Config
	progressBytes  = 4 << 10          // at least, in each stallTimeout
	headerBytesMax = 256 << 10
	answerBytesMax = image.DocumentBytesMax + 64<<10 // of what is no blob: documents, tokens, errors
)

// blobRequest marks the context of a request for a blob, whose size its
// descriptor bounds.
type blobRequest struct{}

// bounded lets a response's body come, but neither without end nor for ever.
type bounded struct {
	io.ReadCloser
	host   string
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	fresh  int   // bytes since the timer was set
	left   int64 // bytes that may still come
}

// roundTrip has t answer req within those bounds.
func roundTrip(t http.RoundTripper, req *http.Request, stall time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	left := int64(answerBytesMax)
	if ctx.Value(blobRequest{}) != nil && resp.StatusCode/100 == 2 {
		left = 1<<63 - 1
	}
	host := req.URL.Host
	resp.Body = &bounded{
		ReadCloser: resp.Body, host: host, ctx: ctx, cancel: cancel, stall: stall, left: left,
		timer: time.AfterFunc(stall, func() {
			cancel(fmt.Errorf("%w: %s sent less than %d bytes in %s", errStalled, host, progressBytes, stall))
		}),
	}
	return resp, nil
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.fresh += n; b.fresh >= progressBytes {
		b.timer.Reset(b.stall)
		b.fresh = 0
	}
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%s sent more than %d bytes where a few belong", b.host, int64(answerBytesMax))
	}
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *bounded) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// printable is an error whose text comes from strangers: nothing in it speaks
// to a terminal, and it fits on a few lines.
type printable struct{ error }

const errorBytesMax = 2000

func (p printable) Error() string {
	text := p.error.Error()
	if len(text) > errorBytesMax {
		text = text[:errorBytesMax] + "…"
	}
	return image.Printable(text)
}

func (p printable) Unwrap() error { return p.error }
