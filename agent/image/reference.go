package image

import (
	"fmt"
	"strings"
)

// Reference names an image in a registry. Tag or Digest is set, or both; the
// Digest then decides.
type Reference struct {
	Registry   string // host, with port if it has one: "docker.io"
	Repository string // "library/busybox"
	Tag        string
	Digest     Digest
}

const (
	defaultRegistry = "docker.io"
	officialPrefix  = "library/"
	defaultTag      = "latest"

	repositoryBytesMax = 255
	tagBytesMax        = 128
)

// ParseReference reads a reference as docker writes them: NAME[:TAG][@DIGEST],
// where a name whose first part is no host belongs to docker.io, and one
// without any / to docker.io/library. Without tag and digest it means the tag "latest".
func ParseReference(s string) (Reference, error) {
	ref, err := parseReference(s)
	if err != nil {
		return Reference{}, fmt.Errorf("image %q: %w", s, err)
	}
	return ref, nil
}

func parseReference(s string) (Reference, error) {
	var ref Reference
	rest, digest, pinned := strings.Cut(s, "@")
	if pinned {
		d, err := ParseDigest(digest)
		if err != nil {
			return ref, err
		}
		ref.Digest = d
	}
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		rest, ref.Tag = rest[:colon], rest[colon+1:]
		if !validTag(ref.Tag) {
			return ref, fmt.Errorf("tag %q: a tag is 1 to %d letters, digits, _, . and -, and begins with none of the last two", ref.Tag, tagBytesMax)
		}
	}
	if ref.Tag == "" && !pinned {
		ref.Tag = defaultTag
	}
	ref.Registry, ref.Repository = splitRegistry(rest)
	if !validHost(ref.Registry) {
		return ref, fmt.Errorf("registry %q is no host name", ref.Registry)
	}
	return ref, checkRepository(ref.Repository)
}

// splitRegistry cuts the host off a name. Only a first part that can't be a
// user's name is a host: it has a dot or a port, is "localhost", or has capitals.
func splitRegistry(name string) (registry, repository string) {
	first, rest, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(first, ".:") && first != "localhost" && first == strings.ToLower(first) {
		registry, repository = defaultRegistry, name
	} else {
		registry, repository = first, rest
	}
	if registry == "index.docker.io" {
		registry = defaultRegistry
	}
	if registry == defaultRegistry && !strings.Contains(repository, "/") {
		repository = officialPrefix + repository
	}
	return registry, repository
}

// ParseHost reads the name of a registry as it stands alone, where nothing can be
// taken for a user's name: myregistry is a host, too.
func ParseHost(s string) (string, error) {
	if !validHost(s) {
		return "", fmt.Errorf("registry %q is no host name", s)
	}
	if s == "index.docker.io" {
		return defaultRegistry, nil
	}
	return s, nil
}

func validTag(tag string) bool {
	if tag == "" || len(tag) > tagBytesMax || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for _, c := range []byte(tag) {
		if !isLower(c) && !isDigit(c) && !isUpper(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// validHost accepts name[:port] and [ipv6][:port], loosely: what matters is
// that it is one harmless path element and that a dialer makes sense of it.
func validHost(host string) bool {
	name, port, hasPort := host, "", false
	if end := strings.LastIndexByte(host, ']'); strings.HasPrefix(host, "[") && end > 1 {
		if strings.Trim(host[1:end], "0123456789abcdefABCDEF:.") != "" {
			return false
		}
		name, port, hasPort = "v6", strings.TrimPrefix(host[end+1:], ":"), host[end+1:] != ""
	} else if colon := strings.IndexByte(host, ':'); colon >= 0 {
		name, port, hasPort = host[:colon], host[colon+1:], true
	}
	if hasPort && (port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "") {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isLower(c) && !isDigit(c) && !isUpper(c) && c != '-' {
				return false
			}
		}
	}
	return len(name) <= 253
}

// checkRepository wants parts of lower-case letters and digits, joined by
// single dots, one or two underscores, or dashes.
func checkRepository(repository string) error {
	if strings.TrimPrefix(repository, officialPrefix) == "" {
		return fmt.Errorf("a name is missing")
	}
	if len(repository) > repositoryBytesMax {
		return fmt.Errorf("the name has more than %d characters", repositoryBytesMax)
	}
	if repository != strings.ToLower(repository) {
		return fmt.Errorf("names are lower case; try %s", strings.TrimPrefix(strings.ToLower(repository), officialPrefix))
	}
	for part := range strings.SplitSeq(repository, "/") {
		if !validPart(part) {
			return fmt.Errorf("name part %q: letters and digits, joined by ., _, __ or -", part)
		}
	}
	return nil
}

func validPart(part string) bool {
	if part == "" || !isAlnum(part[0]) || !isAlnum(part[len(part)-1]) {
		return false
	}
	for i := 0; i < len(part); {
		if isAlnum(part[i]) {
			i++
			continue
		}
		end := i
		for !isAlnum(part[end]) {
			end++
		}
		joint := part[i:end]
		if joint != "." && joint != "_" && joint != "__" && strings.Trim(joint, "-") != "" {
			return false
		}
		i = end
	}
	return true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isLower(c) || isDigit(c) }

// String returns the normal form: docker.io/library/busybox:latest.
func (r Reference) String() string {
	return r.Registry + "/" + r.Repository + r.suffix()
}

// Familiar returns the form people type: busybox:latest.
func (r Reference) Familiar() string { return r.FamiliarName() + r.suffix() }

// FamiliarName is Familiar without tag and digest: busybox.
func (r Reference) FamiliarName() string {
	if r.Registry != defaultRegistry {
		return r.Registry + "/" + r.Repository
	}
	return strings.TrimPrefix(r.Repository, officialPrefix)
}

func (r Reference) suffix() string {
	s := ""
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// dir and leaf are where the store keeps the reference's record. A leaf begins with
// a character that no part of a name begins with, so the two can't clash.
func (r Reference) dir() string { return r.Registry + "/" + r.Repository }

func (r Reference) leaf() string {
	if r.Digest != "" {
		return "@" + string(r.Digest)
	}
	return ":" + r.Tag
}
