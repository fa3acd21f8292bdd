package image

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/agent/sheet"
)

// RegistriesFile is where this machine's registries are described.
const RegistriesFile = "/etc/nsrun/registries.conf"

// Insecurity is how much of TLS is given up for one host.
type Insecurity string

// The values of Insecure=.
const (
	Secure     Insecurity = "no"
	Unverified Insecurity = "unverified" // TLS, but anybody's certificate will do
	Plaintext  Insecurity = "plaintext"  // no TLS at all
)

// Registries is the content of registries.conf. The zero value asks every registry itself, securely.
type Registries struct {
	file  string
	hosts map[string]*registry
}

// registry is one section.
type registry struct {
	mirrors  []place
	location place // zero: the host itself
	caFile   string
	insecure Insecurity
}

// place is a host and a prefix for the repositories there.
type place struct{ host, prefix string }

// Source is one place an image can be fetched from.
type Source struct {
	Host       string // name[:port]
	Repository string // under which the image is known there
}

func (s Source) String() string { return s.Host + "/" + s.Repository }

// Trust is what makes a host believable.
type Trust struct {
	CAFile   string // "": the system's authorities
	Insecure Insecurity
}

// LoadRegistries reads the file at path. One that isn't there is empty.
func LoadRegistries(path string) (*Registries, error) {
	data, err := sheet.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Registries{file: path}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read registries: %w", err)
	}
	return ParseRegistries(path, data)
}

// ParseRegistries reads the content of a registries.conf; file is its name in
// errors. The form is in the package's documentation.
func ParseRegistries(file string, data []byte) (*Registries, error) {
	all := &Registries{file: file, hosts: map[string]*registry{}}
	var section *registry
	err := eachLine(file, data, func(_ int, line string) (err error) {
		if line[0] == '[' {
			section, err = all.section(line)
			return err
		}
		return section.set(line)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (r *Registries) section(line string) (*registry, error) {
	inner, closed := strings.CutSuffix(line[1:], "]")
	kind, host, _ := strings.Cut(inner, " ")
	host = strings.TrimSpace(host)
	if !closed || kind != "Registry" {
		return nil, fmt.Errorf("unknown section %s; write [Registry HOST]", line)
	}
	if !validHost(host) {
		return nil, fmt.Errorf("%q is no host name", host)
	}
	if r.hosts[host] != nil {
		return nil, fmt.Errorf("second section for %s; put its keys together", host)
	}
	r.hosts[host] = &registry{insecure: Secure}
	return r.hosts[host], nil
}

func (g *registry) set(line string) error {
	key, value, err := setting(line, g != nil, "[Registry HOST]")
	if err != nil {
		return err
	}
	switch key {
	case "Mirror":
		var p place
		p, err = parsePlace(value)
		g.mirrors = append(g.mirrors, p)
	case "Location":
		g.location, err = parsePlace(value)
	case "CAFile":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("CAFile=%s: write the whole path", value)
		}
		g.caFile = value
	case "Insecure":
		g.insecure = Insecurity(value)
		if !slices.Contains([]Insecurity{Secure, Unverified, Plaintext}, g.insecure) {
			return fmt.Errorf("Insecure=%s: one of %s, %s, %s", value, Secure, Unverified, Plaintext)
		}
	default:
		return fmt.Errorf("unknown key %s=; known are Mirror=, Location=, CAFile=, Insecure=", key)
	}
	if err != nil {
		return fmt.Errorf("%s=%s: %w", key, value, err)
	}
	return nil
}

func parsePlace(s string) (place, error) {
	host, prefix, _ := strings.Cut(s, "/")
	if !validHost(host) {
		return place{}, fmt.Errorf("%q is no host name", host)
	}
	if prefix != "" {
		if err := checkRepository(prefix); err != nil {
			return place{}, err
		}
	}
	return place{host: host, prefix: prefix}, nil
}

// File returns the name of the file the settings came from.
func (r *Registries) File() string {
	if r.file == "" {
		return RegistriesFile
	}
	return r.file
}

// Sources returns where to ask for ref, in order: the mirrors of its registry,
// then the registry's location. Mirrors of mirrors are not followed.
func (r *Registries) Sources(ref Reference) []Source {
	own := place{host: ref.Registry}
	var places []place
	if g := r.hosts[ref.Registry]; g != nil {
		places = slices.Clone(g.mirrors)
		if g.location != (place{}) {
			own = g.location
		}
	}
	var sources []Source
	for _, p := range append(places, own) {
		s := Source{Host: p.host, Repository: ref.Repository}
		if p.prefix != "" {
			s.Repository = p.prefix + "/" + ref.Repository
		}
		sources = append(sources, s)
	}
	return sources
}

// Trust returns how host, as it stands in a URL, is believed.
func (r *Registries) Trust(host string) Trust {
	if host == "index.docker.io" {
		host = defaultRegistry
	}
	if g := r.hosts[host]; g != nil {
		return Trust{CAFile: g.caFile, Insecure: g.insecure}
	}
	return Trust{Insecure: Secure}
}
