package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/agent/gossip"
	"github.com/clusterd/clusterd/agent/machine"
	"github.com/clusterd/clusterd/agent/systemd"
	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/pki"
)

// daemon is what stays the same while this machine's role in the cluster
// changes from an ordinary machine to a control machine.
type daemon struct {
	Config
	id          *identity
	pki         pki.Dir
	credentials *pki.Credentials
	bootID      string
	driver      *systemd.Driver
	gossip      *gossip.Gossip
	server      *api.Server
	log         *slog.Logger
	engine      atomic.Pointer[engine.Engine] // while this is a control machine

	mu      sync.Mutex
	members map[registry.MachineID]*registry.Member // control machines as last heard of
}

// serve is the daemon: it returns when ctx ends, with units left as they are,
// or when it can't go on.
// reload reads the configuration anew.
func serve(ctx context.Context, c Config, reload func() (*sourced, error), stderr io.Writer) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	level := new(slog.LevelVar)
	level.Set(c.LogLevel)
	log := newLog(stderr, level)
	id, err := readIdentity(c.DataDir)
	if err != nil {
		return err
	}
	d, err := newDaemon(c, id, log)
	if err != nil {
		return err
	}
	local, err := d.listenLocal()
	if err != nil {
		return err
	}
	remote, err := listen("the API", "APIPort", id.Address, c.APIPort)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// The API answers until everything else has ended: a stop is visible.
	rest, endAPI := context.WithCancel(context.WithoutCancel(ctx))
	var apis sync.WaitGroup
	apis.Go(func() { d.fail(stop, "local API", d.server.ServeUnix(rest, local)) })
	apis.Go(func() { d.fail(stop, "API", d.server.ServeTLS(rest, remote)) })
	apis.Go(func() { d.server.Run(rest) })
	apis.Go(func() { d.gossip.Run(rest) })
	apis.Go(func() { d.keepCertificates(rest) })
	apis.Go(func() { reloadOnHangup(rest, reload, level, log) })
	notify(log, sd.SdNotifyReady)

	err = d.roles(ctx)
	notify(log, sd.SdNotifyStopping)
	endAPI()
	apis.Wait()
	if err := d.gossip.Leave(time.Second); err != nil {
		log.Debug("gossip not told good-bye", "error", err)
	}
	d.driver.Close()
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled) && errors.Is(err, context.Canceled):
		return nil // stopped while it was still starting
	case errors.Is(cause, context.Canceled):
		return err
	}
	return cause
}

func (d *daemon) fail(stop context.CancelCauseFunc, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		stop(fmt.Errorf("%s: %w", what, err))
	}
}

func newDaemon(c Config, id *identity, log *slog.Logger) (*daemon, error) {
	d := &daemon{Config: c, id: id, pki: pkiDir(c.DataDir), log: log, members: map[registry.MachineID]*registry.Member{}}
	err := d.alone()
	if err != nil {
		return nil, err
	}
	if err := d.checkPorts(); err != nil {
		return nil, err
	}
	if d.credentials, err = d.pki.Machine(); err != nil {
		return nil, err
	}
	if d.bootID, err = machine.BootID(""); err != nil {
		return nil, err
	}
	if d.gossip, err = d.newGossip(); err != nil {
		return nil, err
	}
	d.driver = systemd.New(systemd.Config{Log: log})
	d.server, err = api.NewServer(api.Config{
		Version: version, Cluster: id.Cluster, Machine: id.Machine,
		Credentials: d.credentials, Local: d.driver, Peers: api.NewPeers(d.credentials),
		Forward: api.Forward{
			Endpoints: d.apis,
			CA:        d.pki.File(pki.CACertificate), Certificate: c.OperatorCert, Key: c.OperatorKey,
		},
		Gather: prometheus.DefaultGatherer, // etcd's metrics, Go's and this process's
		Log:    log,
	})
	return d, err
}

func (d *daemon) newGossip() (*gossip.Gossip, error) {
	key, err := d.pki.Read(pki.GossipKey)
	if err != nil {
		return nil, err
	}
	g, err := gossip.New(gossip.Config{
		Name: d.id.Machine, Cluster: d.id.Cluster, BindAddr: d.id.Address, Port: d.GossipPort, Key: key,
		Changed: func(registry.MachineID) {
			if e := d.engine.Load(); e != nil {
				e.Wake()
			}
		},
		Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	g.Peers(d.id.Gossip)
	return g, nil
}

func (d *daemon) socket() string { return filepath.Join(d.RunDir, "clusterd.sock") }

// alone refuses a second clusterd beside one that runs.
func (d *daemon) alone() error {
	other, err := net.Dial("unix", d.socket())
	if err != nil {
		return nil
	}
	other.Close()
	return fmt.Errorf("another clusterd runs here already and answers at %s; see systemctl status clusterd", d.socket())
}

// listenLocal makes the socket that clusterctl on this machine uses, in place
// of one that a crashed clusterd left.
func (d *daemon) listenLocal() (*net.UnixListener, error) {
	path := d.socket()
	if err := os.MkdirAll(d.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("listen locally: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen locally: %w", err)
	}
	// The socket is nobody else's from the first moment on, whatever umask
	// clusterd was started with.
	before := syscall.Umask(0o117)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(before)
	if err != nil {
		return nil, fmt.Errorf("listen locally: %w", err)
	}
	return l, os.Chmod(path, 0o660)
}

// roles runs this machine's role, and the next one when that changes.
func (d *daemon) roles(ctx context.Context) error {
	if len(d.EtcdEndpoints) > 0 {
		return d.outside(ctx)
	}
	var member *etcd.Member
	for ctx.Err() == nil {
		var err error
		switch {
		case member != nil:
			id := member.ID()
			if err = d.control(ctx, member); errors.Is(err, errMemberEnded) && !d.id.Bootstrap {
				err = d.outvoted(ctx, id, err)
			} else {
				return err
			}
			member = nil
		case d.id.Bootstrap || etcd.Initialised(d.etcdDir()):
			member, err = d.startMember(ctx, nil)
		default:
			member, err = d.ordinary(ctx)
		}
		if err = ignoreCanceled(err); err != nil {
			return err
		}
	}
	if member != nil {
		return d.stopMember(member)
	}
	return nil
}

func (d *daemon) etcdDir() string { return filepath.Join(d.DataDir, "etcd") }

// newAgent makes the agent over a store of this machine's.
func (d *daemon) newAgent(ctx context.Context, store registry.Store, control bool) (*agent.Agent, error) {
	record, err := d.record(ctx, control)
	if err != nil {
		return nil, err
	}
	return agent.New(agent.Config{
		Store: store, Manager: d.driver, ID: d.id.Machine, Machine: record,
		Incarnation: d.bootID, ClusterID: d.id.Cluster, RunDir: d.RunDir,
		IsNsrun: agent.ResolveNsrun(d.NsrunPath), Pull: systemd.NewPuller(d.NsrunPath), Stopping: d.driver.Stopping,
		LeaseTTL: d.MachineLease, KeepAlive: d.MachineLease * 3 / 10, Log: d.log,
	})
}

// record is what the cluster is told of this machine.
func (d *daemon) record(ctx context.Context, control bool) (*registry.Machine, error) {
	systemdVersion, err := d.driver.Version(ctx)
	if err != nil {
		return nil, err
	}
	record, err := machine.Describe(machine.Config{Metadata: d.Metadata, Address: d.id.Address, Systemd: systemdVersion, Software: version})
	if err != nil {
		return nil, err
	}
	record.Api = hostPort(d.id.Address, d.APIPort)
	record.Gossip = hostPort(d.id.Address, d.GossipPort)
	record.EtcdPeer = hostPort(d.id.Address, d.PeerPort)
	if control {
		record.Gate = hostPort(d.id.Address, d.GatePort)
	}
	record.CertificateSha256 = pki.Pin(d.credentials.Certificate())
	return record, nil
}

// reloadOnHangup takes over what can change while running: the log level.
func reloadOnHangup(ctx context.Context, reload func() (*sourced, error), level *slog.LevelVar, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		c, err := reload()
		if err != nil {
			log.Error("configuration not reloaded; the one before stays in force", "error", err)
			continue
		}
		level.Set(c.LogLevel)
		log.Info("configuration reloaded; everything but LogLevel= waits for a restart", "level", c.LogLevel)
	}
}

func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Debug("systemd not told", "state", state, "error", err)
	}
}

// shutdownMax bounds how long one part of clusterd may take to end.
const shutdownMax = 5 * time.Second
