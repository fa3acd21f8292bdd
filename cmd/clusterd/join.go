package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/pki"
)

func joinCommand(o *options, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "join TOKEN",
		Short: "bring this machine into a cluster",
		Long: `join spends a token that clusterctl token create printed on a control machine
and writes this machine's credentials under the data directory. Start clusterd
afterwards.`,
		Example: "  clusterd join TOKEN && systemctl enable --now clusterd",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			token, err := pki.ParseToken(args[0])
			if err != nil {
				return usageError{fmt.Errorf("join: %w", err)}
			}
			id, err := joinCluster(cmd.Context(), c.Config, token, time.Now())
			if err != nil {
				return fmt.Errorf("join: %w", withoutVerb(err))
			}
			fmt.Fprintf(stdout, "joined cluster %s as %s at %s\n  start it: systemctl enable --now clusterd\n", id.Cluster, id.Machine.Short(), id.Address)
			return nil
		},
	}
}

// withoutVerb drops the verb that a control machine's answer begins with.
func withoutVerb(err error) error {
	var answer *api.Problem
	if !errors.As(err, &answer) {
		return err
	}
	bare := *answer
	bare.Message = strings.TrimPrefix(answer.Message, "join: ")
	return &bare
}

// joinCluster spends the token last of all that can fail beforehand, and writes
// the identity last of all.
func joinCluster(ctx context.Context, c Config, token pki.Token, now time.Time) (*identity, error) {
	id, err := newMember(c)
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		return nil, err
	}
	own, err := pki.SelfSigned(key, now)
	if err != nil {
		return nil, err
	}
	dir := pkiDir(c.DataDir)
	if err := dir.Write(pki.MachineKey, keyPEM); err != nil {
		return nil, err // before the token is gone
	}
	shown := tls.Certificate{Certificate: [][]byte{own.Raw}, PrivateKey: key, Leaf: own}
	client, err := api.Dial("https://"+strings.Join(token.Endpoints, ",https://"), pki.JoinTLS(shown, token.Pin))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	joined, err := client.Join(ctx, api.JoinRequest{
		Secret: token.Secret, Machine: id.Machine, Hostname: hostname, Address: id.Address, CSR: csr,
	})
	if err != nil {
		return nil, err
	}
	for name, data := range map[string][]byte{
		pki.CACertificate: joined.CA, pki.MachineCertificate: joined.Certificate, pki.GossipKey: joined.GossipKey,
	} {
		if err := dir.Write(name, data); err != nil {
			return nil, err
		}
	}
	id.Cluster, id.KeyPrefix = joined.Cluster, joined.KeyPrefix
	id.Gates, id.APIs, id.Gossip = joined.Gates, joined.APIs, joined.Gossip
	return id, writeIdentity(c.DataDir, id)
}
