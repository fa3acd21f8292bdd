package runtime

import (
	"strings"
	"testing"
)

func TestParseUlimit(t *testing.T) {
	for s, want := range map[string]string{
		"nofile=1024:4096": "nofile=1024:4096", "nofile=1024": "nofile=1024:1024", "memlock=-1:-1": "memlock=unlimited:unlimited",
		"core=0:unlimited": "core=0:unlimited", "nofile=2:1": "the soft limit is above the hard one", "nofile=unlimited:1": "the soft limit is above",
		"nofile": `"" is no number`, "nofile=": `"" is no number`, "nofile=x": `"x" is no number`, "frob=1": `"frob" is no limit`, "nofile=1:2:3": `"2:3" is no number`,
	} {
		u, err := ParseUlimit(s)
		got := u.String()
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

// TestShared: what is shared with the machine is not made anew, and only bound.
func TestShared(t *testing.T) {
	score := 5
	for _, row := range []struct {
		name        string
		spec        func(*Spec)
		has, hasNot string
	}{
		{"memory", func(s *Spec) { s.IPC = IPCHost }, "name-spaces: mnt pid uts cgroup net user\n;take /dev/shm\n", "make shm;make mqueue"},
		{"no shared memory at all", func(s *Spec) { s.IPC = IPCNone }, "name-spaces: mnt pid ipc uts;make mqueue", "shm"},
		{"the host name", func(s *Spec) { s.HostUTS = true }, "name-spaces: mnt pid ipc cgroup net", "set host name"},
		{"cgroups", func(s *Spec) { s.HostCgroupNS = true }, "name-spaces: mnt pid ipc uts net;take /sys/fs/cgroup, read-only;mount cgroup on /sys/fs/cgroup", "make cgroup"},
		{"limits", func(s *Spec) { s.Ulimits, s.OOMScore = []Ulimit{{"nofile", 1, 2}}, &score },
			"raise the new process's hard limits if need be: nofile=1:2;oom_score_adj to 5;wait at the gate;bounding set;find;set limits: nofile=1:2;execve", "as it was when nsrun started"},
		{"another limit than that of open files", func(s *Spec) { s.Ulimits = []Ulimit{{"core", 0, 0}} }, "as it was when nsrun started;set limits: core=0:0", "oom_score_adj"},
	} {
		s, host := webSpec(), rootHost()
		host.Cgroup2 = true
		row.spec(&s)
		p, err := Make(s, host)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		rest := p.String()
		for _, want := range strings.Split(row.has, ";") {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("%s: no %q in\n%s", row.name, want, p)
				break
			}
			rest = after
		}
		for _, bad := range strings.Split(row.hasNot, ";") {
			if strings.Contains(p.String(), bad) {
				t.Errorf("%s: %q is in\n%s", row.name, bad, p)
			}
		}
	}
}
