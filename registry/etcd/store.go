package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/clusterd/clusterd/registry"
)

// callTimeout bounds every call but watches.
const callTimeout = 5 * time.Second

// Store is the registry in etcd, under a prefix.
type Store struct {
	conn   *Connection
	prefix string
}

var _ registry.Store = (*Store)(nil)

// DefaultPrefix is where clusters keep their state unless told otherwise.
const DefaultPrefix = "/clusterd/"

// NewStore returns the registry that lies under prefix, which ends in a slash.
// The connection stays the caller's to close.
func NewStore(conn *Connection, prefix string) *Store {
	return &Store{conn: conn, prefix: prefix}
}

// bounds are what etcd calls a range: an empty end means the single key.
func (s *Store) bounds(r registry.Range) (key, end string) {
	if r.To == "" {
		return s.prefix + r.From, ""
	}
	return s.prefix + r.From, s.prefix + r.To
}

// Range is registry.Records'.
func (s *Store) Range(ctx context.Context, r registry.Range) (registry.Snapshot, error) {
	c := s.begin(ctx)
	defer c.cancel()
	key, end := s.bounds(r)
	var opts []clientv3.OpOption
	if end != "" {
		opts = append(opts, clientv3.WithRange(end), clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
	}
	resp, err := s.conn.Client.Get(c, key, opts...)
	if err != nil {
		return registry.Snapshot{}, c.failed("read "+name(r), err)
	}
	snapshot := registry.Snapshot{Revision: registry.Revision(resp.Header.Revision)}
	for _, kv := range resp.Kvs {
		snapshot.Records = append(snapshot.Records, s.record(kv))
	}
	return snapshot, nil
}

// key is what the registry calls a key of etcd's.
func (s *Store) key(k []byte) string {
	return string(bytes.TrimPrefix(k, []byte(s.prefix)))
}

func (s *Store) record(kv *mvccpb.KeyValue) registry.Record {
	return registry.Record{
		Key:      s.key(kv.Key),
		Value:    kv.Value,
		Created:  registry.Revision(kv.CreateRevision),
		Modified: registry.Revision(kv.ModRevision),
		Lease:    registry.LeaseID(kv.Lease),
	}
}

// Commit is registry.Records'.
func (s *Store) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	if err := registry.CheckTransaction(guards, ops); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	compares := make([]clientv3.Cmp, len(guards))
	for i, g := range guards {
		if g.Created != 0 {
			compares[i] = clientv3.Compare(clientv3.CreateRevision(s.prefix+g.Key), "=", int64(g.Created))
		} else {
			compares[i] = clientv3.Compare(clientv3.ModRevision(s.prefix+g.Key), "=", int64(g.Modified))
		}
	}
	c := s.begin(ctx)
	defer c.cancel()
	resp, err := s.conn.Client.Txn(c).If(compares...).Then(s.operations(ops)...).Commit()
	if err != nil {
		return 0, c.failed("write "+subject(ops), err)
	}
	if !resp.Succeeded {
		return 0, fmt.Errorf("write %s: %w", subject(ops), registry.ErrGuard)
	}
	return registry.Revision(resp.Header.Revision), nil
}

func (s *Store) operations(ops []registry.Op) []clientv3.Op {
	all := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		if op.Delete == (registry.Range{}) {
			all[i] = clientv3.OpPut(s.prefix+op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
			continue
		}
		key, end := s.bounds(op.Delete)
		var opts []clientv3.OpOption
		if end != "" {
			opts = append(opts, clientv3.WithRange(end))
		}
		all[i] = clientv3.OpDelete(key, opts...)
	}
	return all
}

// Grant is registry.Leases'. etcd grants whole seconds, rounded up here.
func (s *Store) Grant(ctx context.Context, id registry.LeaseID, ttl time.Duration) (registry.LeaseID, error) {
	if ttl <= 0 || id < 0 {
		return 0, fmt.Errorf("make lease %d of %v: %w", id, ttl, registry.ErrInvalid)
	}
	c := s.begin(ctx)
	defer c.cancel()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	resp, err := s.conn.Lease.LeaseGrant(c, &etcdserverpb.LeaseGrantRequest{TTL: seconds, ID: int64(id)})
	if id != 0 && errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
		if _, err := s.KeepAlive(ctx, id); err != nil {
			return 0, err
		}
		return id, nil
	}
	if err != nil {
		return 0, c.failed("make a lease", err)
	}
	return registry.LeaseID(resp.ID), nil
}

const (
	keepAliveTry   = time.Second
	keepAlivePause = 100 * time.Millisecond
)

// KeepAlive is registry.Leases'. Each of its tries may go to another endpoint.
func (s *Store) KeepAlive(ctx context.Context, id registry.LeaseID) (time.Duration, error) {
	c := s.begin(ctx)
	defer c.cancel()
	for {
		seconds, err := s.keepAliveOnce(c, id)
		if err == nil && seconds <= 0 {
			err = rpctypes.ErrLeaseNotFound
		}
		if err == nil {
			return time.Duration(seconds) * time.Second, nil
		}
		if c.Err() == nil && errors.Is(c.failed("", err), registry.ErrNoAnswer) {
			c.attempts.last = err
			pause(c, keepAlivePause)
			continue
		}
		return 0, c.failed(fmt.Sprintf("keep lease %x", int64(id)), err)
	}
}

// keepAliveOnce is one round trip, on a stream of its own: unlike clientv3's it
// neither spins without a connection nor hangs on a dead one.
func (s *Store) keepAliveOnce(ctx context.Context, id registry.LeaseID) (seconds int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, keepAliveTry)
	defer cancel()
	stream, err := s.conn.Lease.LeaseKeepAlive(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: int64(id)}); err != nil {
		return 0, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	return resp.TTL, nil
}

// Revoke is registry.Leases'.
func (s *Store) Revoke(ctx context.Context, id registry.LeaseID) error {
	c := s.begin(ctx)
	defer c.cancel()
	if _, err := s.conn.Client.Revoke(c, clientv3.LeaseID(id)); err != nil {
		return c.failed(fmt.Sprintf("end lease %x", int64(id)), err)
	}
	return nil
}

// call is one call's context, with what is needed to explain its failure.
type call struct {
	context.Context
	cancel   context.CancelFunc
	parent   context.Context
	conn     *Connection
	attempts *attempts
}

func (s *Store) begin(parent context.Context) call {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(parent), callTimeout)
	ctx, tries := withAttempts(ctx)
	return call{ctx, cancel, parent, s.conn, tries}
}

// failed turns an error of etcd's into one of the registry's.
func (c call) failed(what string, err error) error {
	if ended := c.parent.Err(); ended != nil {
		if c.attempts.last != nil {
			return fmt.Errorf("%s: %w (%s: %s)", what, ended, c.conn.where, reason(c.attempts.last))
		}
		return fmt.Errorf("%s: %w", what, ended)
	}
	sentinel := classify(err)
	if sentinel == registry.ErrNoAnswer {
		if c.Err() != nil && c.attempts.last != nil {
			err = c.attempts.last
		}
		return fmt.Errorf("%s: %w: %s: %s; %s", what, sentinel, c.conn.where, reason(err), c.conn.fix)
	}
	if sentinel == registry.ErrFull {
		return fmt.Errorf("%s: %w: etcd's quota is used up; control machines make room where there is some, "+
			"else raise EtcdQuotaMiB= there: clusterctl list-machines tells more", what, sentinel)
	}
	return fmt.Errorf("%s: %w: %s", what, sentinel, reason(err))
}

func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return fmt.Sprintf("nothing within %v", callTimeout)
	}
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// RefusedMark begins the text of every refusal by a gate; a watch's refusal
// has no status code to know it by.
const RefusedMark = "gate refuses "

// classify names the registry's sentinel for an error of etcd's or gRPC's.
func classify(err error) error {
	err = rpctypes.Error(err)
	for _, known := range []struct{ etcd, sentinel error }{
		{rpctypes.ErrCompacted, registry.ErrCompacted},
		{rpctypes.ErrLeaseNotFound, registry.ErrLeaseGone},
		{rpctypes.ErrNoSpace, registry.ErrFull},
		{rpctypes.ErrPermissionDenied, registry.ErrRefused},
		{rpctypes.ErrAuthFailed, registry.ErrRefused},
		{rpctypes.ErrUserEmpty, registry.ErrRefused},
		{rpctypes.ErrTooManyRequests, registry.ErrNoAnswer},
		{rpctypes.ErrRequestTooLarge, registry.ErrInvalid},
	} {
		if errors.Is(err, known.etcd) {
			return known.sentinel
		}
	}
	if strings.Contains(err.Error(), RefusedMark) {
		return registry.ErrRefused
	}
	var coded rpctypes.EtcdError
	code := status.Code(err)
	if errors.As(err, &coded) {
		code = coded.Code()
	}
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated:
		return registry.ErrRefused
	case codes.InvalidArgument, codes.OutOfRange, codes.ResourceExhausted, codes.Unimplemented:
		return registry.ErrInvalid
	}
	return registry.ErrNoAnswer
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func name(r registry.Range) string {
	if r.To == "" {
		return r.From
	}
	return fmt.Sprintf("%q to %q", r.From, r.To)
}

// subject names what a transaction writes, short enough for a log line.
func subject(ops []registry.Op) string {
	if len(ops) == 0 {
		return "nothing"
	}
	first := ops[0].Key
	if first == "" {
		first = name(ops[0].Delete)
	}
	if len(ops) == 1 {
		return first
	}
	return fmt.Sprintf("%s and %d more", first, len(ops)-1)
}
