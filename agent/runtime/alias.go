package runtime

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/sheet"
)

// mountLine is a line of mountinfo: where a part of a file system is to be seen.
// See proc_pid_mountinfo(5).
type mountLine struct {
	dev, root, point, fstype string
}

// readMounts returns the mounts this process sees, in the order they were made.
func readMounts() ([]mountLine, error) {
	data, err := sheet.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return parseMounts(string(data)), nil
}

func parseMounts(text string) []mountLine {
	var mounts []mountLine
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(f) >= 5 && len(kind) > 0 {
			mounts = append(mounts, mountLine{dev: f[2], root: unescape(f[3]), point: unescape(f[4]), fstype: kind[0]})
		}
	}
	return mounts
}

// unescape undoes \040 and its like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// below returns file's path relative to dir, "" for dir itself, if it is there.
func below(dir, file string) (rest string, ok bool) {
	if file == dir {
		return "", true
	}
	return strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/")
}

// on returns the mount that a file is on: of those on the way to it the last one
// made where the way is longest.
func on(mounts []mountLine, file string) *mountLine {
	var found *mountLine
	for i := range mounts {
		if _, ok := below(mounts[i].point, file); ok && (found == nil || len(mounts[i].point) >= len(found.point)) {
			found = &mounts[i]
		}
	}
	return found
}

// names are all the paths by which what is at dir on mount m is to be seen.
func names(mounts []mountLine, m *mountLine, dir string) []string {
	rest, _ := below(m.point, dir)
	inside := path.Join(m.root, rest)
	var list []string
	for _, other := range mounts {
		if rest, ok := below(other.root, inside); ok && other.dev == m.dev {
			list = append(list, path.Join(other.point, rest))
		}
	}
	return list
}

// kernelTypes are file systems in which what is written steers the kernel.
var kernelTypes = []string{
	"proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "efivarfs", "bpf", "pstore", "binfmt_misc", "selinuxfs",
}

// checkVolume refuses a volume that, by another name or with what is mounted
// below it, is what [checkSource] refuses, or lets the container write into the
// kernel's own file systems. A path alone doesn't tell: see mount --bind.
func checkVolume(mounts []mountLine, v Volume) error {
	check := func(m *mountLine, dir string) error {
		if slices.Contains(kernelTypes, m.fstype) && !v.ReadOnly {
			return fmt.Errorf("%s: would let the container write into %s (%s), by which it could rule this machine's kernel; bind it read-only: %s:%s:ro",
				v.Source, dir, m.fstype, v.Source, v.Target)
		}
		for _, name := range names(mounts, m, dir) {
			if err := checkSource(name); err != nil {
				return fmt.Errorf("%s, which is %w", v.Source, err)
			}
		}
		return nil
	}
	if m := on(mounts, v.Source); m != nil {
		if err := check(m, v.Source); err != nil {
			return err
		}
	}
	for i := range mounts {
		if rest, ok := below(v.Source, mounts[i].point); ok && rest != "" {
			if err := check(&mounts[i], mounts[i].point); err != nil {
				return err
			}
		}
	}
	return nil
}
