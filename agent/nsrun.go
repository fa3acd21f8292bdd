package agent

import (
	"path/filepath"
	"strings"
)

// ResolveNsrun returns a function that says whether a program, as written in a
// unit, is nsrun by its real path on this machine: links such as
// /usr/bin/docker are followed, and a bare name is looked up where systemd does.
func ResolveNsrun(nsrun string) func(program string) bool {
	return func(program string) bool {
		real, err := filepath.EvalSymlinks(nsrun)
		if err != nil {
			return false
		}
		candidates := []string{program}
		if !strings.HasPrefix(program, "/") {
			candidates = nil
			for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
				candidates = append(candidates, filepath.Join(dir, program))
			}
		}
		for _, c := range candidates {
			if path, err := filepath.EvalSymlinks(c); err == nil {
				return path == real
			}
		}
		return false
	}
}
