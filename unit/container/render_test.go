package container

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func render(t *testing.T, name, text string) (*Rendered, error) {
	t.Helper()
	f, err := unit.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Render(unit.Name(name), f)
}

// below returns what Render put below the user's own text.
func below(t *testing.T, r *Rendered) string {
	t.Helper()
	_, text, ok := strings.Cut(string(r.Text), " stands for:\n[Service]\n")
	if !ok {
		t.Fatalf("nothing added:\n%s", r.Text)
	}
	return text
}

func TestRender(t *testing.T) {
	const text = `# A web server.
[Unit]
Description=Web \
  # in between
  server

[Container]
Image=docker.io/library/nginx:1.27
ContainerName=web
Exec=nginx -g "daemon off;" ${MORE}
Environment=A=1 "B=two words" C=%i
Volume=/srv/my web:/usr/share/nginx/html:ro
Network=host
PublishPort=80:80/tcp
Memory=512m

[Service]
Restart=always
[X-Cluster]
MachineMetadata=disk=ssd`
	r, err := render(t, "web.container", text)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(text, "[Container]", "[X-Container]", 1) + `

# [Container] of the file ` + string(unit.HashOf([]byte(text))) + ` stands for:
[Service]
Type=notify
NotifyAccess=main
KillMode=mixed
SyslogIdentifier=%N
MemoryMax=512M
ExecStartPre=-/usr/bin/nsrun rm --force web
ExecStart=/usr/bin/nsrun run \
    --rm \
    --name=web \
    --env=A=1 \
    "--env=B=two words" \
    --env=C=%i \
    "--volume=/srv/my web:/usr/share/nginx/html:ro" \
    --network=host \
    --publish=80:80/tcp \
    docker.io/library/nginx:1.27 \
    nginx -g "daemon off;" ${MORE}
ExecStop=-/usr/bin/nsrun stop web
`
	if string(r.Text) != want {
		t.Errorf("got:\n%s\nwant:\n%s", r.Text, want)
	}
	if !slices.Equal(r.Images, []string{"docker.io/library/nginx:1.27"}) || r.Refresh || len(r.Notes) != 0 {
		t.Errorf("images %v, refresh %t, notes %v", r.Images, r.Refresh, r.Notes)
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(r.Text), "\n"), "\n") {
		stands := map[string]int{"MemoryMax=512M": 15, "    --network=host \\": 13, "    --env=C=%i \\": 11, "    docker.io/library/nginx:1.27 \\": 8, "    --rm \\": 7}
		if want, ok := stands[line]; ok && r.Lines[i] != want {
			t.Errorf("line %d, %s, stands for line %d, want %d", i+1, line, r.Lines[i], want)
		}
		if i < 20 && r.Lines[i] != i+1 {
			t.Errorf("the user's line %d became %d", r.Lines[i], i+1)
		}
	}
}

func TestRenderKeys(t *testing.T) {
	for _, tt := range []struct{ name, unit, keys, want string }{
		{name: "the least there can be", keys: "Image=a", want: "--name=systemd-%N --rm a"},
		{name: "an instance", unit: "web@1.service", keys: "Image=a:%i", want: "--name=systemd-%p_%i --rm a:%i"},
		{name: "a name that is none for a container", unit: `a\x2db:c.service`, keys: "Image=a", want: "--name=systemd-a_x2db_c --rm a"},
		{name: "the last of several", keys: "Image=a\nHostName=x\nHostName=\"y\"\nImage=b", want: "--name=systemd-%N --rm --hostname=y b"},
		{name: "an empty value takes back what was before", keys: "Image=a\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2", want: "--name=systemd-%N --rm --env=B=2 a"},
		{name: "capabilities in a row", keys: "Image=a\nAddCapability=NET_ADMIN SYS_TIME\nDropCapability=ALL", want: "--name=systemd-%N --rm --cap-add=NET_ADMIN --cap-add=SYS_TIME --cap-drop=ALL a"},
		{name: "user and group", keys: "Image=a\nUser=www\nGroup=data", want: "--name=systemd-%N --rm --user=www:data a"},
		{name: "a read-only root has room for temporary files", keys: "Image=a\nReadOnly=true\nTmpfs=/tmp:size=1m", want: "--name=systemd-%N --rm --read-only --tmpfs=/run --tmpfs=/var/tmp --tmpfs=/tmp:size=1m a"},
		{name: "where something is mounted there is none", keys: "Image=a\nReadOnly=true\nMount=type=tmpfs,dst=/tmp \"type=bind,src=/a,target=/run\"\nVolume=/b:/var/tmp", want: `--name=systemd-%N --rm --read-only --mount=type=tmpfs,target=/tmp --mount=type=bind,source=/a,target=/run --volume=/b:/var/tmp a`},
		{name: "an entry point that is a list", keys: "Image=a\nExec=c\nEntrypoint=[\"/bin/sh\", \"-c x\"]", want: `--name=systemd-%N --rm --entrypoint=/bin/sh a "-c x" c`},
		{name: "unless that is not wanted", keys: "Image=a\nReadOnly=yes\nReadOnlyTmpfs=no", want: "--name=systemd-%N --rm --read-only a"},
		{name: "a directory instead of an image", keys: "Rootfs=/srv/root:O\nExec=/bin/app -v", want: "--name=systemd-%N --rm --rootfs=/srv/root:O -- /bin/app -v"},
		{name: "an entry point", keys: "Image=a\nEntrypoint=/bin/sh\nExec=-c 'echo \"hi\"'", want: `--name=systemd-%N --rm --entrypoint=/bin/sh a -c "echo \"hi\""`},
		{name: "never pulled", keys: "Image=a\nPull=never", want: "--name=systemd-%N --rm --pull=never a"},
		{name: "what is so anyway", keys: "Image=a\nNoNewPrivileges=true\nNotify=false\nLogDriver=journald\nRunInit=no\nCgroupsMode=split", want: "--name=systemd-%N --rm a"},
		{name: "a semicolon and a comment sign as words", keys: `Image=a` + "\n" + `Exec=\; "#x"`, want: `--name=systemd-%N --rm a ";" "#x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.unit == "" {
				tt.unit = "a.service"
			}
			r, err := render(t, tt.unit, "[Container]\n"+tt.keys+"\n")
			if err != nil {
				t.Fatal(err)
			}
			_, text, _ := strings.Cut(below(t, r), "nsrun run \\\n")
			text, _, _ = strings.Cut(text, "\nExec")
			if got := strings.Join(strings.Fields(strings.ReplaceAll(text, "\\\n", "")), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRenderService(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{
			name: "limits are the unit's own",
			text: "[Container]\nImage=a\nMemory=1gb\nPidsLimit=-1\nUlimit=nofile=1024:-1\nUlimit=core=0\n",
			want: "MemoryMax=1G\nTasksMax=infinity\nLimitNOFILE=1024:infinity\nLimitCORE=0\n",
		},
		{
			name: "what the user wrote stays",
			text: "[Service]\nType=oneshot\nKillMode=control-group\nSyslogIdentifier=x\nTimeoutStopSec=5\n[Container]\nImage=a\nStopTimeout=300\n",
			want: "NotifyAccess=main\n",
		},
		{name: "systemd waits as long as stop does", text: "[Container]\nImage=a\nStopTimeout=300\n", want: "TimeoutStopSec=310\n"},
		{name: "an image to be fresh", text: "[Container]\nImage=a\nPull=always\n", want: "ExecStartPre=/usr/bin/nsrun pull a\n"},
		{name: "a command to reload", text: "[Container]\nImage=a\nReloadCmd=/bin/reload \"all of it\" %%i\nContainerName=x%i\n", want: "ExecReload=/usr/bin/nsrun exec x%i /bin/reload \"all of it\" %%i\n"},
		{name: "a signal to reload", text: "[Container]\nImage=a\nReloadSignal=SIGHUP\nContainerName=x%i\n", want: "ExecReload=/usr/bin/nsrun kill --signal=SIGHUP x%i\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := render(t, "a.service", tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := below(t, r); !strings.Contains(got, tt.want) {
				t.Errorf("got:\n%s\nwant in it:\n%s", got, tt.want)
			}
		})
	}
}

func TestRenderErrors(t *testing.T) {
	for _, tt := range []struct{ name, unit, text, want string }{
		{"no section", "", "[Service]\nType=notify", `web.container: it has no [Container] section; put one into it, with Image= and what else podman's Quadlet has there`},
		{"another type of unit", "a.socket", "[Container]\nImage=a", `a.socket:1: [Container] makes a service, and this is a .socket; name the unit a.service`},
		{"nothing to run", "", "[Unit]\n[Container]\nExec=true", `web.container:2: [Container] does not say what to run; put Image= into it, or Rootfs=`},
		{"two things to run", "", "[Container]\nImage=a\nRootfs=/b\nExec=c", `web.container:3: Image= (line 2) and Rootfs= (line 3) both say what to run; keep one of them`},
		{"ExecStart beside it", "", "[Container]\nImage=a\n[Service]\nExecStart=/bin/true", `web.container:4: ExecStart= stands beside [Container] (line 1), which says itself what is run; drop one of them; what to run in the container is Exec=`},
		{"a typing error", "", "[Container]\nImage=a\nEnviroment=A=1", `web.container:3: [Container] has no key Enviroment=; did you mean Environment=?`},
		{"an empty one, too", "", "[Container]\nimage=", "web.container:1: [Container] does not say what to run; put Image= into it, or Rootfs=\nweb.container:2: [Container] has no key image=; did you mean Image=?"},
		{"docker's word", "", "[Container]\nImage=a\nPorts=80", `web.container:3: [Container] has no key Ports=; did you mean PublishPort=?`},
		{"systemd's word", "", "[Container]\nImage=a\nRestart=always", `web.container:3: [Container] has no key Restart=; did you mean Restart= in [Service]?`},
		{"nothing like it", "", "[Container]\nImage=a\nFrobnicate=1", `web.container:3: [Container] has no key Frobnicate=; it takes those of podman's Quadlet; see podman-systemd.unit(5)`},
		{"what can't be had", "", "[Container]\nImage=a\nGlobalArgs=--foo", `web.container:3: GlobalArgs= can't be had; nsrun is no podman; use keys of [Container]`},
		{"ports without a network", "", "[Container]\nImage=a\nNetwork=none\nPublishPort=8080:80", `web.container:4: PublishPort=8080:80 can't be had with Network=none; use Network=bridge, or leave Network= out`},
		{"another port on the machine", "", "[Container]\nImage=a\nNetwork=host\nPublishPort=8080:80", `web.container:4: PublishPort=8080:80 can't be had with Network=host: the program listens on the machine itself; have the program listen where you want it, and write PublishPort=80`},
		{"a network", "", "[Container]\nImage=a\nNetwork=pasta", `web.container:3: Network=pasta can't be had; use bridge (which it is without Network=), none, host, container:NAME or ns:/run/netns/NAME`},
		{"another Quadlet file", "", "[Container]\nImage=a\nNetwork=none\nVolume=data.volume:/data:ro", `web.container:4: Volume=data.volume:/data:ro names another Quadlet file, and there are none here; name the volume itself: Volume=data:/data:ro`},
		{"the same twice", "", "[Service]\nMemoryMax=1G\n[Container]\nImage=a\nNetwork=none\nMemory=2g", `web.container:6: Memory= (line 6) and [Service] MemoryMax= (line 2) say the same thing; keep MemoryMax=`},
		{"neither yes nor no", "", "[Container]\nImage=a\nReadOnly=perhaps", `web.container:3: ReadOnly=perhaps is neither yes nor no; write one of them`},
		{"a quote left open", "", "[Container]\nImage=a\nExec=sh -c 'x", `web.container:3: Exec=: the quote ' is not closed`},
		{"two commands", "", "[Container]\nImage=a\nExec=end ; b", `web.container:3: Exec=: a lone ; would end the command; write it as \;`},
		{"a file on nobody's machine", "", "[Container]\nImage=a\nEnvironmentFile=./env", `web.container:3: EnvironmentFile=./env is no absolute path, and on a machine the unit is in a directory of its own; write the whole path on the machine`},
		{"a name that is none", "", "[Container]\nImage=a\nContainerName=a b", `web.container:3: ContainerName="a b" is no name for a container; use letters, digits and _.- only, beginning with a letter or digit, two at least`},
		{"an image that is a flag", "", "[Container]\nImage=--rm", `web.container:2: Image=--rm is no image; name one, such as docker.io/library/nginx:1.27`},
		{"a type that has no hand-over", "", "[Container]\nImage=a\n[Service]\nType=forking", `web.container:4: Type=forking does not go with [Container]; leave Type= out, or use notify or oneshot`},
		{"a section of the name it gets", "", "[X-Container]\nA=b\n[Container]\nImage=a", `web.container:3: [Container] becomes [X-Container] for systemd, and there is one already; rename one of them, or drop it`},
		{"a group alone", "", "[Container]\nImage=a\nGroup=g", `web.container:3: Group= needs User=; say who it runs as: User=0 is root`},
		{"a list that is none", "", "[Container]\nImage=a\nEntrypoint=[\"a", `web.container:3: Entrypoint="[\"a" is no list; write the program alone, or such as ["/bin/sh", "-c"]`},
		{"no room for nsrun", "", "[Container]\nImage=a\nPidsLimit=5", `web.container:3: PidsLimit=5 is too few to start anything; write 6 at least: nsrun has five threads itself until the program runs`},
		{"sizes, numbers, limits", "", "[Container]\nImage=a\nMemory=much\nPidsLimit=few\nUlimit=x\nStopTimeout=5s\nPull=maybe", "web.container:3: Memory=much is no size; write such as 512m or 2g\n" +
			"web.container:4: PidsLimit=few is no number; write how many processes and threads it may have, or -1\n" +
			"web.container:5: Ulimit=x is no limit; write such as nofile=1024:4096\n" +
			"web.container:6: StopTimeout=5s is no number of seconds; write a whole number, such as 30\n" +
			"web.container:7: Pull=maybe is no policy; use missing, always, newer or never"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.unit == "" {
				tt.unit = "web.container"
			}
			_, err := render(t, tt.unit, tt.text+"\n")
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// Every key of podman's has an effect or an error, never neither.
func TestEveryKeySpeaks(t *testing.T) {
	plain, err := render(t, "a.service", "[Container]\nImage=a\nNetwork=none\n")
	if err != nil {
		t.Fatal(err)
	}
	silent := map[string]bool{"Image": true, "Network": true, "Pull": true}
	for name := range keys() {
		for _, value := range []string{"odd/value", "yes", "5"} {
			r, err := render(t, "a.service", "[Container]\nImage=a\nNetwork=none\n"+name+"="+value+"\n")
			if err == nil && below(t, r) == below(t, plain) && !silent[name] && value == "odd/value" {
				t.Errorf("%s=%s did nothing", name, value)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "a.service:") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

func TestSource(t *testing.T) {
	for _, text := range []string{"[Container]\nImage=a", "[Container]\nImage=a\n", "[Quadlet]\nDefaultDependencies=no\n [Container]\r\nImage=a\n\n\n"} {
		r, err := render(t, "a.service", text)
		if err != nil {
			t.Fatal(err)
		}
		if src, ok := Source(r.Text); !ok || string(src) != text {
			t.Errorf("%q comes back as %q, %t", text, src, ok)
		}
		changed := bytes.Replace(r.Text, []byte("Image=a"), []byte("Image=b"), 1)
		if src, ok := Source(changed); ok {
			t.Errorf("what was changed by hand comes back as %q", src)
		}
	}
	if src, ok := Source([]byte("[Service]\nExecStart=/bin/true\n")); ok {
		t.Errorf("a plain unit comes from %q", src)
	}
}

func TestNotes(t *testing.T) {
	r, err := render(t, "a.container", "[Unit]\n[Container]\nImage=a\nRetry=3\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a.container:4: Retry= is left out; a pull that fails is tried again anyway, until it is done or the unit is not wanted any more"}
	if !slices.Equal(r.Notes, want) {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestImages(t *testing.T) {
	for _, tt := range []struct{ unit, keys, want string }{
		{"a.service", "Image=app", "app"},
		{"a@7.service", "Image=app:%i-%p-%%", "app:7-a-%"},
		{"a.service", "Image=app:%H", ""},
		{"a.service", "Image=app:${TAG}", ""},
		{"a.service", "Image=app\nPull=never", ""},
		{"a.service", "Image=app\nPull=always", "app refresh"},
		{"a.service", "Rootfs=/x\nExec=/y\nPull=always", ""},
	} {
		r, err := render(t, tt.unit, "[Container]\n"+tt.keys+"\n")
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(r.Images, " ")
		if r.Refresh {
			got += " refresh"
		}
		if got != tt.want {
			t.Errorf("%s: %q gives %q, want %q", tt.unit, tt.keys, got, tt.want)
		}
	}
}

func TestServiceName(t *testing.T) {
	for file, want := range map[string]unit.Name{"web.container": "web.service", "web@.container": "web@.service", "web.service": "", ".container": "", "a b.container": ""} {
		if got, ok := ServiceName(file); ok != (want != "") || ok && got != want {
			t.Errorf("%s gives %s, %t", file, got, ok)
		}
	}
}

// odd are values that quoting must not change.
var odd = []string{
	"", " ", "a b", `"`, `'`, `\`, `\\`, `a\`, `\n`, "\n", "\t", "\r", "\x01", "\x7f", "\xff\xfe", ";", "#", "#a", "; b", "$", "$$", "${A}", "%", "%%", "%n",
	`it's`, `say "hi"`, `C:\dir\`, "é☃", "[x]", "a=b", "-", "@/bin/x", "\\x41", "a\\\nb", "\x00", `\s`, "end",
}

func TestQuoteRoundTrip(t *testing.T) {
	for _, w := range odd {
		if strings.Contains(w, "\x00") {
			continue // no argument has it
		}
		checkQuote(t, []string{w})
		checkQuote(t, []string{"a", w, "b"})
	}
	for _, w := range odd {
		q, err := bareQuote(w)
		if err != nil {
			continue
		}
		f, err := unit.Parse("x.service", []byte("[X]\nKey="+q+"\n[Y]\n"))
		if err != nil {
			if !strings.Contains(err.Error(), "not UTF-8") {
				t.Errorf("%q: %v", w, err)
			}
			continue
		}
		v, _ := f.Last("X", "Key")
		if got := bare(v.Text); got != w {
			t.Errorf("%q is written as %q and read as %q", w, q, got)
		}
	}
}

func checkQuote(t *testing.T, words []string) {
	t.Helper()
	text := quoteAll(words)
	f, err := unit.Parse("x.service", []byte("[Service]\nExecStart=/bin/x \\\n    "+text+"\n[Y]\n"))
	if err != nil {
		t.Fatalf("%q as %s: %v", words, text, err)
	}
	v, _ := f.Last("Service", "ExecStart")
	_, argv, err := unit.SplitCommand(v.Text)
	if err != nil || !slices.Equal(argv[1:], words) {
		t.Fatalf("%q as %s is read as %q, %v", words, text, argv, err)
	}
	if again, err := split(text); err != nil || !slices.Equal(again, words) {
		t.Fatalf("%q as %s is split as %q, %v", words, text, again, err)
	}
}

func FuzzQuote(f *testing.F) {
	for _, w := range odd {
		f.Add(w, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			return
		}
		checkQuote(t, []string{a, b})
	})
}

// FuzzRender: what is rendered is a unit that says the same, with the user's
// lines where they were.
func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"[Container]\nImage=a\n", "[Container]\nImage=a\nExec=sh -c \"x\"", "[Unit]\nA=\\\n[Container]\n[Container]\r\nImage=a\rExec=b\\", "\ufeff\\\n#[Container]\n [Container]  \nImage=a # b\\\n;x\n",
		"[Container]\nRootfs=/a\nExec=\\; '#'\nEnvironment=A=1 \"B=\\x41\"\nVolume=a:b\nReadOnly=1", "[Quadlet]\nDefaultDependencies=1\n[Container]\nImage=a\nPull=always\nReloadSignal=1\nStopTimeout=200",
		"[Container]\nImage=a\nMount=type=tmpfs,dst=/a,size=1m \"type=bind,src=/b c,dst=/d\"\nTmpfs=/x:mode=1777\nAddDevice=-/dev/a:/dev/b\nLabel=a=b 'c=d e'\nTimezone=local\nDNS=::1\nAddHost=a:1.2.3.4",
		"[Container]\nImage=a\nNetwork=host\nPublishPort=80\nPublishPort=1-2/udp\nSysctl=kernel.sem=\"1 2\"\nPodmanArgs=--cpus 1 -t --foo\nNotify=1\nLogOpt=tag=x\nEntrypoint=[\"a\",\"b c\"]\nShmSize=1g\nHttpProxy=1\nEnvironmentHost=1",
	} {
		f.Add([]byte(s))
	}
	for _, s := range whole {
		f.Add([]byte(s))
	}
	f.Fuzz(checkRender)
}

// TestRenderAtRandom does what FuzzRender does with sections that are likelier to
// be taken: keys there are, with values that some of them have.
func TestRenderAtRandom(t *testing.T) {
	names := slices.Sorted(maps.Keys(keys()))
	values := append([]string{
		"yes", "no", "1", "64m", "/a", "/a:/b", "/a:/b:ro,z", "name:/b", "type=bind,src=/a,dst=/b", "type=tmpfs,dst=/c,size=1m", "type=volume,src=data,dst=/d,ro",
		"/dev/zero", "-/dev/x:/dev/y:rw", "a=b 'c=d e'", "A=%i B=$C", "80", "80:80/udp", "1000-1002", "host", "none", "auto", "net.core.somaxconn=1", "kernel.sem=\"1 2\"",
		"db:1.2.3.4", "1.2.3.4", "ndots:2", "Europe/Berlin", "local", "registry", "SIGTERM", "nofile=1:2", "--cpus 1 --memory=1g", "[\"a\", \"b c\"]",
		"journald", "tag=x", "unconfined", "never", "always", "app:1", "www", "%i", "$X", "sh -c \"a; b\" \\; '#'", "",
	}, odd...)
	served := 0
	for seed := range uint64(4000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		end := []string{"\n", "\n", "\r\n", "\\\n  \n"}[rnd.IntN(4)]
		text := []string{"", "# x\n", "\ufeff", "[Unit]\nAfter=a.service\n"}[rnd.IntN(4)] + "[Container]" + strings.TrimLeft(end, "\\") + "Image=app:1\n"
		for range rnd.IntN(6) {
			text += names[rnd.IntN(len(names))] + "=" + values[rnd.IntN(len(values))] + end
		}
		if rnd.IntN(3) == 0 {
			text += "\n[Service]\nRestart=always\nMemoryMax=1G\n[Quadlet]\nDefaultDependencies=no"
		}
		if f, err := unit.Parse("web@1.service", []byte(text)); err == nil {
			if _, err := Render("web@1.service", f); err == nil {
				served++
			}
		}
		checkRender(t, []byte(text))
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	if served < 400 {
		t.Errorf("only %d sections were taken: the test tests little", served)
	}
}

// checkRender holds what Render makes of a file to what it promises.
func checkRender(t *testing.T, src []byte) {
	t.Helper()
	file, err := unit.Parse("web@1.service", src)
	if err != nil {
		return
	}
	checkLines(t, file)
	r, err := Render("web@1.service", file)
	if err != nil {
		checkErrors(t, file, err)
		return
	}
	if r2, err := Render("web@1.service", file); err != nil || !reflect.DeepEqual(r, r2) {
		t.Fatalf("another result from the same: %v\n%s", err, r2.Text)
	}
	again, err := unit.Parse("web@1.service", r.Text)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.Text)
	}
	if Has(again) {
		t.Fatalf("still has [Container]:\n%s", r.Text)
	}
	start := again.Values("Service", "ExecStart")
	if len(start) != 1 {
		t.Fatalf("%d commands:\n%s", len(start), r.Text)
	}
	_, argv, err := unit.SplitCommand(start[0].Text)
	if err != nil || argv[0] != Program || argv[1] != "run" {
		t.Fatalf("%q, %v:\n%s", argv, err, r.Text)
	}
	checkArgv(t, file, argv)
	if back, ok := Source(r.Text); !ok || !bytes.Equal(back, src) {
		t.Fatalf("the source is %q, %t:\n%s", back, ok, r.Text)
	}
	if l, err := Load("web@1.service", src); err != nil || !bytes.Equal(l.Text, r.Text) {
		t.Fatalf("loaded: %v\n%s", err, l.Text)
	}
	for i, n := range r.Lines {
		if n < 1 || n > lineCount(src)+1 {
			t.Fatalf("line %d stands for line %d:\n%s", i+1, n, r.Text)
		}
	}
	if len(r.Lines) != lineCount(r.Text) {
		t.Fatalf("%d lines, %d known:\n%s", lineCount(r.Text), len(r.Lines), r.Text)
	}
	for _, s := range file.Sections() {
		for _, k := range file.Keys(s) {
			if s == Section || s == "Quadlet" || s == "Service" {
				continue
			}
			if !slices.Equal(file.Values(s, k), again.Values(s, k)) {
				t.Fatalf("[%s] %s= is not what it was:\n%s", s, k, r.Text)
			}
		}
	}
	if lines := lineCount(src); !bytes.HasSuffix(src, []byte("\r")) && lines != slices.Max(r.Lines) {
		t.Fatalf("%d lines of the user's, %d known:\n%s", lines, slices.Max(r.Lines), r.Text)
	}
}

// checkErrors holds each part of an error to STYLE: where, what, and the way on.
func checkErrors(t *testing.T, f *unit.File, err error) {
	t.Helper()
	count := lineCount(f.Bytes())
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var s *unit.SyntaxError
		if !errors.As(e, &s) || s.What == "" || s.Fix == "" || s.File != "web@1.service" || s.Line > count || s.Line == 0 && Has(f) {
			t.Fatalf("error %#v", e)
		}
	}
}

// checkLines compares this package's reading of lines with package unit's.
func checkLines(t *testing.T, f *unit.File) {
	t.Helper()
	keys := map[string][]string{}
	for _, l := range lines(f.Bytes()) {
		if k := l.key(); k != "" && !slices.Contains(keys[l.section], k) {
			keys[l.section] = append(keys[l.section], k)
		}
	}
	for _, s := range f.Sections() {
		if !slices.Equal(keys[s], f.Keys(s)) {
			t.Fatalf("[%s] has %q, read as %q", s, f.Keys(s), keys[s])
		}
	}
}

// checkArgv finds what the user wrote in the command.
func checkArgv(t *testing.T, f *unit.File, argv []string) {
	t.Helper()
	for _, v := range f.Values(Section, "Volume") {
		if want := "--volume=" + bare(v.Text); !slices.Contains(argv, want) {
			t.Fatalf("no %q in %q", want, argv)
		}
	}
	if v, ok := f.Last(Section, "Exec"); ok {
		words, err := split(v.Text)
		if err != nil || len(argv) < len(words) || !slices.Equal(argv[len(argv)-len(words):], words) {
			t.Fatalf("Exec= %q at the end of %q, %v", words, argv, err)
		}
	}
}
