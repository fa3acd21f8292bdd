package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/agent/gossip"
	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/gate"
	"github.com/clusterd/clusterd/registry/pki"
)

// ordinary is the role of a machine that is no control machine: the agent, over
// a control machine's gate. When the leader has chosen this machine to be a
// control machine, it returns its etcd member, started; the agent runs until
// then, so that the machine is never without one for long.
func (d *daemon) ordinary(ctx context.Context) (*etcd.Member, error) {
	notify(d.log, "STATUS=machine; looking for the cluster's gates")
	conn, err := etcd.Dial(d.gates(), d.credentials.ClientTLS(pki.Control), d.log)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	store := etcd.NewStore(conn, d.id.KeyPrefix)
	a, err := d.newAgent(ctx, store, false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var member *etcd.Member
	var side sync.WaitGroup
	side.Go(func() {
		if member = d.followMembers(ctx, store, func() { conn.SetEndpoints(d.gates()) }); member != nil {
			cancel(agent.ErrHandover)
		}
	})
	d.fail(cancel, "agent", a.Run(ctx))
	cancel(nil)
	side.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, agent.ErrHandover):
		return member, nil
	case member != nil:
		return nil, errors.Join(ignoreCanceled(cause), d.stopMember(member))
	default:
		return nil, ignoreCanceled(cause)
	}
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// followMembers keeps the list of control machines until ctx ends, or until
// this machine is one of them and its member could be started.
func (d *daemon) followMembers(ctx context.Context, store registry.Store, changed func()) *etcd.Member {
	members := registry.NewCopy(store, []registry.Range{registry.Prefix(registry.MembersPrefix)}, d.log)
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	running.Go(func() { _ = members.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for {
		news := members.Changed()
		again := time.Minute
		if members.Revision() > 0 {
			own := d.learnMembers(members.View())
			changed()
			notify(d.log, "STATUS=machine of cluster "+d.id.Cluster)
			if own != nil {
				member, err := d.joinMembers(ctx, own)
				if err == nil {
					return member
				}
				d.log.Warn("chosen as control machine, but not ready to be one yet", "error", err)
				again = 2 * time.Second
			}
		}
		retry := time.NewTimer(again)
		select {
		case <-ctx.Done():
			retry.Stop()
			return nil
		case <-news:
		case <-retry.C:
		}
		retry.Stop()
	}
}

// joinMembers starts this machine's etcd member by its record.
func (d *daemon) joinMembers(ctx context.Context, own *registry.Member) (*etcd.Member, error) {
	if err := d.fetchControlCredentials(ctx); err != nil {
		return nil, err
	}
	return d.startMember(ctx, own)
}

// learnMembers takes the control machines from the registry, keeps what a
// restart needs to find them, and returns this machine's own record.
func (d *daemon) learnMembers(view registry.View) *registry.Member {
	members := map[registry.MachineID]*registry.Member{}
	var gates, apis, peers []string
	for rec := range view.Range(registry.Prefix(registry.MembersPrefix)) {
		m, err := registry.Decode[registry.Member](rec)
		if err != nil {
			d.log.Error("record of an etcd member can't be read", "error", err)
			continue
		}
		members[registry.MachineID(rec.Key[len(registry.MembersPrefix):])] = m
		if m.Promoted && m.Gate != "" {
			gates = append(gates, m.Gate)
			apis = append(apis, m.Api)
			peers = append(peers, m.Gossip)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members = members
	d.gossip.Peers(peers)
	if len(gates) > 0 && !slices.Equal(gates, d.id.Gates) {
		d.id.Gates, d.id.APIs, d.id.Gossip = gates, apis, peers
		if err := writeIdentity(d.DataDir, d.id); err != nil {
			d.log.Warn("list of control machines not kept", "error", err)
		}
	}
	return members[d.id.Machine]
}

func (d *daemon) gates() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.id.Gates)
}

func (d *daemon) apis() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.id.APIs)
}

// fetchControlCredentials asks a control machine for the authorities' keys and
// keeps them. The machine's own certificate becomes one for role control.
func (d *daemon) fetchControlCredentials(ctx context.Context) error {
	keyPEM, err := d.pki.Read(pki.MachineKey)
	if err != nil {
		return err
	}
	key, err := pki.ParseKey(keyPEM)
	if err != nil {
		return err
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		return err
	}
	var endpoints string
	for _, e := range d.apis() {
		endpoints += "https://" + e + ","
	}
	client, err := api.Dial(endpoints, d.credentials.ClientTLS(pki.Control))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	got, err := client.ControlCredentials(ctx, api.ControlRequest{CSR: csr})
	if err != nil {
		return err
	}
	ca, err := pki.ParseAuthority(got.CA, got.CAKey)
	if err != nil {
		return err
	}
	peerCA, err := pki.ParseAuthority(got.PeerCA, got.PeerCAKey)
	if err != nil {
		return err
	}
	peerCert, peerKey, err := peerCA.NewCertificate(d.controlIdentity(), []string{d.id.Address}, time.Now())
	if err != nil {
		return err
	}
	err = errors.Join(d.pki.WriteAuthority(ca), d.pki.WritePeerAuthority(peerCA),
		d.pki.Write(pki.PeerKey, peerKey), d.pki.Write(pki.PeerCertificate, peerCert),
		d.pki.Write(pki.MachineCertificate, got.Certificate))
	if err != nil {
		return err
	}
	return d.credentials.Replace(got.CA, got.Certificate, keyPEM)
}

func (d *daemon) controlIdentity() pki.Identity {
	return pki.Identity{Cluster: d.id.Cluster, Role: pki.Control, Name: string(d.id.Machine)}
}

// errMemberEnded says that the etcd member ended by itself, as one does that is
// no longer a member.
var errMemberEnded = errors.New("this machine's etcd member ended by itself; journalctl -u clusterd tells more")

// control is the role of a control machine: the etcd member and, over it, the
// gate, the API's copy, the engine candidate and the agent.
func (d *daemon) control(ctx context.Context, member *etcd.Member) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := d.newController(member.Connection(), cancel)
	c.membership = member.Client()
	c.room.Member = member
	c.ended = member.Done()
	c.isMember = func(ctx context.Context) (bool, error) { return d.isMember(ctx, member.ID()) }
	err := c.run(ctx)
	d.log.Debug("stopping the etcd member")
	return errors.Join(err, d.stopMember(member))
}

func (d *daemon) stopMember(member *etcd.Member) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownMax)
	defer cancel()
	return member.Stop(ctx)
}

// startMember starts this machine's etcd member; own is its record when it is
// to join the members now.
func (d *daemon) startMember(ctx context.Context, own *registry.Member) (*etcd.Member, error) {
	notify(d.log, "STATUS=control machine; starting its etcd member")
	return etcd.StartMember(ctx, etcd.MemberConfig{
		Machine: d.id.Machine, Dir: d.etcdDir(), Token: d.id.Cluster,
		Listen: hostPort(d.id.Address, d.PeerPort), Advertise: hostPort(d.id.Address, d.PeerPort),
		CertFile: d.pki.File(pki.PeerCertificate), KeyFile: d.pki.File(pki.PeerKey), CAFile: d.pki.File(pki.PeerCACertificate),
		InitialCluster: own.GetInitialCluster(), QuotaBytes: int64(d.EtcdQuotaMiB) << 20, Log: d.log,
	})
}

// controller is one control machine's work.
type controller struct {
	*daemon
	conn       *etcd.Connection
	store      *etcd.Store
	membership clientv3.Cluster // nil with an outside etcd
	ended      <-chan struct{}  // closed when the etcd member ended by itself; nil with an outside etcd
	stop       context.CancelCauseFunc
	room       *etcd.Keeper

	isMember func(context.Context) (bool, error) // what the other control machines say; nil with an outside etcd
}

func (d *daemon) newController(conn *etcd.Connection, stop context.CancelCauseFunc) *controller {
	room := &etcd.Keeper{Connection: conn, Log: d.log}
	return &controller{daemon: d, conn: conn, store: etcd.NewStore(conn, d.id.KeyPrefix), room: room, stop: stop}
}

// run works until ctx ends. The agent ends first, so that its last words can be
// written; then the engine, then those who only serve others.
func (c *controller) run(ctx context.Context) error {
	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	copied := registry.NewCopy(c.store, api.CopyRanges(), c.log)
	if err := c.serveState(copied); err != nil {
		return err
	}
	listener, err := listen("the gate", "GatePort", c.id.Address, c.GatePort)
	if err != nil {
		return err
	}
	eng, err := c.newEngine()
	if err != nil {
		listener.Close()
		return err
	}
	a, err := c.newAgent(ctx, c.store, true)
	if err != nil {
		listener.Close()
		return err
	}
	c.engine.Store(eng)
	defer c.engine.Store(nil)
	var servers, side sync.WaitGroup
	servers.Go(func() { _ = copied.Run(serving) })
	servers.Go(func() { c.room.Run(serving) })
	servers.Go(func() { c.fail(c.stop, "gate", c.serveGate(serving, listener, copied)) })
	side.Go(func() { c.fail(c.stop, "engine", eng.Run(ctx)) })
	side.Go(func() { c.tellStatus(ctx, eng, copied) })
	side.Go(func() { c.watchMember(ctx) })
	if c.id.Bootstrap {
		side.Go(func() { c.ensureCluster(ctx) })
	}
	c.fail(c.stop, "agent", a.Run(ctx))
	c.stop(nil)
	side.Wait()
	_ = c.server.SetControl(nil) // only a Control that lacks something is refused
	endServing()
	servers.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// serveState lets the API answer from the registry's copy.
func (c *controller) serveState(copied *registry.Copy) error {
	authority, err := c.pki.Authority()
	if err != nil {
		return err
	}
	peerAuthority, err := c.pki.PeerAuthority()
	if err != nil {
		return err
	}
	key, err := c.pki.Read(pki.GossipKey)
	if err != nil {
		return err
	}
	return c.server.SetControl(&api.Control{
		Store: c.store, Copy: copied, Authority: authority, PeerAuthority: peerAuthority, GossipKey: key,
		KeyPrefix: c.id.KeyPrefix,
		Explain:   c.explain,
		Notice:    func() string { return c.room.Space().Notice() },
		Lost:      func(m registry.MachineID) bool { return c.gossip.State(m) == gossip.Dead },
		Suspected: func(m registry.MachineID) bool {
			s := c.gossip.State(m)
			return s == gossip.Suspect || s == gossip.Dead
		},
		DeadAfter: c.Grace, AwayLimit: c.AwayLimit,
		Foresee: c.foresee,
	})
}

// serveGate lets machines in, but for those that were removed: their
// certificates are good still.
func (c *controller) serveGate(ctx context.Context, l net.Listener, copied *registry.Copy) error {
	g, err := gate.New(gate.Config{
		Backend: c.conn,
		Prefix:  c.id.KeyPrefix,
		TLS:     c.credentials.ServerTLS(pki.Machine, pki.Control),
		Identify: func(state tls.ConnectionState) (registry.MachineID, error) {
			id, err := pki.IdentityOf(state.PeerCertificates[0])
			if _, removed := copied.Get(registry.RemovedKey(registry.MachineID(id.Name))); removed {
				err = errors.New("the machine was removed from the cluster; join it anew: clusterd join TOKEN")
			}
			return registry.MachineID(id.Name), err
		},
		Log: c.log,
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, g.Stop)()
	return g.Serve(l)
}

func (c *controller) newEngine() (*engine.Engine, error) {
	return engine.New(engine.Config{
		Store: c.store, Machine: c.id.Machine, Incarnation: c.bootID, Log: c.log,
		Gossip: liveness{c.gossip},
		Timing: engine.Timing{
			Lease: c.EngineLease, KeepAlive: c.EngineLease * 3 / 10,
			Grace: c.Grace, AwayLimit: c.AwayLimit, Brake: c.BrakeFraction,
		},
		WhileLeading: func(ctx context.Context, guard registry.Guard) {
			if c.membership == nil {
				return
			}
			m := etcd.Membership{Store: c.store, Cluster: c.membership, Guard: guard, Log: c.log}
			if err := m.Run(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("membership of etcd is not kept", "error", err)
			}
		},
	})
}

// liveness is gossip as the engine wants to hear it.
type liveness struct{ gossip *gossip.Gossip }

func (l liveness) Liveness(m registry.MachineID) engine.Liveness {
	switch l.gossip.State(m) {
	case gossip.Alive:
		return engine.Alive
	case gossip.Suspect:
		return engine.Suspect
	case gossip.Dead:
		return engine.Dead
	}
	return engine.Unknown
}

// tellStatus keeps systemd's status line and the list of control machines true.
func (c *controller) tellStatus(ctx context.Context, e *engine.Engine, copied *registry.Copy) {
	told := ""
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if copied.Revision() > 0 {
			c.learnMembers(copied.View())
		}
		status := "control machine of cluster " + c.id.Cluster
		switch {
		case !c.conn.HasLeader():
			status += "; etcd has no quorum: units stay as they are, nothing can be changed"
		case e.Leading():
			status += "; its engine leads"
		}
		if notice := c.room.Space().Notice(); notice != "" {
			status += "; " + notice
		}
		if status != told {
			notify(c.log, "STATUS="+status)
			told = status
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ensureCluster writes the record without which nobody acts, once, on the
// machine that made the cluster.
func (c *controller) ensureCluster(ctx context.Context) {
	record := &registry.Cluster{
		Version: 1, Id: c.id.Cluster, Epoch: 1, MembersWanted: uint32(c.id.Members), CreatedUnixMs: time.Now().UnixMilli(),
	}
	for ctx.Err() == nil {
		_, err := c.store.Commit(ctx,
			[]registry.Guard{{Key: registry.ClusterKey}},
			[]registry.Op{{Key: registry.ClusterKey, Value: registry.Encode(record)}})
		if err == nil {
			c.log.Info("cluster begun", "cluster", c.id.Cluster)
		}
		if err == nil || errors.Is(err, registry.ErrGuard) {
			c.begun()
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// begun forgets that this machine made the cluster: should its registry be
// emptied one day, it must not be begun anew.
func (c *controller) begun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id.Bootstrap = false
	if err := writeIdentity(c.DataDir, c.id); err != nil {
		c.log.Warn("begin of the cluster not kept", "error", err)
	}
}
