package api

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry"
)

// SettingsChange is what an operator changes of a machine's settings. Nil and
// empty fields leave what is.
type SettingsChange struct {
	Cordon   *bool             `json:"cordon,omitempty"`   // take no further units
	Drain    *bool             `json:"drain,omitempty"`    // and give away those it has
	Metadata map[string]string `json:"metadata,omitempty"` // set, or replaced
	Unset    []string          `json:"unset,omitempty"`    // keys of metadata taken away, the machine's own, too
	Reset    []string          `json:"reset,omitempty"`    // keys that are again as the machine itself has them
}

// String says in a few words what changes.
func (c SettingsChange) String() string {
	var parts []string
	say := func(on *bool, yes, no string) {
		switch {
		case on != nil && *on:
			parts = append(parts, yes)
		case on != nil:
			parts = append(parts, no)
		}
	}
	say(c.Cordon, "cordon", "end the cordon")
	say(c.Drain, "drain", "end the drain")
	for _, key := range slices.Sorted(maps.Keys(c.Metadata)) {
		parts = append(parts, key+"="+c.Metadata[key])
	}
	for _, key := range c.Unset {
		parts = append(parts, "unset "+key)
	}
	for _, key := range c.Reset {
		parts = append(parts, "reset "+key)
	}
	return strings.Join(parts, ", ")
}

// TokenRequest asks for a join token. TTL 0 means an hour, which is also the
// most one lives.
type TokenRequest struct {
	TTL time.Duration `json:"ttlNanoseconds,omitempty"`
}

// TokenReply is a join token in the text form that `clusterd join` takes. It
// lets one machine in, once.
type TokenReply struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// JoinRequest spends a token. It goes over a connection whose client
// certificate, which may be self-signed, is over the same key as CSR.
type JoinRequest struct {
	Secret   string             `json:"secret"`
	Machine  registry.MachineID `json:"machine"`
	Hostname string             `json:"hostname"`
	Address  string             `json:"address"` // IP address other machines will reach it at
	CSR      []byte             `json:"csr"`     // PEM
}

// Joined is what makes a machine one of the cluster's.
type Joined struct {
	Cluster     string   `json:"cluster"`
	CA          []byte   `json:"ca"`          // PEM
	Certificate []byte   `json:"certificate"` // PEM, for role machine
	GossipKey   []byte   `json:"gossipKey"`   // 32 bytes
	APIs        []string `json:"apis"`        // host:port of the control machines' APIs
	Gates       []string `json:"gates"`       // host:port of their gates
	Gossip      []string `json:"gossip"`      // host:port of gossip peers
	KeyPrefix   string   `json:"keyPrefix"`   // of the cluster's records in etcd
}

// RenewRequest asks for a certificate of the caller's own identity over a key
// that may be new.
type RenewRequest struct {
	CSR []byte `json:"csr"` // PEM
}

// Renewed is a certificate with the authority that issued it, both PEM.
type Renewed struct {
	CA          []byte `json:"ca"`
	Certificate []byte `json:"certificate"`
}

// ControlRequest asks for what a control machine holds. Only a machine that
// has a record under cluster/members/ gets it.
type ControlRequest struct {
	CSR []byte `json:"csr"` // PEM, for the control certificate
}

// ControlCredentials are the keys of both authorities and a control
// certificate, all PEM. Whoever holds them can make any certificate.
type ControlCredentials struct {
	CA          []byte `json:"ca"`
	CAKey       []byte `json:"caKey"`
	PeerCA      []byte `json:"peerCA"`
	PeerCAKey   []byte `json:"peerCAKey"`
	Certificate []byte `json:"certificate"`
}
