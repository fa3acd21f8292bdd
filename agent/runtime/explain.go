package runtime

import (
	"fmt"
	"strings"
)

// part is a part of a plan that one process carries out.
type part struct {
	who   string
	steps []Step
}

// explain prints what --explain has to say of any plan.
func explain(b *strings.Builder, argv []string, namespaces string, userNS bool, caps capSet, parts ...part) {
	fmt.Fprintf(b, "command: %s\n", quoted(argv))
	fmt.Fprintf(b, "name-spaces: %s\n", namespaces)
	if !userNS {
		b.WriteString("no user name-space: root inside is root outside\n")
	}
	fmt.Fprintf(b, "capabilities: %s\n", caps)
	for _, s := range parts {
		fmt.Fprintf(b, "%s:\n", s.who)
		for _, step := range s.steps {
			fmt.Fprintf(b, "  %s\n", step)
		}
	}
}

func quoted(argv []string) string {
	out := make([]string, len(argv))
	for i, a := range argv {
		out[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$;&|<>()*?") {
			out[i] = fmt.Sprintf("%q", a)
		}
	}
	return strings.Join(out, " ")
}
