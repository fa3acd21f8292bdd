package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/registry/pki"
)

// stranger is the role of a TLS client whose certificate is not the cluster's.
const stranger pki.Role = "stranger"

// caller is who makes a call.
type caller struct {
	id    pki.Identity
	local bool              // over the unix socket
	cert  *x509.Certificate // nil when local
	err   error             // why a certificate of ours gives no role; id is then empty
}

func (c caller) String() string {
	switch {
	case c.local:
		return c.id.Name + " on this machine"
	case c.id.Role == stranger:
		return "a client with a certificate of another authority"
	}
	return fmt.Sprintf("%s with role %s", c.id.Name, c.id.Role)
}

// connection finds out once who is at its other end.
type connection struct {
	find  func() caller
	once  sync.Once
	found caller
}

func (c *connection) caller() caller {
	c.once.Do(func() { c.found = c.find() })
	return c.found
}

type connectionKey struct{}

// withConnection is http.Server.ConnContext for connections that find tells
// the caller of.
func withConnection(find func(net.Conn) caller) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, &connection{find: func() caller { return find(conn) }})
	}
}

// callerOf returns who made a call; nobody when the connection isn't one of ours.
func callerOf(ctx context.Context) caller {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c.caller()
	}
	return caller{err: errors.New("it is not known who calls")}
}

// tlsCaller reads the caller from the certificate, which the handshake asked
// for but did not judge.
func tlsCaller(credentials *pki.Credentials, conn net.Conn) caller {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return caller{err: errors.New("the connection is not encrypted")}
	}
	certs := t.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return caller{err: errors.New("no certificate was shown")}
	}
	id, err := credentials.Verify(certs[0])
	switch {
	case errors.Is(err, pki.ErrForeign):
		return caller{id: pki.Identity{Role: stranger}, cert: certs[0]}
	case err != nil:
		return caller{err: err, cert: certs[0]}
	}
	return caller{id: id, cert: certs[0]}
}

// unixCaller reads the caller from the kernel's credentials of the connection.
// socketGroup is the group that owns the socket.
func unixCaller(conn net.Conn, socketGroup uint32) caller {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return caller{local: true, err: errors.New("not a unix socket")}
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return caller{local: true, err: err}
	}
	var cred *unix.Ucred
	var groups []uint32
	var credErr, groupsErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		groups, groupsErr = peerGroups(int(fd))
	}); err != nil {
		return caller{local: true, err: err}
	}
	if credErr != nil {
		return caller{local: true, err: fmt.Errorf("read the caller's credentials: %w", credErr)}
	}
	if groupsErr != nil {
		groups = nil // an old kernel: the first group counts
	}
	return localCaller(cred.Uid, append(groups, cred.Gid), socketGroup)
}

// localCaller decides: root and members of the socket's group are admins.
func localCaller(uid uint32, groups []uint32, socketGroup uint32) caller {
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	c := caller{local: true, id: pki.Identity{Name: name}}
	if uid == 0 || slices.Contains(groups, socketGroup) {
		c.id.Role = pki.Admin
		return c
	}
	c.err = fmt.Errorf("user %s is neither root nor in the group that owns the socket (%d)", name, socketGroup)
	return c
}

// peerGroups are the supplementary groups of a unix socket's other end.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && len(groups) < 1<<16:
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// groupOf is the group that owns a unix socket's file.
func groupOf(path string) (uint32, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("no owner known")
	}
	return stat.Gid, nil
}
