package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/pki"
)

// renewEach is how often this machine's certificates are looked at.
const renewEach = time.Hour

// keepCertificates renews this machine's certificates in time, until ctx ends.
// Whoever uses them takes the new ones up by themselves.
func (d *daemon) keepCertificates(ctx context.Context) {
	tick := time.NewTicker(renewEach)
	defer tick.Stop()
	for {
		if err := d.renewCertificates(ctx, time.Now()); err != nil && ctx.Err() == nil {
			d.log.Warn("certificate not renewed; it is tried again", "valid until", d.credentials.Certificate().NotAfter, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renewCertificates renews those that are due, over the keys they have: a
// control machine by the authorities it holds, others by asking one.
func (d *daemon) renewCertificates(ctx context.Context, now time.Time) error {
	control := d.credentials.Identity().Role == pki.Control && d.pki.Has(pki.CAKey)
	if due := pki.RenewAt(d.credentials.Certificate()); now.After(due) {
		renew := d.askForRenewal
		if control {
			renew = d.renewOwn
		}
		if err := renew(ctx, now); err != nil {
			return err
		}
		d.log.Info("certificate renewed", "valid until", d.credentials.Certificate().NotAfter)
	}
	if control && d.pki.Has(pki.PeerCAKey) {
		return d.renewPeer(now)
	}
	return nil
}

// renewOwn issues this control machine's certificate anew.
func (d *daemon) renewOwn(_ context.Context, now time.Time) error {
	authority, err := d.pki.Authority()
	if err != nil {
		return err
	}
	cert, err := d.issueAnew(authority, d.credentials.Certificate(), pki.MachineKey, now)
	if err != nil {
		return err
	}
	return d.useCertificate(authority.CertificatePEM(), cert)
}

// renewPeer issues the certificate of this machine's etcd member anew when it
// is due. etcd reads it at each connection.
func (d *daemon) renewPeer(now time.Time) error {
	certPEM, err := d.pki.Read(pki.PeerCertificate)
	if err != nil {
		return err
	}
	cert, err := pki.ParseCertificate(certPEM)
	if err != nil {
		return err
	}
	if !now.After(pki.RenewAt(cert)) {
		return nil
	}
	authority, err := d.pki.PeerAuthority()
	if err != nil {
		return err
	}
	anew, err := d.issueAnew(authority, cert, pki.PeerKey, now)
	if err != nil {
		return err
	}
	return d.pki.Write(pki.PeerCertificate, anew)
}

func (d *daemon) issueAnew(authority *pki.Authority, old *x509.Certificate, keyFile string, now time.Time) ([]byte, error) {
	id, err := pki.IdentityOf(old)
	if err != nil {
		return nil, err
	}
	key, err := d.readKey(keyFile)
	if err != nil {
		return nil, err
	}
	hosts := slices.Clone(old.DNSNames)
	for _, ip := range old.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	cert, err := authority.Issue(key.Public(), id, hosts, now)
	if err != nil {
		return nil, err
	}
	return pki.EncodeCertificate(cert), nil
}

// askForRenewal gets this machine's certificate anew from a control machine.
func (d *daemon) askForRenewal(ctx context.Context, _ time.Time) error {
	key, err := d.readKey(pki.MachineKey)
	if err != nil {
		return err
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		return err
	}
	client, err := d.controlClient()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, controlAnswerMax)
	defer cancel()
	got, err := client.Renew(ctx, api.RenewRequest{CSR: csr})
	if err != nil {
		return err
	}
	return d.useCertificate(got.CA, got.Certificate)
}

// controlAnswerMax is how long a control machine's API may take to answer.
const controlAnswerMax = 10 * time.Second

// controlClient calls the API of whichever control machine answers.
func (d *daemon) controlClient() (*api.Client, error) {
	var endpoints string
	for _, e := range d.apis() {
		endpoints += "https://" + e + ","
	}
	return api.Dial(endpoints, d.credentials.ClientTLS(pki.Control))
}

// useCertificate keeps a new certificate over this machine's key, if it is fit
// for use, and uses it.
func (d *daemon) useCertificate(ca, cert []byte) error {
	keyPEM, err := d.pki.Read(pki.MachineKey)
	if err != nil {
		return err
	}
	fresh, err := pki.NewCredentials(ca, cert, keyPEM)
	if err != nil {
		return err
	}
	if was, is := d.credentials.Identity(), fresh.Identity(); was != is {
		return fmt.Errorf("renew certificate: the new one is of %s, not %s", is, was)
	}
	if err := d.pki.Write(pki.MachineCertificate, cert); err != nil {
		return err
	}
	return d.credentials.Replace(ca, cert, keyPEM)
}

func (d *daemon) readKey(file string) (*ecdsa.PrivateKey, error) {
	keyPEM, err := d.pki.Read(file)
	if err != nil {
		return nil, err
	}
	return pki.ParseKey(keyPEM)
}
