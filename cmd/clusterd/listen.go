package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/clusterd/clusterd/registry/etcd"
)

// listen opens one of clusterd's TCP ports. The error says what to do about a
// port that is taken and an address that this machine doesn't have.
func listen(what, key, address string, port int) (net.Listener, error) {
	l, err := net.Listen("tcp", hostPort(address, port))
	if err != nil {
		return nil, listenError(what, key, address, port, err)
	}
	return l, nil
}

func listenError(what, key, address string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen for %s: another program has port %d of %s; end it (ss -lntup 'sport = :%d' shows it), or set %s= to another port on all machines",
			what, port, address, port, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen for %s: this machine has no address %s, by which the cluster knows it; give it that address again (ip address shows those it has), or take it out of the cluster and let it join anew",
			what, address)
	}
	return fmt.Errorf("listen for %s: %w", what, err)
}

// checkPorts finds out before this machine says that it is ready whether it can
// have the ports that are opened later. Only control machines have a gate and,
// with embedded etcd, a member.
func (d *daemon) checkPorts() error {
	type port struct {
		what, key string
		number    int
	}
	ports := []port{{"gossip", "GossipPort", d.GossipPort}}
	member := d.id.Bootstrap || etcd.Initialised(d.etcdDir())
	if member || d.Control {
		ports = append(ports, port{"the gate", "GatePort", d.GatePort})
	}
	if member && !d.Control {
		ports = append(ports, port{"the etcd member", "PeerPort", d.PeerPort})
	}
	for _, p := range ports {
		l, err := listen(p.what, p.key, d.id.Address, p.number)
		if err != nil {
			return err
		}
		l.Close()
	}
	packets, err := net.ListenPacket("udp", hostPort(d.id.Address, d.GossipPort))
	if err != nil {
		return listenError("gossip", "GossipPort", d.id.Address, d.GossipPort, err)
	}
	return packets.Close()
}
