package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry/pki"
)

// TestEtcdAccess reads what an outside etcd asks for, and says what of it is no good.
func TestEtcdAccess(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	now := time.Now()
	authority, err := pki.NewAuthority("theirs", "etcd", now)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.NewCertificate(pki.Identity{Cluster: "theirs", Role: pki.Peer, Name: "c"}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	good := Config{
		EtcdCA: write("ca", authority.CertificatePEM(), 0o644), EtcdCert: write("cert", cert, 0o644), EtcdKey: write("key", key, 0o600),
		EtcdUser: "clusterd", EtcdPassword: write("password", []byte("right\n"), 0o600),
	}
	access, err := good.etcdAccess(now)
	if err != nil || access.User != "clusterd" || access.Password != "right" || len(access.TLS.Certificates) != 1 {
		t.Errorf("got %q, %q, %d certificates, %v", access.User, access.Password, len(access.TLS.Certificates), err)
	}
	for name, test := range map[string]struct {
		spoil func(*Config)
		now   time.Time
		want  string
	}{
		"no PEM":             {func(c *Config) { c.EtcdCA = c.EtcdPassword }, now, "holds no certificate in PEM form"},
		"not its key":        {func(c *Config) { c.EtcdKey = c.EtcdCA }, now, "read EtcdCert= and EtcdKey=: "},
		"expired":            {func(*Config) {}, now.AddDate(20, 0, 0), "cert expired on "},
		"open to all":        {func(c *Config) { c.EtcdPassword = write("open", []byte("x"), 0o644) }, now, "(mode 0644); chmod 0600 it"},
		"empty":              {func(c *Config) { c.EtcdPassword = write("empty", []byte("\n"), 0o600) }, now, "is empty"},
		"password not there": {func(c *Config) { c.EtcdPassword = dir + "/no" }, now, "read EtcdPasswordFile=: stat "},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			test.spoil(&c)
			if _, err := c.etcdAccess(test.now); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}
