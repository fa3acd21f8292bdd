package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// TokenTTL is how long a join token lives by default, and at most.
const TokenTTL = time.Hour

// Token lets one machine join, once.
type Token struct {
	Endpoints []string // host:port of control machines' APIs
	Pin       string   // SHA-256 of the cluster's authority, hex
	Secret    string   // base64url
}

const (
	tokenPrefix    = "clusterd-join"
	secretBytes    = 16
	pinHexDigits   = 2 * sha256.Size
	tokenBytesMax  = 4096
	tokenHowToMake = "make a new one on a control machine: clusterctl token create"
)

// NewSecret makes the secret of a token.
func NewSecret() (string, error) {
	secret := make([]byte, secretBytes)
	if _, err := rand.Read(secret); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(secret), nil
}

// SecretHash is what the registry knows of a secret.
func SecretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// FormatToken writes a token as one word that needs no quoting in a shell:
// clusterd-join+<host>/<port>,<host>/<port>+<pin>+<secret>.
func FormatToken(t Token) (string, error) {
	endpoints := make([]string, len(t.Endpoints))
	for i, e := range t.Endpoints {
		host, port, err := net.SplitHostPort(e)
		if err != nil {
			return "", fmt.Errorf("write token: endpoint %q: %w", e, err)
		}
		endpoints[i] = host + "/" + port
	}
	text := strings.Join([]string{tokenPrefix, strings.Join(endpoints, ","), t.Pin, t.Secret}, "+")
	if _, err := ParseToken(text); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	return text, nil
}

// ParseToken reads what FormatToken wrote, white space around it aside.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Token{}, errors.New("join token is empty; " + tokenHowToMake)
	case len(text) > tokenBytesMax:
		return Token{}, fmt.Errorf("join token is %d characters long; the longest have %d", len(text), tokenBytesMax)
	}
	parts := strings.Split(text, "+")
	if parts[0] != tokenPrefix {
		return Token{}, fmt.Errorf("join token doesn't begin with %s+; copy it whole, or %s", tokenPrefix, tokenHowToMake)
	}
	if len(parts) != 4 {
		return Token{}, fmt.Errorf("join token has %d parts instead of 4; was it cut off? copy it whole, or %s", len(parts), tokenHowToMake)
	}
	t := Token{Pin: parts[2], Secret: parts[3]}
	for e := range strings.SplitSeq(parts[1], ",") {
		endpoint, err := parseTokenEndpoint(e)
		if err != nil {
			return Token{}, fmt.Errorf("join token: %w", err)
		}
		t.Endpoints = append(t.Endpoints, endpoint)
	}
	if raw, err := hex.DecodeString(t.Pin); err != nil || len(t.Pin) != pinHexDigits || hex.EncodeToString(raw) != t.Pin {
		return Token{}, fmt.Errorf("join token: the cluster's fingerprint is damaged; copy it whole, or %s", tokenHowToMake)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(t.Secret)
	if err != nil || len(raw) != secretBytes || strings.ContainsAny(t.Secret, "\r\n") {
		return Token{}, fmt.Errorf("join token: the secret is damaged; was it cut off? copy it whole, or %s", tokenHowToMake)
	}
	return t, nil
}

func parseTokenEndpoint(text string) (string, error) {
	host, port, ok := strings.Cut(text, "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || host == "" || strings.Trim(host, nameCharacters+":%") != "" || err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("endpoint %q: want host/port", text)
	}
	return net.JoinHostPort(host, port), nil
}
