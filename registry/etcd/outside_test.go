package etcd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/storetest"
)

// theirs is an etcd that others keep: over TLS, with its own users.
type theirs struct{ endpoint string }

// startTheirs starts one whose certificate ends at some time. users says
// whether it wants its clients to log in: then there is clusterd, password right,
// who may use what is below /ours/.
func startTheirs(t *testing.T, a *authority, ends time.Time, certificates, users bool) *theirs {
	t.Helper()
	dir := t.TempDir()
	cert, key := a.issueUntil(t, dir, "server", ends)
	config := embed.NewConfig()
	config.Name, config.Dir = "theirs", filepath.Join(dir, "etcd")
	at := url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{at}, []url.URL{at}
	config.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}} // it has no peers
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.ClientTLSInfo = transport.TLSInfo{CertFile: cert, KeyFile: key, ClientCertAuth: certificates}
	if certificates {
		config.ClientTLSInfo.TrustedCAFile = a.file
	}
	config.EnableGRPCGateway = false
	config.BcryptCost = 4 // the least: logins are many here
	config.LogLevel, config.Logger = "fatal", "zap"
	running, err := embed.StartEtcd(config)
	must(t, err)
	t.Cleanup(running.Close)
	<-running.Server.ReadyNotify()
	if users {
		e := v3client.New(running.Server)
		defer e.Close()
		ctx := t.Context()
		for _, do := range []func() error{
			func() error { _, err := e.UserAdd(ctx, "root", "secret"); return err },
			func() error { _, err := e.UserGrantRole(ctx, "root", "root"); return err },
			func() error { _, err := e.RoleAdd(ctx, "ours"); return err },
			func() error {
				_, err := e.RoleGrantPermission(ctx, "ours", "/ours/", "/ours0", clientv3.PermissionType(clientv3.PermReadWrite))
				return err
			},
			func() error { _, err := e.UserAdd(ctx, "clusterd", "right"); return err },
			func() error { _, err := e.UserGrantRole(ctx, "clusterd", "ours"); return err },
			func() error { _, err := e.AuthEnable(ctx); return err },
		} {
			must(t, do())
		}
	}
	return &theirs{endpoint: at.Host}
}

func (a *authority) client(t *testing.T, certFile, keyFile string) *tls.Config {
	t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.certificate)
	if certFile != "" {
		own, err := tls.LoadX509KeyPair(certFile, keyFile)
		must(t, err)
		c.Certificates = []tls.Certificate{own}
	}
	return c
}

// asRoot lets the suite cut history short.
type asRoot struct {
	*etcd.Store
	t    *testing.T
	root *etcd.Connection
}

func (s asRoot) Compact(upTo registry.Revision) {
	_, err := s.root.Client.Compact(context.Background(), int64(upTo))
	must(s.t, err)
}

// TestStore_Outside: an outside etcd with users serves as any other.
func TestStore_Outside(t *testing.T) {
	a := newAuthority(t)
	e := startTheirs(t, a, time.Now().Add(time.Hour), false, true)
	login := func(user, password string) *etcd.Connection {
		conn, err := etcd.DialAs([]string{e.endpoint}, etcd.Access{TLS: a.client(t, "", ""), User: user, Password: password}, logger(t))
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	conn, root := login("clusterd", "right"), login("root", "secret")
	var opened atomic.Int64
	storetest.Run(t, func(t *testing.T) registry.Store {
		return asRoot{etcd.NewStore(conn, fmt.Sprintf("/ours/%d/", opened.Add(1))), t, root}
	})
	if _, err := etcd.NewStore(conn, "/others/").Range(t.Context(), registry.Single("a")); !errors.Is(err, registry.ErrRefused) {
		t.Errorf("another's keys: got %v, want ErrRefused", err)
	}
	keeper := &etcd.Keeper{Connection: conn, Every: 10 * time.Millisecond, Log: logger(t)}
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { keeper.Run(ctx); close(kept) }()
	eventually(t, "its room is seen", func() (string, bool) {
		s := keeper.Space()
		return fmt.Sprintf("%+v", s), s.QuotaBytes > 0 && s.FileBytes > 0
	})
	cancel()
	<-kept
}

// TestStore_TwoClusters keep apart in one etcd.
func TestStore_TwoClusters(t *testing.T) {
	member := startMember(t, newAuthority(t).member(t, "m1", 0))
	awaitReady(t, member)
	one, two := etcd.NewStore(member.Connection(), "/one/"), etcd.NewStore(member.Connection(), "/two/")
	told := two.Watch(t.Context(), registry.Everything(), 1)
	for _, s := range []*etcd.Store{one, two} {
		for _, key := range []string{registry.ClusterKey, registry.UnitKey("a.service"), registry.TokenKey("t")} {
			_, err := s.Commit(t.Context(), []registry.Guard{{Key: key}}, []registry.Op{{Key: key}})
			must(t, err)
		}
	}
	_, err := one.Commit(t.Context(), nil, []registry.Op{{Delete: registry.Everything()}})
	must(t, err)
	for s, want := range map[*etcd.Store]int{one: 0, two: 3} {
		if got, err := s.Range(t.Context(), registry.Everything()); err != nil || len(got.Records) != want {
			t.Errorf("got %d records, %v, want %d", len(got.Records), err, want)
		}
	}
	events := 0
	for events < 3 {
		c := <-told
		for _, e := range c.Events {
			if events++; e.Deleted {
				t.Errorf("the other's deletion was told: %s", e.Key)
			}
		}
	}
}

func TestDialAs_Errors(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Second)
	cert, key := a.issueUntil(t, dir, "client", later)
	oldCert, oldKey := a.issueUntil(t, dir, "late", before)
	users := startTheirs(t, a, later, false, true)
	certificates := startTheirs(t, a, later, true, false)
	expired := startTheirs(t, a, before, false, false)
	nobody := &theirs{endpoint: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	stranger := newAuthority(t)
	for _, test := range []struct {
		name   string
		etcd   *theirs
		access etcd.Access
		want   error
		text   string
	}{
		{"all is right", certificates, etcd.Access{TLS: a.client(t, cert, key)}, nil, ""},
		{"a user where none is wanted", certificates, etcd.Access{TLS: a.client(t, cert, key), User: "clusterd", Password: "right"}, nil, ""},
		{"the password is wrong", users, etcd.Access{TLS: a.client(t, "", ""), User: "clusterd", Password: "wrong"}, registry.ErrRefused, "invalid user ID or password"},
		{"the user is unknown", users, etcd.Access{TLS: a.client(t, "", ""), User: "nobody", Password: "right"}, registry.ErrRefused, "invalid user ID or password"},
		{"a user is missing", users, etcd.Access{TLS: a.client(t, cert, key)}, registry.ErrRefused, "user name is empty"},
		{"a certificate is missing", certificates, etcd.Access{TLS: a.client(t, "", "")}, registry.ErrNoAnswer, "EtcdCert="},
		{"ours expired", certificates, etcd.Access{TLS: a.client(t, oldCert, oldKey)}, registry.ErrNoAnswer, "EtcdCert="}, // with TLS 1.3 the reason may come too late to be read
		{"theirs expired", expired, etcd.Access{TLS: a.client(t, cert, key)}, registry.ErrNoAnswer, "certificate has expired"},
		{"theirs is by another authority", certificates, etcd.Access{TLS: stranger.client(t, cert, key)}, registry.ErrNoAnswer, "unknown authority"},
		{"nobody is there", nobody, etcd.Access{TLS: a.client(t, cert, key)}, registry.ErrNoAnswer, "connection refused"},
		{"nobody is there to log in", nobody, etcd.Access{TLS: a.client(t, "", ""), User: "clusterd", Password: "right"}, registry.ErrNoAnswer, "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			conn, err := etcd.DialAs([]string{test.etcd.endpoint}, test.access, logger(t))
			if err == nil {
				defer conn.Close()
				_, err = etcd.NewStore(conn, "/ours/").Range(t.Context(), registry.Single("a"))
			}
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err != nil && (!strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), test.etcd.endpoint) && test.want == registry.ErrNoAnswer) {
				t.Errorf("got %q, want it to name %s and say %q", err, test.etcd.endpoint, test.text)
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
