package image

import (
	"fmt"
	"strings"
)

// What a manifest's configuration and layers may call themselves. How a layer is
// compressed is seen by looking at it, and its diffID tells whether that was right.
var (
	configTypes = []string{"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
	layerTypes  = []string{
		"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar",
	}
	compressions = []string{"", "+gzip", ".gzip", "+zstd", ".zstd"}
)

// checkTypes refuses what is pushed to registries as if it were an image: charts,
// attestations, signatures, encrypted layers. No type at all is let through.
func (d *Document) checkTypes() error {
	if d.IsIndex() {
		return nil
	}
	if t := d.Config.MediaType; t != "" && !isType(t, configTypes, []string{""}) {
		return fmt.Errorf("has a configuration %s of type %q: this is no image to run", d.Config.Digest, t)
	}
	for _, l := range d.Layers {
		if l.MediaType != "" && !isType(l.MediaType, layerTypes, compressions) {
			return fmt.Errorf("has a layer %s of type %q, which can't be unpacked", l.Digest, l.MediaType)
		}
	}
	return nil
}

func isType(mediaType string, types, endings []string) bool {
	for _, t := range types {
		end, ok := strings.CutPrefix(mediaType, t)
		for _, e := range endings {
			if ok && end == e {
				return true
			}
		}
	}
	return false
}
