package registry

import (
	"strconv"
	"strings"
)

// The keys of a machine's facts. Units may ask for them in MachineMetadata=, as
// for metadata.
const (
	FactArch    = "arch"    // the processors, in Go's words: amd64, arm64
	FactKernel  = "kernel"  // its release, such as 6.1.0-18-amd64
	FactSystemd = "systemd" // the version of systemd, as that says it itself
	FactOS      = "os"      // the distribution and its version, such as debian-12
)

// IsFact says whether a key is one of facts, which operators can't change.
func IsFact(key string) bool {
	switch key {
	case FactArch, FactKernel, FactSystemd, FactOS:
		return true
	}
	return false
}

// Selectable is what units may ask of a machine in MachineMetadata=: its
// metadata in force, and those of its facts that its metadata doesn't name. Of
// systemd's version it is the number it begins with. Either argument may be
// nil; the result is the caller's.
func Selectable(m *Machine, s *Settings) map[string]string {
	all := EffectiveMetadata(m, s)
	for _, key := range [...]string{FactArch, FactKernel, FactSystemd, FactOS} {
		fact := m.GetFacts()[key]
		if n := SystemdNumber(fact); key == FactSystemd && n > 0 {
			fact = strconv.Itoa(n)
		}
		if _, said := all[key]; fact != "" && !said {
			all[key] = fact
		}
	}
	return all
}

// SystemdNumber is the number that a version such as "252.38-1~deb12u1" begins
// with; 0 when there is none.
func SystemdNumber(version string) int {
	digits := strings.IndexFunc(version+" ", func(c rune) bool { return c < '0' || c > '9' })
	n, _ := strconv.Atoi(version[:digits])
	return n
}
