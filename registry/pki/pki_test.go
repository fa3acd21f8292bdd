package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const cluster = "c0ffee"

func newCredentials(t *testing.T, a *Authority, id Identity) *Credentials {
	t.Helper()
	cert, key, err := a.NewCertificate(id, []string{"10.0.0.1", "m1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCredentials(a.CertificatePEM(), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newAuthority(t *testing.T, cluster string) *Authority {
	t.Helper()
	a, err := NewAuthority(cluster, "cluster", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestIssuedCertificate(t *testing.T) {
	a := newAuthority(t, cluster)
	now := time.Now()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := NewCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParseCSR(csr)
	if err != nil || !public.Equal(key.Public()) {
		t.Fatalf("ParseCSR: %v, key is the same: %v", err, public.Equal(key.Public()))
	}
	want := Identity{cluster, Machine, "0123abcd"}
	cert, err := a.Issue(public, want, []string{"10.0.0.1", "m1.example", ""}, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := IdentityOf(cert); err != nil || got != want {
		t.Errorf("IdentityOf: %v, %v, want %v", got, err, want)
	}
	if err := cert.VerifyHostname("10.0.0.1"); err != nil {
		t.Error(err)
	}
	if err := cert.VerifyHostname("m1.example"); err != nil {
		t.Error(err)
	}
	if life := RenewAt(cert).Sub(now); life < Validity/2 || life > Validity*3/4 {
		t.Errorf("renewed after %v of %v", life, Validity)
	}
	for _, id := range []Identity{{"", Machine, "m"}, {cluster, "root", "m"}, {cluster, Machine, ""}, {cluster, Machine, "a/b"}, {"a/b", Machine, "m"}} {
		if _, err := a.Issue(public, id, nil, now); err == nil {
			t.Errorf("issued a certificate for %q", id)
		}
	}
}

// handshake returns both sides' errors of one connection that exchanges a byte.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		_, err = conn.Write([]byte{1})
		done <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tc := tls.Client(conn, client)
	_, clientErr = io.ReadFull(tc, make([]byte, 1))
	tc.Close()
	return <-done, clientErr
}

func TestC11_HandshakeByRole(t *testing.T) {
	a, other := newAuthority(t, cluster), newAuthority(t, cluster)
	control := newCredentials(t, a, Identity{cluster, Control, "m1"})
	machine := newCredentials(t, a, Identity{cluster, Machine, "m2"})
	admin := newCredentials(t, a, Identity{cluster, Admin, "ann"})
	foreign := newCredentials(t, other, Identity{cluster, Admin, "eve"})
	elsewhere := newCredentials(t, a, Identity{"another", Admin, "eve"})
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	self, err := SelfSigned(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	joiner := tls.Certificate{Certificate: [][]byte{self.Raw}, PrivateKey: key, Leaf: self}
	trusting := func(certs ...tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: certs, InsecureSkipVerify: true}
	}
	old := admin.ClientTLS()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for _, test := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		want   string // part of either side's error; empty: none
	}{
		{"an admin reaches a control machine", control.ServerTLS(), admin.ClientTLS(), ""},
		{"no certificate is refused", control.ServerTLS(), trusting(), "didn't provide a certificate"},
		{"no certificate is refused where one can join, too", control.OpenServerTLS(), trusting(), "didn't provide a certificate"},
		{"a self-signed certificate is refused", control.ServerTLS(), trusting(joiner), "not of this cluster"},
		{"a self-signed certificate may try to join", control.OpenServerTLS(), JoinTLS(joiner, Pin(a.Certificate)), ""},
		{"a joiner refuses an authority its token doesn't name", control.OpenServerTLS(), JoinTLS(joiner, Pin(other.Certificate)), "not the one the token names"},
		{"a joiner refuses a machine that is no control machine", machine.OpenServerTLS(), JoinTLS(joiner, Pin(a.Certificate)), "no control machine"},
		{"another authority's admin is refused", control.ServerTLS(), foreign.withoutCheck(), "not of this cluster"},
		{"another cluster's admin is refused", control.ServerTLS(), elsewhere.withoutCheck(), "is of cluster another"},
		{"a machine is no control machine to a client", machine.ServerTLS(), admin.ClientTLS(), "is no control"},
		{"a client can ask for machines", machine.ServerTLS(), admin.ClientTLS(Machine, Control), ""},
		{"a server can refuse roles", control.ServerTLS(Machine, Control), admin.ClientTLS(), "is no machine or control"},
		{"TLS 1.2 is refused", control.ServerTLS(), old, "protocol version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			serverErr, clientErr := handshake(t, test.server, test.client)
			text := errors.Join(serverErr, clientErr)
			switch {
			case test.want == "" && text != nil:
				t.Fatal(text)
			case test.want != "" && (clientErr == nil || text == nil || !strings.Contains(text.Error(), test.want)):
				t.Fatalf("server says %v, client %v; want %q", serverErr, clientErr, test.want)
			}
		})
	}
}

// withoutCheck is a client that trusts any server.
func (c *Credentials) withoutCheck() *tls.Config {
	config := c.ClientTLS()
	config.VerifyConnection = nil
	return config
}

// A machine whose clock is wrong is told so when it wants to join.
func TestJoinerWithWrongClock(t *testing.T) {
	a := newAuthority(t, cluster)
	server := newCredentials(t, a, Identity{cluster, Control, "m1"}).Certificate()
	chain := []*x509.Certificate{server, a.Certificate}
	for now, want := range map[time.Time]string{
		time.Now(): "",
		time.Now().Add(-20 * 365 * 24 * time.Hour): "set the clock",
		time.Now().Add(Validity + 24*time.Hour):    "set the clock",
	} {
		err := verifyPinned(chain, Pin(a.Certificate), now)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("at %v: %v, want %q", now, err, want)
		}
	}
}

func TestVerifyExpired(t *testing.T) {
	a := newAuthority(t, cluster)
	c := newCredentials(t, a, Identity{cluster, Machine, "m1"})
	peer := newCredentials(t, a, Identity{cluster, Machine, "m2"}).Certificate()
	if _, err := c.Verify(peer); err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { return time.Now().Add(Validity + time.Hour) }
	_, err := c.Verify(peer)
	if err == nil || !strings.Contains(err.Error(), "renew the certificate") || errors.Is(err, ErrForeign) {
		t.Errorf("expired certificate: %v", err)
	}
}

func TestReplaceServesTheNewCertificate(t *testing.T) {
	a := newAuthority(t, cluster)
	admin := newCredentials(t, a, Identity{cluster, Admin, "ann"})
	server := newCredentials(t, a, Identity{cluster, Machine, "m1"})
	config := server.ServerTLS()
	if _, err := handshake(t, config, admin.ClientTLS()); err == nil {
		t.Fatal("a machine passed for a control machine")
	}
	cert, key, err := a.NewCertificate(Identity{cluster, Control, "m1"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Replace(a.CertificatePEM(), cert, key); err != nil {
		t.Fatal(err)
	}
	if s, c := handshake(t, config, admin.ClientTLS()); s != nil || c != nil {
		t.Fatal(s, c)
	}
	if err := server.Replace(newAuthority(t, cluster).CertificatePEM(), cert, key); err == nil {
		t.Error("took a certificate of another authority")
	}
}

func TestToken(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	pin := Pin(newAuthority(t, cluster).Certificate)
	text, err := FormatToken(Token{Endpoints: []string{"10.0.0.1:7421", "[fd00::1]:7421", "m3.example:7421"}, Pin: pin, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseToken(" " + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Pin != pin || got.Secret != secret || strings.Join(got.Endpoints, " ") != "10.0.0.1:7421 [fd00::1]:7421 m3.example:7421" {
		t.Errorf("read back as %+v", got)
	}
	for _, test := range []struct{ text, want string }{
		{"", "is empty"},
		{"hello", "doesn't begin with"},
		{text[:len(text)-1], "secret is damaged"},
		{text[:60], "was it cut off"},
		{strings.Replace(text, pin, pin[1:], 1), "fingerprint is damaged"},
		{strings.Replace(text, pin, strings.ToUpper(pin), 1), "fingerprint is damaged"},
		{strings.Replace(text, "/7421", "", 1), "want host/port"},
		{strings.Replace(text, "/7421", "/0", 1), "want host/port"},
		{strings.Repeat("x", 5000), "5000 characters"},
	} {
		if _, err := ParseToken(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("ParseToken(%.80q): %v, want %q", test.text, err, test.want)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("clusterd-join+10.0.0.1/7421+" + strings.Repeat("ab", 32) + "+AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("clusterd-join+fd00::1/7421,m2/1+" + strings.Repeat("00", 32) + "+_-AAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := ParseToken(text)
		if err != nil {
			return
		}
		written, err := FormatToken(first)
		if err != nil {
			t.Fatalf("%q is read but not written: %v", text, err)
		}
		if written != strings.TrimSpace(text) {
			t.Fatalf("%q is written as %q", text, written)
		}
	})
}

func TestDirKeepsCredentials(t *testing.T) {
	d := Dir{Path: t.TempDir() + "/pki"}
	a := newAuthority(t, cluster)
	if err := d.WriteAuthority(a); err != nil {
		t.Fatal(err)
	}
	cert, key, err := a.NewCertificate(Identity{cluster, Control, "m1"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{MachineCertificate: cert, MachineKey: key} {
		if err := d.Write(name, data); err != nil {
			t.Fatal(err)
		}
	}
	again, err := d.Authority()
	if err != nil || Pin(again.Certificate) != Pin(a.Certificate) {
		t.Fatalf("authority read back: %v", err)
	}
	c, err := d.Machine()
	if err != nil || c.Identity() != (Identity{cluster, Control, "m1"}) {
		t.Fatalf("credentials read back: %v", err)
	}
	if _, err := d.Admin(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("admin's, which aren't there: %v", err)
	}
	files, err := os.ReadDir(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 4 {
		t.Errorf("%d files are left: %v", len(files), files)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}
