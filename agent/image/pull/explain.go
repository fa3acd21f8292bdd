package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// Reasons a source doesn't give an image.
var (
	ErrNoSuchImage  = errors.New("no such image")
	ErrUnreachable  = errors.New("no connection")
	ErrUnauthorized = errors.New("not allowed")
	ErrUntrusted    = errors.New("not to be trusted")
)

// explain says what an error means to somebody who wants an image, and what would help.
func explain(err error, ref image.Reference, src image.Source, registries *image.Registries) error {
	return printable{explainIn(err, ref, src, registries)}
}

func explainIn(err error, ref image.Reference, src image.Source, registries *image.Registries) error {
	section := fmt.Sprintf("[Registry %s] of %s", src.Host, registries.File())
	var answer *transport.Error
	var unverified *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var network *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%s: %w; nothing was kept: make room where images are, such as with nsrun image prune -a", src, err)
	case errors.Is(err, errNoBlob):
		return fmt.Errorf("%s: %w; nothing was kept: push the image again", src, err)
	case errors.As(err, &answer):
		return explainAnswer(err, answer, src)
	case errors.As(err, &unverified):
		var authority x509.UnknownAuthorityError
		if errors.As(err, &authority) {
			return fmt.Errorf("%s: %w: its certificate is by an unknown authority; put CAFile= with that one's certificate under %s", src.Host, ErrUntrusted, section)
		}
		return fmt.Errorf("%s: %w: %w; put the right CAFile= under %s", src.Host, ErrUntrusted, unverified.Err, section)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s: %w: it speaks no TLS; if that is meant to be so, put Insecure=%s under %s", src.Host, ErrUntrusted, image.Plaintext, section)
	case errors.Is(err, image.ErrMismatch), errors.Is(err, unpack.ErrShort):
		return fmt.Errorf("%s: %w; nothing was kept: what is there is damaged or was tampered with, push it again", src, err)
	case errors.Is(err, unpack.ErrBomb), errors.Is(err, unpack.ErrEscape):
		return fmt.Errorf("%s: %w; nothing was kept: don't use this image", src, err)
	case errors.As(err, &dns), errors.As(err, &network):
		return fmt.Errorf("%s: %w: %w; check the network, or name another place under [Registry %s] of %s", src.Host, ErrUnreachable, inner(err), ref.Registry, registries.File())
	case errors.Is(err, errPlaintext) && errors.Is(inner(err), errPlaintext): // near addresses are tried both ways, and the other failure is the cause
		return fmt.Errorf("%s: %w: %w; if that is meant to be so, put Insecure=%s under its section of %s", src.Host, ErrUntrusted, inner(err), image.Plaintext, registries.File())
	}
	return fmt.Errorf("%s: %w", src, inner(err))
}

func explainAnswer(err error, answer *transport.Error, src image.Source) error {
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w; check the name and the tag", src, ErrNoSuchImage)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: %w, or there is no such image; log in: nsrun login %s", src, ErrUnauthorized, src.Host)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s: asked too often; wait, or log in: nsrun login %s", src.Host, src.Host)
	}
	return fmt.Errorf("%s: %w", src, err)
}

// interrupted says whether what an image has so far may be right and the rest
// come another time. Otherwise it is not to be had, or not to be trusted.
func interrupted(err error) bool {
	var answer *transport.Error
	var network net.Error
	var transfer transferError
	if errors.As(err, &network) {
		if _, local := network.(unix.Errno); local { // of a full disk, of an archive that makes no sense
			network = nil
		}
	}
	return errors.As(err, &transfer) || network != nil || errors.Is(err, errStalled) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &answer) && (answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests)
}

// refused says whether a registry answered that this login, or nobody, may do this.
func refused(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden)
}

// inner takes off the URL that net/http puts around an error.
func inner(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
