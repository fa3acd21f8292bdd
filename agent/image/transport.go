package image

import (
	"fmt"
	"strings"
)

// Transport says where a reference that is not a registry's leads.
type Transport string

// The places beside registries that images come from.
const (
	DockerArchive Transport = "docker-archive" // a file as docker save writes it
	OCIArchive    Transport = "oci-archive"    // a tar file of an OCI layout
	OCILayout     Transport = "oci"            // a directory in OCI layout
)

// Place is a reference such as docker-archive:FILE[:REF].
type Place struct {
	Transport Transport
	Path      string
	Ref       string // which of the images there; "": the only one
}

func (p Place) String() string {
	s := string(p.Transport) + ":" + p.Path
	if p.Ref != "" {
		s += ":" + p.Ref
	}
	return s
}

// IsPlace says whether s is to be read by [ParsePlace]. No reference to a
// registry begins like that: for an image called "oci" with a tag, the directory
// is written with a slash, as in oci:./latest.
func IsPlace(s string) bool {
	kind, rest, ok := strings.Cut(s, ":")
	switch Transport(kind) {
	case DockerArchive, OCIArchive:
		return ok
	case OCILayout:
		return ok && (strings.ContainsAny(rest, "/:") || strings.HasPrefix(rest, "."))
	}
	return false
}

// ParsePlace reads docker-archive:FILE[:REF], oci-archive:FILE[:REF] and
// oci:DIR[:REF]. A path has no colon.
func ParsePlace(s string) (Place, error) {
	kind, rest, _ := strings.Cut(s, ":")
	path, ref, cut := strings.Cut(rest, ":")
	p := Place{Transport: Transport(kind), Path: path, Ref: ref}
	switch {
	case !IsPlace(s):
		return p, fmt.Errorf("image %q: unknown place; there are %s:FILE[:REF], %s:FILE[:REF] and %s:DIR[:REF]", s, DockerArchive, OCIArchive, OCILayout)
	case path == "" || cut && ref == "":
		return p, fmt.Errorf("image %q: write %s:PATH[:REF]", s, kind)
	}
	return p, nil
}
