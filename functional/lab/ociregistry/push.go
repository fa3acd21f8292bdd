package ociregistry

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push puts images into the registry at host, by repository and tag. The
// registry is trusted by the authority in caFile and reached by dial.
func Push(ctx context.Context, host, caFile string, dial func(ctx context.Context, network, address string) (net.Conn, error), images map[string]v1.Image) error {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return fmt.Errorf("push to %s: %w", host, err)
	}
	transport, err := trusting(pem)
	if err != nil {
		return fmt.Errorf("push to %s: %w", host, err)
	}
	defer transport.CloseIdleConnections()
	transport.DialContext = dial
	pusher, err := remote.NewPusher(remote.WithContext(ctx), remote.WithTransport(transport))
	if err != nil {
		return fmt.Errorf("push to %s: %w", host, err)
	}
	for reference, img := range images {
		ref, err := name.ParseReference(host + "/" + reference)
		if err != nil {
			return fmt.Errorf("push %s: %w", reference, err)
		}
		if err := pusher.Push(ctx, ref, img); err != nil {
			return fmt.Errorf("push %s: %w", reference, err)
		}
	}
	return nil
}
