package functional

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestC11_EveryPortRefusesStrangers finds every TCP port of the machines, and
// knocks at each without credentials: in the clear and by TLS.
func TestC11_EveryPortRefusesStrangers(t *testing.T) {
	c := sharedLab.cluster(t)
	for _, m := range c.machines() {
		out := c.must(m.Hostname, "ss", "-Htln")
		for line := range strings.Lines(out) {
			address := strings.Fields(line)[3]
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatalf("machine %s: ss: %q", m.Hostname, line)
			}
			if host != m.Address || !strings.Contains(" 7421 7422 7423 7424 ", " "+port+" ") {
				t.Errorf("machine %s listens at %s, which is none of ours", m.Hostname, address)
				continue
			}
			c.refusesPlaintext(address)
			c.refusesNoCertificate(address)
		}
		if strings.Count(out, "\n")+1 != 4 {
			t.Errorf("machine %s: want 4 ports, got:\n%s", m.Hostname, out)
		}
	}
}

const knockTime = 3 * time.Second

// refusesPlaintext fails when a port says anything that is not TLS to one who
// speaks HTTP.
func (c *cluster) refusesPlaintext(address string) {
	c.Helper()
	conn := c.dial(address)
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /v1/units HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		return // refused right away
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	if strings.Contains(line, " 200 ") || strings.Contains(line, "{") {
		c.Errorf("%s answers in the clear: %q", address, line)
	}
}

// refusesNoCertificate fails when a port answers a TLS client without
// credentials. A TLS 1.3 client learns of the refusal by its first read.
func (c *cluster) refusesNoCertificate(address string) {
	c.Helper()
	conn := tls.Client(c.dial(address), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		return
	}
	_, _ = conn.Write([]byte("GET /v1/units HTTP/1.1\r\nHost: x\r\n\r\n"))
	// HTTP/2's first frame, the server's settings, comes unasked.
	said, err := io.ReadAll(io.LimitReader(conn, 4096))
	if strings.Contains(string(said), "200") || strings.Contains(string(said), "units") {
		c.Errorf("%s answers a client without a certificate: %q", address, said)
	}
	if err == nil && len(said) == 0 {
		c.Logf("%s closed without a word", address)
	}
}

func (c *cluster) dial(address string) net.Conn {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), knockTime)
	defer cancel()
	conn, err := c.lab.Dial(ctx, address)
	if err != nil {
		c.Fatalf("reach %s: %v", address, err)
	}
	if err := conn.SetDeadline(time.Now().Add(knockTime)); err != nil {
		c.Fatal(err)
	}
	return conn
}
