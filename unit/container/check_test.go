package container

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestNeeds(t *testing.T) {
	const start = "[Service]\nExecStart=/bin/true\n"
	for _, tt := range []struct {
		name, src string
		want      int
	}{
		{"what was always there", start + "Restart=always\n", 0},
		{"a setting that came later", start + "ProtectProc=default\n", 247},
		{"the latest of several", start + "ProtectProc=default\nRestartSteps=5\n", 254},
		{"a container's service", "[Container]\nImage=a\n[Service]\nRestartSteps=5\n", 254},
		{"what no systemd has is no question of age", start + "RestartStepps=5\nProtectProc=default\n", 0},
	} {
		f, err := unit.Parse("web.service", []byte(tt.src))
		if err != nil {
			t.Fatal(err)
		}
		if got := Needs("web.service", f); got != tt.want {
			t.Errorf("%s: needs %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"a plain unit is checked as ever", "[Service]\nExecStrat=/bin/true\n",
			"web.service:2: [Service] has no setting ExecStrat=; write ExecStart="},
		{"a container that is fine", "[Container]\nImage=a\nNetwork=none\n[Service]\nRestart=always\n", ""},
		{"notes are warnings", "[Unit]\n[Container]\nImage=a\nRetry=3\n",
			"warning: web.service:4: Retry= is left out"},
		{"what is wrong around a container, once, and in it", "[Container]\nImage=a\nPorts=80\n[Service]\nNice=100\nFoo=bar\n",
			"web.service:3: [Container] has no key Ports=; did you mean PublishPort=?\n" +
				"web.service:5: Nice=100 is out of range or no number\n" +
				"web.service:6: [Service] has no setting Foo="},
		{"said of the user's lines once, though the rendered text has them, too", "[Container]\nImage=a\nNetwork=none\n[Service]\nNice=100\n[X-Cluster]\nGlobl=yes\n",
			"web.service:5: Nice=100 is out of range or no number\n" +
				"web.service:7: [X-Cluster] has no setting Globl=; use Global="},
		{"what only the whole tells", "[Container]\nImage=a\nNetwork=none\n\n[Service]\nType=oneshot\nRestart=always\n",
			"web.service:7: Restart=always in line 7 and Type=oneshot in line 6 can't hold together"},
		{"podman's own section", "[Container]\nImage=a\nNetwork=none\n[Quadlet]\nDefaultDependencies=no\n", ""},
		{"and what isn't in it", "[Container]\nImage=a\nNetwork=none\n[Quadlet]\nDefaultDependencies=no\nFrob=1\nDefaultDependencies=maybe\n",
			"web.service:6: [Quadlet] has no key Frob=; it has DefaultDependencies= only\nweb.service:7: DefaultDependencies=maybe is neither yes nor no; write one of them"},
		{"lines of the user's in what is said of the rendered text", "[Container]\nImage=a\nNetwork=none\nMemory=2m\n[X-Cluster]\nRequests=memory=5M\n",
			"web.service:6: Requests= in line 6 asks for more memory than MemoryMax= in line 4 allows"},
	} {
		f, err := unit.Parse("web.service", []byte(tt.src))
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{}
		for _, p := range Check("web.service", f, unit.CheckOptions{}) {
			lines = append(lines, fmt.Sprint(p))
		}
		want := strings.Split(tt.want, "\n")
		if tt.want == "" {
			want = nil
		}
		ok := len(lines) == len(want)
		for i := range want {
			ok = ok && strings.HasPrefix(lines[i], want[i])
		}
		if !ok {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(lines, "\n"), tt.want)
		}
	}
}
