package runtime

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ownProfile says whether the system call filter is of a file of the user's.
func (s *Security) ownProfile() bool { return s.Seccomp != "" && s.Seccomp != SeccompUnconfined }

// unmaskAll leaves nothing hidden or read-only.
const unmaskAll = "ALL"

// stillMasked returns the paths that the user doesn't want to have as they are.
// What is asked for twice is hidden.
func (s *Spec) stillMasked(paths []string) []string {
	if len(s.Unmasked) == 0 {
		return paths
	}
	return slices.DeleteFunc(slices.Clone(paths), func(file string) bool {
		return !slices.Contains(s.Masked, file) && slices.ContainsFunc(s.Unmasked, func(pattern string) bool {
			fits, _ := path.Match(pattern, file)
			return fits || strings.EqualFold(pattern, unmaskAll)
		})
	})
}

// checkSecurity brings paths into one form and refuses what can't be.
func (s *Spec) checkSecurity() error {
	for i, file := range s.Masked {
		s.Masked[i] = path.Clean(file)
		if !strings.HasPrefix(s.Masked[i], "/proc/") && !strings.HasPrefix(s.Masked[i], "/sys/") {
			return fmt.Errorf("--security-opt=mask=%s: only what is below /proc and /sys can be hidden so; cover it: --tmpfs=%[1]s, or --volume=/dev/null:%[1]s:ro", file)
		}
	}
	for i, pattern := range s.Unmasked {
		if strings.EqualFold(pattern, unmaskAll) {
			continue
		}
		s.Unmasked[i] = path.Clean(pattern)
		if _, err := path.Match(pattern, "/"); err != nil || !path.IsAbs(pattern) {
			return fmt.Errorf("--security-opt=unmask=%s: write ALL, or paths such as /proc/acpi or /sys/fs/*, with colons between", pattern)
		}
	}
	if s.ownProfile() && !path.IsAbs(s.Seccomp) {
		return fmt.Errorf("--security-opt=seccomp=%s: must begin with a slash", s.Seccomp)
	}
	if strings.ContainsFunc(s.AppArmor, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return errors.New("--security-opt=apparmor: the name of a profile is one word")
	}
	return nil
}
