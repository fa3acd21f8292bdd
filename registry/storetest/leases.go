package storetest

import (
	"context"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// shortest is a lease that etcd grants as asked; it makes shorter ones longer.
const shortest = 2 * time.Second

func (h *harness) grant(id registry.LeaseID, ttl time.Duration) registry.LeaseID {
	h.Helper()
	lease, err := h.Grant(h.ctx, id, ttl)
	if err != nil {
		h.Fatalf("grant: %v", err)
	}
	if lease == 0 {
		h.Fatal("grant: got lease 0")
	}
	return lease
}

func leaseRunsOut(h *harness) {
	lease := h.grant(0, shortest)
	at := h.commit(registry.Op{Key: "alive/a", Lease: lease}, registry.Op{Key: "alive/b", Lease: lease}, put("c", ""))
	if rec := h.get("alive/a"); rec.Lease != lease {
		h.Fatalf("got lease %d, want %d", rec.Lease, lease)
	}
	h.wantEvents(h.Watch(h.ctx, registry.Everything(), at), "-alive/a", "-alive/b")
	_, err := h.KeepAlive(h.ctx, lease)
	h.wantErr(err, registry.ErrLeaseGone)
	h.wantKeys(registry.Everything(), "c=")
}

func leaseKept(h *harness) {
	lease := h.grant(0, shortest)
	h.commit(registry.Op{Key: "alive/a", Lease: lease})
	ttl, err := h.KeepAlive(h.ctx, lease)
	if err != nil || ttl < shortest {
		h.Fatalf("keep-alive: got %v, %v, want at least %v", ttl, err, shortest)
	}
	tick := time.NewTicker(shortest / 4)
	defer tick.Stop()
	for until := time.Now().Add(2 * shortest); time.Now().Before(until); <-tick.C {
		if _, err := h.KeepAlive(h.ctx, lease); err != nil {
			h.Fatalf("keep-alive: %v", err)
		}
	}
	h.wantKeys(registry.Everything(), "alive/a=")
}

func leaseRevoked(h *harness) {
	lease := h.grant(0, time.Minute)
	h.commit(registry.Op{Key: "alive/a", Lease: lease})
	if err := h.Revoke(h.ctx, lease); err != nil {
		h.Fatalf("revoke: %v", err)
	}
	h.wantKeys(registry.Everything(), "")
	h.wantErr(h.Revoke(h.ctx, lease), registry.ErrLeaseGone)
	_, err := h.KeepAlive(h.ctx, lease)
	h.wantErr(err, registry.ErrLeaseGone)
	_, err = h.Commit(h.ctx, nil, []registry.Op{{Key: "alive/a", Lease: lease}})
	h.wantErr(err, registry.ErrLeaseGone)
	h.wantKeys(registry.Everything(), "")
}

func leaseOwnID(h *harness) {
	id := registry.LeaseID(time.Now().UnixNano()) // tests may share one etcd
	if got := h.grant(id, time.Minute); got != id {
		h.Fatalf("got lease %d, want %d", got, id)
	}
	h.commit(registry.Op{Key: "alive/a", Lease: id})
	if got := h.grant(id, time.Minute); got != id {
		h.Fatalf("granting a lease that exists: got %d, want %d", got, id)
	}
	h.wantKeys(registry.Everything(), "alive/a=")
	if err := h.Revoke(h.ctx, id); err != nil {
		h.Fatalf("revoke: %v", err)
	}
	h.wantKeys(registry.Everything(), "")
}

func leaseDetached(h *harness) {
	lease := h.grant(0, time.Minute)
	h.commit(registry.Op{Key: "a", Lease: lease}, registry.Op{Key: "b", Lease: lease})
	h.commit(put("a", "free"))
	if err := h.Revoke(h.ctx, lease); err != nil {
		h.Fatalf("revoke: %v", err)
	}
	h.wantKeys(registry.Everything(), "a=free")
}

func contextEnded(h *harness) {
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	_, err := h.Range(ctx, registry.Everything())
	h.wantErr(err, context.Canceled)
	_, err = h.Commit(ctx, nil, []registry.Op{put("a", "1")})
	h.wantErr(err, context.Canceled)
	_, err = h.Grant(ctx, 0, time.Minute)
	h.wantErr(err, context.Canceled)
}
