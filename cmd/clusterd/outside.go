package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
	"github.com/clusterd/clusterd/registry/pki"
)

// outside is the role of a control machine over an etcd cluster that others
// keep. It joins the control machines by itself: whoever holds that etcd's
// credentials could write any record anyway.
func (d *daemon) outside(ctx context.Context) error {
	secure, err := d.outsideTLS()
	if err != nil {
		return err
	}
	conn, err := etcd.Dial(d.EtcdEndpoints, secure, d.log)
	if err != nil {
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

func (d *daemon) outsideTLS() (*tls.Config, error) {
	ca, err := os.ReadFile(d.EtcdCA)
	if err != nil {
		return nil, fmt.Errorf("read EtcdCA=: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read EtcdCA=: %s holds no certificate in PEM form", d.EtcdCA)
	}
	own, err := tls.LoadX509KeyPair(d.EtcdCert, d.EtcdKey)
	if err != nil {
		return nil, fmt.Errorf("read EtcdCert= and EtcdKey=: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{own}}, nil
}

// becomeControl records this machine as a control machine and, unless it made
// the cluster, gets the authorities' keys from another one. It tries until it
// has them or ctx ends.
func (d *daemon) becomeControl(ctx context.Context, store registry.Store) error {
	notify(d.log, "STATUS=control machine over an outside etcd; waiting for it")
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
