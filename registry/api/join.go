package api

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
)

func (s *Server) createToken(c *Control, w http.ResponseWriter, r *http.Request) error {
	request, err := read[TokenRequest](r)
	if err != nil {
		return err
	}
	ttl := request.TTL
	switch {
	case ttl == 0:
		ttl = pki.TokenTTL
	case ttl < time.Second || ttl > pki.TokenTTL:
		return badRequest("make token: it can't live for %v; give 1s to %v", ttl, pki.TokenTTL)
	}
	if c.Authority == nil {
		return conflict("make token: this machine doesn't hold the cluster's authority; ask another control machine")
	}
	view, err := c.freshView(r.Context())
	if err != nil {
		return err
	}
	endpoints := contacts(view, s.Machine)
	if len(endpoints.APIs) == 0 {
		return conflict("make token: no control machine has registered its address yet; try again when clusterctl list-machines shows one")
	}
	secret, err := pki.NewSecret()
	if err != nil {
		return err
	}
	reply := TokenReply{Expires: s.Now().Add(ttl)}
	reply.Token, err = pki.FormatToken(pki.Token{Endpoints: endpoints.APIs, Pin: pki.Pin(c.Authority.Certificate), Secret: secret})
	if err != nil {
		return err
	}
	who := callerOf(r.Context()).id.Name
	if err := c.keepToken(r.Context(), secret, reply.Expires, ttl, who); err != nil {
		return err
	}
	s.Log.Info("join token made", "who", who, "expires", reply.Expires)
	return answer(w, reply)
}

// keepToken puts the token into the registry until it expires.
func (c *Control) keepToken(ctx context.Context, secret string, expires time.Time, ttl time.Duration, who string) error {
	lease, err := c.Store.Grant(ctx, 0, ttl)
	if err != nil {
		return err
	}
	key := registry.TokenKey(pki.SecretHash(secret))
	_, err = c.write(ctx, []registry.Guard{{Key: key}}, []registry.Op{{
		Key: key, Lease: lease, Value: registry.Encode(&registry.Token{ExpiresUnixMs: expires.UnixMilli(), Who: who}),
	}})
	return err
}

// contacts are the addresses a new machine begins with, this machine's first.
func contacts(view registry.View, self registry.MachineID) Joined {
	var j Joined
	add := func(rec registry.Record) {
		m, err := registry.Decode[registry.Machine](rec)
		if err != nil {
			return
		}
		if m.GetGate() != "" {
			j.Gates = append(j.Gates, m.GetGate())
			if m.GetApi() != "" {
				j.APIs = append(j.APIs, m.GetApi())
			}
		}
		if m.GetGossip() != "" && len(j.Gossip) < gossipPeersMax {
			j.Gossip = append(j.Gossip, m.GetGossip())
		}
	}
	if rec, ok := view.Get(registry.MachineKey(self)); ok {
		add(rec)
	}
	for rec := range view.Range(registry.Prefix(registry.MachinesPrefix)) {
		if rec.Key != registry.MachineKey(self) {
			add(rec)
		}
	}
	return j
}

// gossipPeersMax is enough to find the others by.
const gossipPeersMax = 10

func (s *Server) join(c *Control, w http.ResponseWriter, r *http.Request) error {
	request, err := read[JoinRequest](r)
	if err != nil {
		return err
	}
	key, err := checkJoin(request, callerOf(r.Context()))
	if err != nil {
		return err
	}
	if c.Authority == nil {
		return conflict("join: this machine doesn't hold the cluster's authority; ask another control machine")
	}
	// First of all, so that who has no token learns nothing of the cluster.
	token, err := c.findToken(r.Context(), request.Secret, s.Now())
	if err != nil {
		return err
	}
	view, err := c.freshView(r.Context())
	if err != nil {
		return err
	}
	if err := c.picture(view, s.Now()).mayJoin(request.Machine); err != nil {
		return err
	}
	id := pki.Identity{Cluster: s.Cluster, Role: pki.Machine, Name: string(request.Machine)}
	cert, err := c.Authority.Issue(key, id, []string{request.Address, request.Hostname}, s.Now())
	if err != nil {
		return badRequest("join: %v", err)
	}
	reply := contacts(view, s.Machine)
	reply.Cluster, reply.CA, reply.GossipKey = s.Cluster, c.Authority.CertificatePEM(), c.GossipKey
	reply.KeyPrefix = c.KeyPrefix
	reply.Certificate = pki.EncodeCertificate(cert)
	// Last of all, so that a token is only spent on a machine that gets its answer.
	if err := c.spendToken(r.Context(), token, request.Machine); err != nil {
		return err
	}
	if mark, removed := view.Get(registry.RemovedKey(request.Machine)); removed {
		s.dropLease(r.Context(), c, mark.Lease)
	}
	s.Log.Info("machine let into the cluster", "machine", request.Machine, "hostname", request.Hostname, "address", request.Address)
	return answer(w, reply)
}

// checkJoin returns the key that the new machine has shown to hold: it is that
// of the connection, so that nobody else can use what goes back over it.
func checkJoin(request JoinRequest, who caller) (*ecdsa.PublicKey, error) {
	key, err := pki.ParseCSR(request.CSR)
	if err != nil {
		return nil, badRequest("join: %v", err)
	}
	if who.cert == nil || !key.Equal(who.cert.PublicKey) {
		return nil, refused("join: the connection's certificate is over another key than the certificate request")
	}
	if id := string(request.Machine); len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, badRequest("join: machine id %q is not the 32 hexadecimal digits of machine-id(5); see /etc/machine-id", id)
	}
	if net.ParseIP(request.Address) == nil {
		return nil, badRequest("join: %q is no IP address; set the one other machines reach this one at", request.Address)
	}
	if request.Hostname == "" || len(request.Hostname) > 253 {
		return nil, badRequest("join: host name %q; set one with hostnamectl", request.Hostname)
	}
	return key, nil
}

// mayJoin refuses an id that is another machine's: whoever joined under it
// would be taken for that machine, with all its rights.
func (p *picture) mayJoin(m registry.MachineID) error {
	const own = "give this machine one of its own: rm /etc/machine-id && systemd-machine-id-setup, then reboot it"
	info := p.machine(m)
	name, address := info.record.GetHostname(), info.record.GetAddress()
	if _, alive := p.view.Get(registry.AliveKey(m)); alive {
		return conflict("join: machine id %s is in use by %s (%s); %s", m, name, address, own)
	}
	if _, registered := p.view.Get(registry.MachineKey(m)); registered {
		return conflict("join: machine id %s is that of %s (%s), which is %s; if this is that machine, set up anew, take the old one out first: "+
			"clusterctl machine remove %s; if not, %s", m, name, address, info.state, m, own)
	}
	if _, member := p.view.Get(registry.MemberKey(m)); member {
		return conflict("join: the etcd member of machine %s, which was removed, is still being taken out; try again in a while", m)
	}
	return nil
}

func badToken() error {
	return refused("join: the token is not good: it was used, has expired, or was never made here; make a new one on a control machine: clusterctl token create")
}

// findToken returns the record of a token that is good.
func (c *Control) findToken(ctx context.Context, secret string, now time.Time) (registry.Record, error) {
	rec, found, err := c.read(ctx, registry.TokenKey(pki.SecretHash(secret)))
	if err != nil {
		return rec, err
	}
	if !found {
		return rec, badToken()
	}
	token, err := registry.Decode[registry.Token](rec)
	if err != nil {
		return rec, err
	}
	if now.UnixMilli() >= token.GetExpiresUnixMs() {
		return rec, badToken()
	}
	return rec, nil
}

// spendToken deletes a token and lets a machine in for it; of two who try, one
// succeeds.
func (c *Control) spendToken(ctx context.Context, token registry.Record, m registry.MachineID) error {
	_, err := c.write(ctx,
		[]registry.Guard{{Key: token.Key, Modified: token.Modified}, {Key: registry.MachineKey(m)}, {Key: registry.MemberKey(m)}},
		[]registry.Op{{Delete: registry.Single(token.Key)}, {Delete: registry.Single(registry.RemovedKey(m))}})
	if errors.Is(err, registry.ErrGuard) {
		return badToken()
	}
	return err
}

// removed refuses a machine that was taken out of the cluster and still holds
// a certificate.
func (c *Control) removed(ctx context.Context, m registry.MachineID) error {
	_, found, err := c.read(ctx, registry.RemovedKey(m))
	if err == nil && found {
		err = refused("machine %s was removed from the cluster; join it anew: clusterd join TOKEN", m)
	}
	return err
}

func (s *Server) renew(c *Control, w http.ResponseWriter, r *http.Request) error {
	request, err := read[RenewRequest](r)
	if err != nil {
		return err
	}
	who := callerOf(r.Context())
	if who.cert == nil {
		return badRequest("renew: there is no certificate on a unix socket; call over TLS with the one to renew")
	}
	if who.id.Role != pki.Admin {
		_, member, err := c.read(r.Context(), registry.MachineKey(registry.MachineID(who.id.Name)))
		if err != nil {
			return err
		}
		if !member {
			return refused("renew: machine %s is not in the cluster any more; join it anew: clusterd join TOKEN", who.id.Name)
		}
	}
	cert, err := s.reissue(c, who, who.id.Role, request.CSR)
	if err != nil {
		return err
	}
	return answer(w, Renewed{CA: c.Authority.CertificatePEM(), Certificate: cert})
}

// reissue makes a certificate for a caller, for the addresses it already had.
func (s *Server) reissue(c *Control, who caller, role pki.Role, csr []byte) ([]byte, error) {
	if c.Authority == nil {
		return nil, conflict("issue certificate: this machine doesn't hold the cluster's authority; ask another control machine")
	}
	key, err := pki.ParseCSR(csr)
	if err != nil {
		return nil, badRequest("issue certificate: %v", err)
	}
	hosts := append([]string(nil), who.cert.DNSNames...)
	for _, ip := range who.cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	id := who.id
	id.Role = role
	cert, err := c.Authority.Issue(key, id, hosts, s.Now())
	if err != nil {
		return nil, err
	}
	return pki.EncodeCertificate(cert), nil
}

func (s *Server) controlCredentials(c *Control, w http.ResponseWriter, r *http.Request) error {
	request, err := read[ControlRequest](r)
	if err != nil {
		return err
	}
	who := callerOf(r.Context())
	if err := c.removed(r.Context(), registry.MachineID(who.id.Name)); err != nil {
		return err
	}
	_, chosen, err := c.read(r.Context(), registry.MemberKey(registry.MachineID(who.id.Name)))
	if err != nil {
		return err
	}
	if !chosen {
		return refused("control credentials: machine %s is not to become a control machine", registry.MachineID(who.id.Name).Short())
	}
	if c.PeerAuthority == nil {
		return conflict("control credentials: this machine doesn't hold the authorities; ask another control machine")
	}
	cert, err := s.reissue(c, who, pki.Control, request.CSR)
	if err != nil {
		return err
	}
	reply := ControlCredentials{CA: c.Authority.CertificatePEM(), PeerCA: c.PeerAuthority.CertificatePEM(), Certificate: cert}
	if reply.CAKey, err = c.Authority.KeyPEM(); err != nil {
		return err
	}
	if reply.PeerCAKey, err = c.PeerAuthority.KeyPEM(); err != nil {
		return err
	}
	s.Log.Info("control credentials handed out", "machine", who.id.Name)
	return answer(w, reply)
}
