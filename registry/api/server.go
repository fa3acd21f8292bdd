package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
)

// Config is what a Server needs on every machine.
type Config struct {
	Version string             // of this software
	Cluster string             // the cluster's id
	Machine registry.MachineID // this machine
	// Credentials are this machine's; nil: ServeTLS is not available.
	Credentials *pki.Credentials
	// Local answers for this machine's units; nil: it has none.
	Local Local
	// Peers reaches the clusterds of other machines; nil: none can be reached.
	Peers Peers
	// Forward is where calls go while this isn't a control machine.
	Forward Forward
	// Metrics is served, with the API's own added; nil makes a new one.
	Metrics *prometheus.Registry
	// Gather is served among the metrics as well, such as those of etcd and of
	// this process; nil: there are none.
	Gather prometheus.Gatherer
	Log    *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Server answers the API's calls. It only ever listens on unix sockets and
// with mutual TLS. It is safe for concurrent use.
type Server struct {
	Config
	handler http.Handler
	metrics *metrics
	control atomic.Pointer[Control]
	wake    chan struct{} // tells watchControl of SetControl
}

// NewServer makes a server that forwards until SetControl.
func NewServer(c Config) (*Server, error) {
	if c.Log == nil {
		return nil, errors.New("make API server: no logger given")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	s := &Server{Config: c, wake: make(chan struct{}, 1)}
	var err error
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, fmt.Errorf("make API server: %w", err)
	}
	s.handler = s.routes()
	return s, nil
}

// SetControl makes the server answer from this machine's registry; nil makes
// it forward again. It may be called at any time.
func (s *Server) SetControl(c *Control) error {
	if c != nil {
		if err := c.prepare(); err != nil {
			return err
		}
	}
	s.control.Store(c)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Run keeps the times that the API itself has to know, until ctx ends. Without
// it, a machine's death is noticed only when somebody asks.
func (s *Server) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		inner, cancel := context.WithCancel(ctx)
		if c := s.control.Load(); c != nil {
			running.Go(func() { c.watchMissing(inner, s.Now) })
		}
		select {
		case <-ctx.Done():
			cancel()
			return
		case <-s.wake:
			cancel()
		}
	}
}

// ServeUnix answers on a unix socket until ctx ends; the kernel tells who
// calls. It closes the listener.
func (s *Server) ServeUnix(ctx context.Context, l *net.UnixListener) error {
	path := l.Addr().String()
	return s.serve(ctx, l, withConnection(func(conn net.Conn) caller {
		group, err := groupOf(path)
		if err != nil {
			return caller{local: true, err: fmt.Errorf("look at the socket's owner: %w", err)}
		}
		return unixCaller(conn, group)
	}))
}

// ServeTLS answers with mutual TLS on a listener of TCP connections until ctx
// ends. A client that shows no certificate is refused in the handshake. It
// closes the listener.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener) error {
	if s.Credentials == nil {
		l.Close()
		return errors.New("serve the API over TLS: this machine has no certificate; see clusterd init and clusterd join")
	}
	return s.serve(ctx, tls.NewListener(l, s.Credentials.OpenServerTLS()), withConnection(func(conn net.Conn) caller {
		return tlsCaller(s.Credentials, conn)
	}))
}

// shutdownWait is how long calls in progress may go on when the server stops.
const shutdownWait = 2 * time.Second

func (s *Server) serve(ctx context.Context, l net.Listener, connContext func(context.Context, net.Conn) context.Context) error {
	// Streams end as soon as ctx does, other calls may finish.
	streams, cancelStreams := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelStreams()
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext:       connContext,
		BaseContext:       func(net.Listener) context.Context { return context.WithValue(context.Background(), stopKey{}, streams) },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the API at %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	cancelStreams()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
	defer cancel()
	if server.Shutdown(limited) != nil {
		server.Close()
	}
	<-served
	return nil
}

type stopKey struct{}

// streamContext is a call's context that also ends when the server stops.
func streamContext(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	stop, ok := r.Context().Value(stopKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	unhook := context.AfterFunc(stop, cancel)
	return ctx, func() { unhook(); cancel() }
}
