package registry

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 5 * time.Second
)

// backoff spaces repeated tries: each pause is up to twice as long as the one
// before it, at random, so that machines don't come back all at once.
type backoff struct{ next time.Duration }

func (b *backoff) fresh() bool { return b.next == 0 }
func (b *backoff) reset()      { b.next = 0 }

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(b.next*2, backoffFirst), backoffLast)
	sleep(ctx, b.next/2+rand.N(b.next/2))
}

// sleep reports whether d went by before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
