package ociregistry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Repository is the name the busybox image is pushed under.
const Repository = "library/busybox"

// Seed pushes a busybox image, made of the static binary at busybox, to the
// registry at host, which is trusted by the authority in caFile. It returns the image's digest.
func Seed(ctx context.Context, host, caFile, busybox string) (digest string, err error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return "", fmt.Errorf("seed registry %s: %w", host, err)
	}
	transport, err := trusting(pem)
	if err != nil {
		return "", fmt.Errorf("seed registry %s: %w", host, err)
	}
	defer transport.CloseIdleConnections()
	return seed(ctx, host, busybox, transport)
}

func trusting(pem []byte) (*http.Transport, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the authority's file has no certificate")
	}
	return &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}, nil
}

func seed(ctx context.Context, host, busybox string, transport http.RoundTripper) (string, error) {
	img, err := Image(ctx, busybox)
	if err != nil {
		return "", fmt.Errorf("seed registry %s: %w", host, err)
	}
	ref, err := name.ParseReference(host + "/" + Repository + ":latest")
	if err != nil {
		return "", fmt.Errorf("seed registry %s: %w", host, err)
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithTransport(transport)); err != nil {
		return "", fmt.Errorf("seed registry %s: %w", host, err)
	}
	digest, err := img.Digest()
	return digest.String(), err
}

// Image makes an image of a static busybox: the binary, a link for each of its
// commands, and as much around them as the usual busybox image has. The
// same binary gives the same image.
func Image(ctx context.Context, busybox string) (v1.Image, error) {
	archive, err := rootArchive(ctx, busybox)
	if err != nil {
		return nil, fmt.Errorf("make busybox image: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("make busybox image: %w", err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: time.Unix(0, 0).UTC()}, CreatedBy: "the lab, of busybox-static"},
	})
	if err != nil {
		return nil, fmt.Errorf("make busybox image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make busybox image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config.Cmd = []string{"sh"}
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return mutate.ConfigFile(img, config)
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"
	group  = "root:x:0:\nnogroup:x:65534:\n"
)

func rootArchive(ctx context.Context, busybox string) ([]byte, error) {
	binary, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	listed, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	add := func(kind byte, name string, mode int64, content string) {
		h := &tar.Header{Typeflag: kind, Name: name, Mode: mode, ModTime: time.Unix(0, 0)}
		if kind == tar.TypeSymlink {
			h.Linkname, content = content, ""
		}
		h.Size = int64(len(content))
		// A bytes.Buffer takes everything; the writer keeps its first complaint for Close.
		_ = archive.WriteHeader(h)
		_, _ = io.WriteString(archive, content)
	}
	for _, dir := range []string{"bin/", "dev/", "etc/", "home/", "usr/", "usr/bin/", "usr/sbin/", "var/"} {
		add(tar.TypeDir, dir, 0o755, "")
	}
	add(tar.TypeDir, "root/", 0o700, "")
	add(tar.TypeDir, "tmp/", 0o1777, "")
	add(tar.TypeReg, "etc/passwd", 0o644, passwd)
	add(tar.TypeReg, "etc/group", 0o644, group)
	add(tar.TypeReg, "bin/busybox", 0o755, string(binary))
	add(tar.TypeSymlink, "usr/bin/env", 0o777, "/bin/env")
	for _, command := range strings.Fields(string(listed)) {
		if command != "busybox" && !strings.ContainsRune(command, '/') {
			add(tar.TypeSymlink, "bin/"+command, 0o777, "busybox")
		}
	}
	err = archive.Close()
	return out.Bytes(), err
}
