package image

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// ErrPlatform says that an image has no variant for the wanted platform.
var ErrPlatform = errors.New("no variant for this platform")

// Here is this machine's platform.
func Here() Platform {
	return Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// ParsePlatform reads OS/ARCHITECTURE[/VARIANT] or just ARCHITECTURE.
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) == 1 {
		parts = []string{"linux", parts[0]}
	}
	if len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return Platform{}, fmt.Errorf("platform %q: write it like linux/arm64", s)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// Choose returns the manifest of an index to take: the first for the platform,
// preferring the same variant and then none at all.
func Choose(manifests []Descriptor, want Platform) (Descriptor, error) {
	var best *Descriptor
	var offered []string
	rank := func(d *Descriptor) int {
		switch d.Platform.Variant {
		case want.Variant:
			return 2
		case "":
			return 1
		}
		return 0
	}
	for i := range manifests {
		d := &manifests[i]
		if d.Platform == nil || d.Platform.OS == "unknown" { // attestations are listed like this
			continue
		}
		offered = append(offered, d.Platform.String())
		if d.Platform.OS != want.OS || d.Platform.Architecture != want.Architecture {
			continue
		}
		if want.Variant != "" && d.Platform.Variant != want.Variant && d.Platform.Variant != "" {
			continue
		}
		if best == nil || rank(d) > rank(best) {
			best = d
		}
	}
	if best == nil && len(offered) == 0 && len(manifests) == 1 {
		return manifests[0], nil
	}
	if best == nil {
		return Descriptor{}, fmt.Errorf("%w %s; there are %s: choose with --platform", ErrPlatform, want, strings.Join(offered, ", "))
	}
	return *best, nil
}
