package api

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
)

// Peers reaches the clusterds of other machines.
type Peers interface {
	// Client returns a client for machine m, whose API is at host:port. The
	// client belongs to the Peers; the caller does not close it.
	Client(m registry.MachineID, hostPort string) (*Client, error)
}

// PeerClients is Peers with a machine's own certificate. Use NewPeers.
type PeerClients struct {
	credentials *pki.Credentials
	mu          sync.Mutex
	clients     map[registry.MachineID]peerClient
}

type peerClient struct {
	hostPort string
	client   *Client
}

// NewPeers makes clients that show the given credentials, and that talk to
// nobody but the machine they are for.
func NewPeers(credentials *pki.Credentials) *PeerClients {
	return &PeerClients{credentials: credentials, clients: map[registry.MachineID]peerClient{}}
}

// Client is Peers'.
func (p *PeerClients) Client(m registry.MachineID, hostPort string) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.clients[m]; ok {
		if have.hostPort == hostPort {
			return have.client, nil
		}
		have.client.Close()
		delete(p.clients, m)
	}
	if _, _, err := net.SplitHostPort(hostPort); err != nil {
		return nil, fmt.Errorf("reach machine %s: its address: %w", m.Short(), err)
	}
	client, err := Dial("https://"+hostPort, p.tls(m))
	if err != nil {
		return nil, err
	}
	p.clients[m] = peerClient{hostPort, client}
	return client, nil
}

// Close ends all idle connections.
func (p *PeerClients) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.client.Close()
	}
}

// tls takes only machine m for m.
func (p *PeerClients) tls(m registry.MachineID) *tls.Config {
	config := p.credentials.ClientTLS(pki.Machine, pki.Control)
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := verify(state); err != nil {
			return err
		}
		id, err := pki.IdentityOf(state.PeerCertificates[0])
		if err == nil && id.Name != string(m) {
			err = &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates,
				Err: fmt.Errorf("it is machine %s, not %s", id.Name, m)}
		}
		return err
	}
	return config
}
