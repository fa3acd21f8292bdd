package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/clusterd/clusterd/registry"
)

// MemberConfig says how this process's etcd member runs.
type MemberConfig struct {
	Machine registry.MachineID // also the member's name
	Dir     string             // its data; made with mode 0700
	// Listen and Advertise are the host:port it listens at for its peers, and the one
	// they reach it at. Hosts are IP addresses.
	Listen, Advertise string
	// CertFile and KeyFile hold the certificate for both sides of peers' connections,
	// CAFile the authority of all peers' certificates and of nothing else.
	CertFile, KeyFile, CAFile string
	// InitialCluster is Member.initial_cluster of this machine's record, for a
	// member that joins; empty for the first member of a new cluster. It
	// doesn't matter once Dir holds data.
	InitialCluster string
	Token          string // tells clusters apart: the cluster's id
	QuotaBytes     int64  // how large its data may get before it takes no writes; 0: DefaultQuotaBytes
	Log            *slog.Logger
}

// PeerURL is how etcd writes the peer address host:port.
func PeerURL(address string) string { return "https://" + address }

const (
	heartbeat    = 100 * time.Millisecond
	election     = time.Second
	historyKept  = "10m"
	requestBytes = 1536 << 10
)

// DefaultQuotaBytes is room for several million units.
const DefaultQuotaBytes = 2 << 30

// Member is an etcd member in this process.
type Member struct {
	etcd    *embed.Etcd
	machine registry.MachineID
	conn    *Connection
	listen  netip.AddrPort
	log     *slog.Logger
}

// Initialised says whether dir holds a member's data already.
func Initialised(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "member", "wal"))
	return err == nil
}

// StartMember starts the member and does not wait for it to have a quorum; that is
// Ready. A member that joins a cluster, though, needs an answer from it to
// start: on an error, try again.
func StartMember(ctx context.Context, c MemberConfig) (*Member, error) {
	config, err := c.embedded()
	if err != nil {
		return nil, fmt.Errorf("start etcd member: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start etcd member: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start etcd member: %w", err)
	}
	running, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("start etcd member at %s: %w", c.Listen, err)
	}
	m := &Member{etcd: running, machine: c.Machine, listen: peerAddress(PeerURL(c.Listen)), log: c.Log}
	m.conn = inProcess(running.Server)
	go limitSilence(m.Done(), m.isPeer)
	go func() {
		for err := range running.Err() {
			m.log.Error("etcd member's listener ended", "error", err)
		}
	}()
	return m, nil
}

func (c MemberConfig) embedded() (*embed.Config, error) {
	listen, err := url.Parse(PeerURL(c.Listen))
	if err != nil {
		return nil, fmt.Errorf("peer address %q: %w", c.Listen, err)
	}
	advertise, err := url.Parse(PeerURL(c.Advertise))
	if err != nil {
		return nil, fmt.Errorf("peer address %q: %w", c.Advertise, err)
	}
	config := embed.NewConfig()
	config.Name, config.Dir = string(c.Machine), c.Dir
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*listen}, []url.URL{*advertise}
	config.ListenClientUrls, config.AdvertiseClientUrls = nil, nil
	config.PeerTLSInfo = transport.TLSInfo{
		CertFile:       c.CertFile,
		KeyFile:        c.KeyFile,
		TrustedCAFile:  c.CAFile,
		ClientCertAuth: true,
	}
	config.TlsMinVersion = "TLS1.3"
	config.InitialClusterToken = c.Token
	config.InitialCluster, config.ClusterState = c.InitialCluster, embed.ClusterStateFlagExisting
	if c.InitialCluster == "" {
		config.InitialCluster = fmt.Sprintf("%s=%s", c.Machine, PeerURL(c.Advertise))
		config.ClusterState = embed.ClusterStateFlagNew
	}
	config.TickMs = uint(heartbeat.Milliseconds())
	config.ElectionMs = uint(election.Milliseconds())
	config.AutoCompactionMode = embed.CompactorModePeriodic
	config.AutoCompactionRetention = historyKept
	config.QuotaBackendBytes = cmp.Or(c.QuotaBytes, DefaultQuotaBytes)
	config.MaxRequestBytes = requestBytes
	config.EnableGRPCGateway = false
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(quietZap(c.Log))
	return config, nil
}

// quietZap lets etcd's warnings through, but not those that are normal here.
func quietZap(log *slog.Logger) *zap.Logger {
	usual := map[string]bool{
		"Running http and grpc server on single port. This is not recommended for production.": true,
		"simple token is not cryptographically signed":                                         true,
		"setting up serving from embedded etcd failed.":                                        true, // that is how its listener ends; if not by Stop, Err tells
		"failed to apply request":                                                              true, // a lease asked for twice, a revision compacted
	}
	return newZap(log, zapcore.WarnLevel).WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return filterCore{core, usual}
	}))
}

// filterCore drops entries by their message.
type filterCore struct {
	zapcore.Core
	drop map[string]bool
}

func (f filterCore) With(fields []zapcore.Field) zapcore.Core {
	return filterCore{f.Core.With(fields), f.drop}
}

func (f filterCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if f.drop[e.Message] {
		return ce
	}
	return f.Core.Check(e, ce)
}

// inProcess connects to a server by function calls.
func inProcess(server *etcdserver.EtcdServer) *Connection {
	return &Connection{
		Client:    v3client.New(server),
		KV:        adapter.KvServerToKvClient(v3rpc.NewQuotaKVServer(server)),
		Watch:     adapter.WatchServerToWatchClient(v3rpc.NewWatchServer(server)),
		Lease:     adapter.LeaseServerToLeaseClient(v3rpc.NewQuotaLeaseServer(server)),
		HasLeader: func() bool { return server.Lead() != 0 },
		where:     "the etcd member on this machine",
		fix:       "a majority of the control machines must be up; see clusterctl list-machines",
	}
}

// Connection is the way to the cluster through this member, by function calls.
// It ends with the member.
func (m *Member) Connection() *Connection { return m.conn }

// Client is etcd's own client on Connection.
func (m *Member) Client() *clientv3.Client { return m.conn.Client }

// Ready is closed once the member takes part in the cluster, which takes a
// quorum.
func (m *Member) Ready() <-chan struct{} { return m.etcd.Server.ReadyNotify() }

// Done is closed when the member has stopped, by Stop or by itself, as one does
// that was removed from its cluster.
func (m *Member) Done() <-chan struct{} { return m.etcd.Server.StopNotify() }

// ID is etcd's number for this member, as in its record.
func (m *Member) ID() uint64 { return uint64(m.etcd.Server.MemberID()) }

// Leader is the machine whose member leads etcd, empty while there is none.
func (m *Member) Leader() registry.MachineID {
	leader := m.etcd.Server.Cluster().Member(m.etcd.Server.Leader())
	if leader == nil {
		return ""
	}
	return registry.MachineID(leader.Name)
}

// Stop hands etcd's leadership over if this member has it, then stops; its data
// stays. When ctx ends first, it goes on stopping in the background.
func (m *Member) Stop(ctx context.Context) error {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := m.conn.Close(); err != nil && !errors.Is(err, context.Canceled) {
			m.log.Debug("closing the in-process client", "error", err)
		}
		m.etcd.Close()
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop etcd member: %w", ctx.Err())
	}
}
