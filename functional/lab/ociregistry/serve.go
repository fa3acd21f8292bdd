package ociregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Config is what Serve works with.
type Config struct {
	Listener net.Listener // required; closed when Serve returns
	Dir      string       // required; keeps blobs and the authority, made if it isn't there
	Names    []string     // required; the host names and addresses the server is asked under
	CAFile   string       // where the authority's certificate is written for others; "": only to Dir/ca.crt
	Busybox  string       // a static busybox to make library/busybox:latest of; "": don't
	Ready    func()       // called when everything can be pulled; nil: nobody asks
	Log      *slog.Logger // gets a line for each request, at debug level; nil: silence
}

func (c *Config) check() error {
	switch {
	case c.Listener == nil:
		return errors.New("no listener")
	case c.Dir == "":
		return errors.New("no directory")
	case len(c.Names) == 0:
		return errors.New("no names")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 2 * time.Second
)

// Serve runs the registry until ctx ends, which is no error.
func Serve(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return fmt.Errorf("serve images: %w", err)
	}
	blobs := filepath.Join(cfg.Dir, "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return fmt.Errorf("serve images: %w", err)
	}
	certificate, pem, err := certify(cfg.Dir, cfg.Names, time.Now())
	if err != nil {
		return fmt.Errorf("serve images: %w", err)
	}
	if cfg.CAFile != "" {
		if err := writeFile(cfg.CAFile, pem, 0o644); err != nil {
			return fmt.Errorf("serve images: %w", err)
		}
	}
	server := &http.Server{
		Handler: registry.New(
			registry.Logger(slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug)),
			registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs))),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          log.New(slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug).Writer(), "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(cfg.Listener, "", "") }()
	if err := seedOwn(ctx, cfg, pem); err != nil {
		return errors.Join(err, server.Close(), ignoreClosed(<-ended))
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serve images: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if server.Shutdown(stopping) != nil { // somebody still pulls
		server.Close()
	}
	return ignoreClosed(<-ended)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// seedOwn pushes the busybox image to the server that has just begun, over the
// listener's own address: the name may not be resolvable here.
func seedOwn(ctx context.Context, cfg Config, pem []byte) error {
	if cfg.Busybox == "" {
		return nil
	}
	transport, err := trusting(pem)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	address := cfg.Listener.Addr()
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, address.Network(), address.String())
	}
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return err
	}
	_, err = seed(ctx, net.JoinHostPort(cfg.Names[0], port), cfg.Busybox, transport)
	return err
}
