package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/storetest"
)

// compactable lets the suite cut etcd's history short.
type compactable struct {
	*etcd.Store
	t      *testing.T
	member *etcd.Member
}

func (c compactable) Compact(upTo registry.Revision) {
	if _, err := c.member.Client().Compact(context.Background(), int64(upTo)); err != nil {
		c.t.Fatalf("compact: %v", err)
	}
}

func startMember(t testing.TB, c etcd.MemberConfig) *etcd.Member {
	t.Helper()
	m, err := etcd.StartMember(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

func awaitReady(t testing.TB, m *etcd.Member) {
	t.Helper()
	select {
	case <-m.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the member isn't ready after 30s")
	}
}

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func TestStore_InProcess(t *testing.T) {
	authority := newAuthority(t)
	config := authority.member(t, "m1", 0)
	member := startMember(t, config)
	awaitReady(t, member)
	var opened atomic.Int64
	storetest.Run(t, func(t *testing.T) registry.Store {
		prefix := fmt.Sprintf("/clusterd/%d/", opened.Add(1))
		return compactable{etcd.NewStore(member.Connection(), prefix), t, member}
	})
}

func (a *authority) member(t testing.TB, machine registry.MachineID, port int) etcd.MemberConfig {
	t.Helper()
	if port == 0 {
		port = freePort(t)
	}
	dir := t.TempDir()
	certificate, key := a.issue(t, dir, string(machine))
	address := fmt.Sprintf("127.0.0.1:%d", port)
	return etcd.MemberConfig{
		Machine:   machine,
		Dir:       filepath.Join(dir, "etcd"),
		Listen:    address,
		Advertise: address,
		CertFile:  certificate,
		KeyFile:   key,
		CAFile:    a.file,
		Token:     "test",
		Log:       logger(t),
	}
}
