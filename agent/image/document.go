package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// DocumentBytesMax bounds an index, a manifest and a configuration.
const DocumentBytesMax = 4 << 20

// LayersMax bounds a manifest's layers: overlay takes 500 lower directories.
const LayersMax = 499

// Media types this package understands; the layer's own is found by looking at it.
const (
	TypeIndex          = "application/vnd.oci.image.index.v1+json"
	TypeManifest       = "application/vnd.oci.image.manifest.v1+json"
	TypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	TypeConfig         = "application/vnd.oci.image.config.v1+json"
	TypeLayer          = "application/vnd.oci.image.layer.v1.tar"
)

// Descriptor points at a blob.
type Descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    Digest    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *Platform `json:"platform,omitempty"`

	Annotations map[string]string `json:"annotations,omitempty"`
}

// Platform is what an image runs on.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Document is an index, when Manifests is set, or a manifest.
type Document struct {
	MediaType string
	Manifests []Descriptor
	Config    Descriptor
	Layers    []Descriptor // bottom first
}

// IsIndex says whether the document is a list of manifests.
func (d *Document) IsIndex() bool { return d.Manifests != nil }

// ParseDocument reads an index or a manifest. What can be read in two ways is
// refused: layers beside manifests, a key written twice or with capitals, a mediaType
// that disagrees with contentType (which may be empty) or with the content.
func ParseDocument(data []byte, contentType string) (*Document, error) {
	if len(data) > DocumentBytesMax {
		return nil, fmt.Errorf("has more than %d bytes", DocumentBytesMax)
	}
	keys, err := topLevelKeys(data)
	if err != nil {
		return nil, err
	}
	var raw struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []Descriptor `json:"manifests"`
		Config        Descriptor   `json:"config"`
		Layers        []Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	if raw.SchemaVersion != 2 {
		return nil, fmt.Errorf("has schema version %d; only 2 is understood: push it again with a current tool", raw.SchemaVersion)
	}
	doc := &Document{MediaType: raw.MediaType, Manifests: raw.Manifests, Config: raw.Config, Layers: raw.Layers}
	if err := doc.checkKind(keys, contentType); err != nil {
		return nil, err
	}
	return doc, doc.checkDescriptors()
}

func (d *Document) checkKind(keys map[string]bool, contentType string) error {
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.TrimSpace(contentType)
	if known(contentType) {
		if d.MediaType == "" {
			d.MediaType = contentType
		}
		if d.MediaType != contentType {
			return fmt.Errorf("calls itself %q but was delivered as %s", d.MediaType, contentType)
		}
	}
	isIndex, isManifest := keys["manifests"], keys["layers"] || keys["config"]
	switch {
	case isIndex && isManifest:
		return errors.New("has both layers and manifests, so that it can be read as two things")
	case isIndex && (d.MediaType == TypeIndex || d.MediaType == TypeDockerIndex || d.MediaType == ""):
		if d.Manifests == nil {
			d.Manifests = []Descriptor{}
		}
		return nil
	case isManifest && (d.MediaType == TypeManifest || d.MediaType == TypeDockerManifest || d.MediaType == ""):
		return nil
	case !isIndex && !isManifest:
		return errors.New("is neither an image nor a list of images")
	}
	return fmt.Errorf("calls itself %q but its content is something else", d.MediaType)
}

func known(mediaType string) bool {
	switch mediaType {
	case TypeIndex, TypeManifest, TypeDockerIndex, TypeDockerManifest:
		return true
	}
	return false
}

func (d *Document) checkDescriptors() error {
	all := append(append([]Descriptor{}, d.Manifests...), d.Layers...)
	if !d.IsIndex() {
		all = append(all, d.Config)
		if d.Config.Size > DocumentBytesMax {
			return fmt.Errorf("its configuration has more than %d bytes", DocumentBytesMax)
		}
	}
	for _, desc := range all {
		if _, err := ParseDigest(string(desc.Digest)); err != nil {
			return err
		}
		if desc.Size < 0 {
			return fmt.Errorf("%s has a negative size", desc.Digest)
		}
	}
	if err := d.checkTypes(); err != nil {
		return err
	}
	if len(d.Layers) > LayersMax {
		return fmt.Errorf("has %d layers; at most %d can be stacked", len(d.Layers), LayersMax)
	}
	return nil
}

// topLevelKeys returns the keys of a JSON object. encoding/json takes the last
// of two equal keys and ignores capitals, other readers don't: so neither is let through.
func topLevelKeys(data []byte) (map[string]bool, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("is no JSON object")
	}
	keys := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("can't be read: %w", err)
		}
		key, _ := token.(string)
		if keys[key] {
			return nil, fmt.Errorf("has the key %q twice", key)
		}
		for _, ours := range []string{"schemaVersion", "mediaType", "manifests", "layers", "config"} {
			if key != ours && strings.EqualFold(key, ours) {
				return nil, fmt.Errorf("has the key %q, too like %q", key, ours)
			}
		}
		keys[key] = true
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return nil, fmt.Errorf("can't be read: %w", err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("has something after its end")
	}
	return keys, nil
}

// configFile is the part of an image's configuration blob that is used.
type configFile struct {
	Created      time.Time `json:"created"`
	OS           string    `json:"os"`
	Architecture string    `json:"architecture"`
	Variant      string    `json:"variant"`
	Config       struct {
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
		User       string
		StopSignal string
		Labels     map[string]string
		Volumes    map[string]struct{}

		ExposedPorts map[string]struct{}
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// Blueprint is what a configuration blob says about its image.
type Blueprint struct {
	Created  time.Time // zero when it doesn't say
	Platform Platform
	DiffIDs  []Digest // bottom first
	Config   Config
}

// ParseConfig reads an image's configuration blob.
func ParseConfig(data []byte) (*Blueprint, error) {
	var raw configFile
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	for _, id := range raw.RootFS.DiffIDs {
		if _, err := ParseDigest(string(id)); err != nil {
			return nil, err
		}
	}
	if len(raw.RootFS.DiffIDs) == 0 {
		return nil, errors.New("names no layers: this is no image to run")
	}
	// A zone can lead out of the years that can be written and read again.
	if year := raw.Created.UTC().Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("says it was created in the year %d", year)
	}
	return &Blueprint{
		Created:  raw.Created,
		Platform: Platform{OS: raw.OS, Architecture: raw.Architecture, Variant: raw.Variant},
		DiffIDs:  raw.RootFS.DiffIDs,
		Config:   Config(raw.Config),
	}, nil
}
