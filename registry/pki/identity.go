package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Role is what a certificate lets its owner do.
type Role string

const (
	Machine Role = "machine" // a machine, for itself
	Control Role = "control" // a machine that holds the authorities' keys
	Admin   Role = "admin"   // an operator who may do anything
	Peer    Role = "peer"    // an etcd member, to other members; of the peer authority only
)

// known says whether certificates are made for r.
func (r Role) known() bool {
	return r == Machine || r == Control || r == Admin || r == Peer
}

// Identity is whom a certificate is about. Name is a machine's id or an
// operator's name.
type Identity struct {
	Cluster string
	Role    Role
	Name    string
}

const scheme = "clusterd"

func (id Identity) String() string {
	return scheme + "://" + id.Cluster + "/" + string(id.Role) + "/" + id.Name
}

func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: scheme, Host: id.Cluster, Path: "/" + string(id.Role) + "/" + id.Name}
}

// check refuses an identity that would not be read back as it was written.
func (id Identity) check() error {
	switch {
	case id.Cluster == "" || strings.Trim(id.Cluster, nameCharacters) != "":
		return fmt.Errorf("cluster id %q: want letters, digits, '.', '_' and '-'", id.Cluster)
	case !id.Role.known():
		return fmt.Errorf("role %q: there is no such role", id.Role)
	case id.Name == "" || strings.Trim(id.Name, nameCharacters) != "":
		return fmt.Errorf("name %q: want letters, digits, '.', '_' and '-'", id.Name)
	}
	return nil
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// ErrNoIdentity says that a certificate names no identity of ours.
var ErrNoIdentity = errors.New("the certificate carries no clusterd identity")

// IdentityOf reads the identity from a certificate. It does not verify the
// certificate; Credentials.Verify does both.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	var found []Identity
	for _, u := range cert.URIs {
		if u.Scheme != scheme {
			continue
		}
		role, name, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		id := Identity{Cluster: u.Host, Role: Role(role), Name: name}
		if err := id.check(); err != nil {
			return Identity{}, fmt.Errorf("%w: %s: %v", ErrNoIdentity, u, err)
		}
		found = append(found, id)
	}
	if len(found) != 1 {
		return Identity{}, ErrNoIdentity
	}
	return found[0], nil
}
