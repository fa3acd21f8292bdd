package image

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Digest names content by its hash: "sha256:" and 64 lower-case hexadecimal
// digits. The zero value names nothing.
type Digest string

const digestPrefix = "sha256:"

// ParseDigest checks that s is a Digest. Only sha256 is known.
func ParseDigest(s string) (Digest, error) {
	hexPart, ok := strings.CutPrefix(s, digestPrefix)
	if !ok {
		return "", fmt.Errorf("digest %q: unknown kind; only sha256:… is", s)
	}
	if len(hexPart) != 2*crypto.SHA256.Size() || strings.Trim(hexPart, "0123456789abcdef") != "" {
		return "", fmt.Errorf("digest %q: sha256: is followed by 64 lower-case hexadecimal digits", s)
	}
	return Digest(s), nil
}

// DigestOf returns the digest of data. The program must import crypto/sha256:
// nsrun, which starts containers and hashes nothing, is spared that, for with it
// come 200 KiB and a dozen packages that set themselves up.
func DigestOf(data []byte) Digest {
	sum := crypto.SHA256.New()
	sum.Write(data)
	return DigestFrom(sum.Sum(nil))
}

// DigestFrom returns the digest whose SHA-256 sum is sum.
func DigestFrom(sum []byte) Digest {
	return Digest(digestPrefix + hex.EncodeToString(sum))
}

// Hex returns the 64 digits.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short returns the first twelve digits, for people.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

func (d Digest) String() string { return string(d) }

// ErrMismatch says that content is not what its digest, or its size, promised.
var ErrMismatch = errors.New("content does not match its digest")

// Verify returns ErrMismatch if data is not what d names.
func (d Digest) Verify(data []byte) error {
	if got := DigestOf(data); got != d {
		return fmt.Errorf("%w: %s has the content of %s", ErrMismatch, d, got)
	}
	return nil
}
