package lab

import (
	"fmt"
	"strings"
	"testing"
)

func TestHierarchies(t *testing.T) {
	tests := []struct {
		name, mounts, want string
	}{
		{
			name:   "only v2",
			mounts: "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate",
			want:   "/sys/fs/cgroup=> ",
		},
		{
			name: "hybrid",
			mounts: `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw`,
			want: "/sys/fs/cgroup/cpu,cpuacct=>cpu,cpuacct cpu,cpuacct; /sys/fs/cgroup/memory=>memory memory; " +
				"/sys/fs/cgroup/systemd=>systemd none,name=systemd; /sys/fs/cgroup/unified=>unified ",
		},
		{
			name:   "the same hierarchy mounted twice counts once",
			mounts: "35 31 0:32 / /a\\040b rw - cgroup cgroup rw,memory\n36 31 0:32 / /c rw - cgroup cgroup rw,memory\nnonsense",
			want:   "/a b=>memory memory",
		},
		{
			name:   "none",
			mounts: "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
			want:   "find the host's cgroups: none is mounted; mount cgroup2 on /sys/fs/cgroup",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hs, err := chooseHierarchies(parseMounts(tt.mounts))
			var got []string
			for _, h := range hs {
				got = append(got, fmt.Sprintf("%s=>%s %s", h.Mount, h.Dir, h.Options))
			}
			text := strings.Join(got, "; ")
			if err != nil {
				text = err.Error()
			}
			if text != tt.want {
				t.Errorf("got  %q\nwant %q", text, tt.want)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	for name, want := range map[string]string{
		"":       "/var/lib/clusterd-lab /run/clusterd-lab clusterd-lab",
		"lab":    "/var/lib/clusterd-lab /run/clusterd-lab clusterd-lab",
		"mine":   "/var/lib/clusterd-lab-mine /run/clusterd-lab-mine clusterd-lab-mine",
		"../etc": `name lab "../etc": not possible; use up to 21 lower-case letters, digits and dashes`,
	} {
		p, err := placesOf(name)
		got := strings.Join([]string{p.dir, p.run, p.netns}, " ")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("lab %q: got %s, want %s", name, got, want)
		}
	}
}
