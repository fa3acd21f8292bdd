package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

// Bounds of what one machine may use.
const (
	requestBytesMax   = 2 << 20 // etcd itself takes 1.5 MiB
	streamsMax        = 64      // at once, over all connections of a machine
	watchesMax        = 64      // on one stream
	leasesMax         = 32      // known here at once
	leaseSecondsMax   = 24 * 60 * 60
	leaderlessFor     = 3 * time.Second // before streams that need an etcd leader end
	leaderlessCheck   = time.Second
	connectionTimeout = 10 * time.Second
	tellAgain         = time.Minute // before the same refusal is logged anew
	toldMax           = 1000
)

// Config is what a Gate needs; all fields but Rights are required.
type Config struct {
	Backend *etcd.Connection
	Prefix  string // under which the cluster's keys lie
	// TLS holds the gate's certificate, and how clients' are verified: by ClientCAs, or
	// by VerifyConnection. That clients show one, and TLS 1.3, is the gate's doing.
	TLS *tls.Config
	// Identify says which machine a verified certificate is. An error refuses the call.
	Identify func(tls.ConnectionState) (registry.MachineID, error)
	// Rights are MachineRights if nil.
	Rights func(registry.MachineID) Rights
	Log    *slog.Logger
}

// Gate is etcd's API for machines.
type Gate struct {
	config Config
	server *grpc.Server
	leases leases
	ended  chan struct{}
	stop   sync.Once

	mu      sync.Mutex
	streams map[registry.MachineID]int
	lost    chan struct{}        // closed when there is no etcd leader
	told    map[string]time.Time // refusals logged lately
}

// New makes a gate; Serve runs it.
func New(c Config) (*Gate, error) {
	if c.TLS == nil || c.TLS.ClientCAs == nil && c.TLS.VerifyConnection == nil {
		return nil, errors.New("make gate: nothing to verify clients' certificates by")
	}
	if c.Rights == nil {
		c.Rights = MachineRights
	}
	secure := c.TLS.Clone()
	secure.MinVersion = tls.VersionTLS13
	secure.ClientAuth = tls.RequireAnyClientCert
	if secure.ClientCAs != nil {
		secure.ClientAuth = tls.RequireAndVerifyClientCert
	}
	g := &Gate{
		config:  c,
		ended:   make(chan struct{}),
		streams: make(map[registry.MachineID]int),
		lost:    make(chan struct{}),
		told:    make(map[string]time.Time),
		leases:  leases{seen: make(map[int64]sighting)},
	}
	g.server = grpc.NewServer(
		grpc.Creds(newTurnstile(credentials.NewTLS(secure))),
		grpc.UnaryInterceptor(g.admitCall),
		grpc.StreamInterceptor(g.admitStream),
		grpc.MaxRecvMsgSize(requestBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.ConnectionTimeout(connectionTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	)
	etcdserverpb.RegisterKVServer(g.server, &keys{gate: g})
	etcdserverpb.RegisterWatchServer(g.server, &watches{gate: g})
	etcdserverpb.RegisterLeaseServer(g.server, &leaseServer{gate: g})
	return g, nil
}

// Serve answers machines on l until Stop, which makes it return nil. It closes l.
func (g *Gate) Serve(l net.Listener) error {
	go g.watchLeader()
	if err := g.server.Serve(l); err != nil {
		return fmt.Errorf("serve gate at %s: %w", l.Addr(), err)
	}
	return nil
}

// Stop ends all connections.
func (g *Gate) Stop() {
	g.stop.Do(func() { close(g.ended) })
	g.server.Stop()
}

// watchLeader ends the streams of clients that asked for that (etcd's clients
// do, to find another member) when this side of the cluster has no etcd leader.
func (g *Gate) watchLeader() {
	tick := time.NewTicker(leaderlessCheck)
	defer tick.Stop()
	var missing time.Duration
	for {
		select {
		case <-g.ended:
			return
		case <-tick.C:
		}
		if g.config.Backend.HasLeader() {
			missing = 0
			continue
		}
		if missing += leaderlessCheck; missing >= leaderlessFor {
			g.mu.Lock()
			close(g.lost)
			g.lost = make(chan struct{})
			g.mu.Unlock()
		}
	}
}

func (g *Gate) leaderLost() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

type machineKey struct{}

// client is the machine a call comes from, with its rights.
type client struct {
	machine registry.MachineID
	rights  absolute
}

func clientOf(ctx context.Context) client { return ctx.Value(machineKey{}).(client) }

// admit finds out who calls, and refuses strangers.
func (g *Gate) admit(ctx context.Context) (context.Context, client, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, client{}, status.Error(codes.Unauthenticated, etcd.RefusedMark+"a caller it knows nothing of")
	}
	secure, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, client{}, status.Error(codes.Unauthenticated, etcd.RefusedMark+"a caller without TLS")
	}
	machine, err := g.config.Identify(secure.State)
	if err != nil {
		return nil, client{}, status.Errorf(codes.Unauthenticated, "%sthis certificate: %v", etcd.RefusedMark, err)
	}
	if machine == "" || strings.ContainsAny(string(machine), "/\x00") {
		return nil, client{}, status.Errorf(codes.Unauthenticated, "%smachine id %q: it is not one", etcd.RefusedMark, machine)
	}
	if needsLeader(ctx) && !g.config.Backend.HasLeader() {
		return nil, client{}, rpctypes.ErrGRPCNoLeader
	}
	c := client{machine, g.config.Rights(machine).under(g.config.Prefix)}
	return context.WithValue(ctx, machineKey{}, c), c, nil
}

func needsLeader(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	asked := md.Get(rpctypes.MetadataRequireLeaderKey)
	return len(asked) > 0 && asked[0] == rpctypes.MetadataHasLeader
}

// onward is the context of a call that the gate makes for its client.
func onward(ctx context.Context) context.Context {
	if needsLeader(ctx) {
		return clientv3.WithRequireLeader(ctx)
	}
	return ctx
}

func (g *Gate) admitCall(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, _, err := g.admit(ctx)
	if err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (g *Gate) admitStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, c, err := g.admit(stream.Context())
	if err != nil {
		return err
	}
	if !g.openStream(c.machine) {
		return status.Errorf(codes.ResourceExhausted, "%smachine %s more than %d streams at once", etcd.RefusedMark, c.machine, streamsMax)
	}
	defer g.closeStream(c.machine)
	if !needsLeader(ctx) {
		return handle(server, admitted{stream, ctx})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lost := g.leaderLost()
	go func() {
		select {
		case <-lost:
			cancel(rpctypes.ErrGRPCNoLeader)
		case <-ctx.Done():
		}
	}()
	err = handle(server, admitted{stream, ctx})
	if context.Cause(ctx) == rpctypes.ErrGRPCNoLeader {
		return rpctypes.ErrGRPCNoLeader
	}
	return err
}

func (g *Gate) openStream(m registry.MachineID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.streams[m] >= streamsMax {
		return false
	}
	g.streams[m]++
	return true
}

func (g *Gate) closeStream(m registry.MachineID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.streams[m]--; g.streams[m] == 0 {
		delete(g.streams, m)
	}
}

// admitted is a stream whose client is known.
type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

func (s admitted) Context() context.Context { return s.ctx }

// refuse says no to a client, and to the log.
func (g *Gate) refuse(c client, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if g.isNews(string(c.machine) + " " + what) {
		g.config.Log.Warn("gate refused a machine", "machine", c.machine, "refused", what)
	}
	return status.Errorf(codes.PermissionDenied, "%smachine %s to %s", etcd.RefusedMark, c.machine, what)
}

// isNews says whether a refusal is to be logged: a machine that tries again and
// again doesn't fill the log.
func (g *Gate) isNews(refusal string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if last, known := g.told[refusal]; known && now.Sub(last) < tellAgain {
		return false
	}
	if len(g.told) >= toldMax {
		clear(g.told)
	}
	g.told[refusal] = now
	return true
}
