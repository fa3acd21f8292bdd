package agent

import (
	"context"
	"sync"
	"time"
)

// gate holds the starts of a round back until its files are written.
type gate struct {
	mu      sync.Mutex
	writing int
	open    chan struct{}
}

func newGate(units int) *gate {
	return &gate{writing: units, open: make(chan struct{})}
}

// written says that one unit has nothing more to write. Call it once for each.
func (g *gate) written() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.writing--; g.writing == 0 {
		close(g.open)
	}
}

// await waits for the others, but not for one that hangs.
func (g *gate) await(ctx context.Context) {
	t := time.NewTimer(writeMax)
	defer t.Stop()
	select {
	case <-g.open:
	case <-t.C:
	case <-ctx.Done():
	}
}
