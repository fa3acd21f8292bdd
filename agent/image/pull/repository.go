package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/clusterd/clusterd/agent/image"
)

// errNoBlob says that an image's registry has not all of it.
var errNoBlob = errors.New("is not there")

// errStalled says that a registry fell silent, or nearly.
var errStalled = errors.New("no progress")

// repository is one of a registry, with whatever login it wants.
type repository struct {
	client *http.Client
	stall  time.Duration
	base   url.URL // …/v2/<repository>
}

func connect(ctx context.Context, src image.Source, h *hosts, keychain authn.Keychain) (*repository, error) {
	var opts []name.Option
	if h.registries.Trust(src.Host).Insecure == image.Plaintext {
		opts = append(opts, name.Insecure)
	}
	registry, err := name.NewRegistry(src.Host, opts...)
	if err != nil {
		return nil, err
	}
	repo := registry.Repo(src.Repository)
	login, err := authn.Resolve(ctx, keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("read logins: %w", err)
	}
	retrying := transport.NewRetry(transport.NewUserAgent(h, "nsrun"))
	rt, err := transport.NewWithContext(ctx, registry, login, retrying, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	return &repository{
		client: &http.Client{Transport: rt}, stall: h.stall,
		// The transport puts in http where that is what the host speaks.
		base: url.URL{Scheme: "https", Host: registry.RegistryStr(), Path: "/v2/" + src.Repository},
	}, nil
}

func (r *repository) request(ctx context.Context, method, kind, what string) (*http.Request, error) {
	u := r.base
	u.Path += "/" + kind + "/" + what
	return http.NewRequestWithContext(ctx, method, u.String(), nil)
}

// digest asks what a tag stands for. "" means that the registry didn't say.
func (r *repository) digest(ctx context.Context, tag string) (image.Digest, error) {
	req, err := r.request(ctx, http.MethodHead, "manifests", tag)
	if err != nil {
		return "", err
	}
	acceptDocuments(req)
	resp, err := r.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return "", err
	}
	d, err := image.ParseDigest(resp.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return "", nil
	}
	return d, nil
}

func acceptDocuments(req *http.Request) {
	req.Header.Set("Accept", strings.Join([]string{
		image.TypeIndex, image.TypeManifest, image.TypeDockerIndex, image.TypeDockerManifest,
	}, ", "))
}

// document fetches an index or a manifest by tag or digest. want is what its digest must be, if that is known.
func (r *repository) document(ctx context.Context, what string, want image.Digest) ([]byte, *image.Document, error) {
	req, err := r.request(ctx, http.MethodGet, "manifests", what)
	if err != nil {
		return nil, nil, err
	}
	acceptDocuments(req)
	ctx, cancel := context.WithTimeoutCause(ctx, r.stall, fmt.Errorf("%w: manifest %s: not there within %s", errStalled, what, r.stall))
	defer cancel()
	resp, err := r.client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, image.DocumentBytesMax+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case err != nil:
		return nil, nil, transferError{fmt.Errorf("manifest %s: %w", what, err)}
	case len(data) > image.DocumentBytesMax:
		return nil, nil, fmt.Errorf("manifest %s has more than %d bytes", what, image.DocumentBytesMax)
	}
	if want != "" {
		if err := want.Verify(data); err != nil {
			return nil, nil, fmt.Errorf("manifest: %w", err)
		}
	}
	doc, err := image.ParseDocument(data, resp.Header.Get("Content-Type"))
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s %w", image.DigestOf(data), err)
	}
	return data, doc, nil
}

// smallBlob fetches a blob into memory and checks it.
func (r *repository) smallBlob(ctx context.Context, desc image.Descriptor) ([]byte, error) {
	body, err := r.blob(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, desc.Size+1))
	if err != nil {
		return nil, transferError{fmt.Errorf("%s: %w", desc.Digest, err)}
	}
	if int64(len(data)) != desc.Size {
		return nil, fmt.Errorf("%w: %s hasn't the %d bytes it should have", image.ErrMismatch, desc.Digest, desc.Size)
	}
	return data, desc.Digest.Verify(data)
}

// errWrongRange says that a registry sent another part of a blob than it was asked for.
var errWrongRange = errors.New("sent another part than it was asked for")

// blob begins to fetch a blob. The caller reads no more of it than it should have.
func (r *repository) blob(ctx context.Context, d image.Digest) (io.ReadCloser, error) {
	return r.blobFrom(ctx, image.Descriptor{Digest: d}, 0)
}

// blobFrom is blob from the offset at on, skipping what comes before when the
// registry sends whole blobs only.
func (r *repository) blobFrom(ctx context.Context, desc image.Descriptor, at int64) (io.ReadCloser, error) {
	req, err := r.request(context.WithValue(ctx, blobRequest{}, true), http.MethodGet, "blobs", desc.Digest.String())
	if err != nil {
		return nil, err
	}
	if at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, desc.Size-1))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	skip, err := r.checkPart(resp, desc.Digest, at)
	if err == nil {
		_, err = io.CopyN(io.Discard, resp.Body, skip)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// checkPart looks at the answer to a request for the part of a blob that begins
// at at, and returns how much of it comes before that.
func (r *repository) checkPart(resp *http.Response, d image.Digest, at int64) (skip int64, err error) {
	switch resp.StatusCode {
	case http.StatusNotFound:
		return 0, fmt.Errorf("blob %s %w", d, errNoBlob)
	case http.StatusPartialContent:
		if at == 0 || !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at)) {
			return 0, fmt.Errorf("%s %w", r.base.Host, errWrongRange)
		}
		return 0, nil
	}
	return at, transport.CheckError(resp, http.StatusOK)
}
