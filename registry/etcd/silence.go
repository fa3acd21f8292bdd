package etcd

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// silenceMax is how long the other side of a connection between members may
// leave what was sent unacknowledged.
const (
	silenceMax   = 5 * time.Second
	silenceCheck = time.Second
)

// limitSilence keeps watch over the connections between members, until done is
// closed, so that those that lead nowhere end. etcd means to end them itself, but
// the deadlines of its own dialler are not in force: its transport has two
// diallers, and net/http takes the other one. After a partition its members
// then go on with the old connections, whose next retransmission may be as far
// off as the partition was long. What etcd dials is out of reach before it is a
// socket, so sockets are what is set up here.
func limitSilence(done <-chan struct{}, isPeer func(local, remote netip.AddrPort) bool) {
	tick := time.NewTicker(silenceCheck)
	defer tick.Stop()
	for {
		eachSocket(func(fd int, local, remote netip.AddrPort) {
			if isPeer(local, remote) {
				endWhenSilent(fd)
			}
		})
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// eachSocket calls f with this process's TCP connections.
func eachSocket(f func(fd int, local, remote netip.AddrPort)) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1) // what could be read is as good as any moment's list
	dir.Close()
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || kind != unix.IPPROTO_TCP {
			continue
		}
		remote, err := unix.Getpeername(fd)
		if err != nil {
			continue // it listens
		}
		if local, err := unix.Getsockname(fd); err == nil {
			f(fd, addrPort(local), addrPort(remote))
		}
	}
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// endWhenSilent lets the kernel end a connection whose other side no longer
// acknowledges, be it data or, when there is none, probes. A descriptor that was
// closed meanwhile, or is another connection's by now, takes no harm.
func endWhenSilent(fd int) {
	for option, value := range map[int]int{
		unix.TCP_USER_TIMEOUT: int(silenceMax.Milliseconds()),
		unix.TCP_KEEPIDLE:     2,
		unix.TCP_KEEPINTVL:    1,
	} {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

// isPeer says whether a connection is one between this member and another.
func (m *Member) isPeer(local, remote netip.AddrPort) bool {
	if local.Port() == m.listen.Port() {
		return true
	}
	for _, member := range m.etcd.Server.Cluster().Members() {
		for _, text := range member.PeerURLs {
			if peerAddress(text) == remote {
				return true
			}
		}
	}
	return false
}

// peerAddress is the address in a peer URL, or none if it has a host name.
func peerAddress(text string) netip.AddrPort {
	u, err := url.Parse(text)
	if err != nil {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(net.JoinHostPort(u.Hostname(), u.Port()))
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
