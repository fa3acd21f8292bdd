package hollow

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/gate"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

const clusterID = "hollow"

// control is a control machine: an etcd member on the disk, the gate and, once
// lead was called, an engine.
type control struct {
	testing.TB
	member    *etcd.Member
	store     *counting
	authority *pki.Authority
	gate      string
	committed *stamps // when the engine began to write a unit's assignment
	log       *slog.Logger
}

func newControl(tb testing.TB, units int) *control {
	tb.Helper()
	c := &control{TB: tb, committed: newStamps(units), log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	peers, err := pki.NewAuthority(clusterID, "etcd peers", time.Now())
	check(tb, err)
	c.authority, err = pki.NewAuthority(clusterID, "cluster", time.Now())
	check(tb, err)
	cert, key, err := peers.NewCertificate(pki.Identity{Cluster: clusterID, Role: pki.Peer, Name: "c"}, []string{"127.0.0.1"}, time.Now())
	check(tb, err)
	dir := tb.TempDir()
	for name, text := range map[string][]byte{"ca.crt": peers.CertificatePEM(), "peer.crt": cert, "peer.key": key} {
		check(tb, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	address := freeAddress(tb)
	c.member, err = etcd.StartMember(context.Background(), etcd.MemberConfig{
		Machine: "c", Dir: filepath.Join(dir, "etcd"), Listen: address, Advertise: address, Token: clusterID,
		CertFile: filepath.Join(dir, "peer.crt"), KeyFile: filepath.Join(dir, "peer.key"), CAFile: filepath.Join(dir, "ca.crt"), Log: c.log,
	})
	check(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		check(tb, c.member.Stop(ctx))
	})
	select {
	case <-c.member.Ready():
	case <-time.After(30 * time.Second):
		tb.Fatal("etcd isn't ready after 30s")
	}
	c.store = &counting{Store: etcd.NewStore(c.member.Connection(), etcd.DefaultPrefix), committed: c.committed}
	c.write(registry.Op{Key: registry.ClusterKey, Value: registry.Encode(&registry.Cluster{Version: 1, Id: clusterID, Epoch: 1, MembersWanted: 1})})
	c.openGate()
	return c
}

func freeAddress(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	defer l.Close()
	return l.Addr().String()
}

func (c *control) openGate() {
	cert, key, err := c.authority.NewCertificate(pki.Identity{Cluster: clusterID, Role: pki.Control, Name: "c"}, nil, time.Now())
	check(c, err)
	credentials, err := pki.NewCredentials(c.authority.CertificatePEM(), cert, key)
	check(c, err)
	g, err := gate.New(gate.Config{
		Backend: c.member.Connection(), Prefix: etcd.DefaultPrefix, TLS: credentials.ServerTLS(pki.Machine, pki.Control), Log: c.log,
		Identify: func(state tls.ConnectionState) (registry.MachineID, error) {
			id, err := pki.IdentityOf(state.PeerCertificates[0])
			return registry.MachineID(id.Name), err
		},
	})
	check(c, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(c, err)
	c.gate = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	c.Cleanup(func() {
		g.Stop()
		check(c, <-served)
	})
}

// lead runs an engine until the returned function is called.
func (c *control) lead() (resign func()) {
	c.Helper()
	e, err := engine.New(engine.Config{Store: c.store, Machine: "c", Incarnation: "boot", Log: c.log})
	check(c, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		check(c, <-done)
	}
}

// machines starts the process of n hollow machines and waits until all are
// registered.
func (c *control) machines(config fleetConfig) *child {
	c.Helper()
	ca := c.authority.CertificatePEM()
	key, err := c.authority.KeyPEM()
	check(c, err)
	config.Gate, config.CA, config.CAKey, config.RunDir = c.gate, ca, key, runDir(c)
	ch := startChild(c, "agents", config)
	c.Cleanup(ch.end)
	waitFor(c, "machines registered", config.Machines, 5*time.Minute, func() int { return c.count(registry.AlivePrefix) })
	return ch
}

// write commits operations, as many at a time as may be, four transactions in flight.
func (c *control) write(ops ...registry.Op) {
	c.Helper()
	var g errgroup.Group
	g.SetLimit(4)
	for len(ops) > 0 {
		n := min(len(ops), registry.OpsMax)
		batch := ops[:n]
		ops = ops[n:]
		g.Go(func() error {
			_, err := c.store.Store.Commit(context.Background(), nil, batch)
			return err
		})
	}
	check(c, g.Wait())
}

// file puts a unit file into the registry.
func (c *control) file(text string) unit.Hash {
	c.Helper()
	h := unit.HashOf([]byte(text))
	c.write(registry.Op{Key: registry.FileKey(h), Value: []byte(text)})
	return h
}

// unitOf writes that load@N.service is to run.
func unitOf(n int, file unit.Hash) registry.Op {
	return registry.Op{Key: registry.UnitKey(nameOf(n)), Value: registry.Encode(&registry.Unit{
		File: string(file), Target: registry.Target_LAUNCHED, Generation: 1, Who: "root", ChangedUnixMs: 1,
		History: []*registry.UnitVersion{{File: string(file), SubmittedUnixMs: 1, Who: "root"}},
	})}
}

func nameOf(n int) unit.Name { return unit.Name(fmt.Sprintf("load@%d.service", n)) }

// counting is the engine's store: it notes when an assignment is written, and
// counts what is asked of etcd.
type counting struct {
	registry.Store
	committed                     *stamps
	commits, ops, bytes, listings atomic.Int64
}

func (s *counting) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	s.commits.Add(1)
	s.ops.Add(int64(len(ops)))
	for _, op := range ops {
		s.bytes.Add(int64(len(op.Key) + len(op.Value)))
		if strings.HasPrefix(op.Key, registry.AssignmentsPrefix) {
			s.committed.now(number(unit.Name(op.Key[strings.LastIndexByte(op.Key, '/')+1:])))
		}
	}
	return s.Store.Commit(ctx, guards, ops)
}

func (s *counting) Range(ctx context.Context, r registry.Range) (registry.Snapshot, error) {
	s.listings.Add(1)
	return s.Store.Range(ctx, r)
}

// revision is the registry's.
func (c *control) revision() int64 {
	c.Helper()
	s, err := c.store.Store.Range(context.Background(), registry.Single(registry.ClusterKey))
	check(c, err)
	return int64(s.Revision)
}

// count asks etcd how many keys there are under a prefix.
func (c *control) count(prefix string) int {
	c.Helper()
	r := registry.Prefix(etcd.DefaultPrefix + prefix)
	resp, err := c.member.Client().Get(context.Background(), r.From, clientv3.WithRange(r.To), clientv3.WithCountOnly(), clientv3.WithSerializable())
	check(c, err)
	return int(resp.Count)
}

// list reads everything once, in parts that are known beforehand: the floor of
// whoever has to know all.
func (c *control) list() {
	c.Helper()
	var g errgroup.Group
	g.SetLimit(4)
	get := func(from, to string) {
		g.Go(func() error {
			_, err := c.member.Client().Get(context.Background(), from, clientv3.WithRange(to))
			return err
		})
	}
	units, assignments := etcd.DefaultPrefix+registry.UnitsPrefix+"load@", etcd.DefaultPrefix+registry.AssignmentsPrefix
	for i := 100; i < 1000; i++ {
		get(fmt.Sprint(units, i), fmt.Sprint(units, i+1))
	}
	for i := range 1 << 12 {
		get(fmt.Sprintf("%s%03x", assignments, i), fmt.Sprintf("%s%03xg", assignments, i))
	}
	check(c, g.Wait())
}
