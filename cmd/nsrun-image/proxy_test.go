package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func clientFor(t *testing.T, caFile string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// forward passes a request on to host. In the middle of a layer it asks
// stop whether that is all there is.
func forward(t *testing.T, client *http.Client, host string, w http.ResponseWriter, r *http.Request, stop func() bool) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+host+r.URL.Path, nil)
	if err != nil {
		t.Error(err)
		return
	}
	req.Header = r.Header.Clone()
	resp, err := client.Do(req)
	if err != nil {
		if r.Context().Err() == nil {
			t.Error(err)
		}
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	if !strings.Contains(r.URL.Path, "/blobs/") || len(body) > 0 && body[0] == '{' {
		_, _ = w.Write(body)
		return
	}
	_, _ = w.Write(body[:len(body)/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	if !stop() {
		_, _ = w.Write(body[len(body)/2:])
	}
}
