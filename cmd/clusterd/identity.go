package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/clusterd/clusterd/registry"
)

// identity is what init or join left on this machine: which cluster it belongs
// to and where to find the others at first. It is read at every start.
type identity struct {
	Cluster   string             `json:"cluster"`
	Machine   registry.MachineID `json:"machine"`
	Address   string             `json:"address"`
	Bootstrap bool               `json:"bootstrap"`        // this machine made the cluster
	Members   int                `json:"members"`          // how many etcd members it was made for
	KeyPrefix string             `json:"keyPrefix"`        // of the cluster's records in etcd
	Gates     []string           `json:"gates,omitempty"`  // host:port, known at the time of joining
	APIs      []string           `json:"apis,omitempty"`   // host:port of control machines
	Gossip    []string           `json:"gossip,omitempty"` // host:port
}

func identityPath(dataDir string) string { return filepath.Join(dataDir, "identity.json") }

var errNoIdentity = errors.New("this machine belongs to no cluster; make one with clusterd init, or join one with clusterd join TOKEN")

func readIdentity(dataDir string) (*identity, error) {
	path := identityPath(dataDir)
	src, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	var id identity
	if err := json.Unmarshal(src, &id); err != nil {
		return nil, fmt.Errorf("read identity %s: %w; restore it, or leave and join again", path, err)
	}
	return &id, nil
}

// writeIdentity replaces the file as a whole, or leaves it as it was, also when
// the power is cut.
func writeIdentity(dataDir string, id *identity) error {
	src, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	path := identityPath(dataDir)
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	fresh := path + ".new"
	if err := writeSynced(fresh, append(src, '\n')); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
