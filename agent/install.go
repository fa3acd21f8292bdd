package agent

import (
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// Follows returns the units that a unit's [Install] section has it follow:
// those that want it, and those that require it, when they start. The rest of
// the section is inert in a cluster, and so are names with specifiers in them.
func Follows(f *unit.File) (wantedBy, requiredBy []unit.Name) {
	return names(f.Values("Install", "WantedBy")), names(f.Values("Install", "RequiredBy"))
}

func names(values []unit.Value) []unit.Name {
	var list []unit.Name
	for _, v := range values {
		for _, word := range strings.Fields(v.Text) {
			if name, err := unit.ParseName(word); err == nil && string(name) == word {
				list = append(list, name)
			}
		}
	}
	return list
}
