package pull

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/clusterd/clusterd/agent/image"
)

const (
	dialTimeout    = 10 * time.Second
	answerTimeout  = 30 * time.Second // until a response begins
	idleTimeout    = 90 * time.Second
	connectionsMax = 16 // to one host
)

// errPlaintext says that something without TLS was asked for.
var errPlaintext = errors.New("without TLS")

// hosts sends each request by a transport made for the trust in its host, also
// after redirections: what is conceded to one host holds for no other.
type hosts struct {
	registries *image.Registries
	stall      time.Duration

	mu         sync.Mutex
	transports map[image.Trust]*http.Transport
}

func newHosts(registries *image.Registries, stall time.Duration) *hosts {
	return &hosts{registries: registries, stall: stall, transports: map[image.Trust]*http.Transport{}}
}

func (h *hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	trust := h.registries.Trust(req.URL.Host)
	if req.URL.Scheme != "https" && trust.Insecure != image.Plaintext {
		return nil, fmt.Errorf("%s wants to be asked %w", req.URL.Host, errPlaintext)
	}
	t, err := h.transport(trust)
	if err != nil {
		return nil, err
	}
	return roundTrip(t, req, h.stall)
}

func (h *hosts) transport(trust image.Trust) (*http.Transport, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.transports[trust]; t != nil {
		return t, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: trust.Insecure != image.Secure}
	if trust.CAFile != "" {
		pem, err := os.ReadFile(trust.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CAFile=: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CAFile=%s: no certificate in it", trust.CAFile)
		}
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: min(answerTimeout, h.stall),

		MaxResponseHeaderBytes: headerBytesMax,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    connectionsMax,
		DisableCompression:     true, // digests are of what is sent
		ForceAttemptHTTP2:      true,
	}
	h.transports[trust] = t
	return t, nil
}

func (h *hosts) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.transports {
		t.CloseIdleConnections()
	}
}
