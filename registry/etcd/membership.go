package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/clusterd/clusterd/registry"
)

const (
	// memberPatience is how long etcd's "not yet" is taken for normal: after a change it
	// wants 5 s of quiet, and a learner has to catch up.
	memberPatience   = 30 * time.Second
	memberRetry      = 500 * time.Millisecond
	memberRetryLater = 5 * time.Second
)

// Membership carries out what PlanMembership decides. The engine leader runs it.
type Membership struct {
	Store registry.Store
	// Cluster is etcd's own call for members, of an embedded member's Client.
	Cluster clientv3.Cluster
	// Guard is the leadership's: without it nothing is recorded.
	Guard registry.Guard
	Log   *slog.Logger
}

// Run keeps etcd's membership as it should be until ctx ends, and returns ctx's
// error. It acts when machines or records change, and while a change is under way.
func (m *Membership) Run(ctx context.Context) error {
	mirror := registry.NewCopy(m.Store, []registry.Range{
		registry.Prefix(registry.MachinesPrefix),
		registry.Prefix(registry.AlivePrefix),
		registry.Prefix(registry.ClusterPrefix),
	}, m.Log)
	ended := make(chan error, 1)
	go func() { ended <- mirror.Run(ctx) }()
	refused := refusals{log: m.Log}
	for ctx.Err() == nil {
		changed := mirror.Changed()
		again := time.Duration(0)
		if mirror.Revision() > 0 {
			again = m.pass(ctx, mirror.View(), &refused)
		}
		wait(ctx, changed, again)
	}
	return <-ended
}

// wait returns at a change, at ctx's end, or, if it isn't 0, after some time.
func wait(ctx context.Context, changed <-chan struct{}, after time.Duration) {
	var due <-chan time.Time
	if after > 0 {
		t := time.NewTimer(after)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-changed:
	case <-due:
	case <-ctx.Done():
	}
}

// pass takes at most one step and says when to look again without a change; 0
// means not at all.
func (m *Membership) pass(ctx context.Context, view registry.View, refused *refusals) time.Duration {
	state, err := m.state(ctx, view)
	if err != nil {
		return refused.note("membership of etcd not known", err)
	}
	step, why := PlanMembership(state)
	if step.Kind == Nothing {
		refused.wait(why)
		if slices.ContainsFunc(state.Members, func(e EtcdMember) bool { return e.Learner }) {
			return memberRetry // a member's start is no change of the registry
		}
		return 0
	}
	if err := m.do(ctx, step); err != nil {
		return refused.note(step.String(), err)
	}
	refused.done()
	m.Log.Info("etcd membership changed", "step", step.String(), "reason", why)
	return memberRetry
}

func (m *Membership) do(ctx context.Context, step MembershipStep) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	guards := []registry.Guard{m.Guard}
	var err error
	switch step.Kind {
	case AddLearner:
		_, err = m.Cluster.MemberAddAsLearner(ctx, []string{step.PeerURL})
	case Promote:
		_, err = m.Cluster.MemberPromote(ctx, step.ID)
	case RemoveMember:
		_, err = m.Cluster.MemberRemove(ctx, step.ID)
	case WriteRecord:
		put := registry.Op{Key: registry.MemberKey(step.Machine), Value: registry.Encode(step.Record)}
		_, err = m.Store.Commit(ctx, guards, []registry.Op{put})
	case DeleteRecord:
		gone := registry.Op{Delete: registry.Single(registry.MemberKey(step.Machine))}
		_, err = m.Store.Commit(ctx, guards, []registry.Op{gone})
	}
	return err
}

func (m *Membership) state(ctx context.Context, view registry.View) (MembershipState, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s := MembershipState{Wanted: 3, Records: make(map[registry.MachineID]*registry.Member)}
	if rec, ok := view.Get(registry.ClusterKey); ok {
		cluster, err := registry.Decode[registry.Cluster](rec)
		if err != nil {
			return s, err
		}
		if cluster.MembersWanted > 0 {
			s.Wanted = int(cluster.MembersWanted)
		}
	} else {
		return s, fmt.Errorf("no record %s: %w", registry.ClusterKey, registry.ErrNotFound)
	}
	var err error
	if s.Machines, err = candidates(view); err != nil {
		return s, err
	}
	for rec := range view.Range(registry.Prefix(registry.MembersPrefix)) {
		// One that can't be read is written anew: it says nothing that etcd doesn't.
		if member, err := registry.Decode[registry.Member](rec); err == nil {
			s.Records[registry.MachineID(strings.TrimPrefix(rec.Key, registry.MembersPrefix))] = member
		}
	}
	list, err := m.Cluster.MemberList(ctx)
	if err != nil {
		return s, err
	}
	owner := make(map[string]registry.MachineID, len(s.Machines))
	for _, c := range s.Machines {
		owner[PeerURL(c.Peer)] = c.Machine
	}
	for _, e := range list.Members {
		member := EtcdMember{ID: e.ID, Machine: registry.MachineID(e.Name), Learner: e.IsLearner, Started: e.Name != ""}
		if len(e.PeerURLs) > 0 {
			member.PeerURL = e.PeerURLs[0]
		}
		if !member.Started {
			member.Machine = owner[member.PeerURL]
		}
		s.Members = append(s.Members, member)
	}
	slices.SortFunc(s.Members, func(a, b EtcdMember) int { return strings.Compare(string(a.Machine), string(b.Machine)) })
	return s, nil
}

// candidates are the registered machines, first come first. One whose record can't be
// read counts as registered, so that its member is left alone.
func candidates(view registry.View) ([]Candidate, error) {
	type dated struct {
		Candidate
		since registry.Revision
	}
	var all []dated
	for rec := range view.Range(registry.Prefix(registry.MachinesPrefix)) {
		c := dated{since: rec.Created}
		c.Machine = registry.MachineID(strings.TrimPrefix(rec.Key, registry.MachinesPrefix))
		_, c.Alive = view.Get(registry.AliveKey(c.Machine))
		if machine, err := registry.Decode[registry.Machine](rec); err == nil {
			c.Peer, c.API, c.Gate, c.Gossip = machine.EtcdPeer, machine.Api, machine.Gate, machine.Gossip
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b dated) int { return int(a.since - b.since) })
	list := make([]Candidate, len(all))
	for i, c := range all {
		list[i] = c.Candidate
	}
	return list, nil
}

// refusals tells a delay that is normal from one that somebody should know of.
type refusals struct {
	log     *slog.Logger
	since   time.Time
	told    bool
	waiting string
}

func (r *refusals) note(what string, err error) time.Duration {
	if r.since.IsZero() {
		r.since = time.Now()
	}
	usual := errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrMemberLearnerNotReady) ||
		errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) || errors.Is(err, context.Canceled)
	if usual && time.Since(r.since) < memberPatience {
		return memberRetry
	}
	if !r.told {
		r.told = true
		r.log.Warn("etcd membership waits", "step", what, "error", err)
	}
	return memberRetryLater
}

func (r *refusals) done() { *r = refusals{log: r.log} }

func (r *refusals) wait(why string) {
	if why != r.waiting {
		r.waiting = why
		if why != "" {
			r.log.Info("etcd membership waits", "reason", why)
		}
	}
}
