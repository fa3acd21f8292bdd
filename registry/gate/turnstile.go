package gate

import (
	"errors"
	"net"
	"runtime"
	"time"

	"google.golang.org/grpc/credentials"
)

// turnstile lets only so many connections shake hands at a time, and turns away
// those that waited too long for it. When ten thousand machines come at once, as
// after a restart, those that are through stay, and the others try again after a
// pause of their own. Side by side, or all in a queue, each would be served
// when it no longer waits.
type turnstile struct {
	credentials.TransportCredentials
	places chan struct{}
}

// handshakesPerCore is how many may be under way at once: mostly they compute,
// and a client that hangs is only cut off by the connection's time limit.
const handshakesPerCore = 16

// turnMax is how long a connection waits for its turn. Clients give up after
// three seconds, see etcd.Dial, and a handshake takes some of that.
const turnMax = time.Second

var errTooMany = errors.New("too many machines connect at once")

func newTurnstile(c credentials.TransportCredentials) turnstile {
	return turnstile{c, make(chan struct{}, handshakesPerCore*runtime.GOMAXPROCS(0))}
}

// ServerHandshake is credentials.TransportCredentials'.
func (t turnstile) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	late := time.NewTimer(turnMax)
	defer late.Stop()
	select {
	case t.places <- struct{}{}:
	case <-late.C:
		return nil, nil, errTooMany
	}
	defer func() { <-t.places }()
	return t.TransportCredentials.ServerHandshake(conn)
}

// Clone is credentials.TransportCredentials'.
func (t turnstile) Clone() credentials.TransportCredentials {
	return turnstile{t.TransportCredentials.Clone(), t.places}
}
