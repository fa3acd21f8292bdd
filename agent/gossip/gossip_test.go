package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// seen keeps what states a machine went through, as one other sees it.
type seen struct {
	mu     sync.Mutex
	states map[registry.MachineID][]string
}

func start(t *testing.T, name string) (*Gossip, *seen) {
	t.Helper()
	s := &seen{states: map[registry.MachineID][]string{}}
	var g *Gossip
	ready := make(chan struct{})
	g, err := New(Config{
		Name: registry.MachineID(name), Cluster: "c1", BindAddr: "127.0.0.1", Key: bytes.Repeat([]byte{7}, 32), Log: slog.New(slog.DiscardHandler),
		Changed: func(m registry.MachineID) {
			<-ready
			state := g.State(m).String()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.states[m] = append(s.states[m], state)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { g.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait(); _ = g.Stop() })
	return g, s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestMachinesSeeEachOther(t *testing.T) {
	var all []*Gossip
	var views []*seen
	for i := range 3 {
		g, s := start(t, fmt.Sprintf("m%d", i))
		all, views = append(all, g), append(views, s)
	}
	if got := all[0].State("m1"); got != Unknown {
		t.Errorf("before they met: %s", got)
	}
	// m0 is told of a peer that isn't there, too.
	all[0].Peers([]string{"127.0.0.1:1", all[1].Addr(), all[2].Addr()})
	eventually(t, "all are alive to each other", func() bool {
		return all[0].State("m2") == Alive && all[1].State("m2") == Alive && all[2].State("m1") == Alive
	})
	if err := all[2].Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "m2 is dead to both", func() bool {
		return all[0].State("m2") == Dead && all[1].State("m2") == Dead
	})
	for i, v := range views[:2] {
		v.mu.Lock()
		states := strings.Join(v.states["m2"], " ")
		v.mu.Unlock()
		if !strings.Contains(states, "suspect") || !strings.HasSuffix(states, "dead") {
			t.Errorf("m%d saw m2 go through %s, want suspect on the way to dead", i, states)
		}
	}
	if err := all[1].Leave(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "m1 left", func() bool { return all[0].State("m1") == Dead })
}

func TestC11_GossipNeedsItsKey(t *testing.T) {
	_, err := New(Config{Name: "m1", Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "the key has 0 bytes, not 32") {
		t.Errorf("no key: %v", err)
	}
	g, _ := start(t, "m1")
	other, err := New(Config{Name: "m2", Cluster: "c1", BindAddr: "127.0.0.1", Key: bytes.Repeat([]byte{8}, 32), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Stop() }()
	other.Peers([]string{g.Addr()})
	if other.joinSome() {
		t.Error("a machine with another key was let in")
	}
	if got := g.State("m2"); got != Unknown {
		t.Errorf("it is %s", got)
	}
}

func TestPortInUse(t *testing.T) {
	g, _ := start(t, "m1")
	port := int(g.list.LocalNode().Port)
	_, err := New(Config{Name: "m2", BindAddr: "127.0.0.1", Port: port, Key: make([]byte, 32), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is the port free?") {
		t.Errorf("got %v", err)
	}
}
