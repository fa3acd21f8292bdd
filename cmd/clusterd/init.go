package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/agent/machine"
	"github.com/clusterd/clusterd/registry/pki"
)

func initCommand(o *options, stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "make a new cluster with this machine as its first",
		Long: `init makes a cluster: its identity, its certificate authorities and this
machine's credentials, under the data directory. Start clusterd afterwards.`,
		Example: "  clusterd init --address 10.0.0.1 && systemctl enable --now clusterd",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.load(cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			id, err := initCluster(c.Config, time.Now())
			if err != nil {
				return fmt.Errorf("init: %w", err)
			}
			fmt.Fprintf(stdout, `cluster %s made; this machine is %s at %s
  start it:             systemctl enable --now clusterd
  let a machine in:     clusterctl token create
  operate from afar:    %s and its key, with %s
`, id.Cluster, id.Machine.Short(), id.Address, pkiDir(c.DataDir).File(pki.AdminCertificate), pkiDir(c.DataDir).File(pki.CACertificate))
			return nil
		},
	}
}

func pkiDir(dataDir string) pki.Dir { return pki.Dir{Path: filepath.Join(dataDir, "pki")} }

// newMember refuses to make this machine part of a cluster when it can't be or
// already is, and says who it is.
func newMember(c Config) (*identity, error) {
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	switch old, err := readIdentity(c.DataDir); {
	case err == nil:
		return nil, fmt.Errorf("this machine is already of cluster %s; to leave it, run clusterctl machine remove %s on a control machine, stop clusterd here and delete %s",
			old.Cluster, old.Machine.Short(), c.DataDir)
	case !errors.Is(err, errNoIdentity):
		return nil, err
	}
	m, err := machine.ID("")
	if err != nil {
		return nil, err
	}
	address := c.Address
	if address == "" {
		if address, err = machine.Address(""); err != nil {
			return nil, fmt.Errorf("%w; name one with --address", err)
		}
	}
	if err := ownAddress(address); err != nil {
		return nil, err
	}
	return &identity{Machine: m, Address: address}, nil
}

// ownAddress refuses an address that nobody could reach this machine at: the
// token would be spent on a clusterd that can't start.
func ownAddress(address string) error {
	l, err := net.Listen("tcp", hostPort(address, 0))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("this machine has no address %s; ip address shows those it has: name one with --address", address)
	}
	if err != nil {
		return fmt.Errorf("listen at %s: %w; name another address with --address", address, err)
	}
	return l.Close()
}

// initCluster writes the identity last: with it the machine is a member.
func initCluster(c Config, now time.Time) (*identity, error) {
	id, err := newMember(c)
	if err != nil {
		return nil, err
	}
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	id.Cluster, id.Bootstrap, id.Members, id.KeyPrefix = hex.EncodeToString(random), true, c.Members, c.KeyPrefix
	if err := writeAuthorities(pkiDir(c.DataDir), id, now); err != nil {
		return nil, err
	}
	return id, writeIdentity(c.DataDir, id)
}

// writeAuthorities makes all the credentials a cluster begins with.
func writeAuthorities(dir pki.Dir, id *identity, now time.Time) error {
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	ca, err := pki.NewAuthority(id.Cluster, "cluster", now)
	if err != nil {
		return err
	}
	peerCA, err := pki.NewAuthority(id.Cluster, "peer", now)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.WriteAuthority(ca), dir.WritePeerAuthority(peerCA)); err != nil {
		return err
	}
	hosts := []string{id.Address, hostname}
	own := pki.Identity{Cluster: id.Cluster, Role: pki.Control, Name: string(id.Machine)}
	cert, key, err := ca.NewCertificate(own, hosts, now)
	if err != nil {
		return err
	}
	peerCert, peerKey, err := peerCA.NewCertificate(own, hosts, now)
	if err != nil {
		return err
	}
	admin, adminKey, err := ca.NewCertificate(pki.Identity{Cluster: id.Cluster, Role: pki.Admin, Name: "admin"}, nil, now)
	if err != nil {
		return err
	}
	gossip, err := pki.NewGossipKey()
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		pki.MachineCertificate: cert, pki.MachineKey: key,
		pki.PeerCertificate: peerCert, pki.PeerKey: peerKey,
		pki.AdminCertificate: admin, pki.AdminKey: adminKey,
		pki.GossipKey: gossip,
	} {
		if err := dir.Write(name, data); err != nil {
			return err
		}
	}
	return nil
}

func hostPort(address string, port int) string {
	return net.JoinHostPort(address, strconv.Itoa(port))
}
