package gate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

// A lease that the gate chooses the id of carries its machine in the upper bits,
// so that every gate knows whose it is without asking.
const (
	leaseOwnBits = 24
	leaseMask    = int64(1)<<leaseOwnBits - 1
)

func leaseOwner(m registry.MachineID) int64 {
	sum := sha256.Sum256([]byte(m))
	return int64(binary.BigEndian.Uint64(sum[:8])>>1) &^ leaseMask
}

func newLeaseID(m registry.MachineID) int64 {
	var random [8]byte
	rand.Read(random[:])
	return leaseOwner(m) | int64(binary.BigEndian.Uint64(random[:]))&leaseMask
}

// leases are those with ids of the machines' own choice that this gate has
// seen. It is a hint: what isn't here is looked up in etcd.
type leases struct {
	mu   sync.Mutex
	seen map[int64]sighting
}

type sighting struct {
	machine registry.MachineID
	until   time.Time
}

func (l *leases) owner(id int64) (registry.MachineID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.seen[id]
	return s.machine, ok && time.Now().Before(s.until)
}

// note remembers a lease and reports false if its machine has too many.
func (l *leases) note(id int64, m registry.MachineID, seconds int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, mine := time.Now(), 0
	for known, s := range l.seen {
		switch {
		case now.After(s.until):
			delete(l.seen, known)
		case s.machine == m && known != id:
			mine++
		}
	}
	if mine >= leasesMax {
		return false
	}
	l.seen[id] = sighting{m, now.Add(time.Duration(seconds+1) * time.Second)}
	return true
}

func (l *leases) forget(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.seen, id)
}

// mayUseLease refuses leases of others. One that this gate doesn't know is c's if
// it holds keys, all of them c's to lease. One that isn't there belongs to nobody;
// etcd will say so.
func (g *Gate) mayUseLease(ctx context.Context, c client, id int64) error {
	if id&^leaseMask == leaseOwner(c.machine) {
		return nil
	}
	if owner, known := g.leases.owner(id); known && owner == c.machine {
		return nil
	}
	lease, err := g.config.Backend.Lease.LeaseTimeToLive(onward(ctx), &etcdserverpb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if err != nil {
		return err
	}
	if lease.GetTTL() <= 0 {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	own := len(lease.GetKeys()) > 0
	for _, key := range lease.GetKeys() {
		own = own && covers(c.rights.leased, key, nil)
	}
	if !own {
		return g.refuse(c, "use lease %x, which is not its own", id)
	}
	g.leases.note(id, c.machine, lease.GetTTL())
	return nil
}

// leaseServer is etcd's Lease service, for each machine's own leases.
type leaseServer struct {
	etcdserverpb.UnimplementedLeaseServer
	gate *Gate
}

func (s *leaseServer) LeaseGrant(ctx context.Context, r *etcdserverpb.LeaseGrantRequest) (*etcdserverpb.LeaseGrantResponse, error) {
	c := clientOf(ctx)
	if r.GetID() < 0 || r.GetTTL() <= 0 || r.GetTTL() > leaseSecondsMax {
		return nil, s.gate.refuse(c, "make lease %x of %d s; at most %d s", r.GetID(), r.GetTTL(), leaseSecondsMax)
	}
	chosen := r.GetID() != 0
	if !chosen {
		r.ID = newLeaseID(c.machine)
	}
	resp, err := s.gate.config.Backend.Lease.LeaseGrant(onward(ctx), r)
	if err != nil {
		return nil, err
	}
	if !s.gate.leases.note(resp.GetID(), c.machine, resp.GetTTL()) {
		revoke := &etcdserverpb.LeaseRevokeRequest{ID: resp.GetID()}
		if _, err := s.gate.config.Backend.Lease.LeaseRevoke(onward(ctx), revoke); err != nil {
			s.gate.config.Log.Debug("lease left to run out", "machine", c.machine, "error", err)
		}
		return nil, status.Errorf(codes.ResourceExhausted, "%smachine %s more than %d leases at once", etcd.RefusedMark, c.machine, leasesMax)
	}
	return resp, nil
}

func (s *leaseServer) LeaseRevoke(ctx context.Context, r *etcdserverpb.LeaseRevokeRequest) (*etcdserverpb.LeaseRevokeResponse, error) {
	if err := s.gate.mayUseLease(ctx, clientOf(ctx), r.GetID()); err != nil {
		return nil, err
	}
	resp, err := s.gate.config.Backend.Lease.LeaseRevoke(onward(ctx), r)
	if err == nil {
		s.gate.leases.forget(r.GetID())
	}
	return resp, err
}

func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *etcdserverpb.LeaseTimeToLiveRequest) (*etcdserverpb.LeaseTimeToLiveResponse, error) {
	if err := s.gate.mayUseLease(ctx, clientOf(ctx), r.GetID()); err != nil {
		return nil, err
	}
	return s.gate.config.Backend.Lease.LeaseTimeToLive(onward(ctx), r)
}

func (s *leaseServer) LeaseLeases(ctx context.Context, _ *etcdserverpb.LeaseLeasesRequest) (*etcdserverpb.LeaseLeasesResponse, error) {
	return nil, s.gate.refuse(clientOf(ctx), "list all leases")
}

func (s *leaseServer) LeaseKeepAlive(stream etcdserverpb.Lease_LeaseKeepAliveServer) error {
	ctx, cancel := context.WithCancel(onward(stream.Context()))
	defer cancel()
	c := clientOf(stream.Context())
	var onwards etcdserverpb.Lease_LeaseKeepAliveClient
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp, err := s.keepAlive(ctx, c, &onwards, r)
		if err != nil {
			return err
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// keepAlive is one round trip; onwards is opened when it is first needed.
func (s *leaseServer) keepAlive(ctx context.Context, c client, onwards *etcdserverpb.Lease_LeaseKeepAliveClient, r *etcdserverpb.LeaseKeepAliveRequest) (*etcdserverpb.LeaseKeepAliveResponse, error) {
	err := s.gate.mayUseLease(ctx, c, r.GetID())
	if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) {
		return &etcdserverpb.LeaseKeepAliveResponse{Header: &etcdserverpb.ResponseHeader{}, ID: r.GetID()}, nil
	}
	if err != nil {
		return nil, err
	}
	if *onwards == nil {
		if *onwards, err = s.gate.config.Backend.Lease.LeaseKeepAlive(ctx); err != nil {
			return nil, err
		}
	}
	if err := (*onwards).Send(r); err != nil {
		return nil, err
	}
	resp, err := (*onwards).Recv()
	if err == nil && resp.GetTTL() > 0 {
		s.gate.leases.note(r.GetID(), c.machine, resp.GetTTL())
	}
	return resp, err
}
