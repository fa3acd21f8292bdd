package agent

import "github.com/clusterd/clusterd/unit"

// Follows returns the units that the [Install] section of u's file has u
// follow: those that want it, and those that require it, when they start. The
// rest of the section is inert in a cluster.
func Follows(u unit.Name, f *unit.File) (wantedBy, requiredBy []unit.Name) {
	install := f.Install(u)
	return install.WantedBy, install.RequiredBy
}
