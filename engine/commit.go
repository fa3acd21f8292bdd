package engine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

const (
	inFlightMax = 4               // transactions at a time
	answerMax   = 5 * time.Second // how long one may take
)

// committer writes changes under one leadership.
type committer struct {
	store  registry.Records
	leader registry.Guard
	log    *slog.Logger
}

// outcome is what became of some changes.
type outcome struct {
	revision registry.Revision // after the last that committed; 0: none did
	undone   []unit.Name       // units with a change that did not, or may not have, committed
	deposed  bool              // another engine leads
}

func (o *outcome) add(other outcome) {
	o.revision = max(o.revision, other.revision)
	o.undone = append(o.undone, other.undone...)
	o.deposed = o.deposed || other.deposed
}

// commit writes changes in batches, sorted by machine, a few at a time.
func (k *committer) commit(ctx context.Context, changes []change) outcome {
	var (
		all      outcome
		mu       sync.Mutex
		wg       sync.WaitGroup
		inFlight = make(chan struct{}, inFlightMax)
	)
	for _, b := range batches(changes) {
		inFlight <- struct{}{}
		wg.Go(func() {
			defer func() { <-inFlight }()
			o := k.write(ctx, b)
			mu.Lock()
			defer mu.Unlock()
			all.add(o)
		})
	}
	wg.Wait()
	return all
}

// batches packs changes into transactions, those for one machine together.
func batches(changes []change) [][]change {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.machine, b.machine), cmp.Compare(a.unit, b.unit))
	})
	var out [][]change
	var now []change
	guards, ops := 1, 0 // the leader's guard is in each
	for _, c := range sorted {
		if len(now) > 0 && (guards+len(c.guards) > registry.OpsMax || ops+len(c.ops) > registry.OpsMax) {
			out = append(out, now)
			now, guards, ops = nil, 1, 0
		}
		now = append(now, c)
		guards += len(c.guards)
		ops += len(c.ops)
	}
	if len(now) > 0 {
		out = append(out, now)
	}
	return out
}

// write commits a batch. One whose guards don't hold is halved, until the
// outdated change stands alone; that one is dropped.
func (k *committer) write(ctx context.Context, batch []change) outcome {
	if ctx.Err() != nil {
		return outcome{undone: units(batch)}
	}
	revision, err := k.try(ctx, batch)
	switch {
	case err == nil:
		for _, c := range batch {
			k.tell(c)
		}
		return outcome{revision: revision}
	case errors.Is(err, registry.ErrGuard) && !k.leads(ctx):
		return outcome{undone: units(batch), deposed: true}
	case (errors.Is(err, registry.ErrGuard) || errors.Is(err, registry.ErrInvalid)) && len(batch) > 1:
		first := k.write(ctx, batch[:len(batch)/2])
		first.add(k.write(ctx, batch[len(batch)/2:]))
		return first
	case errors.Is(err, registry.ErrGuard):
		k.log.Debug("change outdated", "change", batch[0].String())
	case ctx.Err() == nil:
		k.log.Warn("changes not written", "changes", len(batch), "first", batch[0].String(), "error", err)
	}
	return outcome{undone: units(batch)}
}

func (k *committer) try(ctx context.Context, batch []change) (registry.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	guards := []registry.Guard{k.leader}
	guarded := map[string]bool{}
	var ops []registry.Op
	for _, c := range batch {
		for _, g := range c.guards {
			if !guarded[g.Key] {
				guarded[g.Key] = true
				guards = append(guards, g)
			}
		}
		ops = append(ops, c.ops...)
	}
	return k.store.Commit(ctx, guards, ops)
}

// leads says whether the leadership still holds, as far as the registry answers.
func (k *committer) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	now, err := k.store.Range(ctx, registry.Single(k.leader.Key))
	if err != nil {
		return true // not known; the guard holds off any harm
	}
	return len(now.Records) == 1 && now.Records[0].Created == k.leader.Created
}

// tell logs what changed in the world.
func (k *committer) tell(c change) {
	level := slog.LevelInfo
	if c.unit == "" {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{slog.String("unit", string(c.unit)), slog.String("machine", string(c.machine))}
	if c.reason != "" {
		attrs = append(attrs, slog.String("reason", c.reason))
	}
	k.log.LogAttrs(context.Background(), level, c.note, attrs...)
}

func units(batch []change) []unit.Name {
	var names []unit.Name
	for _, c := range batch {
		if c.unit != "" {
			names = append(names, c.unit)
		}
	}
	return names
}
