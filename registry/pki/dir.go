package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is the directory of a machine's certificates and keys, usually
// /var/lib/clusterd/pki. Everything in it is readable by root alone.
type Dir struct{ Path string }

// The files of a Dir. Which are there depends on the machine: CAKey and the
// peer files only on control machines, AdminCertificate only where the cluster
// was made.
const (
	CACertificate      = "ca.crt"
	CAKey              = "ca.key"
	MachineCertificate = "machine.crt" // for role machine or control
	MachineKey         = "machine.key"
	PeerCACertificate  = "peer-ca.crt"
	PeerCAKey          = "peer-ca.key"
	PeerCertificate    = "peer.crt"
	PeerKey            = "peer.key"
	AdminCertificate   = "admin.crt"
	AdminKey           = "admin.key"
	GossipKey          = "gossip.key"
)

// File is the path of one of its files.
func (d Dir) File(name string) string { return filepath.Join(d.Path, name) }

// Has says whether a file is there.
func (d Dir) Has(name string) bool {
	_, err := os.Stat(d.File(name))
	return err == nil
}

// Read returns a file's bytes. A file that isn't there is an fs.ErrNotExist.
func (d Dir) Read(name string) ([]byte, error) {
	data, err := os.ReadFile(d.File(name))
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	return data, nil
}

// Write puts a file in place whole or not at all, with mode 0600.
func (d Dir) Write(name string, data []byte) (err error) {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	tmp, err := os.CreateTemp(d.Path, "."+name+".*") // 0600 by its own rule
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
			err = fmt.Errorf("write credentials: %w", err)
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), d.File(name)); err != nil {
		return err
	}
	return d.sync()
}

// sync makes a rename last through a power cut.
func (d Dir) sync() error {
	dir, err := os.Open(d.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Remove deletes a file; one that isn't there is no error.
func (d Dir) Remove(name string) error {
	if err := os.Remove(d.File(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove credentials: %w", err)
	}
	return nil
}

// Authority reads the cluster's authority with its key.
func (d Dir) Authority() (*Authority, error) { return d.authority(CACertificate, CAKey) }

// PeerAuthority reads the authority of etcd's members with its key.
func (d Dir) PeerAuthority() (*Authority, error) { return d.authority(PeerCACertificate, PeerCAKey) }

func (d Dir) authority(certName, keyName string) (*Authority, error) {
	cert, err := d.Read(certName)
	if err != nil {
		return nil, err
	}
	key, err := d.Read(keyName)
	if err != nil {
		return nil, err
	}
	a, err := ParseAuthority(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", d.File(certName), d.File(keyName), err)
	}
	return a, nil
}

// WriteAuthority and WritePeerAuthority keep an authority with its key.
func (d Dir) WriteAuthority(a *Authority) error { return d.writeAuthority(a, CACertificate, CAKey) }

// WritePeerAuthority keeps the authority of etcd's members.
func (d Dir) WritePeerAuthority(a *Authority) error {
	return d.writeAuthority(a, PeerCACertificate, PeerCAKey)
}

func (d Dir) writeAuthority(a *Authority, certName, keyName string) error {
	key, err := a.KeyPEM()
	if err != nil {
		return err
	}
	if err := d.Write(keyName, key); err != nil {
		return err
	}
	return d.Write(certName, a.CertificatePEM())
}

// Machine reads this machine's own credentials.
func (d Dir) Machine() (*Credentials, error) {
	return d.credentials(CACertificate, MachineCertificate, MachineKey)
}

// Admin reads the first operator's credentials.
func (d Dir) Admin() (*Credentials, error) {
	return d.credentials(CACertificate, AdminCertificate, AdminKey)
}

func (d Dir) credentials(caName, certName, keyName string) (*Credentials, error) {
	return ReadCredentials(d.File(caName), d.File(certName), d.File(keyName))
}

// ReadCredentials reads credentials from files anywhere.
func ReadCredentials(caFile, certFile, keyFile string) (*Credentials, error) {
	var texts [3][]byte
	for i, name := range []string{caFile, certFile, keyFile} {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		texts[i] = data
	}
	c, err := NewCredentials(texts[0], texts[1], texts[2])
	if err != nil {
		return nil, fmt.Errorf("read credentials %s, %s and %s: %w", certFile, keyFile, caFile, err)
	}
	return c, nil
}
