package gate

import (
	"net"
	"runtime"

	"google.golang.org/grpc/credentials"
)

// turnstile lets only so many connections shake hands at a time. When ten
// thousand machines come at once, as after a restart, those that are through
// stay, and the others try again; side by side, all of them would take longer
// than any of them waits.
type turnstile struct {
	credentials.TransportCredentials
	places chan struct{}
}

// handshakesPerCore is how many may be under way at once: mostly they compute,
// and a client that hangs is only cut off by the connection's time limit.
const handshakesPerCore = 16

func newTurnstile(c credentials.TransportCredentials) turnstile {
	return turnstile{c, make(chan struct{}, handshakesPerCore*runtime.GOMAXPROCS(0))}
}

// ServerHandshake is credentials.TransportCredentials'.
func (t turnstile) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t.places <- struct{}{}
	defer func() { <-t.places }()
	return t.TransportCredentials.ServerHandshake(conn)
}

// Clone is credentials.TransportCredentials'.
func (t turnstile) Clone() credentials.TransportCredentials {
	return turnstile{t.TransportCredentials.Clone(), t.places}
}
