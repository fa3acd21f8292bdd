package unit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestCheckOptions(t *testing.T) {
	const start = "[Service]\nExecStart=/bin/true\n"
	for _, tt := range []struct {
		name, src string
		options   unit.CheckOptions
		want      string
	}{
		{"the newest systemd is the default", start + "PrivatePIDs=yes\n", unit.CheckOptions{}, ""},
		{"an old one ignores what came later", start + "ProtectProc=default\n", unit.CheckOptions{Systemd: 245},
			"web.service:3: ProtectProc= came with systemd 247, and 245 ignores it; take it out, or run the unit where systemd is newer"},
		{"unknown keys may be allowed", start + "Foo=bar\n[Bar]\n", unit.CheckOptions{AllowUnknown: true},
			"warning: web.service:3: [Service] has no setting Foo=; take it out, or begin its name with X- to have systemd skip it\n" +
				"warning: web.service:4: systemd has no section [Bar]; use [Unit], [Service], [Install], or begin the name with X- to have systemd skip it"},
		{"bad values may not", start + "Nice=100\n", unit.CheckOptions{AllowUnknown: true},
			"web.service:3: Nice=100 is out of range or no number; give a whole number from -20 to 19"},
		{"what begins with X- is nobody's business", start + "X-Foo=bar\n[X-Bar]\nFoo=bar\n", unit.CheckOptions{}, ""},
		{"a container says by itself what runs", "[Container]\nImage=busybox\n[Service]\nRestart=always\n", unit.CheckOptions{}, ""},
		{"an empty value takes back, and is never bad", start + "Nice=\nExecStop=\nMemoryMax=\nEnvironment=\n", unit.CheckOptions{}, ""},
		{"only when the machine expands it is it known", start + "WorkingDirectory=%h\nEnvironment=%H=b A=%i\n[Unit]\nAfter=a@%H.service\n", unit.CheckOptions{}, ""},
		{"the cluster's warnings come along", start + "[X-Fleet]\nPrio=5\n", unit.CheckOptions{},
			"warning: web.service:4: [X-Fleet] has no setting Prio=, which is ignored; use Priority="},
		{"a strange escape is kept", "[Service]\nExecStart=/bin/echo \\d\n", unit.CheckOptions{},
			`warning: web.service:2: ExecStart=: \d is no escape systemd knows; write \\ for a backslash`},
		{"documentation is only read by people", start + "[Unit]\nDocumentation=here\n", unit.CheckOptions{},
			"warning: web.service:4: Documentation=: here is no URI systemd takes; begin it with https:, file:, man: or info:"},
	} {
		f := parse(t, "web.service", tt.src)
		problems := f.Check("web.service", tt.options)
		lines := make([]string, len(problems))
		warnings := 0
		for i, p := range problems {
			lines[i] = fmt.Sprint(p)
			if p.Warning {
				warnings++
			}
		}
		if got := strings.Join(lines, "\n"); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if err := unit.Errors(problems); (err == nil) != (warnings == len(problems)) {
			t.Errorf("%s: Errors() = %v of %d problems, %d of them warnings", tt.name, err, len(problems), warnings)
		}
	}
}

// Problems are found in all files, however many they have.
func TestCheckIsBounded(t *testing.T) {
	f := parse(t, "web.service", "[Service]\nExecStart=/bin/true\n"+strings.Repeat("Foo=bar\n", 5000))
	if n := len(f.Check("web.service", unit.CheckOptions{})); n < 50 || n > 200 {
		t.Errorf("%d problems of 5000", n)
	}
}

// systemd knows a section [Target], though there is nothing to set in it.
func TestTargetHasASection(t *testing.T) {
	f := parse(t, "web.target", "[Unit]\nDescription=x\n[Target]\n")
	if problems := f.Check("web.target", unit.CheckOptions{}); len(problems) > 0 {
		t.Errorf("an empty one: %v", problems)
	}
}
