package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/pki"
)

// outside is the role of a control machine over an etcd cluster that others
// keep. It joins the control machines by itself: whoever holds that etcd's
// credentials could write any record anyway.
func (d *daemon) outside(ctx context.Context) error {
	notify(d.log, "STATUS=control machine over an outside etcd; waiting for it")
	conn, err := d.dialOutside(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	defer conn.Close()
	if err := d.becomeControl(ctx, etcd.NewStore(conn, d.id.KeyPrefix)); err != nil || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return d.newController(conn, cancel).run(ctx)
}

// dialOutside logs in to the outside etcd, which may not be there yet. Only
// what waiting doesn't mend is an error.
func (d *daemon) dialOutside(ctx context.Context) (*etcd.Connection, error) {
	access, err := d.etcdAccess(time.Now())
	if err != nil {
		return nil, err
	}
	told := ""
	for ctx.Err() == nil {
		conn, err := etcd.DialAs(d.EtcdEndpoints, access, d.log)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, registry.ErrRefused):
			return nil, fmt.Errorf("%w; check EtcdUser= and EtcdPasswordFile=", err)
		case err.Error() != told:
			told = err.Error()
			d.log.Warn("outside etcd not reached yet", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil, nil
}

// etcdAccess reads the files that the configuration names for an outside etcd.
func (c Config) etcdAccess(now time.Time) (etcd.Access, error) {
	access := etcd.Access{TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}, User: c.EtcdUser}
	ca, err := os.ReadFile(c.EtcdCA)
	if err != nil {
		return access, fmt.Errorf("read EtcdCA=: %w", err)
	}
	if !access.TLS.RootCAs.AppendCertsFromPEM(ca) {
		return access, fmt.Errorf("read EtcdCA=: %s holds no certificate in PEM form", c.EtcdCA)
	}
	if c.EtcdCert != "" {
		own, err := tls.LoadX509KeyPair(c.EtcdCert, c.EtcdKey)
		if err != nil {
			return access, fmt.Errorf("read EtcdCert= and EtcdKey=: %w", err)
		}
		if end := own.Leaf.NotAfter; now.After(end) {
			return access, fmt.Errorf("read EtcdCert=: %s expired on %s; have a new one issued", c.EtcdCert, end.UTC().Format(time.DateTime))
		}
		access.TLS.Certificates = []tls.Certificate{own}
	}
	if c.EtcdUser == "" {
		return access, nil
	}
	file, err := os.Stat(c.EtcdPassword)
	if err != nil {
		return access, fmt.Errorf("read EtcdPasswordFile=: %w", err)
	}
	if file.Mode().Perm()&0o077 != 0 {
		return access, fmt.Errorf("read EtcdPasswordFile=: others may read %s (mode %04o); chmod 0600 it", c.EtcdPassword, file.Mode().Perm())
	}
	password, err := os.ReadFile(c.EtcdPassword)
	if err != nil {
		return access, fmt.Errorf("read EtcdPasswordFile=: %w", err)
	}
	if access.Password = strings.TrimRight(string(password), "\r\n"); access.Password == "" {
		return access, fmt.Errorf("read EtcdPasswordFile=: %s is empty", c.EtcdPassword)
	}
	return access, nil
}

// becomeControl records this machine as a control machine and, unless it made
// the cluster, gets the authorities' keys from another one. It tries until it
// has them or ctx ends.
func (d *daemon) becomeControl(ctx context.Context, store registry.Store) error {
	record := registry.Encode(&registry.Member{
		Promoted: true,
		Api:      hostPort(d.id.Address, d.APIPort), Gate: hostPort(d.id.Address, d.GatePort), Gossip: hostPort(d.id.Address, d.GossipPort),
	})
	told := ""
	for ctx.Err() == nil {
		_, err := store.Commit(ctx, nil, []registry.Op{{Key: registry.MemberKey(d.id.Machine), Value: record}})
		if err == nil && !d.pki.Has(pki.CAKey) {
			err = d.fetchControlCredentials(ctx)
		}
		if err == nil || errors.Is(err, registry.ErrRefused) {
			return err
		}
		if err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			d.log.Warn("not a control machine yet", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}
