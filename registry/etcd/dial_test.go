package etcd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/etcd"
)

// TestDial_NobodyThere: calls end within their bound, with ErrNoAnswer, the
// endpoints and what the connection failed of.
func TestDial_NobodyThere(t *testing.T) {
	endpoints := []string{fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	conn, err := etcd.Dial(endpoints, &tls.Config{InsecureSkipVerify: true}, logger(t))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	store := etcd.NewStore(conn, etcd.DefaultPrefix)
	ctx := t.Context()
	for name, do := range map[string]func() error{
		"read":       func() error { _, err := store.Range(ctx, registry.Everything()); return err },
		"write":      func() error { _, err := store.Commit(ctx, nil, []registry.Op{{Key: "a"}}); return err },
		"grant":      func() error { _, err := store.Grant(ctx, 0, time.Minute); return err },
		"keep-alive": func() error { _, err := store.KeepAlive(ctx, 1); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := do()
			if !errors.Is(err, registry.ErrNoAnswer) {
				t.Fatalf("got %v, want ErrNoAnswer", err)
			}
			for _, part := range append(endpoints, "connection refused", "check") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q doesn't say %q", err, part)
				}
			}
			if took := time.Since(began); took > 7*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("a shorter deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := store.Range(ctx, registry.Everything())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v, want the context's error and what the connection failed of", err)
		}
	})
}
