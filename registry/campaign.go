package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Leadership is held from the moment Campaign returns it until Done. Every
// write made under it carries Guard, so that none commits later on.
type Leadership struct {
	store  Store
	lease  LeaseID
	guard  Guard
	cancel context.CancelFunc
	ended  sync.WaitGroup
	done   chan struct{}
}

// Guard is the condition that this leadership, and no later one, still holds.
func (l *Leadership) Guard() Guard { return l.guard }

// Done is closed once the lease may have run out: counted from before the last
// acknowledged keep-alive was sent, less a tenth for clocks that run unevenly.
func (l *Leadership) Done() <-chan struct{} { return l.done }

// Context returns a context for work under this leadership: it ends with
// parent or with Done, whichever comes first.
func (l *Leadership) Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		select {
		case <-l.done:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Resign gives the leadership up at once, so that another candidate need not
// wait for the lease to run out. Done is closed when it returns.
func (l *Leadership) Resign(ctx context.Context) error {
	l.cancel()
	l.ended.Wait()
	err := l.store.Revoke(ctx, l.lease)
	if err != nil && !errors.Is(err, ErrLeaseGone) {
		return fmt.Errorf("resign: %w", err)
	}
	return nil
}

// Campaign waits until me leads, and returns an error only when ctx ends. It
// waits for the deletion of the leader's record, without polling. The lease lasts
// ttl and is kept alive each keepAlive, which must be less than half of ttl.
func Campaign(ctx context.Context, store Store, me *Leader, ttl, keepAlive time.Duration, log *slog.Logger) (*Leadership, error) {
	if keepAlive <= 0 || keepAlive*2 >= ttl {
		return nil, fmt.Errorf("campaign: a keep-alive each %v is too rare for a lease of %v: %w", keepAlive, ttl, ErrInvalid)
	}
	c := candidate{store: store, value: Encode(me), ttl: ttl, keepAlive: keepAlive, log: log}
	var pause backoff
	for ctx.Err() == nil {
		leadership, err := c.try(ctx)
		switch {
		case leadership != nil:
			return leadership, nil
		case err == nil:
			pause.reset()
		case ctx.Err() == nil:
			if pause.fresh() {
				log.Warn("engine election waits for the registry", "error", err)
			}
			pause.wait(ctx)
		}
	}
	return nil, fmt.Errorf("campaign: %w", ctx.Err())
}

type candidate struct {
	store     Store
	value     []byte
	ttl       time.Duration
	keepAlive time.Duration
	log       *slog.Logger
}

// try stands for election once. Neither a leadership nor an error means that
// there was, or came, another leader: try again.
func (c *candidate) try(ctx context.Context) (*Leadership, error) {
	now, err := c.store.Range(ctx, Single(LeaderKey))
	if err != nil {
		return nil, err
	}
	if len(now.Records) > 0 {
		return nil, c.awaitVacancy(ctx, now.Revision)
	}
	asked := time.Now()
	lease, err := c.store.Grant(ctx, 0, c.ttl)
	if err != nil {
		return nil, err
	}
	vacant := Guard{Key: LeaderKey}
	_, err = c.store.Commit(ctx, []Guard{vacant}, []Op{{Key: LeaderKey, Value: c.value, Lease: lease}})
	won, lost := c.outcome(ctx, lease, err)
	if won == nil {
		c.dropLease(ctx, lease)
		return nil, lost
	}
	return c.lead(lease, *won, asked), nil
}

// outcome finds out whether a commit whose answer was err made lease's holder
// the leader: it reads what is there, as an unanswered commit may have been done.
func (c *candidate) outcome(ctx context.Context, lease LeaseID, err error) (*Record, error) {
	if errors.Is(err, ErrGuard) {
		return nil, nil
	}
	now, readErr := c.store.Range(ctx, Single(LeaderKey))
	if readErr != nil {
		return nil, errors.Join(err, readErr)
	}
	if len(now.Records) > 0 && now.Records[0].Lease == lease {
		return &now.Records[0], nil
	}
	return nil, err
}

func (c *candidate) dropLease(ctx context.Context, lease LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := c.store.Revoke(ctx, lease); err != nil {
		c.log.Debug("election lease left to run out", "error", err)
	}
}

func (c *candidate) awaitVacancy(ctx context.Context, after Revision) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for changes := range c.store.Watch(ctx, Single(LeaderKey), after) {
		if changes.Err != nil && !errors.Is(changes.Err, ErrCompacted) {
			return changes.Err
		}
		for _, e := range changes.Events {
			if e.Deleted {
				return nil
			}
		}
	}
	return nil
}

func (c *candidate) lead(lease LeaseID, won Record, asked time.Time) *Leadership {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Leadership{
		store:  c.store,
		lease:  lease,
		guard:  Guard{Key: LeaderKey, Created: won.Created},
		cancel: cancel,
		done:   make(chan struct{}),
	}
	l.ended.Go(func() {
		defer close(l.done)
		c.keep(ctx, lease, asked)
		cancel()
	})
	l.ended.Go(func() {
		c.watchOver(ctx, won)
		cancel()
	})
	return l
}

// keep returns when the lease may have run out, or ctx ended.
func (c *candidate) keep(ctx context.Context, lease LeaseID, asked time.Time) {
	valid := c.ttl - c.ttl/10
	deadline := asked.Add(valid)
	for {
		if !sleep(ctx, min(c.keepAlive, time.Until(deadline))) {
			return
		}
		if !time.Now().Before(deadline) {
			c.log.Warn("engine leadership lost: no keep-alive was answered in time", "valid", valid)
			return
		}
		sent := time.Now()
		try, cancel := context.WithDeadline(ctx, deadline)
		_, err := c.store.KeepAlive(try, lease)
		cancel()
		switch {
		case err == nil:
			deadline = sent.Add(valid)
		case errors.Is(err, ErrLeaseGone):
			c.log.Warn("engine leadership lost: its lease is gone")
			return
		default:
			c.log.Debug("engine's keep-alive not answered", "error", err)
		}
	}
}

// watchOver returns when the leader's record is no longer the one won, which
// only somebody else's deletion brings about while the lease is kept.
func (c *candidate) watchOver(ctx context.Context, won Record) {
	for ctx.Err() == nil {
		for changes := range c.store.Watch(ctx, Single(LeaderKey), won.Modified) {
			for _, e := range changes.Events {
				if e.Deleted || e.Created != won.Created {
					c.log.Warn("engine leadership lost: its record was deleted")
					return
				}
			}
		}
		if !sleep(ctx, c.keepAlive) {
			return
		}
		now, err := c.store.Range(ctx, Single(LeaderKey))
		if err != nil {
			continue
		}
		if len(now.Records) == 0 || now.Records[0].Created != won.Created {
			return
		}
		won.Modified = now.Revision
	}
}
