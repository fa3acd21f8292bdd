package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/clusterd/clusterd/registry"
)

// Connection is a way to an etcd cluster: over the network, or to the member in
// this process. It carries what clientv3 has no call for, too.
type Connection struct {
	Client *clientv3.Client
	KV     etcdserverpb.KVClient
	Watch  etcdserverpb.WatchClient
	Lease  etcdserverpb.LeaseClient
	// HasLeader says whether the other side knows an etcd leader; of a
	// connection over the network it is always true, as etcd itself answers that.
	HasLeader func() bool

	where string // for errors
	fix   string
}

// Dial prepares a connection to endpoints (host:port, or unix:PATH), with
// secure as the client's side of mutual TLS; nil means no TLS, for unix sockets
// only. It does not wait for an answer. With several endpoints each call goes to the
// next one, so that one that is dead is left for another within seconds.
func Dial(endpoints []string, secure *tls.Config, log *slog.Logger) (*Connection, error) {
	return dial(context.Background(), endpoints, Access{TLS: secure}, log)
}

// Access is what an outside etcd asks of whom it serves.
type Access struct {
	TLS            *tls.Config // the client's side; with a certificate if etcd wants one
	User, Password string      // of etcd's own; empty: none
}

// DialAs prepares a connection as Dial does, to an etcd kept by others. If
// there is a user, it logs in first: wrong words are ErrRefused, and nobody there
// is ErrNoAnswer.
func DialAs(endpoints []string, a Access, log *slog.Logger) (*Connection, error) {
	ctx, tries := withAttempts(context.Background())
	conn, err := dial(ctx, endpoints, a, log)
	if err == nil {
		conn.fix += ", and that EtcdCA= and EtcdCert= are good"
		return conn, nil
	}
	where := strings.Join(endpoints, ", ")
	if classify(err) != registry.ErrRefused {
		if tries.last != nil {
			err = tries.last
		}
		return nil, fmt.Errorf("log in to etcd: %w: %s: %s; check that they are up and reachable from here", registry.ErrNoAnswer, where, reason(err))
	}
	return nil, fmt.Errorf("log in to etcd at %s as %s: %w: %s", where, a.User, registry.ErrRefused, reason(err))
}

func dial(ctx context.Context, endpoints []string, a Access, log *slog.Logger) (*Connection, error) {
	secure := a.TLS
	urls := make([]string, len(endpoints))
	for i, e := range endpoints {
		unix := strings.HasPrefix(e, "unix:")
		if secure == nil && !unix {
			return nil, fmt.Errorf("dial etcd at %s: no certificate to show; without TLS only unix:PATH is taken", e)
		}
		if urls[i] = e; !unix && !strings.Contains(e, "://") {
			urls[i] = "https://" + e
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Context:               ctx,
		Endpoints:             urls,
		TLS:                   secure,
		Username:              a.User,
		Password:              a.Password,
		DialTimeout:           callTimeout,      // of logging in; nothing else waits for a connection
		DialKeepAliveTime:     10 * time.Second, // the least that gRPC takes
		DialKeepAliveTimeout:  3 * time.Second,  // also TCP_USER_TIMEOUT: what isn't acknowledged so long is dead
		PermitWithoutStream:   false,
		Logger:                newZap(log, zapcore.ErrorLevel),
		BackoffWaitBetween:    50 * time.Millisecond,
		BackoffJitterFraction: 0.5,
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: 5 * time.Second},
				MinConnectTimeout: 3 * time.Second,
			}),
			grpc.WithChainUnaryInterceptor(noteAttempt),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd at %s: %w", strings.Join(endpoints, ", "), err)
	}
	return &Connection{
		Client:    client,
		KV:        clientv3.RetryKVClient(client),
		Watch:     etcdserverpb.NewWatchClient(client.ActiveConnection()),
		Lease:     clientv3.RetryLeaseClient(client),
		HasLeader: func() bool { return true },
		where:     strings.Join(endpoints, ", "),
		fix:       "check that they are up and reachable from here",
	}, nil
}

// SetEndpoints replaces the endpoints (host:port) of a connection over the
// network; calls under way may still go to the former ones.
func (c *Connection) SetEndpoints(endpoints []string) {
	urls := make([]string, len(endpoints))
	for i, e := range endpoints {
		urls[i] = "https://" + e
	}
	c.Client.SetEndpoints(urls...)
}

// Close ends the connection and everything that goes over it.
func (c *Connection) Close() error { return c.Client.Close() }

// attempts keeps why the last attempt of a call failed: etcd's client tries
// again until the deadline, and would then tell of the deadline only.
type attempts struct{ last error }

type attemptsKey struct{}

func withAttempts(ctx context.Context) (context.Context, *attempts) {
	a := new(attempts)
	return context.WithValue(ctx, attemptsKey{}, a), a
}

func noteAttempt(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	a, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok || err == nil {
		return err
	}
	if _, cause, known := strings.Cut(err.Error(), "latest balancer error: "); known {
		a.last = errors.New(cause) // the call waited for a connection all the time
	} else if ctx.Err() == nil {
		a.last = err
	}
	return err
}
