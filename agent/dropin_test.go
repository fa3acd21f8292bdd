package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestDropIn(t *testing.T) {
	isNsrun := func(p string) bool { return p == "/usr/bin/nsrun" || p == "/usr/bin/docker" || p == "docker" }
	for _, tt := range []struct {
		name, unit, service, want, note string
	}{
		{name: "a plain program gets none", service: "ExecStart=/bin/sleep 9"},
		{name: "a socket gets none", unit: "x.socket", service: "ExecStart=/usr/bin/nsrun run a"},
		{
			name:    "nsrun with a stop command of its own",
			service: "ExecStart=/usr/bin/nsrun run --name b1 busybox\nExecStop=/usr/bin/nsrun stop b1",
			want:    "NotifyAccess=main\nType=notify\nExecStopPost=-/usr/bin/nsrun cleanup --unit %n",
		},
		{
			name:    "nsrun without a stop command",
			service: "ExecStart=-/usr/bin/docker run --rm --name=b-%i busybox",
			want:    "NotifyAccess=main\nType=notify\nExecStop=-/usr/bin/docker stop b-%i\nExecStopPost=-/usr/bin/docker cleanup --unit %n",
		},
		{
			name:    "nsrun found by its bare name, with argv[0] given",
			service: "Type=simple\nExecStart=@docker dock run busybox",
			want:    "NotifyAccess=main\nType=notify\nExecStopPost=-docker cleanup --unit %n",
		},
		{
			name:    "a name that needs quotes is not repeated",
			service: `ExecStart=/usr/bin/nsrun run --name "a b" busybox`,
			want:    "NotifyAccess=main\nType=notify\nExecStopPost=-/usr/bin/nsrun cleanup --unit %n",
		},
		{
			name:    "the type and access the unit chose stay",
			service: "Type=oneshot\nNotifyAccess=all\nExecStart=/usr/bin/nsrun run --name b busybox\nExecStop=/bin/true",
			want:    "ExecStopPost=-/usr/bin/nsrun cleanup --unit %n",
		},
		{name: "wrapped in a shell", service: `ExecStart=/bin/sh -c "/usr/bin/nsrun run busybox"`},
		{name: "another verb", service: "ExecStart=/usr/bin/nsrun pull busybox"},
		{name: "KillMode none", service: "KillMode=none\nExecStart=/bin/sleep 9", want: "KillMode=mixed",
			note: "web.service:2: KillMode=none would leave processes behind when the unit stops; it runs with KillMode=mixed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := web
			if tt.unit != "" {
				name = unit.Name(tt.unit)
			}
			f, err := unit.Parse(string(name), []byte("[Service]\n"+tt.service+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			got, notes := DropIn(name, f, isNsrun)
			_, body, _ := strings.Cut(string(got), "[Service]\n")
			if strings.TrimSpace(body) != tt.want {
				t.Errorf("drop-in:\n%s\nwant:\n%s", body, tt.want)
			}
			if strings.Join(notes, "; ") != tt.note {
				t.Errorf("notes %q, want %q", notes, tt.note)
			}
		})
	}
}

func TestFollows(t *testing.T) {
	f, err := unit.Parse("side@.service", []byte("[Install]\nWantedBy=a.service multi-user.target\nWantedBy=b@%i.service\nRequiredBy=%p-c.service\nAlias=d.service\n"))
	if err != nil {
		t.Fatal(err)
	}
	wantedBy, requiredBy := Follows("side@7.service", f)
	if fmt.Sprint(wantedBy, requiredBy) != "[a.service multi-user.target b@7.service] [side-c.service]" {
		t.Errorf("wanted by %v, required by %v", wantedBy, requiredBy)
	}
}
