package runtime

import (
	"path"
	"strings"
)

// cgroupDirs compares two texts of /proc/PID/cgroup, ours and a container's, and
// returns the directories of the container's cgroups that aren't ours too, one
// a hierarchy, and of these apart that of cgroup2. unified is where cgroup2 is
// mounted. A cgroup out of our cgroup name-space's sight is left out: nobody
// could go there.
func cgroupDirs(own, its, unified string) (v2 string, v1 []string) {
	ours := map[string]string{}
	for line := range strings.Lines(own) {
		if f := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3); len(f) == 3 {
			ours[f[1]] = f[2]
		}
	}
	for line := range strings.Lines(its) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(f) != 3 || f[2] == ours[f[1]] || strings.HasPrefix(f[2], "/..") || strings.HasSuffix(f[2], " (deleted)") {
			continue
		}
		if f[1] == "" {
			v2 = path.Join(unified, f[2])
			continue
		}
		v1 = append(v1, path.Join("/sys/fs/cgroup", strings.TrimPrefix(f[1], "name="), f[2]))
	}
	return v2, v1
}
