package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/clusterd/clusterd/registry"
)

// State is what gossip says of a machine.
type State int

const (
	Unknown State = iota // never heard of
	Alive
	Suspect // does not answer somebody; it may still object
	Dead    // does not answer, or said that it left
)

func (s State) String() string { return [...]string{"unknown", "alive", "suspect", "dead"}[s] }

// Config is what a Gossip works with.
type Config struct {
	// Name is this machine's identity.
	Name registry.MachineID
	// Cluster keeps clusters apart that share a network. It may be empty.
	Cluster string
	// BindAddr and Port are listened at, TCP and UDP. Port 0 takes any free one.
	BindAddr string
	Port     int
	// Key has 32 bytes and is required.
	Key []byte
	// Changed is called when the State of a machine may have changed; nil
	// leaves it out. It must return soon.
	Changed func(registry.MachineID)
	// Log is required.
	Log *slog.Logger
}

// Gossip is this machine's part in it. Make it with New.
type Gossip struct {
	config Config
	list   *memberlist.Memberlist
	queue  *memberlist.TransmitLimitedQueue
	wake   chan struct{}

	mu     sync.Mutex
	states map[registry.MachineID]*heard
	peers  map[string]bool // host:port
}

// heard is what is known of one machine.
type heard struct {
	alive     bool
	suspected time.Time // zero: not
}

// How often and for how long is probed. A dead machine is known everywhere in
// 1.4 s at 10 machines and in 2.7 s at 100; memberlist stretches its own
// timeouts where this machine itself is slow.
const (
	probeEvery   = 250 * time.Millisecond
	probeTimeout = 100 * time.Millisecond
	gossipEvery  = 50 * time.Millisecond
)

// New listens and begins to gossip. It knows nobody until Peers is called.
func New(c Config) (*Gossip, error) {
	if len(c.Key) != 32 {
		return nil, fmt.Errorf("start gossip: the key has %d bytes, not 32; take the gossip key that clusterd init made", len(c.Key))
	}
	if c.Name == "" || c.Log == nil {
		return nil, errors.New("start gossip: Name and Log must be set")
	}
	if c.Changed == nil {
		c.Changed = func(registry.MachineID) {}
	}
	g := &Gossip{config: c, wake: make(chan struct{}, 1), states: map[registry.MachineID]*heard{}, peers: map[string]bool{}}
	g.queue = &memberlist.TransmitLimitedQueue{NumNodes: g.known, RetransmitMult: 3}
	list, err := memberlist.Create(g.memberlistConfig())
	if err != nil {
		return nil, fmt.Errorf("start gossip at %s: %w; is the port free?", net.JoinHostPort(c.BindAddr, strconv.Itoa(c.Port)), err)
	}
	g.list = list
	return g, nil
}

func (g *Gossip) memberlistConfig() *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name = string(g.config.Name)
	m.Label = g.config.Cluster
	m.BindAddr, m.BindPort, m.AdvertisePort = g.config.BindAddr, g.config.Port, g.config.Port
	m.SecretKey = g.config.Key
	m.ProbeInterval, m.ProbeTimeout, m.GossipInterval = probeEvery, probeTimeout, gossipEvery
	m.EnableCompression = false // a small bomb for whoever has the key
	m.DeadNodeReclaimTime = time.Second
	m.DNSConfigPath = "/dev/null" // addresses are numbers
	m.Logger = log.New(&lines{g}, "", 0)
	m.Events, m.Delegate, m.Ping, m.Conflict = &events{g}, &delegate{g}, &pings{g}, &conflicts{g}
	return m
}

// Addr is where this machine's gossip is heard.
func (g *Gossip) Addr() string { return g.list.LocalNode().Address() }

// Peers says where machines may be found, as host:port. Those that are not
// heard of are asked again and again.
func (g *Gossip) Peers(addresses []string) {
	peers := map[string]bool{}
	for _, a := range addresses {
		peers[a] = true
	}
	g.mu.Lock()
	known := maps.Equal(peers, g.peers)
	g.peers = peers
	g.mu.Unlock()
	if known {
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Run joins peers that are not heard of, until ctx ends.
func (g *Gossip) Run(ctx context.Context) {
	const first, most = 500 * time.Millisecond, 15 * time.Second
	pause := first
	for {
		if g.joinSome() {
			pause = first
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-g.wake:
			timer.Stop()
			pause = first
		case <-timer.C:
			pause = min(2*pause, most)
		}
	}
}

// joinSome asks a few of the peers that are not members. It returns whether
// anybody answered.
func (g *Gossip) joinSome() bool {
	const some = 3
	members := map[string]bool{g.Addr(): true}
	for _, m := range g.list.Members() {
		members[m.Address()] = true
	}
	g.mu.Lock()
	var missing []string
	for p := range g.peers { // in any order: others are asked the next time
		if !members[p] && len(missing) < some {
			missing = append(missing, p)
		}
	}
	g.mu.Unlock()
	if len(missing) == 0 {
		return false
	}
	slices.Sort(missing)
	n, err := g.list.Join(missing)
	if err != nil {
		g.config.Log.Debug("gossip peers don't answer", "peers", missing, "error", err)
	}
	return n > 0
}

// State is what is heard of a machine.
func (g *Gossip) State(m registry.MachineID) State {
	if m == g.config.Name {
		return Alive
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.states[m]
	switch {
	case h == nil:
		return Unknown
	case !h.alive:
		return Dead
	case !h.suspected.IsZero() && time.Since(h.suspected) < g.suspicionMax():
		return Suspect
	}
	return Alive
}

// suspicionMax is when a suspicion that nobody confirmed is over: then
// memberlist has either declared the machine dead or heard its objection.
func (g *Gossip) suspicionMax() time.Duration {
	scale := 1
	for n := len(g.states); n > 10; n /= 10 {
		scale++
	}
	return 4 * 6 * probeEvery * time.Duration(scale)
}

func (g *Gossip) known() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.states)
}

// Leave says good-bye, so that the others need not find out, and stops.
func (g *Gossip) Leave(timeout time.Duration) error {
	err := g.list.Leave(timeout)
	if err := errors.Join(err, g.list.Shutdown()); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// Stop ends without a word; the others find out.
func (g *Gossip) Stop() error {
	if err := g.list.Shutdown(); err != nil {
		return fmt.Errorf("stop gossip: %w", err)
	}
	return nil
}
