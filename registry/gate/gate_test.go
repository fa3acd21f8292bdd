package gate_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/gate"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/registry/storetest"
)

const (
	machineA = registry.MachineID("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	machineB = registry.MachineID("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
)

// cluster is one etcd member and the cluster's authorities.
type cluster struct {
	member    *etcd.Member
	authority *pki.Authority
	inside    *etcd.Store // with all rights
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	peers, err := pki.NewAuthority("test", "etcd peers", time.Now())
	must(t, err)
	authority, err := pki.NewAuthority("test", "cluster", time.Now())
	must(t, err)
	certificate, key, err := peers.NewCertificate(pki.Identity{Cluster: "test", Role: pki.Peer, Name: "c"}, []string{"127.0.0.1"}, time.Now())
	must(t, err)
	dir := t.TempDir()
	for name, text := range map[string][]byte{"ca.crt": peers.CertificatePEM(), "peer.crt": certificate, "peer.key": key} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	member, err := etcd.StartMember(t.Context(), etcd.MemberConfig{
		Machine: "c", Dir: filepath.Join(dir, "etcd"), Listen: address, Advertise: address, Token: "test",
		CertFile: filepath.Join(dir, "peer.crt"), KeyFile: filepath.Join(dir, "peer.key"), CAFile: filepath.Join(dir, "ca.crt"),
		Log: logger(t),
	})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		must(t, member.Stop(ctx))
	})
	select {
	case <-member.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("etcd isn't ready after 30s")
	}
	return &cluster{member, authority, etcd.NewStore(member.Connection(), etcd.DefaultPrefix)}
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func (c *cluster) credentials(t *testing.T, role pki.Role, name registry.MachineID) *pki.Credentials {
	t.Helper()
	certificate, key, err := c.authority.NewCertificate(pki.Identity{Cluster: "test", Role: role, Name: string(name)}, nil, time.Now())
	must(t, err)
	credentials, err := pki.NewCredentials(c.authority.CertificatePEM(), certificate, key)
	must(t, err)
	return credentials
}

func identify(s tls.ConnectionState) (registry.MachineID, error) {
	id, err := pki.IdentityOf(s.PeerCertificates[0])
	return registry.MachineID(id.Name), err
}

// open serves a gate and returns its address.
func (c *cluster) open(t *testing.T, backend *etcd.Connection, rights func(registry.MachineID) gate.Rights) string {
	t.Helper()
	g, err := gate.New(gate.Config{
		Backend:  backend,
		Prefix:   etcd.DefaultPrefix,
		TLS:      c.credentials(t, pki.Control, "c").ServerTLS(pki.Machine, pki.Control),
		Identify: identify,
		Rights:   rights,
		Log:      logger(t),
	})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		must(t, <-served)
	})
	return l.Addr().String()
}

func dial(t *testing.T, address string, secure *tls.Config) *etcd.Connection {
	t.Helper()
	conn, err := etcd.Dial([]string{address}, secure, logger(t))
	must(t, err)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return conn
}

func (c *cluster) as(t *testing.T, machine registry.MachineID, gates string) *etcd.Store {
	t.Helper()
	return etcd.NewStore(dial(t, gates, c.credentials(t, pki.Machine, machine).ClientTLS()), etcd.DefaultPrefix)
}

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

// everything is what the conformance suite needs.
func everything(registry.MachineID) gate.Rights {
	all := []registry.Range{registry.Everything()}
	return gate.Rights{Read: all, Write: all, Leased: all}
}

func TestStore_ThroughGate(t *testing.T) {
	c := newCluster(t)
	secure := c.credentials(t, pki.Machine, machineA).ClientTLS()
	first := c.open(t, c.member.Connection(), everything)
	second := c.open(t, dial(t, first, secure), everything)
	var opened atomic.Int64
	for name, address := range map[string]string{"to the member": first, "to a remote etcd": second} {
		conn := dial(t, address, secure)
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) registry.Store {
				prefix := fmt.Sprintf("%s%d/", etcd.DefaultPrefix, opened.Add(1))
				return compactable{etcd.NewStore(conn, prefix), t, c.member}
			})
		})
	}
}

func TestC11_MachineKeepsToItsOwnKeys(t *testing.T) {
	c := newCluster(t)
	address := c.open(t, c.member.Connection(), nil)
	a, b := c.as(t, machineA, address), c.as(t, machineB, address)
	leaseA, err := a.Grant(t.Context(), 0, time.Minute)
	must(t, err)
	leaseB, err := b.Grant(t.Context(), 0, time.Minute)
	must(t, err)
	put := func(key string, lease registry.LeaseID) func() error {
		return func() error {
			_, err := a.Commit(t.Context(), nil, []registry.Op{{Key: key, Lease: lease}})
			return err
		}
	}
	remove := func(r registry.Range) func() error {
		return func() error {
			_, err := a.Commit(t.Context(), nil, []registry.Op{{Delete: r}})
			return err
		}
	}
	read := func(r registry.Range) func() error {
		return func() error {
			_, err := a.Range(t.Context(), r)
			return err
		}
	}
	watch := func(r registry.Range) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for change := range a.Watch(ctx, r, 0) {
				if change.Err != nil && ctx.Err() == nil {
					return change.Err
				}
			}
			return nil
		}
	}
	guarded := func(key string) func() error {
		return func() error {
			_, err := a.Commit(t.Context(), []registry.Guard{{Key: key}}, nil)
			return err
		}
	}
	for _, test := range []struct {
		name string
		do   func() error
		may  bool
	}{
		{"reads its assignments", read(registry.Prefix(registry.AssignmentsOf(machineA))), true},
		{"watches its assignments", watch(registry.Prefix(registry.AssignmentsOf(machineA))), true},
		{"reads one of its assignments", read(registry.Single(registry.AssignmentKey(machineA, "a.service"))), true},
		{"reads files", read(registry.Prefix(registry.FilesPrefix)), true},
		{"reads its settings", read(registry.Prefix(registry.SettingsPrefix + string(machineA) + "/")), true},
		{"reads the cluster's record", read(registry.Single(registry.ClusterKey)), true},
		{"watches the members", watch(registry.Prefix(registry.MembersPrefix)), true},
		{"writes its record", put(registry.MachineKey(machineA), 0), true},
		{"writes its alive mark under its lease", put(registry.AliveKey(machineA), leaseA), true},
		{"writes what it observed", put(registry.ObservedKey(machineA, "a.service"), 0), true},
		{"deletes what it observed", remove(registry.Prefix(registry.ObservedOf(machineA))), true},
		{"writes its away mark", put(registry.AwayKey(machineA), 0), true},
		{"deletes its away mark", remove(registry.Single(registry.AwayKey(machineA))), true},
		{"guards by its record", guarded(registry.AssignmentKey(machineA, "a.service")), true},

		{"reads another's assignments", read(registry.Prefix(registry.AssignmentsOf(machineB))), false},
		{"watches another's assignments", watch(registry.Prefix(registry.AssignmentsOf(machineB))), false},
		{"reads all assignments", read(registry.Prefix(registry.AssignmentsPrefix)), false},
		{"reads past its assignments", read(registry.Range{From: registry.AssignmentsOf(machineA), To: registry.AssignmentsOf(machineB)}), false},
		{"reads everything", read(registry.Everything()), false},
		{"watches everything", watch(registry.Everything()), false},
		{"watches all machines", watch(registry.Prefix(registry.MachinesPrefix)), false},
		{"reads units", read(registry.Prefix(registry.UnitsPrefix)), false},
		{"reads tokens", read(registry.Prefix(registry.TokensPrefix)), false},
		{"reads the leader", read(registry.Single(registry.LeaderKey)), false},
		{"guards by the leader", guarded(registry.LeaderKey), false},
		{"writes its assignments", put(registry.AssignmentKey(machineA, "a.service"), 0), false},
		{"writes a file", put(registry.FileKey("abc"), 0), false},
		{"writes another's record", put(registry.MachineKey(machineB), 0), false},
		{"writes what another observed", put(registry.ObservedKey(machineB, "a.service"), 0), false},
		{"writes another's alive mark", put(registry.AliveKey(machineB), leaseA), false},
		{"writes its alive mark without a lease", put(registry.AliveKey(machineA), 0), false},
		{"writes its alive mark under another's lease", put(registry.AliveKey(machineA), leaseB), false},
		{"writes its record under a lease", put(registry.MachineKey(machineA), leaseA), false},
		{"writes its operator's settings", put(registry.SettingsKey(machineA), 0), false},
		{"writes the cluster's record", put(registry.ClusterKey, 0), false},
		{"writes the leader", put(registry.LeaderKey, 0), false},
		{"deletes everything", remove(registry.Everything()), false},
		{"deletes what all observed", remove(registry.Prefix(registry.ObservedPrefix)), false},
		{"ends another's lease", func() error { return a.Revoke(t.Context(), leaseB) }, false},
		{"keeps another's lease", func() error { _, err := a.KeepAlive(t.Context(), leaseB); return err }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.do()
			if test.may && err != nil {
				t.Errorf("got %v", err)
			}
			if !test.may && (!errors.Is(err, registry.ErrRefused) || !strings.Contains(err.Error(), "gate refuses machine "+string(machineA))) {
				t.Errorf("got %v, want a refusal", err)
			}
		})
	}
}

// TestC11_RawRequests sends what no client of ours would.
func TestC11_RawRequests(t *testing.T) {
	c := newCluster(t)
	address := c.open(t, c.member.Connection(), nil)
	conn := dial(t, address, c.credentials(t, pki.Machine, machineA).ClientTLS())
	own := []byte(etcd.DefaultPrefix + registry.AssignmentsOf(machineA))
	secret := []byte(etcd.DefaultPrefix + registry.TokensPrefix)
	zero := []byte{0}
	txn := func(ops ...*etcdserverpb.RequestOp) func() error {
		return func() error {
			_, err := conn.KV.Txn(t.Context(), &etcdserverpb.TxnRequest{Failure: ops})
			return err
		}
	}
	for _, test := range []struct {
		name string
		do   func() error
	}{
		{"open-ended range", func() error {
			_, err := conn.KV.Range(t.Context(), &etcdserverpb.RangeRequest{Key: own, RangeEnd: zero})
			return err
		}},
		{"all keys", func() error {
			_, err := conn.KV.Range(t.Context(), &etcdserverpb.RangeRequest{Key: zero, RangeEnd: zero})
			return err
		}},
		{"an empty key", func() error {
			_, err := conn.KV.Range(t.Context(), &etcdserverpb.RangeRequest{})
			return err
		}},
		{"a range the wrong way round", func() error {
			_, err := conn.KV.DeleteRange(t.Context(), &etcdserverpb.DeleteRangeRequest{Key: secret, RangeEnd: own})
			return err
		}},
		{"a transaction in a transaction", txn(&etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestTxn{
			RequestTxn: &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestRange{
				RequestRange: &etcdserverpb.RangeRequest{Key: secret}}}}}}})},
		{"a read in the other branch", txn(&etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{
			RequestRange: &etcdserverpb.RangeRequest{Key: secret}}})},
		{"an operation of no kind", txn(&etcdserverpb.RequestOp{})},
		{"a comparison of a range", func() error {
			_, err := conn.KV.Txn(t.Context(), &etcdserverpb.TxnRequest{Compare: []*etcdserverpb.Compare{{Key: own, RangeEnd: zero}}})
			return err
		}},
		{"compaction", func() error { _, err := conn.Client.Compact(t.Context(), 1); return err }},
		{"all leases", func() error { _, err := conn.Client.Leases(t.Context()); return err }},
		{"etcd's members", func() error { _, err := conn.Client.MemberList(t.Context()); return err }},
		{"a snapshot", func() error {
			_, err := conn.Client.Maintenance.Status(t.Context(), address)
			return err
		}},
		{"users", func() error { _, err := conn.Client.UserAdd(t.Context(), "root", "x"); return err }},
		{"an open-ended watch", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for resp := range conn.Client.Watch(ctx, string(own), clientv3.WithFromKey()) {
				return resp.Err()
			}
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.do()
			if err == nil {
				t.Fatal("it was done")
			}
			if text := err.Error(); !strings.Contains(text, "gate refuses") && !strings.Contains(text, "unknown service") {
				t.Errorf("got %v, want a refusal", err)
			}
		})
	}
}

func TestC11_StrangersAreRefused(t *testing.T) {
	c := newCluster(t)
	address := c.open(t, c.member.Connection(), nil)
	other := &cluster{member: c.member}
	var err error
	other.authority, err = pki.NewAuthority("test", "cluster", time.Now())
	must(t, err)
	foreign := other.credentials(t, pki.Machine, machineA).ClientTLS()
	foreign.VerifyConnection = nil
	bare := &tls.Config{InsecureSkipVerify: true}
	old := c.credentials(t, pki.Machine, machineA).ClientTLS()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, secure := range map[string]*tls.Config{
		"no certificate":              bare,
		"another authority's":         foreign,
		"an operator's":               c.credentials(t, pki.Admin, "root").ClientTLS(),
		"TLS 1.2":                     old,
		"a certificate of its own":    selfSigned(t),
		"another cluster's, same key": c.otherCluster(t),
	} {
		t.Run(name, func(t *testing.T) {
			store := etcd.NewStore(dial(t, address, secure), etcd.DefaultPrefix)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := store.Range(ctx, registry.Single(registry.ClusterKey)); err == nil {
				t.Error("it was let in")
			}
		})
	}
	if _, err := etcd.Dial([]string{address}, nil, logger(t)); err == nil {
		t.Error("dialling without TLS is no error")
	}
}

func selfSigned(t *testing.T) *tls.Config {
	key, err := pki.NewKey()
	must(t, err)
	certificate, err := pki.SelfSigned(key, time.Now())
	must(t, err)
	own := tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}
}

// otherCluster has a certificate by the same authority, about another cluster.
func (c *cluster) otherCluster(t *testing.T) *tls.Config {
	key, err := pki.NewKey()
	must(t, err)
	certificate, err := c.authority.Issue(key.Public(), pki.Identity{Cluster: "other", Role: pki.Machine, Name: string(machineA)}, nil, time.Now())
	must(t, err)
	own := tls.Certificate{Certificate: [][]byte{certificate.Raw, c.authority.Certificate.Raw}, PrivateKey: key, Leaf: (*x509.Certificate)(nil)}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}
}

// TestLease_AtAnotherGate shows that a machine's lease is its own at every gate,
// with an id of the gate's choice at once, with one of its own when it holds its key.
func TestLease_AtAnotherGate(t *testing.T) {
	c := newCluster(t)
	first, second := c.open(t, c.member.Connection(), nil), c.open(t, c.member.Connection(), nil)
	here, there := c.as(t, machineA, first), c.as(t, machineA, second)
	stranger := c.as(t, machineB, second)

	chosen, err := here.Grant(t.Context(), 0, time.Minute)
	must(t, err)
	if _, err := there.KeepAlive(t.Context(), chosen); err != nil {
		t.Errorf("keep-alive at another gate: %v", err)
	}
	if _, err := stranger.KeepAlive(t.Context(), chosen); !errors.Is(err, registry.ErrRefused) {
		t.Errorf("another machine's keep-alive: got %v, want ErrRefused", err)
	}

	own, err := here.Grant(t.Context(), 4711, time.Minute)
	must(t, err)
	if _, err := there.KeepAlive(t.Context(), own); !errors.Is(err, registry.ErrRefused) {
		t.Errorf("keep-alive of a lease without keys: got %v, want ErrRefused", err)
	}
	_, err = here.Commit(t.Context(), nil, []registry.Op{{Key: registry.AliveKey(machineA), Lease: own}})
	must(t, err)
	if _, err := there.KeepAlive(t.Context(), own); err != nil {
		t.Errorf("keep-alive of a lease with its key: %v", err)
	}
	if err := stranger.Revoke(t.Context(), own); !errors.Is(err, registry.ErrRefused) {
		t.Errorf("another machine's end of it: got %v, want ErrRefused", err)
	}
	if err := there.Revoke(t.Context(), own); err != nil {
		t.Errorf("end at another gate: %v", err)
	}
	if _, err := here.KeepAlive(t.Context(), own); !errors.Is(err, registry.ErrLeaseGone) {
		t.Errorf("keep-alive after its end: got %v, want ErrLeaseGone", err)
	}
}
