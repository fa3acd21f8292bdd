package image

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// ErrPlatform says that an image has no variant for the wanted platform.
var ErrPlatform = errors.New("no variant for this platform")

// Here is this machine's platform.
func Here() Platform {
	return Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// architectures are those that images are made for, as Go names them: the list
// that the OCI image specification points to (image index, platform).
func architectures() []string {
	return []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x"}
}

// ParsePlatform reads OS/ARCHITECTURE[/VARIANT] or just ARCHITECTURE. Images
// are for linux here.
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) == 1 {
		parts = []string{"linux", parts[0]}
	}
	if len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return Platform{}, fmt.Errorf("platform %q: write it like linux/arm64 or linux/arm/v7", s)
	}
	p := Platform{OS: strings.ToLower(parts[0]), Architecture: strings.ToLower(parts[1])}
	if len(parts) == 3 {
		p.Variant = strings.ToLower(parts[2])
	}
	if goName := map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm"}[p.Architecture]; goName != "" {
		p.Architecture = goName
	}
	if p.OS != "linux" {
		return Platform{}, fmt.Errorf("platform %q: images for %s don't run here; write it like linux/arm64", s, p.OS)
	}
	if !slices.Contains(architectures(), p.Architecture) {
		return Platform{}, fmt.Errorf("platform %q: there is no architecture %s; there are %s", s, p.Architecture, strings.Join(architectures(), ", "))
	}
	return p, nil
}

// Fits says whether an image for p runs where want is: the same, in the same
// variant, or in an older one of arm.
func (p Platform) Fits(want Platform) bool {
	if p.OS != want.OS || p.Architecture != want.Architecture {
		return false
	}
	if p.Variant == want.Variant || p.Variant == "" || want.Variant == "" {
		return true
	}
	return p.Architecture == "arm" && p.Variant < want.Variant
}

// Choose returns the manifest of an index to take: of those that fit the first with
// the same variant, with none at all, or with the newest.
func Choose(manifests []Descriptor, want Platform) (Descriptor, error) {
	var best *Descriptor
	var offered []string
	better := func(a, b string) bool {
		switch {
		case a == b || b == want.Variant:
			return false
		case a == want.Variant:
			return true
		case a == "" || b == "":
			return a == ""
		}
		return want.Variant != "" && a > b
	}
	for i := range manifests {
		d := &manifests[i]
		if d.Platform == nil || d.Platform.OS == "unknown" { // attestations are listed like this
			continue
		}
		offered = append(offered, d.Platform.String())
		if d.Platform.Fits(want) && (best == nil || better(d.Platform.Variant, best.Platform.Variant)) {
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
