package main

import (
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// TestTakesWhatIsRendered: each flag that a unit with a [Container] section
// comes to is one that run takes, and so are the other verbs' in its hooks.
func TestTakesWhatIsRendered(t *testing.T) {
	const text = `[Container]
Image=docker.io/library/nginx:1.27
ContainerName=web
HostName=web
Exec=-g "daemon off;" --flag
Entrypoint=/usr/sbin/nginx
WorkingDir=/srv
StopSignal=SIGQUIT
StopTimeout=20
Environment=A=1 "B=two words" -c=
EnvironmentFile=/etc/web.env
Volume=/srv/web:/usr/share/nginx/html:ro
Volume=data:/data
Tmpfs=/cache:size=1m
ReadOnly=yes
Network=host
PublishPort=80:80
AddCapability=NET_BIND_SERVICE
DropCapability=ALL
User=www
Group=data
UserNS=host
Pull=never
ReloadSignal=HUP
`
	for name, text := range map[string]string{
		"an image":     text,
		"a directory":  "[Container]\nRootfs=/srv/root:O\nExec=/bin/app --flag\nNetwork=none\nUserNS=auto\n",
		"a fresh pull": "[Container]\nImage=a\nPull=always\n",
	} {
		f, err := unit.Parse("web.service", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		r, err := container.Render("web.service", f)
		if err != nil {
			t.Fatal(err)
		}
		if f, err = unit.Parse("web.service", r.Text); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"ExecStartPre", "ExecStart", "ExecReload", "ExecStop"} {
			for _, v := range f.Values("Service", key) {
				_, argv, err := unit.SplitCommand(v.Text)
				if err != nil {
					t.Fatal(err)
				}
				if err := takes(argv[1:]); err != nil {
					t.Errorf("%s: %s=%s: %v", name, key, v.Text, err)
				}
			}
		}
	}
}

// takes reads a command line as far as its flags go.
func takes(args []string) error {
	switch verb, args := args[0], args[1:]; verb {
	case "run":
		o := &runOptions{}
		rest, err := parse(runFlags(o), args, false)
		if err != nil {
			return err
		}
		if o.spec.RootFS == "" && (len(rest) == 0 || strings.HasPrefix(rest[0], "-")) {
			return usageError{errNoImage(rest)}
		}
		for _, v := range o.volumes {
			if _, err := parseVolume(v); err != nil {
				return err
			}
		}
		return o.check()
	case "rm":
		force := false
		_, err := parse(rmFlags(&force), args, true)
		return err
	case "kill":
		signal := ""
		_, err := parse(killFlags(&signal), args, true)
		return err
	case "stop", "pull":
		return nil
	default:
		return usageError{errNoImage(args)}
	}
}

type errNoImage []string

func (e errNoImage) Error() string { return "no image, or no such verb: " + strings.Join(e, " ") }
