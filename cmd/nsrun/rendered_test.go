package main

import (
	"strings"
	"testing"

	"github.com/clusterd/clusterd/agent/runtime"
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
Label=a=b
Annotation=c=d
AutoUpdate=registry
EnvironmentHost=yes
HttpProxy=yes
Timezone=Europe/Berlin
Mount=type=bind,source=/srv/a,target=/a,ro,exec=false,Z type=volume,src=box,dst=/b,rw
Mount=type=tmpfs,dst=/c,tmpfs-size=1m,tmpfs-mode=1777,exec,nodev,notmpcopyup
Volume=/x:/x:rw,z,Z,private,rprivate,rbind,exec,nodev,nosuid,nocopy,idmap,cached,delegated,consistent,noexec
ShmSize=1g
AddDevice=/dev/net/tun -/dev/kvm:/dev/kvm:rwm
GroupAdd=44
PublishPort=8000-8010/udp
ExposeHostPort=80
AddHost=a;b:[::1]
DNS=2620:fe::fe
DNSSearch=example.org
DNSOption=ndots:2
Sysctl=kernel.shmmax=1 fs.mqueue.msg_max=8
Notify=yes
Memory=1g
PidsLimit=50
Ulimit=nofile=1:2
PodmanArgs=--cpus=1
LogOpt=tag=web
`
	// Without the machine's network its own settings of it can be had.
	own := strings.NewReplacer("Network=host\n", "Sysctl=net.core.somaxconn=9 kernel.msgmax=1 kernel.msgmnb=1 kernel.msgmni=1 kernel.sem=1 kernel.shmall=1 kernel.shmmni=1 kernel.shm_rmid_forced=1\n",
		"PublishPort=80:80\n", "", "PublishPort=8000-8010/udp\n", "").Replace(text)
	for name, text := range map[string]string{
		"an image":     text,
		"no network":   own,
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

// TestPortsAreReadAlike: a unit is refused the ports that run would refuse, at
// its submission, and no others.
func TestPortsAreReadAlike(t *testing.T) {
	for _, port := range []string{
		"80", "1", "65535", "8000-8010", "80-80", "53/udp", "53/tcp", "9/sctp",
		"0", "65536", "-1", "+1", "80-", "-80", "80-79", "0-9", "1-2-3", "web", "80/", "80/icmp", "1-65536", "0x50", "8_0", "080",
	} {
		f, err := unit.Parse("web.service", []byte("[Container]\nImage=a\nNetwork=host\nPublishPort="+port+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, rendered := container.Render("web.service", f)
		o := &runOptions{spec: runtime.Spec{Network: "host"}, networking: networkOptions{publish: []string{port}}}
		if run := o.checkNetwork(); (rendered == nil) != (run == nil) {
			t.Errorf("%s: the unit %v, run %v; want both or neither", port, rendered, run)
		}
	}
}

// TestProcessIsReadAlike: so it is with who and what the program is.
func TestProcessIsReadAlike(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, row := range []struct{ key, flag, values string }{
		{"WorkingDir", "workdir", "/ /srv a ./a ../a ~"},
		{"HostName", "hostname", "web web.example a_b a,b ä a#b # " + long + " " + long + "a"},
		{"AddCapability", "cap-add", "ALL all NET_ADMIN net_admin CAP_NET_ADMIN cap_bpf CHECKPOINT_RESTORE FOO CAP_ CAP_ALL CAP_CAP_BPF NET-ADMIN"},
		{"DropCapability", "cap-drop", "ALL MKNOD CAP_MKNOD cap_Mknod NOD"},
		{"StopSignal", "stop-signal", "TERM SIGTERM sigterm 15 015 0x9 64 65 0 -1 +9 SIG FOO SIGSIGHUP CLD IOT POLL UNUSED STKFLT PWR SYS " +
			"RTMIN SIGRTMIN rtmin+3 RTMIN+30 RTMIN+31 RTMIN-1 RTMIN+ RTMIN3 RTMAX RTMAX-30 RTMAX-31 RTMAX+1 RTMIN+-1 RTMIN++1"},
	} {
		for _, value := range strings.Fields(row.values) {
			f, err := unit.Parse("web.service", []byte("[Container]\nImage=a\n"+row.key+"="+value+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			_, rendered := container.Render("web.service", f)
			if run := takes([]string{"run", "--" + row.flag + "=" + value, "a"}); (rendered == nil) != (run == nil) {
				t.Errorf("%s=%s: the unit %v, run %v; want both or neither", row.key, value, rendered, run)
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
		for _, m := range o.mountings {
			if err := o.mount(m); err != nil {
				return err
			}
		}
		for _, d := range o.devices {
			if _, err := parseDevice(d); err != nil {
				return err
			}
		}
		if err := o.check(); err != nil {
			return err
		}
		if err := o.outside(); err != nil {
			return err
		}
		s := runtime.Spec{Name: "web", Argv: []string{"x"}, Network: o.spec.Network, Sysctls: o.spec.Sysctls, Devices: o.spec.Devices, Tmpfs: o.spec.Tmpfs, Groups: o.spec.Groups,
			WorkDir: o.spec.WorkDir, Hostname: o.spec.Hostname, CapAdd: o.spec.CapAdd, CapDrop: o.spec.CapDrop}
		_, err = runtime.Make(s, runtime.Host{Root: true, Caps: 1<<64 - 1})
		return err
	case "rm":
		force := false
		_, err := parse(rmFlags(&force, &force), args, true)
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
