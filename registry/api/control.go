package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

// Control is what the API of a control machine works with. Its fields are set
// before Server.SetControl and not changed afterwards.
type Control struct {
	Store registry.Store
	// Copy mirrors everything, see CopyRanges. Whoever makes it runs it.
	Copy *registry.Copy
	// Authority and PeerAuthority issue certificates; GossipKey goes to machines
	// that join.
	Authority     *pki.Authority
	PeerAuthority *pki.Authority
	GossipKey     []byte
	// KeyPrefix is where the cluster's records lie in etcd; machines that join
	// are told.
	KeyPrefix string
	// Notice is what operators should know of the registry's etcd, such as that
	// it runs out of room; nil, or empty: nothing.
	Notice func() string
	// Explain says why a unit is where it is, or would be with the file src; a
	// src of nil means as it is now. Nil: there is no engine to ask.
	Explain func(ctx context.Context, name unit.Name, src []byte) (Explanation, error)
	// Suspected says whether gossip can't reach a machine; nil: always can.
	Suspected func(registry.MachineID) bool
	// Lost says whether gossip agrees that a machine without its lease is dead;
	// nil: it never does.
	Lost func(registry.MachineID) bool
	// DeadAfter is how long a machine may be without its lease before it is
	// shown as dead; 0 means 30 s.
	DeadAfter time.Duration
	// AwayLimit is how long the units of a machine that is away are held; 0
	// means 15 min.
	AwayLimit time.Duration

	// Foresee says what would come of a scenario, by the engine's own rules; nil:
	// nobody can say.
	Foresee func(ctx context.Context, f Foreseen) (Prospect, error)

	wait    time.Duration // how long a reader waits; 0 means freshWait, tests wait less
	files   *fileCache
	mu      sync.Mutex
	missing map[registry.MachineID]time.Time // since when its lease is known to be gone
}

const (
	deadAfterDefault = 30 * time.Second
	awayLimitDefault = 15 * time.Minute
	// freshWait is how long a reader waits for the registry before it is served
	// from the copy as it is.
	freshWait = 2 * time.Second
	// freshAgain is how soon a registry that did not answer is asked again.
	freshAgain = 100 * time.Millisecond
	// foreseeWait is how long a scenario may take to be thought through.
	foreseeWait = 30 * time.Second
	// writeWait is how long a change waits; etcd itself gives up a little sooner.
	writeWait = 10 * time.Second
	// explainMax is how long an engine may take to explain something.
	explainMax = 10 * time.Second
)

// CopyRanges is what Control.Copy must mirror.
func CopyRanges() []registry.Range { return []registry.Range{registry.Everything()} }

// prepare fills in what was left zero, once.
func (c *Control) prepare() error {
	if c.files != nil {
		return nil // it served before, and may still be looked at
	}
	if c.Store == nil || c.Copy == nil {
		return errors.New("serve the API as control machine: no registry given")
	}
	if c.DeadAfter == 0 {
		c.DeadAfter = deadAfterDefault
	}
	if c.AwayLimit == 0 {
		c.AwayLimit = awayLimitDefault
	}
	c.files = newFileCache()
	c.missing = map[registry.MachineID]time.Time{}
	return nil
}

// watchMissing notes when machines lose their lease, until ctx ends: nothing in
// the registry says how long ago that was.
func (c *Control) watchMissing(ctx context.Context, now func() time.Time) {
	for {
		changed := c.Copy.Changed()
		c.noteMissing(c.Copy.View(), now())
		// Changes come in bursts; one look each second is enough.
		pause := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (c *Control) noteMissing(view registry.View, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[registry.MachineID]time.Time{}
	for rec := range view.Range(registry.Prefix(registry.MachinesPrefix)) {
		m := registry.MachineID(rec.Key[len(registry.MachinesPrefix):])
		if _, alive := view.Get(registry.AliveKey(m)); alive {
			continue
		}
		since, ok := c.missing[m]
		if !ok {
			since = now
		}
		seen[m] = since
	}
	c.missing = seen
}

func (c *Control) health(now time.Time) health {
	return health{
		awayLimit: c.AwayLimit,
		suspected: c.Suspected,
		dead: func(m registry.MachineID) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			since, ok := c.missing[m]
			if !ok {
				c.missing[m] = now
				return false
			}
			return now.Sub(since) >= c.DeadAfter || c.Lost != nil && c.Lost(m)
		},
	}
}

// fresh makes sure that the copy is as the registry is now. An etcd whose leader
// changes says at once that it can't answer: until ctx ends it is asked again.
func (c *Control) fresh(ctx context.Context) error {
	for {
		err := c.Copy.Fresh(ctx)
		if err == nil || !errors.Is(err, registry.ErrNoAnswer) {
			return err
		}
		select {
		case <-time.After(freshAgain):
		case <-ctx.Done():
			return err
		}
	}
}

// freshView is the registry as it is now, or ErrNoAnswer.
func (c *Control) freshView(ctx context.Context) (registry.View, error) {
	wait := cmp.Or(c.wait, freshWait)
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := c.fresh(limited); err != nil {
		if ctx.Err() != nil {
			return registry.View{}, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w in %v; a majority of the control machines must be up", registry.ErrNoAnswer, wait)
		}
		return registry.View{}, err
	}
	return c.Copy.View(), nil
}

// write commits a transaction, or says in time that there was no answer. Where
// the cluster's own record is of a newer software, this one writes nothing.
func (c *Control) write(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	if rec, ok := c.Copy.Get(registry.ClusterKey); ok {
		if _, err := registry.Decode[registry.Cluster](rec); err != nil {
			return 0, conflict("nothing is changed in a cluster that this machine's clusterd can't read: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	return c.Store.Commit(ctx, guards, ops)
}

// read reads one record as it is now; false when it isn't there.
func (c *Control) read(ctx context.Context, key string) (registry.Record, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	found, err := c.Store.Range(ctx, registry.Single(key))
	if err != nil || len(found.Records) == 0 {
		return registry.Record{}, false, err
	}
	return found.Records[0], true, nil
}

// recentView is the registry as it is now or, when it does not answer, as it
// was a while ago. A copy that never was complete is no answer at all.
func (c *Control) recentView(ctx context.Context) (registry.View, time.Duration, error) {
	view, err := c.freshView(ctx)
	if err == nil {
		return view, 0, nil
	}
	if ctx.Err() != nil || c.Copy.Revision() == 0 {
		return view, 0, fmt.Errorf("read the registry: %w", err)
	}
	return c.Copy.View(), max(c.Copy.Age(), 1), nil
}

func (c *Control) notice() string {
	if c.Notice == nil {
		return ""
	}
	return c.Notice()
}

// picture draws a view.
func (c *Control) picture(view registry.View, now time.Time) *picture {
	return newPicture(view, c.files, c.health(now), now)
}
