package systemd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name    string
		unit    unit.Name
		printed string
		allow   bool
		want    string
		bad     bool
	}{
		{"nothing to say", "web.service", "", false, "", false},
		{"what others are told is none of it", "web.service", "/lib/systemd/system/a.service:17: Unknown key 'Foo' in section [Unit], ignoring.\nb.service: Command /x is not executable: No such file or directory\n", false, "", false},
		{"an unknown key", "web.service", "DIR/web.service:4: Unknown key 'Foo' in section [Unit], ignoring.\n", false,
			"web.service:4: Unknown key 'Foo' in section [Unit], ignoring.", true},
		{"as systemd 249 has it, and allowed", "web.service", "DIR/web.service:4: Unknown key name 'Foo' in section 'Unit', ignoring.\n", true,
			"warning: web.service:4: Unknown key name 'Foo' in section 'Unit', ignoring.", false},
		{"a bad value, which isn't allowed", "web.service", "DIR/web.service:7: Nice priority out of range, ignoring: 100\n", true,
			"web.service:7: Nice priority out of range, ignoring: 100", true},
		{"a program and a unit that this machine hasn't", "web.service",
			"web.service: Failed to create web.service/start: Unit db.service not found.\nweb.service: Command /bin/x is not executable: No such file or directory\n", false,
			"warning: web.service: Failed to create web.service/start: Unit db.service not found.\nwarning: web.service: Command /bin/x is not executable: No such file or directory", false},
		{"one that can't be loaded", "web.service", "web.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.\nUnit web.service has a bad unit file setting.\n", false,
			"web.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.\nweb.service: Unit web.service has a bad unit file setting.", true},
		{"a template, by its instance", "web@.service", "DIR/web@i.service:1: Unit uses KillMode=none. This is unsafe.\nweb@i.service: Failed to create web@i.service/start: Unit db.service not found.\n", false,
			"warning: web@.service:1: Unit uses KillMode=none. This is unsafe.\nwarning: web@.service: Failed to create web@.service/start: Unit db.service not found.", false},
		{"a socket whose service is elsewhere", "web.socket", "web.socket: service web.service not loaded, socket cannot be started.\n", false,
			"warning: web.socket: service web.service not loaded, socket cannot be started.", false},
		{"a name with words of a refusal in it", "refuse.service", "DIR/refuse.service:5: Standard output type syslog is obsolete, automatically updating to journal.\n", false,
			"warning: refuse.service:5: Standard output type syslog is obsolete, automatically updating to journal.", false},
		{"what depends on a template's instance", "web@.service", "DIR/web@i.service:2: Path i is not absolute, ignoring: i\nDIR/web@i.service:4: Nice priority out of range, ignoring: 100\nUnit web@i.service has a bad unit file setting.\n", false,
			"warning: web@.service:2: Path i is not absolute, ignoring: i\nweb@.service:4: Nice priority out of range, ignoring: 100\nwarning: web@.service: Unit web@.service has a bad unit file setting.", true},
	} {
		as := verifiedAs(tt.unit, nil)
		file := looked{tt.unit, as, "/tmp/v/" + as, &container.Loaded{Text: []byte("[Service]\nExecStart=/bin/echo %i \\\n more\nNice=5\n")}}
		said, told := verdict(strings.ReplaceAll(tt.printed, "DIR", "/tmp/v"), []looked{file}, tt.allow, false)
		bad := reasons(said) != ""
		var lines []string
		for _, f := range said {
			lines = append(lines, f.String())
		}
		if got := strings.Join(lines, "\n"); got != tt.want || bad != tt.bad || told != (got != "") {
			t.Errorf("%s: got %v\n%s\nwant %v\n%s", tt.name, bad, got, tt.bad, tt.want)
		}
	}
}

func TestVerify(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("needs systemd-analyze; install systemd, as make deps does")
	}
	d := New(Config{Log: slog.New(slog.DiscardHandler)})
	for _, tt := range []struct {
		name unit.Name
		src  string
		exit int
		want string
	}{
		{"web.service", "[Service]\nExecStart=/bin/sh -c 'sleep 1'\n", 0, ""},
		{"web@.service", "[Service]\nExecStart=/bin/echo %i\n", 0, ""},
		{"a:b.service", "[Service]\nExecStart=/bin/sh\nNice=100\n", 1, "a:b.service:3: Nice priority out of range"},
		{"a:b.service", "[Service]\nExecStart=/bin/sh\n", 0, ""},
		{"web.service", "[Service]\nExecStart=/bin/sh\nNice=100\n", 1, "web.service:3: Nice priority out of range"},
		{"web.service", "[Service]\nExecStart=/nowhere/sh\n", 0, "warning: web.service: Command /nowhere/sh is not executable"},
		{"web@.socket", "[Socket]\nListenStream=/run/web-%i\nAccept=yes\n", 0, "warning: web@.socket: service web"},
		{"web@.service", "[Service]\nExecStart=/bin/echo\nWorkingDirectory=%I\n", 0, "warning: web@.service:3: "},
		{"web.service", "[Unit]\n[Container]\nImage=a\n\n[Service]\nNice=100\n", 1, "web.service:6: Nice priority out of range"},
	} {
		var out bytes.Buffer
		exit, err := d.Verify(context.Background(), request(tt.name, tt.src), &out)
		if err != nil || exit != tt.exit || !strings.HasPrefix(out.String(), tt.want) || tt.want == "" && out.Len() > 0 {
			t.Errorf("%s\n%s: exit %d, %v\n%swant %d\n%s", tt.name, tt.src, exit, err, out.String(), tt.exit, tt.want)
		}
	}
}

func request(name unit.Name, src string) api.VerifyRequest {
	return api.VerifyRequest{Files: []api.VerifyFile{{Name: name, File: []byte(src)}}}
}

func TestFirstBytes(t *testing.T) {
	f := &firstBytes{left: 3}
	if _, err := io.Copy(f, strings.NewReader("abcdef")); err != nil || f.text.String() != "abc" || f.left != 0 {
		t.Errorf("%q, %d left, %v", f.text.String(), f.left, err)
	}
}
