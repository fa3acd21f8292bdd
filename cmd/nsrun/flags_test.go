package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/agent/image"
)

func TestParse(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"busybox", "rest=busybox"},
		{"--name web busybox -e X", "name=web rest=busybox -e X"},
		{"--name=web busybox", "name=web rest=busybox"},
		{"-name web -rm busybox", "name=web rm rest=busybox"},
		{"-name=web busybox", "name=web rest=busybox"},
		{"-e A=1 -eB=2 --env=C=3 -e=D=4 busybox", "env=A=1 B=2 C=3 D=4 rest=busybox"},
		{"-i --rm busybox", "stdin rm rest=busybox"},
		{"--rm=false busybox", "rest=busybox"},
		{"--rm=maybe busybox", "--rm=maybe: true or false"},
		{"-iw /srv busybox", "stdin workdir=/srv rest=busybox"},
		{"-iw/srv busybox", "stdin workdir=/srv rest=busybox"},
		{"-u0 -h box busybox", "user=0 hostname=box rest=busybox"},
		{"--net host busybox", "network=host rest=busybox"},
		{"-- -odd", "rest=-odd"},
		{"--name", "--name: needs a value"},
		{"-w", "-w: needs a value"},
		{"--frob busybox", "--frob: no such flag; see help"},
		{"-x busybox", "-x: no such flag; see help"},
		{"-it busybox", "stdin tty rest=busybox"},
		{"-d busybox", "-d: a container stays with whoever started it; in a unit leave it out, in a shell: systemd-run nsrun run …"},
		{"--network=bridge:name=x busybox", "--network: option name=x: there are ip=, mac= and alias="},
		{"-m 1g busybox", "-m: systemd does that: put MemoryMax= into the unit"},
		{"--restart always busybox", "--restart: always: systemd does that: put Restart=always into the unit"},
		{"--stop-timeout x busybox", "--stop-timeout: x: a number of seconds, or -1 for no limit"},
		{"--stop-timeout 7 busybox", "stop=7s rest=busybox"},
		{"--stop-timeout 0 busybox", "stop=1ns rest=busybox"},
		{"--stop-timeout=-1 busybox", "stop=596523h14m8s rest=busybox"},
	} {
		o := &runOptions{}
		rest, err := parseRun(o, strings.Fields(row.args))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = describe(o, rest)
		}
		if got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.args, got, row.want)
		}
	}
}

func describe(o *runOptions, rest []string) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	if o.spec.Stdin {
		parts = append(parts, "stdin")
	}
	if o.spec.TTY {
		parts = append(parts, "tty")
	}
	add("name", o.spec.Name)
	if o.spec.Remove {
		parts = append(parts, "rm")
	}
	add("env", strings.Join(o.env, " "))
	add("workdir", o.spec.WorkDir)
	add("user", o.spec.User)
	add("hostname", o.spec.Hostname)
	add("network", o.spec.Network)
	if o.stopAfter != 0 {
		add("stop", o.stopAfter.String())
	}
	add("rest", strings.Join(rest, " "))
	return strings.Join(parts, " ")
}

func FuzzParse(f *testing.F) {
	f.Add("-it\x00--name\x00web\x00-e=A\x00--\x00x")
	f.Add("-\x00--\x00-=\x00--=")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		for _, mixed := range []bool{false, true} {
			rest, err := parse(runFlags(&runOptions{}), slices.Clone(args), mixed)
			if err == nil && len(rest) > len(args) {
				t.Fatalf("%q: %d arguments became %d", args, len(args), len(rest))
			}
		}
	})
}

// TestEveryFlagDoesOneThing holds the table to what take expects of it.
func TestEveryFlagDoesOneThing(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range append(runFlags(&runOptions{}), refused()...) {
		n := 0
		for _, has := range []bool{f.set != nil, f.text != nil, f.why != ""} {
			if has {
				n++
			}
		}
		if n != 1 || f.long == "" || seen[f.long] || f.short != 0 && seen[string(f.short)] {
			t.Errorf("--%s, -%c: %d meanings, or twice in the table", f.long, f.short, n)
		}
		seen[f.long], seen[string(f.short)] = true, true
	}
}

func TestParseVolume(t *testing.T) {
	here, err := filepath.Abs("data")
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{
		"/srv:/data": "/srv /data false", "/srv:/data:ro": "/srv /data true", "/srv:/data:ro,z": "/srv /data true",
		"data:/data": "volume data /data false fill", "data:/data:nocopy": "volume data /data false", "./data:/data": here + " /data false",
		"/data": "volume  /data false fill", "": "write FROM:TO", "/a:/b:rslave": "/a /b false slave", "/a:/b:rshared": "a container mounts nothing on the machine", "/a:/b:/c": "option /c", "/a:/b:U": "chown it to the number of the user inside", ":/x": "write FROM:TO", "a/b:/x": "neither a path", "/a:": "write FROM:TO",
	} {
		v, err := parseVolume(arg)
		got := fmt.Sprint(v.Source, " ", v.Target, " ", v.ReadOnly)
		if v.Source == "" {
			got = "volume " + v.Name + got
		}
		if v.Fill {
			got += " fill"
		}
		if v.Slave {
			got += " slave"
		}
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", arg, got, want)
		}
	}
}

func TestArgv(t *testing.T) {
	config := image.Config{Entrypoint: []string{"/entry", "-x"}, Cmd: []string{"serve"}}
	empty, other := "", "/other"
	for _, row := range []struct {
		name       string
		config     image.Config
		entrypoint *string
		command    string
		want       string
	}{
		{"the image's own", config, nil, "", "/entry -x serve"},
		{"a command takes the place of the image's", config, nil, "status", "/entry -x status"},
		{"another entry point drops both", config, &other, "", "/other"},
		{"another entry point with arguments", config, &other, "a b", "/other a b"},
		{"no entry point", config, &empty, "ls", "ls"},
		{"only a command", image.Config{Cmd: []string{"sh"}}, nil, "", "sh"},
	} {
		if got := strings.Join(argv(row.config, row.entrypoint, strings.Fields(row.command)), " "); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func TestParseEnvFile(t *testing.T) {
	got, err := parseEnvFile("# no\nA=1\n\n  B=\"x y\"  \r\nC\nD=a=b#c\n")
	if want := `A=1|B="x y"  |C|D=a=b#c`; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v; want %s", got, err, want)
	}
	for _, bad := range []string{"=x", "A B=1", "A=\x00"} {
		if _, err := parseEnvFile(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParseEnvFile(f *testing.F) {
	f.Add("A=1\n#\nB\n")
	f.Add("\r\r")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseEnvFile(text)
		if err != nil {
			return
		}
		again, err := parseEnvFile(strings.Join(entries, "\n"))
		if err != nil || !slices.Equal(again, entries) {
			t.Fatalf("%q read again: %q, %v", entries, again, err)
		}
	})
}

func TestUnitOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/web.service":                                          "web.service",
		"0::/system.slice/web@1.service/inner":                                  "web@1.service",
		"0::/user.slice/user-0.slice/session-1.scope":                           "",
		"9:name=systemd:/system.slice/web.service\n8:pids:/other.service\n0::/": "web.service",
		"8:pids:/system.slice/web.service":                                      "",
		"0::/user.slice/user-1.slice/user@1.service/app.slice/_odd.service":     "odd.service",
		"": "",
	} {
		if got := unitOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestExitOfUnit(t *testing.T) {
	for _, row := range []struct {
		code, status string
		want         int
	}{{"exited", "3", 3}, {"killed", "TERM", 143}, {"dumped", "SEGV", 139}, {"", "", -1}, {"exited", "odd", -1}} {
		if got := exitOfUnit(row.code, row.status); got != row.want {
			t.Errorf("%s %s: %d, want %d", row.code, row.status, got, row.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("NSRUN_TEST_PASSED", "on")
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("\ufeffA=file\nB=file\nNSRUN_TEST_PASSED\nNSRUN_TEST_ABSENT\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &runOptions{env: []string{"B=flag", "NOT_SET_ANYWHERE"}, envFiles: []string{file}}
	o.spec.Hostname = "box"
	got, err := o.environment([]string{"A=image", "PATH=/bin"})
	if want := "A=file PATH=/bin B=flag NSRUN_TEST_PASSED=on HOSTNAME=box"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q, %v; want %s", got, err, want)
	}
}

func TestMount(t *testing.T) {
	for arg, want := range map[string]string{
		"type=bind,source=/srv,target=/data":                    "/srv /data",
		"type=bind,src=/srv,dst=/data,ro":                       "/srv /data ro",
		"type=bind,src=/srv,destination=/data,readonly=true":    "/srv /data ro",
		"type=bind,src=/srv,dst=/data,readonly=false,exec=0":    "/srv /data noexec",
		"source=box,target=/data,volume-nocopy":                 "box /data",
		"source=box,target=/data":                               "box /data fill",
		"type=bind,src=/srv,dst=/data,bind-propagation=rslave":  "/srv /data slave",
		"source=box,target=/data,volume-opt=type=nfs":           "mount what it should be, by a .mount unit",
		"type=tmpfs,target=/data":                               "tmpfs /data ",
		"type=tmpfs,target=/data,tmpfs-size=64m,mode=1777,exec": "tmpfs /data size=67108864,mode=1777,exec",
		"type=tmpfs,target=/data,size=1k,ro":                    "tmpfs /data size=1024,ro",
		"type=tmpfs,source=/x,target=/data":                     "a tmpfs comes from nowhere",
		"type=tmpfs,target=/data,size=many":                     `"many" is no size`,
		"type=bind,source=srv,target=/data":                     "a bind comes from a path that begins with a slash",
		"type=volume,target=/data":                              " /data fill",
		"type=volume,source=/srv,target=/data":                  "is no name of a volume",
		"type=image,source=x,target=/data":                      "type image: there are bind, volume and tmpfs",
		"type=bind,source=/srv":                                 "it says not where in the container",
		"type=bind,source=/srv,target=/data,size=1m":            "size=1048576 goes with type=tmpfs only",
		"type=bind,source=/srv,target=/data,frob":               "option frob: there are type, source",
		`type=bind,"source=/a,b",target=/data`:                  "quotes are not read",
	} {
		o := &runOptions{}
		err := o.mount(arg)
		got := ""
		for _, v := range o.spec.Volumes {
			got += v.Source + v.Name + " " + v.Target
			if v.Fill {
				got += " fill"
			}
			if v.Slave {
				got += " slave"
			}
			if v.ReadOnly {
				got += " ro"
			}
			if v.NoExec {
				got += " noexec"
			}
		}
		for _, v := range o.spec.Tmpfs {
			got += "tmpfs " + v.Target + " " + v.Options
		}
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", arg, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for s, want := range map[string]bool{
		"1.2.3.4": true, "255.255.255.255": true, "::": true, "::1": true, "fe80::1%eth0": true, "::ffff:1.2.3.4": true,
		"": false, "1.2.3": false, "1.2.3.256": false, "01.2.3.4": false, "a.b.c.d": false, "host": false, "a:b": false, "::x": false,
		"::1%a\nnameserver 6.6.6.6": false, "::1%": false, "fe80::1%eth0 b": false,
	} {
		if isAddress(s) != want {
			t.Errorf("%q: %v, want %v", s, !want, want)
		}
	}
}
