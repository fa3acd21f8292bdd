package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/pki"
)

func newRenewer(t *testing.T, issued time.Time) *daemon {
	t.Helper()
	d := &daemon{
		pki: pkiDir(t.TempDir()), log: slog.New(slog.DiscardHandler),
		id: &identity{Cluster: "c1", Machine: registry.MachineID(strings.Repeat("a", 32)), Address: "127.0.0.1"},
	}
	if err := writeAuthorities(d.pki, d.id, issued); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.credentials, err = d.pki.Machine(); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestControlMachineRenewsItsCertificates(t *testing.T) {
	const day = 24 * time.Hour
	issued := time.Now()
	d := newRenewer(t, issued)
	peer := func() string {
		text, err := d.pki.Read(pki.PeerCertificate)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first, firstPeer := d.credentials.Certificate(), peer()
	if err := d.renewCertificates(t.Context(), issued.Add(200*day)); err != nil {
		t.Fatal(err)
	}
	if !d.credentials.Certificate().Equal(first) || peer() != firstPeer {
		t.Error("renewed long before it is due")
	}
	if err := d.renewCertificates(t.Context(), issued.Add(250*day)); err != nil {
		t.Fatal(err)
	}
	second := d.credentials.Certificate()
	if second.NotAfter.Before(issued.Add(600*day)) || second.IPAddresses[0].String() != "127.0.0.1" {
		t.Errorf("valid until %v for %v", second.NotAfter, second.IPAddresses)
	}
	if peer() == firstPeer {
		t.Error("etcd's certificate is the old one")
	}
	kept, err := d.pki.Machine()
	if err != nil || !kept.Certificate().Equal(second) || kept.Identity() != d.credentials.Identity() {
		t.Errorf("kept on disk: %v", err)
	}
	if _, err := tls.LoadX509KeyPair(d.pki.File(pki.PeerCertificate), d.pki.File(pki.PeerKey)); err != nil {
		t.Errorf("etcd's certificate and key: %v", err)
	}
}

func TestOtherMachinesAskForRenewal(t *testing.T) {
	issued := time.Now().Add(-300 * 24 * time.Hour)
	control := newRenewer(t, issued)
	authority, err := control.pki.Authority()
	if err != nil {
		t.Fatal(err)
	}
	id := pki.Identity{Cluster: "c1", Role: pki.Machine, Name: strings.Repeat("b", 32)}
	d := &daemon{pki: pkiDir(t.TempDir()), log: slog.New(slog.DiscardHandler), id: &identity{Cluster: "c1"}}
	cert, key, err := authority.NewCertificate(id, nil, issued)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{pki.CACertificate: authority.CertificatePEM(), pki.MachineCertificate: cert, pki.MachineKey: key} {
		if err := d.pki.Write(name, text); err != nil {
			t.Fatal(err)
		}
	}
	if d.credentials, err = d.pki.Machine(); err != nil {
		t.Fatal(err)
	}
	answerAs := id
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/renew") {
			return // the client finds out whether anybody is there
		}
		var request api.RenewRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		public, err := pki.ParseCSR(request.CSR)
		if err != nil {
			t.Error(err)
			return
		}
		cert, err := authority.Issue(public, answerAs, nil, time.Now())
		if err != nil {
			t.Error(err)
			return
		}
		_ = json.NewEncoder(w).Encode(api.Renewed{CA: authority.CertificatePEM(), Certificate: pki.EncodeCertificate(cert)})
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, control.credentials.ServerTLS(pki.Machine)))
	}()
	t.Cleanup(func() { _ = server.Shutdown(context.Background()); <-done })
	d.id.APIs = []string{l.Addr().String()}

	answerAs.Name = strings.Repeat("c", 32)
	if err := d.renewCertificates(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "the new one is of") {
		t.Errorf("somebody else's certificate: %v", err)
	}
	answerAs = id
	if err := d.renewCertificates(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if until := d.credentials.Certificate().NotAfter; until.Before(time.Now().Add(300 * 24 * time.Hour)) {
		t.Errorf("valid until %v", until)
	}
}
