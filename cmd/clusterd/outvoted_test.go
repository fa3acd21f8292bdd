package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry/etcd"
)

// A member that was taken out before it knew a peer hears that from nobody: it
// asks the others, and gives up the role on their word only.
func TestWatchMember(t *testing.T) {
	for _, c := range []struct {
		name    string
		leader  bool
		member  bool
		err     error
		ended   bool
		givesUp bool
	}{
		{name: "with a leader there is nothing to ask", leader: true},
		{name: "without a quorum a member waits", member: true},
		{name: "without an answer it waits", err: errors.New("no answer")},
		{name: "the others say it is none", givesUp: true},
		{name: "it ended by itself", leader: true, ended: true, givesUp: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				ended := make(chan struct{})
				if c.ended {
					close(ended)
				}
				role := &controller{
					daemon: &daemon{log: slog.New(slog.DiscardHandler)},
					conn:   &etcd.Connection{HasLeader: func() bool { return c.leader }},
					ended:  ended, stop: stop,
					isMember: func(context.Context) (bool, error) { return c.member, c.err },
				}
				time.AfterFunc(5*askMembersEach, func() { stop(nil) })
				role.watchMember(ctx)
				if gaveUp := errors.Is(context.Cause(ctx), errMemberEnded); gaveUp != c.givesUp {
					t.Errorf("ended by %v, want giving up to be %v", context.Cause(ctx), c.givesUp)
				}
			})
		})
	}
}
