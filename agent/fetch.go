package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// content is the wanted file; nil when it has to be fetched first.
func (a *Agent) content(m *managed) ([]byte, error) {
	h := m.want.File
	switch {
	case m.hash == h:
		return m.source, nil
	case a.files[h] != nil:
		return a.files[h], nil
	case a.missing[h] != nil:
		return nil, a.missing[h]
	}
	if _, ok := a.asked[h]; !ok {
		a.asked[h] = false
	}
	return nil, nil
}

// fetching says that a file is on its way.
func (a *Agent) fetching() bool {
	for _, underWay := range a.asked {
		if underWay {
			return true
		}
	}
	return false
}

// fetch gets the files that were asked for.
func (a *Agent) fetch(ctx context.Context) {
	for h, underWay := range a.asked {
		if underWay {
			continue
		}
		a.asked[h] = true
		a.workers.Go(func() {
			content, err := fetchFile(ctx, a.Store, h)
			a.tell(ctx, func() { a.fetched(ctx, h, content, err) })
		})
	}
}

func (a *Agent) fetched(ctx context.Context, h unit.Hash, content []byte, err error) {
	delete(a.asked, h)
	if err == nil {
		a.files[h] = content
	} else {
		a.Log.Warn("unit file not fetched", "file", h, "error", err)
		if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrUnreadable) {
			a.missing[h] = err
		}
		time.AfterFunc(retryMax, func() {
			a.tell(ctx, func() { delete(a.missing, h); a.lookAt(h) })
		})
	}
	if err == nil || a.missing[h] != nil {
		a.lookAt(h)
	}
}

// lookAt marks the units that want a file.
func (a *Agent) lookAt(h unit.Hash) {
	for u, m := range a.units {
		if m.want != nil && m.want.File == h {
			a.dirty[u] = true
		}
	}
}

// fetchFile reads a unit file and makes sure that it is the one asked for.
func fetchFile(ctx context.Context, store registry.Records, h unit.Hash) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	snapshot, err := store.Range(ctx, registry.Single(registry.FileKey(h)))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch unit file %s: %w", h.Short(), err)
	case len(snapshot.Records) == 0:
		return nil, fmt.Errorf("fetch unit file %s: %w; submit the unit again", h.Short(), registry.ErrNotFound)
	}
	content := snapshot.Records[0].Value
	if got := unit.HashOf(content); got != h {
		return nil, fmt.Errorf("fetch unit file %s: %w: its content has the hash %s; submit the unit again", h.Short(), registry.ErrUnreadable, got.Short())
	}
	return content, nil
}
