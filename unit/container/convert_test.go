package container

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestConvert(t *testing.T) {
	for _, tt := range []struct{ name, line, want, notes, err string }{
		{
			name: "the usual",
			line: `docker run -d --name web --net=host -e A=1 -e 'B=50% of $HOME' -v /srv/www:/usr/share/nginx/html:ro --restart unless-stopped --memory 512m --cpus=1.5 nginx:1.27 nginx -g "daemon off;"`,
			want: `[Unit]
Description=nginx:1.27

[Container]
Image=nginx:1.27
ContainerName=web
Exec=nginx -g "daemon off;"
Network=host
Environment=A=1
Environment="B=50%% of $$HOME"
Volume=/srv/www:/usr/share/nginx/html:ro

[Service]
Restart=always
RestartSec=5
MemoryMax=512M
CPUQuota=150%
`,
			notes: "-d is left out: a unit is in the background anyway",
		},
		{
			name:  "letters in a row, podman, sudo and a line end that is continued",
			line:  "sudo podman run -itu1000:100 --rm --network none --cap-add=NET_RAW \\\n  -m1g --memory-swap 1536m --ulimit nofile=10:20 busybox",
			want:  "[Unit]\nDescription=busybox\n\n[Container]\nImage=busybox\nUser=1000:100\nNetwork=none\nAddCapability=NET_RAW\n\n[Service]\nMemoryMax=1G\nLimitNOFILE=10:20\nMemorySwapMax=536870912\n",
			notes: "-i is left out: a unit has no terminal; -t is left out: a unit has no terminal",
		},
		{
			name: "ports",
			line: "docker run -p 8080:80 --name web nginx",
			want: "[Unit]\nDescription=nginx\n\n[Container]\nImage=nginx\nContainerName=web\nPublishPort=8080:80\n",
		},
		{
			name: "a port that can't be",
			line: "docker run -p [::1]:8080:80 --name web nginx",
			want: "[Unit]\nDescription=nginx\n\n[Container]\nImage=nginx\nContainerName=web\nPublishPort=[::1]:8080:80\n",
			err:  "web.service:7: PublishPort=[::1]:8080:80 can't be had: containers on the bridge have IPv4 only; leave the address out, or write an IPv4 address of the machine's",
		},
		{
			name: "a directory",
			line: "podman run --rootfs --network=none /srv/root:O /bin/sh -c 'echo a; echo b'",
			want: "[Unit]\nDescription=/srv/root:O\n\n[Container]\nRootfs=/srv/root:O\nExec=/bin/sh -c \"echo a; echo b\"\nNetwork=none\n",
		},
		{
			name: "much at once",
			line: `podman run --net host -p 8080:8080 --mount type=bind,src=/srv/a,dst=/a,ro --device /dev/fuse -l a=b --label 'c=d e' --annotation x=y --sysctl kernel.shmmax=1 --add-host db:10.0.0.1 --dns 9.9.9.9 --tz local --shm-size 1g --group-add 44 --env-host --sdnotify=container --log-opt tag=web app`,
			want: "[Unit]\nDescription=app\n\n[Container]\nImage=app\nNetwork=host\nPublishPort=8080:8080\nMount=type=bind,src=/srv/a,dst=/a,ro\nAddDevice=/dev/fuse\nLabel=a=b\nLabel=\"c=d e\"\n" +
				"Annotation=x=y\nSysctl=kernel.shmmax=1\nAddHost=db:10.0.0.1\nDNS=9.9.9.9\nTimezone=local\nShmSize=1g\nGroupAdd=44\nEnvironmentHost=yes\nNotify=yes\n\n[Service]\nSyslogIdentifier=web\n",
		},
		{
			name:  "a variable without a value",
			line:  "docker run --net none -e LANG a",
			want:  "[Unit]\nDescription=a\n\n[Container]\nImage=a\nNetwork=none\nEnvironment=LANG\n",
			notes: "-e LANG has no value: it gets what LANG is for the unit on its machine, if anything; write LANG=value",
		},
		{name: "privileges", line: "docker run --privileged a", err: "convert: --privileged: there are no privileged containers; name what it needs: --cap-add, --volume, --userns=host"},
		{name: "a flag nobody knows", line: "docker run --frob=1 a", err: "convert: --frob: no flag of docker run's that is known here; take it out, and see podman-systemd.unit(5) for what [Container] has"},
		{name: "no image", line: "docker run -d", err: "convert: no image follows the flags; write it behind them"},
		{name: "another verb", line: "docker compose up", err: "convert: only docker run makes a unit; begin with that, flags after it"},
		{name: "another program", line: "make", err: "convert: make is not docker, podman or nsrun; begin with docker run"},
		{name: "what a shell would put in", line: `docker run -v "$PWD:/src" a`, err: "convert: a shell would replace $PWD:/src; write what it stands for, or put it in single quotes if it is meant for the container"},
		{name: "a pipe", line: `docker run a | tee b`, err: "convert: a shell would take | for its own; quote it, or give the docker command alone"},
		{name: "an open quote", line: `docker run 'a`, err: "convert: the quote ' is not closed; close it"},
		{name: "a limit that is none", line: `docker run --cpus=many a`, err: "convert: --cpus: many is no value for it; see CPUQuota= in systemd.exec(5) and systemd.resource-control(5)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, notes, err := Convert([]string{tt.line})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("error %v, want %s", err, tt.err)
			}
			if text != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", text, tt.want)
			}
			if got := strings.Join(notes, "; "); got != tt.notes {
				t.Errorf("notes %s, want %s", got, tt.notes)
			}
		})
	}
}

func TestNew(t *testing.T) {
	text, _, err := New("web.service", "nginx", []string{"nginx", "-g", "daemon off;"}, "--network=host", "--env=A=$x", "--restart=on-failure")
	want := "[Unit]\nDescription=nginx\n\n[Container]\nImage=nginx\nContainerName=web\nExec=nginx -g \"daemon off;\"\nNetwork=host\nEnvironment=A=$$x\n\n[Service]\nRestart=on-failure\nRestartSec=5\n"
	if err != nil || text != want {
		t.Errorf("%v, got:\n%s\nwant:\n%s", err, text, want)
	}
	text, _, err = New("web@1.service", "a", nil, "--network=none")
	if err != nil || strings.Contains(text, "ContainerName") {
		t.Errorf("%v:\n%s", err, text)
	}
	if _, _, err := New("web.service", "", nil); err == nil || err.Error() != "make web.service: no image follows the flags; write it behind them" {
		t.Error(err)
	}
}

// What is converted and rendered has the words it had, once systemd has
// replaced its specifiers and variables.
func checkConvert(t *testing.T, env, volume string, command []string) {
	t.Helper()
	args := append([]string{"docker", "run", "--network", "none", "--env", "A=" + env, "--volume=v:" + volume, "image"}, command...)
	text, _, err := Convert(args)
	if err != nil {
		var bad *unit.SyntaxError
		if errors.As(err, &bad) && bad.Line == 0 || strings.Contains(err.Error(), " has no = ") || strings.Contains(err.Error(), "no section header") {
			t.Fatalf("%q: %v\n%s", args, err, text)
		}
		return
	}
	f, err := unit.Parse("a.service", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Render("a.service", f)
	if err != nil {
		t.Fatalf("converted without an error, but %v:\n%s", err, text)
	}
	if f, err = unit.Parse("a.service", r.Text); err != nil {
		t.Fatalf("%v:\n%s", err, r.Text)
	}
	start, _ := f.Last("Service", "ExecStart")
	_, argv, err := unit.SplitCommand(start.Text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range argv {
		argv[i] = strings.NewReplacer("%%", "%", "$$", "$").Replace(argv[i])
	}
	want := append([]string{Program, "run", "--name=systemd-%N", "--rm", "--network=none", "--env=A=" + env, "--volume=v:" + volume, "image"}, command...)
	if !slices.Equal(argv, want) {
		t.Fatalf("got %q\nwant %q\n%s", argv, want, text)
	}
}

func TestConvertKeepsWords(t *testing.T) {
	for _, w := range odd {
		if !strings.Contains(w, "\x00") {
			checkConvert(t, w, "/x"+w, []string{w, "a", w})
			checkConvert(t, "x", "/x", []string{w})
		}
	}
}

func FuzzConvert(f *testing.F) {
	for _, w := range odd {
		f.Add("docker run -e "+w+" a b", w)
	}
	f.Add("docker run -d -p 80:80 --memory 1g --ulimit a=b -itv/x:/y image", "")
	f.Add("podman run --mount type=bind,src=/a,dst=/b --device /dev/x -l a=b --sysctl a=b --add-host a:1 --tz local --env-host image c", "")
	f.Add("nsrun run --network host --publish 80 --sdnotify=container --log-opt tag=x --group-add 1 --shm-size 1g image", "")
	f.Fuzz(func(t *testing.T, line, word string) {
		if text, _, err := Convert([]string{line}); err == nil {
			if _, err := Load("x.service", []byte(text)); err != nil {
				t.Fatalf("converted without an error, but %v:\n%s", err, text)
			}
		}
		if !strings.Contains(word, "\x00") {
			checkConvert(t, word, word, []string{word})
		}
	})
}
