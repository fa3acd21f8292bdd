package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

const (
	testCluster = "c1"
	machineA    = registry.MachineID("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	machineB    = registry.MachineID("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
	machineC    = registry.MachineID("cccccccccccccccccccccccccccccccc")
)

// rig is a control machine A's API over real sockets, on a registry in memory.
type rig struct {
	t         *testing.T
	ctx       context.Context
	store     *mem.Store
	copy      *registry.Copy
	authority *pki.Authority
	server    *Server
	control   *Control
	clock     *clockAt
	socket    string // unix:// endpoint
	tcp       string // host:port
	client    *Client
}

// clockAt is a clock that tests move.
type clockAt struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clockAt) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clockAt) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

func newRig(t *testing.T) *rig {
	t.Helper()
	authority, err := pki.NewAuthority(testCluster, "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	peers, err := pki.NewAuthority(testCluster, "etcd peers", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{t: t, ctx: ctx, store: mem.New(mem.Options{}), authority: authority, clock: &clockAt{}}
	r.copy = registry.NewCopy(r.store, CopyRanges(), slog.New(slog.DiscardHandler))
	r.control = &Control{Store: r.store, Copy: r.copy, Authority: authority, PeerAuthority: peers, GossipKey: make([]byte, 32), wait: 5 * freshAgain}
	var running sync.WaitGroup
	running.Go(func() { _ = r.copy.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })

	credentials := r.credentials(pki.Control, string(machineA))
	r.server, r.socket, r.tcp = serve(t, ctx, &running, Config{
		Version: "test", Cluster: testCluster, Machine: machineA, Credentials: credentials,
		Local: fakeLocal{"A"}, Peers: NewPeers(credentials), Now: r.clock.now,
	})
	if err := r.server.SetControl(r.control); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { r.server.Run(ctx) })
	r.put(registry.ClusterKey, &registry.Cluster{Id: testCluster})
	r.machine(machineA, "alpha", r.tcp)
	r.alive(machineA)
	r.client = r.dial(r.socket, nil)
	return r
}

// serve starts a server on a unix socket and a TLS port.
func serve(t *testing.T, ctx context.Context, running *sync.WaitGroup, c Config) (s *Server, socket, tcp string) {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		if err := s.ServeUnix(ctx, u); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := s.ServeTLS(ctx, l); err != nil {
			t.Error(err)
		}
	})
	return s, "unix://" + path, l.Addr().String()
}

func (r *rig) credentials(role pki.Role, name string) *pki.Credentials {
	r.t.Helper()
	return credentialsOf(r.t, r.authority, pki.Identity{Cluster: testCluster, Role: role, Name: name})
}

func credentialsOf(t *testing.T, a *pki.Authority, id pki.Identity) *pki.Credentials {
	t.Helper()
	cert, key, err := a.NewCertificate(id, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.NewCredentials(a.CertificatePEM(), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) dial(endpoints string, config *tls.Config) *Client {
	r.t.Helper()
	c, err := Dial(endpoints, config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func (r *rig) as(role pki.Role, name string) *Client {
	return r.dial("https://"+r.tcp, r.credentials(role, name).ClientTLS())
}

func (r *rig) put(key string, m registry.Message) {
	r.t.Helper()
	r.write(registry.Op{Key: key, Value: registry.Encode(m)})
}

func (r *rig) write(ops ...registry.Op) {
	r.t.Helper()
	if _, err := r.store.Commit(r.ctx, nil, ops); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) machine(m registry.MachineID, hostname, api string) {
	r.t.Helper()
	record := &registry.Machine{Hostname: hostname, Address: "127.0.0.1", Api: api, Metadata: map[string]string{"hostname": hostname, "disk": "ssd"}}
	if m == machineA {
		record.Gate, record.Gossip = "127.0.0.1:7422", "127.0.0.1:7424"
	}
	r.put(registry.MachineKey(m), record)
}

// runs makes a machine one that is alive and has a systemd of this version.
func (r *rig) runs(m registry.MachineID, hostname, systemd string) {
	r.t.Helper()
	record := &registry.Machine{}
	if found, err := r.store.Range(r.ctx, registry.Single(registry.MachineKey(m))); err == nil && len(found.Records) > 0 {
		record, _ = registry.Decode[registry.Machine](found.Records[0])
	}
	record.Hostname, record.Facts = hostname, map[string]string{"systemd": systemd}
	record.Metadata = map[string]string{"hostname": hostname, "systemd": systemd[:3]}
	r.put(registry.MachineKey(m), record)
	r.alive(m)
}

// unit is a unit's record.
func (r *rig) unit(name unit.Name) *registry.Unit {
	r.t.Helper()
	found, err := r.store.Range(r.ctx, registry.Single(registry.UnitKey(name)))
	if err != nil || len(found.Records) == 0 {
		r.t.Fatalf("%s: %v, %v", name, found, err)
	}
	u, err := registry.Decode[registry.Unit](found.Records[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

func (r *rig) alive(m registry.MachineID) {
	r.t.Helper()
	r.put(registry.AliveKey(m), &registry.Alive{Incarnation: "boot-" + string(m)})
}

func (r *rig) assign(m registry.MachineID, u unit.Name, target registry.Target) {
	r.t.Helper()
	r.put(registry.AssignmentKey(m, u), &registry.Assignment{Target: target, Generation: 1})
}

func (r *rig) observe(m registry.MachineID, u unit.Name, active, sub string) {
	r.t.Helper()
	r.put(registry.ObservedKey(m, u), &registry.Observed{Load: "loaded", Active: active, Sub: sub, Generation: 1, Incarnation: "boot-" + string(m)})
}

// submit applies one file under several names.
func (r *rig) submit(src, target string, names ...unit.Name) (Applied, error) {
	a := Apply{Files: map[unit.Hash][]byte{unit.HashOf([]byte(src)): []byte(src)}}
	for _, name := range names {
		a.Changes = append(a.Changes, Change{Name: name, File: unit.HashOf([]byte(src)), Target: target})
	}
	return r.client.Apply(r.ctx, a)
}

func (r *rig) mustSubmit(src, target string, names ...unit.Name) Applied {
	r.t.Helper()
	applied, err := r.submit(src, target, names...)
	if err != nil {
		r.t.Fatal(err)
	}
	return applied
}

// change applies one change and tells how it went, in one line.
func (r *rig) change(c Change) string {
	applied, err := r.client.Apply(r.ctx, Apply{Changes: []Change{c}})
	if err != nil {
		return fmt.Sprintf("exit %d: %v", ExitCode(err), err)
	}
	u := applied.Units[0]
	return fmt.Sprintf("%s@%s %s generation %d", u.Name, u.Hash.Short(), u.Target, u.Generation)
}

// list is the units in one line each.
func (r *rig) list(globs ...string) string {
	r.t.Helper()
	units, err := r.client.Units(r.ctx, globs...)
	if err != nil {
		r.t.Fatal(err)
	}
	return show(units.Units...)
}

func show(units ...Unit) string {
	var b strings.Builder
	for _, u := range units {
		fmt.Fprintf(&b, "%s %s", u.Name, u.Target)
		if !u.Known {
			b.WriteString("unknown")
		}
		if u.Pending != nil {
			fmt.Fprintf(&b, " pending(%s)", u.Pending.Text)
		}
		for _, s := range u.States {
			fmt.Fprintf(&b, " [%s %s:", s.Hostname, s.MachineIs)
			if s.Assigned != "" {
				fmt.Fprintf(&b, " assigned %s", s.Assigned)
			}
			if s.Unclaimed {
				b.WriteString(" unclaimed")
			}
			if s.Reported {
				fmt.Fprintf(&b, " %s/%s/%s", s.Load, s.Active, s.Sub)
			}
			b.WriteString("]")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// fakeLocal is a machine whose journal and status are its name.
type fakeLocal struct{ name string }

func (f fakeLocal) Journal(ctx context.Context, name unit.Name, o JournalOptions, w io.Writer) error {
	fmt.Fprintf(w, "journal of %s on %s, lines %d output %q\n", name, f.name, o.Lines, o.Output)
	if o.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	if strings.HasPrefix(string(name), "broken") {
		return conflict("journal of %s: it is\nbroken", name)
	}
	return nil
}

func (f fakeLocal) Status(_ context.Context, name unit.Name, w io.Writer) (int, error) {
	fmt.Fprintf(w, "status of %s on %s\n", name, f.name)
	if f.name == "B" {
		return ExitInactive, nil
	}
	return 0, nil
}

func (f fakeLocal) Verify(_ context.Context, r VerifyRequest, w io.Writer) (int, error) {
	exit := 0
	for _, file := range r.Files {
		if text := string(file.File); strings.Contains(text, "Objectionable") {
			fmt.Fprintf(w, "%s:1: %s objects\n", file.Name, f.name)
			exit = ExitFailed
		} else if strings.Contains(text, "Doubtful") {
			fmt.Fprintf(w, "warning: %s: %s doubts\n", file.Name, f.name)
		}
	}
	return exit, nil
}

const web = "[Unit]\nDescription=Web\n[Service]\nExecStart=/bin/web\n"
