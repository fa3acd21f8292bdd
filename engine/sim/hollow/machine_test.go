package hollow

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

// machineID is the i-th hollow machine's.
func machineID(i int) registry.MachineID {
	return registry.MachineID(fmt.Sprintf("%x", sha256.Sum256([]byte(strconv.Itoa(i))))[:32])
}

// record is the i-th hollow machine's: half of them have an SSD, they stand in
// ten racks, and have room for any number of units.
func record(i int) *registry.Machine {
	disk := "hdd"
	if i%2 == 0 {
		disk = "ssd"
	}
	return &registry.Machine{
		Hostname: fmt.Sprintf("h%d", i), Address: "127.0.0.1",
		Metadata: map[string]string{"disk": disk, "rack": strconv.Itoa(i / 2 % 10)},
	}
}

// number is which unit a name such as load@17.service is; -1 for none of ours.
func number(name unit.Name) int {
	_, rest, ok := strings.Cut(string(name), "@")
	n, err := strconv.Atoi(strings.TrimSuffix(rest, ".service"))
	if !ok || err != nil {
		return -1
	}
	return n
}

// stamps are moments, one for each unit, in nanoseconds since 1970; 0: not yet.
type stamps struct {
	at    []atomic.Int64
	count atomic.Int64
}

func newStamps(units int) *stamps { return &stamps{at: make([]atomic.Int64, units)} }

func (s *stamps) now(unit int) {
	if unit >= 0 && unit < len(s.at) && s.at[unit].CompareAndSwap(0, time.Now().UnixNano()) {
		s.count.Add(1)
	}
}

// fleet is all hollow machines of this process.
type fleet struct {
	config  fleetConfig
	told    *stamps // an assignment reached its machine
	started *stamps // the instant manager was asked to start the unit
	woken   []atomic.Int64
	log     *slog.Logger
}

// fleetConfig is what the parent says to the process of the machines.
type fleetConfig struct {
	Gate           string
	CA, CAKey      []byte // of the cluster
	Machines       int
	Units          int           // the highest number of a unit, plus one
	TTL, KeepAlive time.Duration // of the machines' leases
	Mute           bool          // observations are not written
	Agents         bool          // whole agents, with an instant service manager, in place of cores
	RunDir         string
}

// start runs machines until ctx ends.
func (f *fleet) start(ctx context.Context, running *sync.WaitGroup) error {
	authority, err := pki.ParseAuthority(f.config.CA, f.config.CAKey)
	if err != nil {
		return err
	}
	starting := make(chan struct{}, 64) // machines that join at a time
	for i := range f.config.Machines {
		starting <- struct{}{}
		id := machineID(i)
		cert, key, err := authority.NewCertificate(pki.Identity{Cluster: clusterID, Role: pki.Machine, Name: string(id)}, nil, time.Now())
		if err != nil {
			return err
		}
		credentials, err := pki.NewCredentials(f.config.CA, cert, key)
		if err != nil {
			return err
		}
		conn, err := etcd.Dial([]string{f.config.Gate}, credentials.ClientTLS(pki.Control), f.log)
		if err != nil {
			return err
		}
		run, err := f.machine(i, id, etcd.NewStore(conn, etcd.DefaultPrefix))
		if err != nil {
			return err
		}
		running.Go(func() {
			defer conn.Close()
			if err := run(ctx, sync.OnceFunc(func() { <-starting })); err != nil && ctx.Err() == nil {
				f.log.Error("hollow machine ended", "machine", i, "error", err)
			}
		})
	}
	return nil
}

// machine makes the i-th machine, and returns what runs it and calls joined once
// it is registered.
func (f *fleet) machine(i int, id registry.MachineID, store *etcd.Store) (func(ctx context.Context, joined func()) error, error) {
	if !f.config.Agents {
		m := &core{fleet: f, store: store, id: id, index: i, units: map[unit.Name]*coreUnit{}, wake: make(chan struct{}, 1)}
		return m.run, nil
	}
	a, err := agent.New(agent.Config{
		Store:   &ear{Store: store, fleet: f, machine: i},
		Manager: &instant{fleet: f, units: map[unit.Name]agent.State{}},
		ID:      id, Machine: record(i), Incarnation: "boot", ClusterID: clusterID,
		RunDir:   filepath.Join(f.config.RunDir, strconv.Itoa(i)),
		LeaseTTL: f.config.TTL, KeepAlive: f.config.KeepAlive, Log: f.log,
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, joined func()) error {
		defer time.AfterFunc(100*time.Millisecond, joined).Stop()
		return a.Run(ctx)
	}, nil
}

// ear is a machine's store; it notes what reaches the machine.
type ear struct {
	registry.Store
	fleet   *fleet
	machine int
}

func (e *ear) Watch(ctx context.Context, r registry.Range, after registry.Revision) <-chan registry.Changes {
	in := e.Store.Watch(ctx, r, after)
	if !strings.HasPrefix(r.From, registry.AssignmentsPrefix) {
		return in
	}
	out := make(chan registry.Changes)
	go func() {
		defer close(out)
		for c := range in {
			if len(c.Events) > 0 {
				e.fleet.woken[e.machine].Add(1)
			}
			for _, event := range c.Events {
				e.fleet.told.now(number(unit.Name(event.Key[strings.LastIndexByte(event.Key, '/')+1:])))
			}
			select {
			case out <- c:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func (e *ear) Commit(ctx context.Context, guards []registry.Guard, ops []registry.Op) (registry.Revision, error) {
	if e.fleet.config.Mute && len(ops) > 0 && strings.HasPrefix(ops[0].Key, registry.ObservedPrefix) {
		return 0, nil
	}
	return e.Store.Commit(ctx, guards, ops)
}

// instant is a service manager that does at once what it is asked.
type instant struct {
	fleet *fleet
	mu    sync.Mutex
	units map[unit.Name]agent.State
}

func (m *instant) Observe(_ context.Context, names []unit.Name) (map[unit.Name]agent.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[unit.Name]agent.State, len(names))
	for _, u := range names {
		all[u] = m.units[u]
	}
	return all, nil
}

func (m *instant) Do(_ context.Context, step agent.Action) error {
	m.mu.Lock()
	s := m.units[step.Unit]
	switch step.Verb {
	case agent.Write:
		s.File, s.DropIn = step.File, step.DropIn
	case agent.Remove, agent.Gone:
		delete(m.units, step.Unit)
		m.mu.Unlock()
		return nil
	case agent.Start, agent.Restart:
		s.Status = agent.Status{Load: "loaded", Active: "active", Sub: "running", MainPID: 1, MainStart: time.Unix(1, 0), Since: time.Unix(1, 0), Result: "success"}
	case agent.Stop:
		s.Status = agent.Status{}
	}
	m.units[step.Unit] = s
	m.mu.Unlock()
	if step.Verb == agent.Start || step.Verb == agent.Restart {
		if step.Begun != nil {
			step.Begun()
		}
		m.fleet.started.now(number(step.Unit))
	}
	return nil
}

func (m *instant) Watch(ctx context.Context, _ func(unit.Name, agent.Status)) error {
	<-ctx.Done() // nothing changes by itself here
	return ctx.Err()
}
