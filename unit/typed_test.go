package unit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func parse(t *testing.T, name, src string) *unit.File {
	t.Helper()
	f, err := unit.Parse(name, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPorts(t *testing.T) {
	run := func(args string) string { return "[Service]\nExecStart=" + args + "\n" }
	for _, tt := range []struct{ test, name, src, want string }{
		{"numbers and addresses", "web.socket", "[Socket]\nListenStream=80\nListenStream=127.0.0.1:443\nListenDatagram=[::1]:53\nListenStream=/run/web.sock\nListenStream=@web\n", "80/tcp 127.0.0.1:443/tcp [::1]:53/udp"},
		{"all addresses are none in particular", "web.socket", "[Socket]\nListenStream=0.0.0.0:80\nListenStream=[::]:81\n", "80/tcp 81/tcp"},
		{"taken back", "web.socket", "[Socket]\nListenStream=80\nListenStream=\nListenStream=81\n", "81/tcp"},
		{"taken back by its like", "web.socket", "[Socket]\nListenDatagram=80\nListenStream=81\nListenFIFO=\nListenStream=82\n", "82/tcp"},
		{"the instance is the port", "web@8080.socket", "[Socket]\nListenStream=%i\n", "8080/tcp"},
		{"what the machine knows", "web.socket", "[Socket]\nListenStream=%H:80\n", ""},
		{"published", "web.service", run("/usr/bin/nsrun run --name web -p 8080:80 busybox httpd -p 99:99"), "8080/tcp"},
		{"all forms", "web.service", run("/usr/bin/docker run --rm -it -p8080:80 -p=81:80 --publish 127.0.0.1:82:80 --publish=53:53/udp -p [::1]:83:80 -dp 84:80 --net host busybox"), "81/tcp 127.0.0.1:82/tcp 53/udp [::1]:83/tcp 84/tcp 8080/tcp"},
		{"a row of ports", "web.service", run("/usr/bin/podman run -p 8000-8010:8000-8010 busybox"), "8000-8010/tcp"},
		{"an option's value is no image", "web.service", run("/usr/bin/nsrun run -v /a:/b -e A=b --memory 5G -p 1:1 busybox"), "1/tcp"},
		{"any port will do", "web.service", run("/usr/bin/nsrun run -p 80 -p 127.0.0.1::80 -P busybox"), ""},
		{"a variable", "web.service", run("/usr/bin/nsrun run -p ${PORT}:80 busybox"), ""},
		{"a specifier", "web@9000.service", run("/usr/bin/nsrun run -p %i:80 busybox"), "9000/tcp"},
		{"another program", "web.service", run("/usr/bin/httpd run -p 80:80"), ""},
		{"another verb", "web.service", run("/usr/bin/nsrun stop -p 80:80"), ""},
		{"a name for argv[0]", "web.service", run("@/usr/bin/nsrun web run -p 80:80 x"), "80/tcp"},
	} {
		var got []string
		for _, p := range parse(t, tt.name, tt.src).Ports(unit.Name(tt.name)) {
			got = append(got, p.String())
		}
		want := strings.Fields(tt.want)
		if len(got) != len(want) || strings.Join(sorted(got), " ") != strings.Join(sorted(want), " ") {
			t.Errorf("%s: %v, want %v", tt.test, got, want)
		}
	}
}

func TestPortsClash(t *testing.T) {
	port := func(s string) unit.Port {
		f := parse(t, "a.service", "[Service]\nExecStart=/usr/bin/nsrun run -p "+s+" x\n")
		return f.Ports("a.service")[0]
	}
	for _, tt := range []struct {
		a, b  string
		clash bool
	}{
		{"80:80", "80:81", true},
		{"80:80", "81:80", false},
		{"80:80", "80:80/udp", false},
		{"80:80", "127.0.0.1:80:80", true},
		{"127.0.0.2:80:80", "127.0.0.1:80:80", false},
		{"80-90:80-90", "85:85", true},
		{"80-90:80-90", "91:91", false},
	} {
		if a, b := port(tt.a), port(tt.b); a.Clashes(b) != tt.clash || b.Clashes(a) != tt.clash {
			t.Errorf("%s with %s: clash %v", tt.a, tt.b, a.Clashes(b))
		}
	}
}

func TestDependencies(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"web.service", "[Unit]\nRequires=db.service cache.socket\nAfter=db.service\nBindTo=main.service\nPartOf=%p-x.target\n[Service]\n", "Requires db.service, Requires cache.socket, After db.service, BindsTo main.service, PartOf web-x.target"},
		{"web.service", "[Unit]\nWants=a.service\nWants=\nWants=b.service\n", "Wants a.service, Wants b.service"},
		{"web@1.service", "[Unit]\nAfter=db@%i.service log@.service\n", "After db@1.service, After log@1.service"},
		{"web.service", "[Unit]\nAfter=log@.service\n", "After log@web.service"},
		{"web.service", "[Unit]\nAfter=dev-sda.device x-%H.service nonsense user.slice\n", "After dev-sda.device, After user.slice"},
		{"web.service", `[Unit]
After=dev-disk-by\x2dlabel-a.device b\x20.service "c.service"`, `After dev-disk-by\x2dlabel-a.device, After b\x20.service`},
		{"web.socket", "[Socket]\nListenStream=80\n", "Triggers web.service"},
		{"web.socket", "[Socket]\nListenStream=80\nAccept=yes\n", "Triggers web@.service"},
		{"web.timer", "[Timer]\nOnCalendar=daily\nUnit=job@%p.service\n", "Triggers job@web.service"},
		{"web.path", "[Path]\nPathExists=/a\n", "Triggers web.service"},
		{"web.timer", "[Timer]\nOnBootSec=1\nUnit=a.service\nUnit=b.service\n", "Triggers a.service"},
		{"web.path", "[Path]\nPathExists=/a\nUnit=\"b.service\"\n", ""},
	} {
		var got []string
		for _, d := range parse(t, tt.name, tt.src).Dependencies(unit.Name(tt.name)) {
			got = append(got, d.Kind+" "+string(d.Unit))
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, strings.Join(got, ", "), tt.want)
		}
	}
}

func TestA14_Install(t *testing.T) {
	f := parse(t, "side@1.service", "[Install]\nWantedBy=main@%i.service multi-user.target\nRequiredBy=a.service\nWantedBy=main@%i.service\nAlias=b@%i.service\nAlso=c.socket\nDefaultInstance=1\n")
	got := fmt.Sprintf("%+v", f.Install("side@1.service"))
	if want := "{WantedBy:[main@1.service multi-user.target] RequiredBy:[a.service] UpheldBy:[] Alias:[b@1.service] Also:[c.socket] DefaultInstance:1}"; got != want {
		t.Errorf("Install() = %s, want %s", got, want)
	}
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
