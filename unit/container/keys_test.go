package container

import (
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

// flagsOf are the flags that keys come to, beside those there always are.
func flagsOf(t *testing.T, r *Rendered) string {
	t.Helper()
	_, text, _ := strings.Cut(below(t, r), "nsrun run \\\n")
	text, _, _ = strings.Cut(text, "\nExec")
	var flags []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimSuffix(line, `\`))
		if line != "--rm" && !strings.HasPrefix(line, "--name=") {
			flags = append(flags, line)
		}
	}
	return strings.Join(flags[:len(flags)-1], " ")
}

// TestServedKeys: what each key comes to, and what of it is said at once that
// would otherwise fail on the machine.
func TestServedKeys(t *testing.T) {
	for _, tt := range []struct{ keys, want, err string }{
		// Storage.
		{keys: "Mount=type=bind,src=/srv/a,dst=/a,ro=true,Z", want: "--mount=type=bind,source=/srv/a,target=/a,readonly"},
		{keys: "Mount=type=bind,source=/srv/a,target=/a,rw=false,exec=no,relabel=shared,bind-propagation=rprivate", want: "--mount=type=bind,source=/srv/a,target=/a,readonly,noexec"},
		{keys: "Mount=type=bind,source=/srv/%i,target=/a,readonly=false", want: "--mount=type=bind,source=/srv/%i,target=/a"},
		{keys: `Mount="type=bind,source=/srv/my web,target=/a" source=box,destination=/b`, want: `"--mount=type=bind,source=/srv/my web,target=/a" --mount=type=volume,source=box,target=/b`},
		{keys: "Mount=type=tmpfs,tmpfs-size=64m,tmpfs-mode=1777,destination=/a,exec", want: "--mount=type=tmpfs,target=/a,tmpfs-size=64m,tmpfs-mode=1777,exec"},
		{keys: "Mount=type=tmpfs,dst=/a,size=lots", err: "Mount=: option size=lots can't be had with type=tmpfs; there are readonly and noexec, and for a tmpfs exec, tmpfs-size=64m and tmpfs-mode=1777"},
		{keys: "Mount=type=bind,src=/a,dst=/b,bind-propagation=shared", err: "Mount=: option bind-propagation=shared can't be had with type=bind; there are"},
		{keys: "Mount=type=bind,src=/a,dst=/b,ro=maybe", err: "Mount=: option ro=maybe can't be had with type=bind; there are"},
		{keys: "Mount=type=bind,src=/a,dst=/b,nosuid=false", err: "Mount=: option nosuid=false can't be had"},
		{keys: "Mount=type=image,src=a,dst=/b", err: "Mount=: type image can't be had; there are bind, volume and tmpfs"},
		{keys: "Mount=type=bind,src=./a,dst=/b", err: "Mount=: it comes from no absolute path, and on a machine the unit is in a directory of its own; write source=/PATH"},
		{keys: "Mount=type=bind,src=/a", err: "Mount=: it goes to no absolute path in the container; write target=/DIR"},
		{keys: "Mount=type=volume,dst=/b", err: "Mount=: it names no volume, and there are none without a name; write source=NAME"},
		{keys: "Mount=type=volume,src=data.volume,dst=/b", err: "Mount=: source=data.volume names another Quadlet file, and there are none here; name the volume itself: source=data"},
		{keys: "Volume=/a:/b:noexec,Z Volume", err: "Volume=: option \"Z Volume\" can't be had"},
		{keys: "Volume=/a:/b:ro,noexec,z\nVolume=%h/x:/c:rw,rbind", want: "--volume=/a:/b:ro,noexec,z --volume=%h/x:/c:rw,rbind"},
		{keys: "Volume=/a:/b:U", err: "Volume=: option U can't be had; leave it out: ids are mapped"},
		{keys: "Volume=/a:/b:rslave", err: "Volume=: option rslave can't be had; there are ro and noexec; leave others out"},
		{keys: "Volume=/data", err: "Volume=/data names no volume, and there are none without a name; write NAME:/data to keep what is in it"},
		{keys: "Volume=a/b:/data", err: "Volume=a/b:/data comes neither from a path that begins with a slash nor from a volume; write /PATH:/DIR or NAME:/DIR"},
		{keys: "Volume=/a:data", err: "Volume=/a:data goes to no absolute path in the container; write FROM:/DIR"},
		{keys: "Tmpfs=/tmp:rw,size=64m,mode=1777,notmpcopyup\nTmpfs=/x", want: "--tmpfs=/tmp:rw,size=64m,mode=1777 --tmpfs=/x"},
		{keys: "Tmpfs=/tmp:tmpcopyup", err: "Tmpfs=: option tmpcopyup can't be had; there are size=, mode=, uid=, gid=, ro and exec; it is empty at the start"},
		{keys: "Tmpfs=tmp", err: "Tmpfs=tmp is no absolute path in the container; write /DIR"},
		{keys: "ShmSize=256m", want: "--shm-size=256m"},
		{keys: "ShmSize=0", err: "ShmSize=0 is no size; write such as 64m"},
		{keys: "AddDevice=/dev/net/tun -/dev/kvm:/dev/kvm:rw\nAddDevice=/dev/fuse:/dev/x", want: "--device=/dev/net/tun --device=-/dev/kvm:/dev/kvm:rw --device=/dev/fuse:/dev/x"},
		{keys: "AddDevice=/dev/sda:r", err: "AddDevice=/dev/sda:r can't be had: a container reads and writes its devices; to allow less put DeviceAllow=/dev/sda r into [Service]"},
		{keys: "AddDevice=vendor.com/class=all", err: "AddDevice=vendor.com/class=all is no device; write its path, as in /dev/net/tun"},
		{keys: "AddDevice=/dev/a:/dev/b:/dev/c:rw", err: "AddDevice=/dev/a:/dev/b:/dev/c:rw is no device"},

		// Network and names.
		{keys: "AddHost=db:10.0.0.1\nAddHost=\"a;b:[::1]\"", want: "--add-host=db:10.0.0.1 \"--add-host=a;b:[::1]\""},
		{keys: "AddHost=db", err: "AddHost=db is no name and address; write such as db:10.0.0.1"},
		{keys: "AddHost=db:10.0.0", err: "AddHost=db:10.0.0 is no name and address"},
		{keys: "AddHost=up:host-gateway", want: "--add-host=up:host-gateway"},
		{keys: "Network=none\nAddHost=up:host-gateway", err: "AddHost=up:host-gateway can't be had with Network=none: there is no way to the machine; use Network=bridge, or leave Network= out"},
		{keys: "Network=bridge\nPublishPort=8080:80\nPublishPort=127.0.0.1::53/udp\nPublishPort=%i:80\nIP=10.86.0.9\nNetworkAlias=db", want: "--network=bridge --publish=8080:80 --publish=127.0.0.1::53/udp --publish=%i:80 --ip=10.86.0.9 --network-alias=db"},
		{keys: "PublishPort=8000-8002:80-82", want: "--publish=8000-8002:80-82"},
		{keys: "PublishPort=8000-8002:80-81", err: "PublishPort=8000-8002:80-81 is no port: 3 ports of the machine for 2 of the container; write as many; write such as 8080:80"},
		{keys: "PublishPort=[::1]:80:80", err: "PublishPort=[::1]:80:80 can't be had: containers on the bridge have IPv4 only; leave the address out"},
		{keys: "PublishPort=9:9/sctp", err: "PublishPort=9:9/sctp can't be had: there are tcp and udp on the bridge; use Network=host"},
		{keys: "Network=none\nPublishPort=80:80", err: "PublishPort=80:80 can't be had with Network=none; use Network=bridge, or leave Network= out"},
		{keys: "Network=bridge:ip=10.86.0.9,mac=02:00:00:00:00:09,alias=db", want: "--network=bridge:ip=10.86.0.9,mac=02:00:00:00:00:09,alias=db"},
		{keys: "Network=bridge:name=x", err: "Network=bridge:name=x can't be had: a bridge has the options ip=, mac= and alias=; write such as Network=bridge:ip=10.86.0.9"},
		{keys: "Network=container:db", want: "--network=container:db"},
		{keys: "Network=container:db\nHostName=x", err: "HostName= can't be had with Network=container:db: names, addresses and ports are db's; say it there"},
		{keys: "Network=container:db\nSysctl=net.core.somaxconn=1", err: "Sysctl=net.core.somaxconn=1 can't be had: with Network=container:db it is the other's; set it there"},
		{keys: "Network=ns:/run/netns/x", want: "--network=ns:/run/netns/x"},
		{keys: "Network=ns:x", err: "Network=ns:x can't be had; use bridge (which it is without Network=), none, host, container:NAME or ns:/run/netns/NAME"},
		{keys: "Network=db.container", err: "Network=db.container names another Quadlet file, and there are none here; write container: and the name of that container"},
		{keys: "Network=host\nIP=10.86.0.9", err: "IP= can't be had with Network=host; use Network=bridge, or leave Network= out"},
		{keys: "IP=10.86.0", err: "IP=10.86.0 is no IPv4 address; write one of the bridge's network, such as 10.86.0.9"},
		{keys: "IP6=fd00::9", err: "IP6= can't be had; containers on the bridge have IPv4 only; leave it out, or use Network=host"},
		{keys: "DNS=9.9.9.9\nDNS=2620:fe::fe\nDNSSearch=example.org\nDNSOption=ndots:2", want: "--dns=9.9.9.9 --dns=2620:fe::fe --dns-search=example.org --dns-option=ndots:2"},
		{keys: "DNS=none", err: "DNS=none is no address of a name server; write such as 9.9.9.9, or leave it out for the machine's own"},
		{keys: "DNSSearch=a b", err: `DNSSearch="a b" is not one word; write a line for each`},
		{keys: "ExposeHostPort=80\nExposeHostPort=1000-1010/udp", want: "--expose=80 --expose=1000-1010/udp"},
		{keys: "ExposeHostPort=http", err: "ExposeHostPort=http is no port; write such as 80 or 53/udp"},
		{keys: "Sysctl=net.core.somaxconn=1024 \"net.ipv4.tcp_rmem=1 2 3\"\nSysctl=kernel.shmmax=1", want: `--sysctl=net.core.somaxconn=1024 "--sysctl=net.ipv4.tcp_rmem=1 2 3" --sysctl=kernel.shmmax=1`},
		{keys: "Sysctl=vm.swappiness=1", err: "Sysctl=vm.swappiness=1 can't be had: it is the whole machine's; set it there, in /etc/sysctl.d; a container has its own net.*, fs.mqueue.* and kernel.msgmax"},
		{keys: "Sysctl=net.core.somaxconn", err: "Sysctl=net.core.somaxconn is no setting; write such as net.core.somaxconn=1024"},
		{keys: "Network=host\nSysctl=net.core.somaxconn=1", err: "Sysctl=net.core.somaxconn=1 can't be had: with Network=host it is the machine's; set it there, in /etc/sysctl.d"},
		{keys: "Network=host\nPublishPort=80\nPublishPort=53:53/udp\nPublishPort=8000-8010", want: "--network=host --publish=80:80 --publish=53:53/udp --publish=8000-8010:8000-8010"},
		{keys: "Network=host\nPublishPort=web", err: "PublishPort=web is no port; write such as 80 or 53/udp"},

		// Environment and identity.
		{keys: "EnvironmentHost=yes\nEnvironmentHost=", want: ""},
		{keys: "EnvironmentHost=yes", want: "--env-host"},
		{keys: "HttpProxy=true", want: "--env=http_proxy --env=HTTP_PROXY --env=https_proxy --env=HTTPS_PROXY --env=ftp_proxy --env=FTP_PROXY --env=no_proxy --env=NO_PROXY"},
		{keys: "HttpProxy=false", want: ""},
		{keys: "Timezone=Europe/Berlin", want: "--tz=Europe/Berlin"},
		{keys: "Timezone=local", want: "--tz=local"},
		{keys: "Timezone=../etc/passwd", err: "Timezone=../etc/passwd is no time zone; write such as Europe/Berlin, or local for the machine's"},
		{keys: "GroupAdd=video\nGroupAdd=44", want: "--group-add=video --group-add=44"},
		{keys: "GroupAdd=keep-groups", err: "GroupAdd=keep-groups names no group; write a group of the container's, or a number"},
		{keys: "Label=tier=front \"note=two words\"\nLabel=odd", want: `--label=tier=front "--label=note=two words" --label=odd`},
		{keys: "Label==x", err: "Label==x names no label; write NAME=value"},
		{keys: "Annotation=a=b", want: "--annotation=a=b"},
		{keys: "Annotation=run.oci.keep_original_groups=1", err: "Annotation=run.oci.keep_original_groups=1 can't be had: run.oci. is a word to podman's runtime; leave it out"},
		{keys: "AutoUpdate=registry", want: "--label=io.containers.autoupdate=registry"},
		{keys: "AutoUpdate=daily", err: "AutoUpdate=daily can't be had; write registry or local, or leave it out"},
		{keys: "AppArmor=unconfined\nHealthCmd=none\nRetry=3\nRetryDelay=5s", want: ""},
		{keys: "AppArmor=mine", want: "--security-opt=apparmor=mine"},
		{keys: "AppArmor=a b", err: `AppArmor="a b" names no profile; write that of one the machine has loaded, or unconfined`},
		{keys: "NoNewPrivileges=on", want: ""},
		{keys: "NoNewPrivileges=false", want: "--security-opt=no-new-privileges=false"},
		{keys: "NoNewPrivileges=perhaps", err: "NoNewPrivileges=perhaps is neither yes nor no"},
		{keys: "SeccompProfile=unconfined", want: "--security-opt=seccomp=unconfined"},
		{keys: "SeccompProfile=builtin", want: ""},
		{keys: "SeccompProfile=/etc/nsrun/web.json", want: "--security-opt=seccomp=/etc/nsrun/web.json"},
		{keys: "SeccompProfile=web.json", err: "SeccompProfile=web.json is no absolute path, and on a machine the unit is in a directory of its own; write the whole path on the machine"},
		{keys: `Mask=/proc/cpuinfo\:/sys/module`, want: "--security-opt=mask=/proc/cpuinfo:/sys/module"},
		{keys: "Mask=/proc/cpuinfo:/etc/shadow", err: "Mask=/etc/shadow can't be hidden so: it is not below /proc or /sys; cover it with something empty"},
		{keys: "Mask=/proc/../etc", err: "Mask=/proc/../etc can't be hidden so"},
		{keys: "Unmask=ALL", want: "--security-opt=unmask=ALL"},
		{keys: "Unmask=/proc/ac*:/sys/firmware", want: "--security-opt=unmask=/proc/ac*:/sys/firmware"},
		{keys: "Unmask=acpi", err: "Unmask=acpi is no path; write ALL, or paths such as /proc/acpi"},
		{keys: "Retry=often", err: "Retry=often is no number; write one, or leave it out"},
		{keys: "Notify=healthy", err: "Notify=healthy can't be had: there are no health checks yet; leave it out, or have the program tell systemd itself: Notify=yes"},
		{keys: "HealthCmd=curl localhost", err: `HealthCmd="curl localhost" can't be had; leave it out; to have a unit restarted that hangs let its program tell systemd that it is well: Notify=yes, and WatchdogSec= in [Service]`},
		{keys: "LogDriver=k8s-file", err: "LogDriver=k8s-file can't be had; leave it out: the journal takes it all"},
		{keys: "LogOpt=path=/x", err: "LogOpt=path=/x can't be had; leave it out: the journal takes it all"},
		{keys: "RunInit=yes", want: "--init"},
		{keys: "RunInit=no", want: ""},
		{keys: "ReloadCmd=/bin/reload\nReloadSignal=HUP", err: "ReloadSignal= (line 4) and ReloadCmd= (line 3) both say how to reload; keep one of them"},

		// The process.
		{keys: "WorkingDir=/srv/a b", want: `"--workdir=/srv/a b"`},
		{keys: "WorkingDir=%S/x", want: "--workdir=%S/x"},
		{keys: "WorkingDir=a", err: "WorkingDir=a is no absolute path in the container; write /DIR"},
		{keys: "HostName=web-1.example", want: "--hostname=web-1.example"},
		{keys: "HostName=%H", want: "--hostname=%H"},
		{keys: "HostName=a b", err: `HostName="a b" is no host name; write letters, digits, - and dots, 64 at most`},
		{keys: "HostName=a#b", err: "HostName=a#b is no host name"},
		{keys: "HostName=" + strings.Repeat("a", 65), err: `HostName="aaaa`},
		{keys: "AddCapability=cap_net_admin ALL Sys_Time $MORE\nDropCapability=all", want: "--cap-add=cap_net_admin --cap-add=ALL --cap-add=Sys_Time --cap-add=$MORE --cap-drop=all"},
		{keys: "AddCapability=NET_ADMIN FOO", err: "AddCapability=FOO is no capability; write such as NET_ADMIN, or ALL; see capabilities(7)"},
		{keys: "DropCapability=NET-ADMIN", err: "DropCapability=NET-ADMIN is no capability"},
		{keys: "StopSignal=SIGRTMIN+3", want: "--stop-signal=SIGRTMIN+3"},
		{keys: "StopSignal=%i", want: "--stop-signal=%i"},
		{keys: "StopSignal=SIGFOO", err: "StopSignal=SIGFOO is no signal; write a name such as SIGTERM, or a number up to 64; see signal(7)"},
		{keys: "ReloadSignal=65", err: "ReloadSignal=65 is no signal"},
		{keys: "User=1:2:3", err: "User=1:2:3 is no user; write USER, or USER:GROUP, each a name or a number"},
		{keys: "User=www:", err: "User=www: is no user"},
		{keys: "User=www\nGroup=a:b", err: "Group=a:b names no group"},
		{keys: "User=0:70000", err: "User=: 70000 is no id that a container has; write a number below 65536, or give up its own range of ids: UserNS=host"},
		{keys: "User=0\nGroup=65536", err: "Group=: 65536 is no id that a container has"},
		{keys: "User=70000:80000\nGroupAdd=90000\nUserNS=host", want: "--user=70000:80000 --group-add=90000 --userns=host"},
		{keys: "GroupAdd=65535\nUser=70000\nNetwork=host", want: "--group-add=65535 --user=70000 --network=host"},
		{keys: "GroupAdd=99999999", err: "GroupAdd=: 99999999 is no id that a container has"},
		{keys: "GroupAdd=9999999999\nUserNS=host", err: "GroupAdd=: 9999999999 is no id that a container has; write a number below 65536"},

		// podman's own flags.
		{keys: "PodmanArgs=--hostname=x", err: "PodmanArgs= asks for what has a key of its own here; write HostName=x"},
		{keys: "PodmanArgs=--name x", err: "PodmanArgs= asks for what has a key of its own here; write ContainerName=x"},
		{keys: "PodmanArgs=--frob", err: "PodmanArgs=: --frob: no flag of podman run's that is known here; take it out"},
		{keys: "PodmanArgs=--privileged", err: "PodmanArgs=: --privileged: there are no privileged containers; name what it needs"},
		{keys: "PodmanArgs=stray", err: "PodmanArgs=stray is no flag; write it as --flag=value"},
	} {
		r, err := render(t, "a.service", "[Container]\nImage=image\n"+tt.keys+"\n")
		got := ""
		if err == nil {
			got = flagsOf(t, r)
		} else if got = err.Error(); !strings.HasPrefix(got, "a.service:3: "+tt.err) && !strings.HasPrefix(got, "a.service:4: "+tt.err) || tt.err == "" {
			t.Errorf("%s: %s\nwant %s", tt.keys, got, tt.err)
			continue
		}
		if err == nil && (got != tt.want || tt.err != "") {
			t.Errorf("%s: %s\nwant %s%s", tt.keys, got, tt.want, tt.err)
		}
	}
}

func TestKeysOfTheService(t *testing.T) {
	for _, tt := range []struct{ text, want, notes string }{
		{"Notify=yes\n", "NotifyAccess=all\n", ""},
		{"LogDriver=none\n", "StandardOutput=null\n", ""},
		{"LogOpt=tag=web\n", "SyslogIdentifier=web\n", ""},
		{"PodmanArgs=--cpus 1.5 --memory=1g\nPodmanArgs=--oom-score-adj=5\n", "CPUQuota=150%\nMemoryMax=1G\nOOMScoreAdjust=5\n", ""},
		{"PodmanArgs=-t\n", "", "a.service:3: PodmanArgs=: -t is left out; a unit has no terminal"},
		{"AutoUpdate=local\n", "", "a.service:3: AutoUpdate= is kept as a label, and nothing updates containers by itself; for a fresh image at each start write Pull=always; then clusterctl restart is an update"},
		{"Retry=3\n", "", "a.service:3: Retry= is left out; a pull that fails is tried again anyway, until it is done or the unit is not wanted any more"},
	} {
		r, err := render(t, "a.service", "[Container]\nImage=image\n"+tt.text+"Network=none\n")
		if err != nil {
			t.Fatal(err)
		}
		got := below(t, r)
		if !strings.Contains(got, tt.want) || strings.Count(got, "NotifyAccess=")+strings.Count(got, "SyslogIdentifier=") != 2 {
			t.Errorf("%s: got\n%s\nwant in it\n%s", tt.text, got, tt.want)
		}
		if notes := strings.Join(r.Notes, "\n"); notes != tt.notes {
			t.Errorf("%s: notes %q, want %q", tt.text, notes, tt.notes)
		}
	}
}

// TestSyntax: how lines are written, of which podman and systemd allow much.
func TestSyntax(t *testing.T) {
	for _, tt := range []struct{ name, unit, text, want, err string }{
		{name: "a line that goes on", text: "[Container]\nImage=\\\n  image\nEnvironment=A=1 \\\n# in between\n  B=2\n", want: "--env=A=1 --env=B=2"},
		{name: "repeated keys add up, but for those of which there is one", text: "[Container]\nImage=image\nVolume=/a:/a\nVolume=/b:/b\nHostName=x\nHostName=y\n", want: "--volume=/a:/a --volume=/b:/b --hostname=y"},
		{name: "an empty one takes back", text: "[Container]\nImage=image\nVolume=/a:/a\nVolume=\nVolume=/b:/b\nMount=type=frob\nMount=\nHostName=x\nHostName=\n", want: "--volume=/b:/b"},
		{name: "two sections are one", text: "[Container]\nImage=image\n[Service]\nRestart=always\n[Container]\nHostName=x\n", want: "--hostname=x"},
		{name: "quotes and escapes", text: "[Container]\nImage=\"image\"\nHostName='x'\nEnvironment='A=a \"b\"' \"B=\\x41\" C=d\\se\n", want: `"--env=A=a \"b\"" --env=B=A "--env=C=d e"`, err: ""},
		{name: "returns at the ends of lines, and the mark that Windows begins a file with", text: "\ufeff[Container]\r\nImage=image\r\nHostName=x\r\nEnvironment=A=1 \\\r\n  B=2\r\n", want: "--hostname=x --env=A=1 --env=B=2"},
		{name: "a template", unit: "web@.container", text: "[Container]\nImage=image:%i\nVolume=/srv/%i:/data\nEnvironment=ME=%i\n", want: "--volume=/srv/%i:/data --env=ME=%i"},
		{name: "an instance of a template", unit: "web@7.container", text: "[Container]\nImage=image:%i\nPull=always\nHostName=%p-%i\n", want: "--hostname=%p-%i"},
		{name: "what Quadlet says of itself, and of starting", text: "[Unit]\nAfter=a.service\n[Container]\nImage=image\n[Quadlet]\nDefaultDependencies=false\n[Install]\nWantedBy=default.target\n", want: ""},
		{name: "errors stand where the user wrote them, in a line that goes on, too", text: "\ufeff# x\r\n[Container]\r\nImage=image\r\nTmpfs=\\\r\n  frob\r\nVolmue=/a:/b\r\n", err: "web.container:4: Tmpfs=frob is no absolute path in the container; write /DIR, or /DIR:size=64m\nweb.container:6: [Container] has no key Volmue=; did you mean Volume=?"},
		{name: "spaces about names and signs", text: "[Container]\n Image = image\nHostName =  x \n", want: "--hostname=x"},
		{name: "lower case is another key", text: "[Container]\nImage=image\nvolume=/a:/b\n", err: "web.container:3: [Container] has no key volume=; did you mean Volume=?"},
		{name: "the section misspelt", text: "[container]\nImage=image\n", err: "web.container: it has no [Container] section; put one into it"},
	} {
		name := tt.unit
		if name == "" {
			name = "web.container"
		}
		r, err := render(t, name, tt.text)
		if err != nil {
			if tt.err == "" || !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
			}
			continue
		}
		if got := flagsOf(t, r); tt.err != "" || got != tt.want && !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: got %s, want %s%s", tt.name, got, tt.want, tt.err)
		}
		if src, ok := Source(r.Text); !ok || string(src) != tt.text {
			t.Errorf("%s: the source is %q, %t", tt.name, src, ok)
		}
	}
}

// whole are files as people have them for podman.
var whole = map[string]string{
	"notes.container": `[Unit]
Description=Notes for the whole office
Documentation=https://notes.example
After=network-online.target
Wants=network-online.target

[Container]
ContainerName=notes
Image=registry.example/notes:4
AutoUpdate=registry
Exec=serve --listen :8070
Environment=LANG=C.UTF-8 "BANNER=Write it down"
EnvironmentFile=/etc/notes/env
Network=host
PublishPort=8070:8070/tcp
Volume=notes-data:/var/lib/notes:Z
Volume=/etc/notes:/etc/notes:ro,z
Mount=type=tmpfs,destination=/var/cache/notes,tmpfs-size=128m
Tmpfs=/tmp
Timezone=local
ShmSize=128m
User=1000
Group=1000
GroupAdd=44
Label=office.example/owner=library
DropCapability=all
AddCapability=NET_BIND_SERVICE
NoNewPrivileges=true
ReadOnly=true
LogDriver=journald
Memory=300m
PidsLimit=200
Ulimit=nofile=4096:8192
StopTimeout=20
StopSignal=SIGTERM

[Service]
Restart=on-failure
RestartSec=3
TimeoutStartSec=300
ExecStartPre=/usr/bin/test -d /etc/notes
ExecStopPost=/usr/bin/logger notes ended
Environment=TAG=stable

[Install]
WantedBy=multi-user.target default.target
`,
	"worker@.container": `# One for each queue.
[Unit]
Description=Worker for queue %i
PartOf=workers.target

[Container]
Image=registry.example/worker:1.2
Entrypoint=["/usr/bin/worker", "--verbose"]
Exec=--queue %i
EnvironmentHost=true
Network=none
Sysctl=net.core.somaxconn=1024
AddHost=db:192.0.2.7
RunInit=false
AddDevice=-/dev/fuse
Notify=true
SecurityLabelDisable=true

[Service]
Type=notify
Environment=LEVEL=debug
WatchdogSec=30
Restart=always

[Quadlet]
DefaultDependencies=false
`,
}

// TestWholeFiles: they work unchanged, and say to placement what they need.
func TestWholeFiles(t *testing.T) {
	for file, src := range whole {
		name, ok := ServiceName(file)
		if !ok {
			t.Fatal(file)
		}
		l, err := Load(name, []byte(src))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if problems := Check(name, must(t, name, src), unit.CheckOptions{}); unit.Errors(problems) != nil {
			t.Errorf("%s: %v", file, problems)
		}
		for _, key := range []string{"Restart", "RestartSec", "TimeoutStartSec", "ExecStopPost", "Environment", "WatchdogSec", "Type"} {
			if was := must(t, name, src).Values("Service", key); len(was) > 0 && !slices.Equal(was, l.File.Values("Service", key)) {
				t.Errorf("%s: [Service] %s= is not what it was:\n%s", file, key, l.Text)
			}
		}
	}
	l, err := Load("notes.service", []byte(whole["notes.container"]))
	if err != nil {
		t.Fatal(err)
	}
	if pre := l.File.Values("Service", "ExecStartPre"); len(pre) != 2 || pre[0].Text != "/usr/bin/test -d /etc/notes" {
		t.Errorf("the user's own ExecStartPre= comes first: %v", pre)
	}
	ports := l.File.Ports("notes.service")
	if len(ports) != 1 || ports[0].String() != "8070/tcp" {
		t.Errorf("ports %v, want 8070/tcp", ports)
	}
	needs, err := l.File.Resources("notes.service")
	if err != nil || needs.Memory.Amount != 300<<20 || needs.Tasks.Amount != 200 || l.Line(needs.Memory.Line) != 31 {
		t.Errorf("needs %+v, memory in line %d, %v", needs, l.Line(needs.Memory.Line), err)
	}
}

func must(t *testing.T, name unit.Name, src string) *unit.File {
	t.Helper()
	f, err := unit.Parse(string(name), []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLoad(t *testing.T) {
	for _, tt := range []struct{ name, src, ports, memory string }{
		{"a plain unit", "[Service]\nExecStart=/usr/bin/nsrun run --net=host -p 80:80 a\nMemoryMax=1M\n", "80/tcp", "1048576"},
		{"a port", "[Container]\nImage=a\nNetwork=host\nPublishPort=8080\nMemory=1m\n", "8080/tcp", "1048576"},
		{"several, behind a flag that takes no value", "[Container]\nImage=a\nNetwork=host\nEnvironmentHost=yes\nReadOnly=yes\nPublishPort=53:53/udp\nPublishPort=8000-8001\n", "53/udp 8000-8001/tcp", "any"},
		{"none", "[Container]\nImage=a\nNetwork=none\nExec=-p 80:80\n", "", "any"},
		{"what the unit itself says is needed", "[Container]\nImage=a\nNetwork=none\nPodmanArgs=--memory=2m\n[X-Cluster]\nRequests=memory=1M\n", "", "2097152"},
	} {
		l, err := Load("a.service", []byte(tt.src))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var ports []string
		for _, p := range l.File.Ports("a.service") {
			ports = append(ports, p.String())
		}
		needs, err := l.File.Resources("a.service")
		if got := strings.Join(ports, " "); err != nil || got != tt.ports || needs.Memory.String() != tt.memory {
			t.Errorf("%s: ports %s, memory %s, %v; want %s, %s", tt.name, got, needs.Memory, err, tt.ports, tt.memory)
		}
	}
	if _, err := Load("a.service", []byte("[Container]\nFrob=1\n")); err == nil || !strings.Contains(err.Error(), "a.service:2: ") {
		t.Errorf("error %v, want the user's line", err)
	}
	if _, err := Load("a.service", []byte("frob")); err == nil {
		t.Error("no error")
	}
}
