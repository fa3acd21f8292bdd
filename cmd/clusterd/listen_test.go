package main

import (
	"net"
	"os"
	"strings"
	"testing"
)

// A port that is taken, and an address that is not this machine's, are said
// with what to do about them.
func TestListenNamesTheFix(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, c := range []struct {
		name, address string
		port          int
		want          string
	}{
		{"the port is another program's", "127.0.0.1", port, "listen for the gate: another program has port"},
		{"the fix is named", "127.0.0.1", port, "or set GatePort= to another port"},
		{"the address is another machine's", "192.0.2.1", port, "listen for the gate: this machine has no address 192.0.2.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := listen("the gate", "GatePort", c.address, c.port)
			if err == nil {
				l.Close()
				t.Fatalf("listens, want %q", c.want)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// All ports are tried before clusterd says that it is ready.
func TestCheckPortsTriesAll(t *testing.T) {
	free := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		key  string
		take func(*Config) *int
	}{
		{"GatePort", func(c *Config) *int { return &c.GatePort }},
		{"PeerPort", func(c *Config) *int { return &c.PeerPort }},
		{"GossipPort", func(c *Config) *int { return &c.GossipPort }},
	} {
		t.Run(c.key, func(t *testing.T) {
			d := &daemon{
				Config: Config{DataDir: t.TempDir(), GatePort: free(), PeerPort: free(), GossipPort: free()},
				id:     &identity{Address: "127.0.0.1", Bootstrap: true},
			}
			if err := d.checkPorts(); err != nil {
				t.Fatalf("with free ports: %v", err)
			}
			*c.take(&d.Config) = taken.Addr().(*net.TCPAddr).Port
			if err := d.checkPorts(); err == nil || !strings.Contains(err.Error(), c.key+"=") {
				t.Errorf("%v, want an error that names %s=", err, c.key)
			}
		})
	}
}

// An address that is another machine's is found out before a token is spent.
func TestJoinWithAnotherMachinesAddress(t *testing.T) {
	if err := ownAddress("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if err := ownAddress("192.0.2.1"); err == nil || !strings.Contains(err.Error(), "has no address 192.0.2.1; ip address shows") {
		t.Errorf("192.0.2.1: %v", err)
	}
}

// The socket and the identity are for root, and those root lets in, alone.
func TestFilesAreNobodyElses(t *testing.T) {
	d := &daemon{Config: Config{RunDir: t.TempDir()}}
	l, err := d.listenLocal()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data := t.TempDir()
	if err := writeIdentity(data, &identity{Cluster: "c1"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{d.socket(): 0o660, identityPath(data): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", path, info, err, want)
		}
	}
}
