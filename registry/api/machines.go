package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
)

func (s *Server) removeMachine(c *Control, w http.ResponseWriter, r *http.Request) error {
	force := r.URL.Query().Get("force") == "true"
	who := callerOf(r.Context()).id.Name
	limited, cancel := context.WithTimeout(r.Context(), writeWait)
	defer cancel()
	// The machine's certificate can't be taken from it, so it is remembered as
	// removed for as long as one lasts.
	lease, err := c.Store.Grant(limited, 0, pki.Validity)
	if err != nil {
		return err
	}
	if _, err := c.retry(r.Context(), func(view registry.View) ([]registry.Guard, []registry.Op, error) {
		return planRemoval(c.picture(view, s.Now()), r.PathValue("machine"), force, registry.Op{
			Lease: lease, Value: registry.Encode(&registry.Removed{Who: who, RemovedUnixMs: s.Now().UnixMilli()}),
		})
	}); err != nil {
		s.dropLease(r.Context(), c, lease)
		return err
	}
	s.Log.Info("machine removed", "machine", r.PathValue("machine"), "who", who)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// dropLease ends a lease that serves nothing any more.
func (s *Server) dropLease(ctx context.Context, c *Control, lease registry.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWait)
	defer cancel()
	if err := c.Store.Revoke(ctx, lease); err != nil {
		s.Log.Debug("lease left to run out", "error", err)
	}
}

// planRemoval takes a machine's own records away and leaves mark in their
// place. What was assigned to it goes when the engine sees that.
func planRemoval(p *picture, text string, force bool, mark registry.Op) ([]registry.Guard, []registry.Op, error) {
	m, err := p.find(text)
	if err != nil {
		return nil, nil, err
	}
	info := p.machine(m)
	if alive := info.state == StateAlive || info.state == StateSuspect; alive && !force {
		called := cmp.Or(info.record.GetHostname(), m.Short())
		return nil, nil, conflict("%s is %s; move its units away first (clusterctl machine drain %s) and stop its clusterd (there: systemctl disable --now clusterd), or give --force",
			called, info.state, called)
	}
	rec, _ := p.view.Get(registry.MachineKey(m))
	guards := []registry.Guard{{Key: rec.Key, Modified: rec.Modified}}
	mark.Key = registry.RemovedKey(m)
	ops := []registry.Op{
		mark,
		{Delete: registry.Single(registry.MachineKey(m))},
		{Delete: registry.Single(registry.SettingsKey(m))},
		{Delete: registry.Single(registry.AwayKey(m))},
	}
	if rec, ok := p.view.Get(registry.MemberKey(m)); ok {
		// With an embedded etcd, the engine leader takes its member out first.
		if member, err := registry.Decode[registry.Member](rec); err == nil && member.GetEtcdId() == 0 {
			ops = append(ops, registry.Op{Delete: registry.Single(rec.Key)})
		}
	}
	alive, living := p.view.Get(registry.AliveKey(m))
	switch left, away := p.view.Get(registry.AwayKey(m)); {
	case living && away:
		// Its clusterd has stopped, what its lease keeps is of the past.
		guards = append(guards, registry.Guard{Key: left.Key, Modified: left.Modified})
		ops = append(ops, registry.Op{Delete: registry.Single(alive.Key)})
	case !force:
		guards = append(guards, registry.Guard{Key: registry.AliveKey(m)})
	}
	return guards, ops, nil
}

func (s *Server) setMachine(c *Control, w http.ResponseWriter, r *http.Request) error {
	change, err := read[SettingsChange](r)
	if err != nil {
		return err
	}
	if _, err := c.retry(r.Context(), func(view registry.View) ([]registry.Guard, []registry.Op, error) {
		return planSettings(c.picture(view, s.Now()), r.PathValue("machine"), change)
	}); err != nil {
		return err
	}
	s.Log.Info("machine settings changed", "machine", r.PathValue("machine"), "who", callerOf(r.Context()).id.Name, "change", change.String())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func planSettings(p *picture, text string, change SettingsChange) ([]registry.Guard, []registry.Op, error) {
	m, err := p.find(text)
	if err != nil {
		return nil, nil, err
	}
	if err := checkMetadata(m, change); err != nil {
		return nil, nil, err
	}
	rec, present := p.view.Get(registry.SettingsKey(m))
	next := &registry.Settings{}
	if present {
		old, err := registry.Decode[registry.Settings](rec)
		if err != nil {
			return nil, nil, conflict("set machine %s: %v", m.Short(), err)
		}
		next = proto.CloneOf(old)
	}
	if change.Cordon != nil {
		next.Cordon = *change.Cordon
	}
	if change.Drain != nil {
		next.Drain = *change.Drain
	}
	changeMetadata(next, change)
	if n := len(next.Metadata) + len(next.MetadataRemoved); n > metadataMax && len(change.Metadata)+len(change.Unset) > 0 {
		return nil, nil, badRequest("set machine %s: operators would say %d keys of its metadata; it takes %d, the rest is for its clusterd.conf", m.Short(), n, metadataMax)
	}
	guard := registry.Guard{Key: registry.SettingsKey(m), Modified: rec.Modified}
	return []registry.Guard{guard}, []registry.Op{{Key: guard.Key, Value: registry.Encode(next)}}, nil
}

// retry plans one transaction on what the registry holds and commits it, again
// when that changed meanwhile. It returns the revision after it.
func (c *Control) retry(ctx context.Context, plan func(registry.View) ([]registry.Guard, []registry.Op, error)) (registry.Revision, error) {
	for try := 1; ; try++ {
		view, err := c.freshView(ctx)
		if err != nil {
			return 0, err
		}
		guards, ops, err := plan(view)
		if err != nil {
			return 0, err
		}
		revision, err := c.write(ctx, guards, ops)
		if !errors.Is(err, registry.ErrGuard) || !again(ctx, try) {
			return revision, err
		}
	}
}
