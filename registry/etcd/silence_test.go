package etcd

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestC01_ConnectionsBetweenMembersEndWhenSilent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	watched, other := dial(), dial()
	port := netip.MustParseAddrPort(watched.LocalAddr().String())
	once := make(chan struct{})
	close(once)
	limitSilence(once, func(local, _ netip.AddrPort) bool { return local == port })
	limit := func(c net.Conn) (limit, keepAlive int) {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			limit, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
			keepAlive, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		}); err != nil {
			t.Fatal(err)
		}
		return limit, keepAlive
	}
	if ms, idle := limit(watched); ms != 5000 || idle != 2 {
		t.Errorf("a member's connection ends after %d ms, probed after %d s", ms, idle)
	}
	if ms, _ := limit(other); ms != 0 {
		t.Errorf("another connection ends after %d ms", ms)
	}
}

func TestMember_KnowsItsPeersConnections(t *testing.T) {
	for text, want := range map[string]string{
		"https://10.0.0.1:7423":        "10.0.0.1:7423",
		"https://[fd00::1]:7423":       "[fd00::1]:7423",
		"https://[::ffff:10.0.0.1]:10": "10.0.0.1:10",
		"https://control.example:7423": "invalid AddrPort",
		"%":                            "invalid AddrPort",
	} {
		if got := peerAddress(text).String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
