package lab

import (
	"context"
	"net"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/clusterd/clusterd/functional/lab/ociregistry"
)

// RegistryAddress is where machines of any lab find their registry.
const RegistryAddress = registryAddress

// Push puts images into the lab's registry, by repository and tag:
// library/redis:7 is what machines pull as redis:7.
func (l *Lab) Push(ctx context.Context, images map[string]v1.Image) error {
	dial := func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		err = onOwnThread(func() error { // whose sockets are the lab's network's
			if err := enterNetns(l.netnsPath()); err != nil {
				return err
			}
			conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(gateway, registryPort))
			return err
		})
		return conn, err
	}
	return ociregistry.Push(ctx, gateway+":"+registryPort, filepath.Join(l.layer(), "etc/nsrun/registry-ca.crt"), dial, images)
}

// Busybox makes the image that the lab's registry begins with, to build others on.
func Busybox(ctx context.Context) (v1.Image, error) { return ociregistry.Image(ctx, busybox) }
