package hollow

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/unit"
)

// core is a hollow machine without the agent's shell: it follows what an agent
// does, plans with agent.Plan, takes each step as done, and writes what it then
// has. It keeps no records, parses no unit files and fetches none, which on
// real machines is each machine's own work.
type core struct {
	fleet *fleet
	store *etcd.Store
	id    registry.MachineID
	index int

	units   map[unit.Name]*coreUnit
	changed []unit.Name   // to be written
	wake    chan struct{} // something is
	mu      sync.Mutex    // holds units and changed
}

type coreUnit struct {
	want agent.Desired
	has  agent.Observed
	gone bool
}

// run works until ctx ends, and calls joined once the machine is registered.
func (m *core) run(ctx context.Context, joined func()) error {
	lease, err := m.register(ctx)
	joined()
	if err != nil {
		return err
	}
	var side sync.WaitGroup
	side.Go(func() { m.keepAlive(ctx, lease) })
	if !m.fleet.config.Mute {
		side.Go(func() { m.report(ctx) })
	}
	assignments := registry.Prefix(registry.AssignmentsOf(m.id))
	ranges := []registry.Range{registry.Single(registry.ClusterKey), assignments}
	for _, own := range []string{registry.MachineKey(m.id), registry.AliveKey(m.id), registry.AwayKey(m.id)} {
		ranges = append(ranges, registry.Single(own))
	}
	_ = registry.Follow(ctx, m.store, ranges, registry.Following{ // its only error is ctx's
		Snapshot: func(r registry.Range, s registry.Part) {
			if r != assignments {
				return
			}
			for _, rec := range s.Records {
				m.take(registry.Event{Record: rec})
			}
			m.act()
		},
		Changes: func(r registry.Range, c registry.Changes) {
			if r != assignments || len(c.Events) == 0 {
				return
			}
			m.fleet.woken[m.index].Add(1)
			for _, e := range c.Events {
				m.take(e)
			}
			m.act()
		},
	}, m.fleet.log)
	side.Wait()
	return nil
}

func (m *core) register(ctx context.Context) (registry.LeaseID, error) {
	for {
		lease, err := m.store.Grant(ctx, 0, m.fleet.config.TTL)
		if err == nil {
			_, err = m.store.Commit(ctx, nil, []registry.Op{
				{Key: registry.MachineKey(m.id), Value: registry.Encode(record(m.index))},
				{Key: registry.AliveKey(m.id), Value: registry.Encode(&registry.Alive{Incarnation: "boot"}), Lease: lease},
			})
		}
		if err == nil || ctx.Err() != nil {
			return lease, ctx.Err()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (m *core) keepAlive(ctx context.Context, lease registry.LeaseID) {
	tick := time.NewTicker(m.fleet.config.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := m.store.KeepAlive(ctx, lease); err != nil && ctx.Err() == nil {
			m.fleet.log.Error("lease not kept", "machine", m.index, "error", err)
		}
	}
}

// take takes an assignment's change in.
func (m *core) take(e registry.Event) {
	name := unit.Name(e.Key[strings.LastIndexByte(e.Key, '/')+1:])
	m.fleet.told.now(number(name))
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Deleted {
		delete(m.units, name)
		return
	}
	r, err := registry.Decode[registry.Assignment](e.Record)
	if err != nil {
		m.fleet.log.Error("assignment not readable", "key", e.Key, "error", err)
		return
	}
	u := m.units[name]
	if u == nil {
		u = &coreUnit{}
		m.units[name] = u
	}
	u.want = agent.Desired{File: unit.Hash(r.File), Target: r.Target, Generation: r.Generation, Restart: r.RestartGeneration, AllowUnknown: r.AllowUnknown, VerifiedBy: r.VerifiedBy}
	m.changed = append(m.changed, name)
}

// act carries out the plans of all units that changed.
func (m *core) act() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.changed {
		u := m.units[name]
		if u == nil {
			continue
		}
		steps := agent.Plan(agent.Wanted{Units: map[unit.Name]agent.Desired{name: u.want}}, map[unit.Name]agent.Observed{name: u.has})
		for _, s := range steps {
			u.do(s)
			if s.Verb == agent.Start || s.Verb == agent.Restart {
				m.fleet.started.now(number(name))
			}
		}
	}
	if m.fleet.config.Mute {
		m.changed = nil
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// do takes a step as done.
func (u *coreUnit) do(s agent.Action) {
	switch s.Verb {
	case agent.Write:
		u.has.File, u.has.Ours, u.has.Loaded = s.Desired.File, true, true
	case agent.Start, agent.Restart:
		u.has.Active, u.has.Begun = "active", s.Desired.Generation
	case agent.Stop:
		u.has.Active = "inactive"
	case agent.Done:
		u.has.Done, u.has.Restarted = s.Desired.Generation, s.Desired.Restart
	case agent.Gone:
		u.has, u.gone = agent.Observed{}, true
	}
}

// report writes what changed, at most ten times a second, as agents do.
func (m *core) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		for ops := m.observations(); len(ops) > 0; ops = m.observations() {
			if _, err := m.store.Commit(ctx, nil, ops); err != nil && ctx.Err() == nil {
				m.fleet.log.Error("observations not written", "machine", m.index, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (m *core) observations() []registry.Op {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := min(len(m.changed), registry.OpsMax)
	now := m.changed[:n]
	m.changed = m.changed[n:]
	var ops []registry.Op
	seen := map[unit.Name]bool{}
	for _, name := range now {
		u := m.units[name]
		if u == nil || seen[name] {
			continue
		}
		seen[name] = true
		o := &registry.Observed{
			Version: registry.RecordVersion, Incarnation: "boot", Generation: u.want.Generation, Gone: u.gone,
			Load: "loaded", Active: u.has.Active, Sub: "running", File: string(u.has.File), Result: "success",
			MainPid: 4711, MainStartUnixUs: 1_700_000_000_000_000, SinceUnixUs: 1_700_000_000_000_000,
		}
		ops = append(ops, registry.Op{Key: registry.ObservedKey(m.id, name), Value: registry.Encode(o)})
	}
	return ops
}
