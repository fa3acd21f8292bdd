package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/pki"
)

// askMembersEach is how often a control machine without a quorum asks the
// others whether it is an etcd member still.
const askMembersEach = 10 * time.Second

// watchMember ends this role when the etcd member is none any more. One that was
// taken out before it had learnt of any peer is told so by nobody, and would
// wait for a quorum for ever: it asks.
func (c *controller) watchMember(ctx context.Context) {
	tick := time.NewTicker(askMembersEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ended:
			c.stop(errMemberEnded)
			return
		case <-tick.C:
		}
		if c.isMember == nil || c.conn.HasLeader() {
			continue
		}
		switch member, err := c.isMember(ctx); {
		case err != nil:
			c.log.Debug("no quorum, and no other control machine says why", "error", err)
		case !member:
			c.stop(errMemberEnded)
			return
		}
	}
}

// outvoted puts the data of this machine's etcd member aside when the other
// control machines say that it is a member no more, as after it died while it
// was joining. The machine is an ordinary one then. Without their word nothing
// is touched, and the error is given back.
func (d *daemon) outvoted(ctx context.Context, id uint64, ended error) error {
	member, err := d.isMember(ctx, id)
	if err != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	if member {
		return ended
	}
	aside := d.etcdDir() + ".removed"
	if err := errors.Join(os.RemoveAll(aside), os.Rename(d.etcdDir(), aside)); err != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	d.log.Warn("no etcd member any more: an ordinary machine now", "data", aside)
	return nil
}

// isMember asks the other control machines whether this one is the etcd member
// with this id. Only a registry that has a quorum answers.
func (d *daemon) isMember(ctx context.Context, id uint64) (bool, error) {
	own := hostPort(d.id.Address, d.GatePort)
	others := slices.DeleteFunc(d.gates(), func(gate string) bool { return gate == own })
	if len(others) == 0 {
		return false, errors.New("no other control machine is known")
	}
	conn, err := etcd.Dial(others, d.credentials.ClientTLS(pki.Control), d.log)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	found, err := etcd.NewStore(conn, d.id.KeyPrefix).Range(ctx, registry.Single(registry.MemberKey(d.id.Machine)))
	if err != nil {
		return false, err
	}
	for _, rec := range found.Records {
		m, err := registry.Decode[registry.Member](rec)
		if err != nil || m.GetEtcdId() == id || m.GetEtcdId() == 0 {
			return true, nil // in doubt it is one
		}
	}
	return false, nil
}
