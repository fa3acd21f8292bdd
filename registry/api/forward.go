package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry/pki"
)

// Forward is what a machine that isn't a control machine needs to pass its
// local callers' calls on: the control machines, and the certificate an
// operator put there. The machine's own certificate gives no such rights.
type Forward struct {
	// Endpoints are the host:port of control machines' APIs, as known now.
	Endpoints func() []string
	// CA, Certificate and Key are paths of PEM files, read at each call.
	CA, Certificate, Key string
}

func (f Forward) endpoints() []string {
	if f.Endpoints == nil {
		return nil
	}
	return f.Endpoints()
}

// misdirected says where a call should have gone.
func (s *Server) misdirected() error {
	return &Problem{Status: http.StatusMisdirectedRequest, Exit: ExitRefused,
		Message: "this is no control machine; " + s.useControl()}
}

func (s *Server) useControl() string {
	endpoints := s.Forward.endpoints()
	if len(endpoints) == 0 {
		return "ask one, none is known here"
	}
	return "ask one: https://" + strings.Join(endpoints, ", https://")
}

// forward passes a call on with the operator's certificate.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) error {
	credentials, err := pki.ReadCredentials(s.Forward.CA, s.Forward.Certificate, s.Forward.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Problem{Status: http.StatusMisdirectedRequest, Exit: ExitRefused, Err: err,
			Message: fmt.Sprintf("this is no control machine and has no operator's certificate to ask one with; put one at %s and %s, or %s",
				s.Forward.Certificate, s.Forward.Key, s.useControl())}
	case err != nil:
		return &Problem{Status: http.StatusMisdirectedRequest, Exit: ExitRefused, Err: err, Message: err.Error()}
	}
	endpoints := s.Forward.endpoints()
	if len(endpoints) == 0 {
		return noAnswer("no control machine is known on this machine; is it in the cluster? systemctl status clusterd")
	}
	transport := newForwardTransport(credentials, endpoints)
	defer transport.CloseIdleConnections()
	ctx, cancel := streamContext(r)
	defer cancel()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "https", "clusterd", ""
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			e := endpoint{name: "the control machines (" + strings.Join(endpoints, ", ") + ")"}
			s.fail(w, r, e.explain(err))
		},
	}
	proxy.ServeHTTP(w, r.WithContext(ctx))
	return nil
}

// newForwardTransport connects to the first control machine that can be
// reached. The server is known by its role, so that one name stands for all.
func newForwardTransport(credentials *pki.Credentials, endpoints []string) *http.Transport {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 2 * time.Second}, Config: credentials.ClientTLS(pki.Control)}
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var failed error
			for _, e := range endpoints {
				conn, err := dialer.DialContext(ctx, "tcp", e)
				if err == nil {
					return conn, nil
				}
				failed = err
			}
			return nil, failed
		},
		DisableKeepAlives: true,
	}
}
