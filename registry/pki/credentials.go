package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Credentials are a certificate, its key and the authority it trusts. They may
// be replaced while configurations made from them are in use: connections made
// from then on use the new ones.
type Credentials struct {
	now     func() time.Time
	current atomic.Pointer[held]
}

type held struct {
	chain     tls.Certificate
	authority *x509.Certificate
	roots     *x509.CertPool
	identity  Identity
}

// NewCredentials makes credentials from PEM texts. The certificate must be the
// authority's and carry an identity.
func NewCredentials(authorityPEM, certPEM, keyPEM []byte) (*Credentials, error) {
	c := &Credentials{now: time.Now}
	if err := c.Replace(authorityPEM, certPEM, keyPEM); err != nil {
		return nil, err
	}
	return c, nil
}

// Replace exchanges all three; on an error the old ones stay.
func (c *Credentials) Replace(authorityPEM, certPEM, keyPEM []byte) error {
	authority, err := ParseCertificate(authorityPEM)
	if err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	chain, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("certificate and key: %w", err)
	}
	if chain.Leaf == nil {
		if chain.Leaf, err = x509.ParseCertificate(chain.Certificate[0]); err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
	}
	id, err := IdentityOf(chain.Leaf)
	if err != nil {
		return err
	}
	if err := chain.Leaf.CheckSignatureFrom(authority); err != nil {
		return fmt.Errorf("certificate of %s: not issued by the authority it came with: %w", id, err)
	}
	// The authority goes along, so that a machine that wants to join, and knows
	// only its hash, can check the chain.
	chain.Certificate = [][]byte{chain.Leaf.Raw, authority.Raw}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	c.current.Store(&held{chain: chain, authority: authority, roots: roots, identity: id})
	return nil
}

// Identity is whom the certificate is about.
func (c *Credentials) Identity() Identity { return c.current.Load().identity }

// Certificate is the certificate itself.
func (c *Credentials) Certificate() *x509.Certificate { return c.current.Load().chain.Leaf }

// Authority is the certificate of the authority that is trusted.
func (c *Credentials) Authority() *x509.Certificate { return c.current.Load().authority }

// ErrForeign says that a certificate isn't of this cluster.
var ErrForeign = errors.New("the certificate is not of this cluster")

// Verify returns whom a peer's certificate is about, if the authority issued it
// for this cluster and it is valid now. Else the error says what is wrong, and
// wraps ErrForeign when the authority did not issue it.
func (c *Credentials) Verify(peer *x509.Certificate) (Identity, error) {
	h := c.current.Load()
	_, err := peer.Verify(x509.VerifyOptions{
		Roots:       h.roots,
		CurrentTime: c.now(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		if outOfTime(err) && peer.CheckSignatureFrom(h.authority) == nil {
			return Identity{}, validity(peer, c.now())
		}
		return Identity{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	id, err := IdentityOf(peer)
	if err != nil {
		return Identity{}, err
	}
	if id.Cluster != h.identity.Cluster {
		return Identity{}, fmt.Errorf("%w: it is of cluster %s, this is %s", ErrForeign, id.Cluster, h.identity.Cluster)
	}
	return id, nil
}

func outOfTime(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// validity is the error for a certificate that is not valid now: it was, or one
// of the two clocks is wrong.
func validity(cert *x509.Certificate, now time.Time) error {
	return fmt.Errorf("the certificate is valid from %s to %s, and it is %s here; set the clock, or renew the certificate",
		cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

// ServerTLS is the configuration of a listener that takes only clients with a
// certificate of this cluster in one of the roles; with no roles named, any.
func (c *Credentials) ServerTLS(roles ...Role) *tls.Config {
	config := c.serverTLS()
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return c.verifyRole(state, roles)
	}
	return config
}

// OpenServerTLS is the configuration of a listener that takes any client that
// shows a certificate, so that one who isn't in the cluster yet can join. The
// handshake refuses a client without one. Everything else is the server's to
// decide, with Verify.
func (c *Credentials) OpenServerTLS() *tls.Config { return c.serverTLS() }

func (c *Credentials) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.current.Load().chain, nil
		},
		// A resumed session would carry a certificate that was checked when it
		// was still valid, and spares next to nothing here.
		SessionTicketsDisabled: true,
	}
}

// ClientTLS is the configuration of a client that talks to servers of this
// cluster in one of the roles, at whatever address. With no roles named, to
// control machines.
func (c *Credentials) ClientTLS(roles ...Role) *tls.Config {
	if len(roles) == 0 {
		roles = []Role{Control}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.current.Load().chain, nil
		},
		// The server is known by its role, not by its address: the check below
		// takes the place of the standard one and is not left out on resumption.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return c.verifyRole(state, roles)
		},
	}
}

func (c *Credentials) verifyRole(state tls.ConnectionState, roles []Role) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer shows no certificate")
	}
	id, err := c.Verify(state.PeerCertificates[0])
	if err != nil {
		return unverified(state, err)
	}
	if len(roles) > 0 && !slices.Contains(roles, id.Role) {
		return unverified(state, fmt.Errorf("%s is no %s", id, joinRoles(roles)))
	}
	return nil
}

// unverified gives err the type that callers know failed verifications by.
func unverified(state tls.ConnectionState, err error) error {
	return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
}

func joinRoles(roles []Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = string(r)
	}
	return strings.Join(words, " or ")
}

// JoinTLS is the configuration of a client that isn't in the cluster yet: it
// shows own, usually self-signed, and trusts a control machine whose authority
// has the hash pin.
func JoinTLS(own tls.Certificate, pin string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{own},
		InsecureSkipVerify: true, // VerifyConnection checks against the pin
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verifyPinned(state.PeerCertificates, pin, time.Now()); err != nil {
				return unverified(state, err)
			}
			return nil
		},
	}
}

func verifyPinned(chain []*x509.Certificate, pin string, now time.Time) error {
	if len(chain) < 2 || Pin(chain[len(chain)-1]) != pin {
		return errors.New("the server's authority is not the one the token names; the token is of another cluster, or something stands in between")
	}
	roots := x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if outOfTime(err) {
		return validity(chain[0], now)
	}
	if err != nil {
		return err
	}
	id, err := IdentityOf(chain[0])
	if err != nil {
		return err
	}
	if id.Role != Control {
		return fmt.Errorf("%s is no control machine", id)
	}
	return nil
}
