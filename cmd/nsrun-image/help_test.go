package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestHelpOfVerbs: every verb says how it is written and what its exit codes are,
// and each flag that it lists has a word said about it.
func TestHelpOfVerbs(t *testing.T) {
	flagLine := regexp.MustCompile(`^  (-\w, |    )--\S+( \S+)?   +\S`)
	for _, v := range verbs() {
		if v.about == "" || v.name == "help" {
			continue
		}
		var out, said bytes.Buffer
		code := run(t.Context(), []string{"/usr/bin/nsrun", v.name, "--help"}, strings.NewReader(""), &out, &said)
		if code != exitDone || said.Len() > 0 {
			t.Errorf("%s --help: exit %d, stderr %q", v.name, code, &said)
		}
		page := out.String()
		if !strings.HasPrefix(page, "Usage: nsrun "+v.name) || !strings.Contains(page, "\nExit codes: ") {
			t.Errorf("%s --help:\n%s", v.name, page)
		}
		_, flags, _ := strings.Cut(page, "Flags:\n")
		flags, _, _ = strings.Cut(flags, "\n\n")
		for line := range strings.Lines(flags) {
			if !flagLine.MatchString(line) {
				t.Errorf("%s --help: %q says nothing of its flag", v.name, line)
			}
		}
	}
}
