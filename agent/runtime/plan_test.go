package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rootHost is a machine like ours: root, hybrid cgroups.
func rootHost() Host {
	return Host{
		Root: true, Caps: 1<<len(capNames) - 1,
		ProcFiles: []string{"/proc/kcore"}, ProcDirs: []string{"/proc/acpi", "/sys/firmware"},
		ReadOnly: []string{"/proc/sys"},
	}
}

func webSpec() Spec {
	return Spec{
		Name: "web", ID: strings.Repeat("0123456789abcdef", 4), Image: "busybox",
		Layers: []string{"/layers/1", "/layers/2"}, Argv: []string{"httpd", "-f"}, Env: []string{"PATH=/bin"},
	}
}

func TestMake(t *testing.T) {
	for _, row := range []struct {
		name   string
		spec   func(*Spec)
		host   func(*Host)
		has    []string // lines, in this order
		hasNot []string
	}{
		{
			name: "an image, by hand: nsrun stays, its death is the container's",
			has: []string{
				"name-spaces: mnt pid ipc uts cgroup net user",
				"clone a process, ours, in new name-spaces",
				"map ids 0 to 65535 to a range that is this container's alone",
				"make the root: overlay of 2 layers and a writable one, ids mapped",
				"record the process",
				"open the gate",
				"ask for death when nsrun dies",
				"wait until its ids are mapped",
				"make proc (nosuid,nodev,noexec)",
				"wait at the gate",
				"pivot_root",
				"mount proc on /proc",
				"hide /proc/kcore",
				"make /proc/sys read-only",
				"no new privileges",
				"ask again for death with nsrun",
				"execve",
				"give back the command's exit code",
			},
			hasNot: []string{"MAINPID", "READY=1", "make cgroup"},
		},
		{
			name: "handed over: systemd's child from birth, ready only when the program is found",
			host: func(h *Host) { h.HandOver = true },
			has: []string{
				"clone a process, systemd's from birth",
				"record the process",
				"tell systemd MAINPID= and wait until it has read that (BARRIER=1)",
				"open the gate",
				"find httpd in /bin: not there is exit 127, not executable 126; asked to stop by now: exit 0; tell systemd READY=1; execve",
				"exit 0",
			},
			hasNot: []string{"ask for death", "standard input"},
		},
		{
			name:   "the machine's network gives up the user name-space, visibly",
			spec:   func(s *Spec) { s.Network = NetworkHost },
			has:    []string{"name-spaces: mnt pid ipc uts cgroup\n", "no user name-space: root inside is root outside"},
			hasNot: []string{"ids mapped", "ids are mapped", "loopback", "ping_group_range"},
		},
		{
			name: "without root: one id, a plain directory, taken by the child itself",
			spec: func(s *Spec) { s.Layers, s.Image, s.RootFS = nil, "", "/srv/root" },
			host: func(h *Host) { h.Root = false },
			has:  []string{"map id 0 to the caller's own", "take /srv/root", "devpts (nosuid,noexec;newinstance,ptmxmode=0666,mode=0620)"},
		},
		{
			name: "volumes go from the outside in, whatever their order",
			spec: func(s *Spec) {
				s.Volumes = []Volume{{Source: "/srv/b", Target: "/data/sub"}, {Source: "/srv/a", Target: "/data", ReadOnly: true}}
				s.Tmpfs = []Tmpfs{{Target: "/data/sub/tmp", Options: "size=1m,exec"}}
			},
			has: []string{
				"make volume 1: /srv/b, ids mapped", "make volume 2: /srv/a, read-only, ids mapped",
				"make tmpfs 1: tmpfs (nosuid,nodev;size=1m)",
				"mount volume 2 on /data\n", "mount volume 1 on /data/sub\n", "mount tmpfs 1 on /data/sub/tmp\n",
			},
		},
		{
			name:   "a volume on /etc/hosts takes the place of ours",
			spec:   func(s *Spec) { s.Volumes = []Volume{{Source: "/srv/hosts", Target: "/etc/hosts"}} },
			has:    []string{"mount volume 1 on /etc/hosts"},
			hasNot: []string{"mount hosts on"},
		},
		{
			name: "the root is made read-only when all mount points are there",
			spec: func(s *Spec) { s.ReadOnly, s.WorkDir = true, "/srv" },
			has:  []string{"mount proc on /proc", "go to /srv", "make the root read-only", "execve"},
		},
		{
			name: "devices, room to share and settings, while /proc and /dev can be changed",
			spec: func(s *Spec) {
				s.Devices = []Device{{Source: "/dev/fuse", Target: "/dev/fuse"}, {Source: "/dev/snd", Target: "/dev/snd", dir: true}}
				s.ShmBytes, s.Sysctls, s.Groups = 1<<20, []Sysctl{{"net.core.somaxconn", "9"}}, []string{"44", "video"}
			},
			has: []string{
				"look up user root, with groups 44 video too, in the root's", "make shm: tmpfs (nosuid,nodev,noexec;mode=1777,size=1048576)",
				"take /dev/null, read-only\n", "take /dev/fuse, read-only\n", "take /dev/snd, read-only\n", "pivot_root", "mount dev on /dev", "set net.core.somaxconn to 9", "make /proc/sys read-only",
				"mount device 1 on /dev/fuse\n", "mount device 2 on /dev/snd\n",
			},
		},
		{
			name: "somebody's own directory gets no files but those asked for",
			spec: func(s *Spec) {
				s.Layers, s.Image, s.RootFS = nil, "", "/srv/root"
				s.Names.Hosts, s.Zone = []string{"::1\tdb"}, "TZif"
			},
			has: []string{
				"write hosts, hostname, resolv.conf, localtime for /etc, in memory", "mount hosts on /etc/hosts\n",
				"mount hostname on /etc/hostname, if that is there", "mount resolv.conf on /etc/resolv.conf, if that is there", "mount localtime on /etc/localtime\n",
			},
		},
		{
			name:   "a program that tells systemd itself is given the socket, and nothing is said for it",
			spec:   func(s *Spec) { s.Notify = "/run/systemd/notify" },
			host:   func(h *Host) { h.HandOver = true },
			has:    []string{"make notify: /run/systemd/notify, read-only\n", "tell systemd MAINPID=", "mount notify on /dev/notify", "execve"},
			hasNot: []string{"READY=1"},
		},
		{
			name: "on the bridge it is connected while other things are done, and waited for before anybody is told",
			spec: func(s *Spec) {
				s.Network, s.Bridge = "bridge", Bridge{Aliases: []string{"db"}, Publish: []string{"8080:80/tcp"}, Gateway: []string{"up"}}
			},
			host: func(h *Host) { h.HandOver = true },
			has: []string{
				"clone a process", "have nsrun-network connect it", "map ids", "make the root", "wait until it is connected, and has an address, port 8080:80/tcp",
				"record the process", "tell systemd MAINPID=", "bring loopback up",
				"in hosts its address for 0123456789ab db, the machine's for host.containers.internal host.docker.internal up",
			},
		},
		{
			name:   "a network that is there is joined from birth, with the sysfs that shows it",
			spec:   func(s *Spec) { s.Network = "ns:/run/netns/x" },
			has:    []string{"name-spaces: mnt pid ipc uts cgroup user\n", "and in the network ns:/run/netns/x, with a sysfs made there", "mount sysfs on /sys"},
			hasNot: []string{"make sysfs", "bring loopback up", "ping_group_range", "nsrun-network"},
		},
		{
			name: "pure cgroup2 is shown, read-only",
			host: func(h *Host) { h.Cgroup2 = true },
			has:  []string{"make cgroup: cgroup2 (ro,nosuid,nodev,noexec)", "mount cgroup on /sys/fs/cgroup"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec, host := webSpec(), rootHost()
			if row.spec != nil {
				row.spec(&spec)
			}
			if row.host != nil {
				row.host(&host)
			}
			p, err := Make(spec, host)
			if err != nil {
				t.Fatal(err)
			}
			text, at := p.String(), 0
			for _, line := range row.has {
				i := strings.Index(text[at:], line)
				if i < 0 {
					t.Fatalf("no %q after byte %d of\n%s", line, at, text)
				}
				at += i
			}
			for _, line := range row.hasNot {
				if strings.Contains(text, line) {
					t.Errorf("%q should not be in\n%s", line, text)
				}
			}
			if again, err := Make(spec, host); err != nil || again.String() != text {
				t.Errorf("equal inputs, another plan: %v\n%s", err, again)
			}
		})
	}
}

// TestReachable: a container gets no name server that it can't reach.
func TestReachable(t *testing.T) {
	const upstream = "# of resolved\nnameserver 192.0.2.53\nnameserver 127.0.0.1\nsearch lan\n"
	for _, row := range []struct{ name, resolv, upstream, want string }{
		{"others stay", "nameserver 192.0.2.1\nsearch a\n", upstream, "nameserver 192.0.2.1\nsearch a\n"},
		{"resolved's stub gives way to whom it asks", "nameserver 127.0.0.53\noptions edns0\n", upstream, "# of resolved\nnameserver 192.0.2.53\nsearch lan\n"},
		{"one of two", "nameserver 127.0.0.1\nnameserver 192.0.2.1\n", upstream, "nameserver 192.0.2.1\n"},
		{"by IPv6", "nameserver ::1\nsearch a\n", "", "search a\n"},
		{"none at all", "", upstream, ""},
	} {
		if got := reachable(row.resolv, row.upstream); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		spec func(*Spec)
		root bool
		want string
	}{
		{"a name that leads elsewhere", func(s *Spec) { s.Name = "../web" }, true, `name "../web"`},
		{"no command", func(s *Spec) { s.Argv = nil }, true, "no command"},
		{"a working directory that could be anywhere", func(s *Spec) { s.WorkDir = "srv" }, true, "must begin with a slash"},
		{"a network that isn't there", func(s *Spec) { s.Network = "web" }, true, "there are bridge, none, host, container:NAME and ns:PATH"},
		{"a bridge without root", func(s *Spec) { s.Layers, s.RootFS, s.Network = nil, "/r", "bridge" }, false, "without root there are --network=none and --network=host"},
		{"a network by half a path", func(s *Spec) { s.Network = "ns:web" }, true, "write the whole path, such as ns:/run/netns/NAME"},
		{"a setting of another's network", func(s *Spec) { s.Network = "ns:/run/netns/web"; s.Sysctls = []Sysctl{{"net.core.somaxconn", "1"}} }, true, "that belongs to the other"},
		{"an alias of two words", func(s *Spec) { s.Network = "bridge"; s.Bridge.Aliases = []string{"a b"} }, true, "is no host name"},
		{"a volume over /proc", func(s *Spec) { s.Volumes = []Volume{{Source: "/srv", Target: "/proc/sys"}} }, true, "/proc is the container's own"},
		{"a volume over /sys, spelled oddly", func(s *Spec) { s.Volumes = []Volume{{Source: "/srv", Target: "/srv/../sys"}} }, true, "/sys is the container's own"},
		{"the machine's root", func(s *Spec) { s.Layers, s.RootFS = nil, "/" }, true, "--rootfs=/: would hand the container /run/clusterd"},
		{"a volume over the root", func(s *Spec) { s.Volumes = []Volume{{Source: "/srv", Target: "/"}} }, true, "can't be covered"},
		{"B-10: systemd's socket", func(s *Spec) { s.Volumes = []Volume{{Source: "/run/systemd/private", Target: "/s"}} }, true, "could rule this machine"},
		{"B-10: D-Bus's, by its old path", func(s *Spec) { s.Volumes = []Volume{{Source: "/var/run/dbus/system_bus_socket", Target: "/s"}} }, true, "could rule this machine"},
		{"B-10: clusterd's, by its directory's directory", func(s *Spec) { s.Volumes = []Volume{{Source: "/run", Target: "/s"}} }, true, "could rule this machine"},
		{"B-10: docker's", func(s *Spec) { s.Volumes = []Volume{{Source: "/var/run/docker.sock", Target: "/s"}} }, true, "could rule this machine"},
		{"a capability nobody has", func(s *Spec) { s.CapAdd = []string{"FLY"} }, true, "no such capability"},
		{"a setting of the whole machine's", func(s *Spec) { s.Sysctls = []Sysctl{{"kernel.panic", "1"}} }, true, "--sysctl=kernel.panic=1: that is the whole machine's"},
		{"a setting of the machine's network", func(s *Spec) { s.Network, s.Sysctls = "host", []Sysctl{{"net.ipv4.ip_forward", "1"}} }, true, "with --network=host that is the machine's"},
		{"a path for a setting", func(s *Spec) { s.Sysctls = []Sysctl{{"net../../kernel/panic", "1"}} }, true, "write it with dots"},
		{"a line in the host name", func(s *Spec) { s.Hostname = "x\n6.6.6.6 bank" }, true, `--hostname="x\n6.6.6.6 bank": is not one word`},
		{"a second line of /etc/hosts", func(s *Spec) { s.Names.Hosts = []string{"::1\ta b", "::1%x\n6.6.6.6\tbank"} }, true, `"::1%x\n6.6.6.6\tbank": no line of /etc/hosts`},
		{"a line in a name server", func(s *Spec) { s.Names.Servers = []string{"::1%x\nnameserver"} }, true, "is not one word"},
		{"a line in a search domain", func(s *Spec) { s.Names.Search = []string{"a", "b\rc"} }, true, "is not one word"},
		{"an empty option", func(s *Spec) { s.Names.Options = []string{""} }, true, `"" is not one word`},
		{"a device over /dev", func(s *Spec) { s.Devices = []Device{{Source: "/dev/fuse", Target: "/dev"}} }, true, "can't be covered"},
		{"a device over the container's own terminals", func(s *Spec) { s.Devices = []Device{{Source: "/dev/fuse", Target: "/dev/pts"}} }, true, "/dev/pts is the container's own; choose another place: --device=/dev/fuse:/dev/NAME"},
		{"a device in the container's own memory, spelled oddly", func(s *Spec) { s.Devices = []Device{{Source: "/dev/fuse", Target: "/dev/x/..//shm/y"}} }, true, "/dev/shm is the container's own"},
		{"a device over a link of the container's", func(s *Spec) { s.Devices = []Device{{Source: "/dev/fuse", Target: "/dev/stdin"}} }, true, "/dev/stdin is the container's own"},
		{"a device over systemd's socket", func(s *Spec) { s.Devices = []Device{{Source: "/dev/fuse", Target: NotifySocket}} }, true, "/dev/notify is the container's own"},
		{"B-10: D-Bus's for systemd's notification socket", func(s *Spec) { s.Notify = "/run/dbus/system_bus_socket" }, true, "NOTIFY_SOCKET leads to /run/dbus/system_bus_socket, which is not systemd's"},
		{"B-10: clusterd's for it", func(s *Spec) { s.Notify = "/run/clusterd/api.sock" }, true, "take it out of Environment="},
		{"B-10: systemd's control socket for it", func(s *Spec) { s.Notify = "/run/systemd/private" }, true, "which is not systemd's (/run/systemd/notify"},
		{"B-10: a notification socket, spelled so as to lead elsewhere", func(s *Spec) { s.Notify = "/run/systemd/notify/../private" }, true, "which is not systemd's"},
		{"a notification socket of somebody else's", func(s *Spec) { s.Notify = "/run/user/1000/systemd/notify" }, true, "which is not systemd's (/run/systemd/notify or /run/user/0/systemd/notify)"},
		{"an abstract notification socket", func(s *Spec) { s.Notify = "@systemd" }, true, "which is not systemd's"},
		{"groups without root", func(s *Spec) { s.Layers, s.RootFS, s.Groups = nil, "/r", []string{"7"} }, false, "leave --group-add out"},
		{"the machine's ids without root", func(s *Spec) { s.HostIDs = true }, false, "--userns=host: needs root"},
		{"more layers than have names", func(s *Spec) { s.Layers = make([]string, layersMax) }, false, "an image of 128 layers: 127 are"},
	} {
		spec, host := webSpec(), rootHost()
		host.Root = row.root
		row.spec(&spec)
		if _, err := Make(spec, host); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", row.name, err, row.want)
		}
	}
}

func TestB10_ControlSocketsAreRefused(t *testing.T) {
	for source, ok := range map[string]bool{
		"/var/lib/nsrun/volumes/data": true, "/var/lib/nsrun/volumes": false, "/var/lib/nsrun/images": false,
		"/srv": true, "/run/myapp": true, "/runner": true, "/": false, "/var/lib": false,
		"/run/clusterd/clusterd.sock": false, "/run/dbus/system_bus_socket": false, "/var/run/docker.sock": false,
		"/run/systemd/private": false, "/run/containerd": false, "/run": false, "/srv/../run/podman/podman.sock": false,
		"/run/user": false, "/run/user/1000": false, "/run/user/1000/bus": false, "/run/user/1000/pulse/native": true,
	} {
		if err := checkSource(source); (err == nil) != ok {
			t.Errorf("%s: %v, want allowed: %v", source, err, ok)
		}
	}
}

func TestPrepareNotifyFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for link, to := range map[string]string{"run": "/run", "socket": "run/nowhere", "notify": "notify2", "notify2": "target"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "target"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string]string{
		dir + "/run/dbus/system_bus_socket": "/run/dbus/system_bus_socket",
		dir + "/notify":                     real + "/target",
		dir + "/socket":                     "leads nowhere",
		"/run/systemd/notify":               "/run/systemd/notify",
		"@systemd":                          "@systemd",
	} {
		got, err := PrepareNotify(socket)
		if got != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v; want %s", socket, got, err, want)
		}
	}
}

// TestNoLinkSinceTheCheck: whoever owns a directory on the way to what is bound
// may put a link there after it was found harmless.
func TestNoLinkSinceTheCheck(t *testing.T) {
	for _, overlay := range []bool{false, true} {
		spec := webSpec()
		spec.Layers, spec.Image, spec.RootFS, spec.RootOverlay = nil, "", "/srv/root", overlay
		spec.Volumes, spec.Notify = []Volume{{Source: "/srv/a", Target: "/a"}}, systemNotify
		p, err := Make(spec, rootHost())
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range p.Parent {
			if s, ok := step.(makeTree); ok && !s.Resolved {
				t.Errorf("%s: would follow a link", s)
			}
			if s, ok := step.(makeOverlay); ok && !s.Resolved {
				t.Errorf("%s: would follow a link", s)
			}
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{link, link + "/run"} {
		if _, err := resolvedTree(source, -1, 0); err == nil || !strings.Contains(err.Error(), "put a symbolic link there") {
			t.Errorf("%s: %v, want it refused for its link", source, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for _, row := range []struct{ add, drop, want string }{
		{"", "", "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP"},
		{"", "ALL", "none"},
		{"net_admin CAP_SYS_TIME", "all", "NET_ADMIN SYS_TIME"},
		{"NET_RAW", "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID", "SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT SETFCAP"},
		{"CHOWN", "CHOWN", "DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP"},
	} {
		set, err := capabilities(strings.Fields(row.add), strings.Fields(row.drop))
		if err != nil || set.String() != row.want {
			t.Errorf("add %q, drop %q: %s, %v; want %s", row.add, row.drop, set, err, row.want)
		}
	}
}

func TestLookUp(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:55:66:An app:/srv/app:/bin/false\nbad:x:many:1::/:\n"
	const group = "root:x:0:\napp:x:66:\nextra:x:77:root,app\nother:x:78:nobody\nown:x:66:app\n"
	for _, row := range []struct {
		spec   string
		want   userIDs
		groups string
		err    string
	}{
		{spec: "", want: userIDs{uid: 0, gid: 0, home: "/root"}, groups: "0 77"},
		{spec: "app", want: userIDs{uid: 55, gid: 66, home: "/srv/app"}, groups: "66 77"},
		{spec: "55", want: userIDs{uid: 55, gid: 66, home: "/srv/app"}, groups: "66 77"},
		{spec: "app:extra", want: userIDs{uid: 55, gid: 77, home: "/srv/app"}, groups: "77"},
		{spec: "1234", want: userIDs{uid: 1234, gid: 0, home: "/"}, groups: "0"},
		{spec: "1234:5678", want: userIDs{uid: 1234, gid: 5678, home: "/"}, groups: "5678"},
		{spec: ":9", want: userIDs{uid: 0, gid: 9, home: "/root"}, groups: "9"},
		{spec: "nobodyatall", err: "not in the container's /etc/passwd"},
		{spec: "app:nogroup", err: "not in the container's /etc/group"},
		{spec: "bad", err: "has no ids"},
		{spec: "-1", err: "not in the container's /etc/passwd"},
	} {
		got, err := lookUp(row.spec, []byte(passwd), []byte(group))
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s: error %v, want one with %q", row.spec, err, row.err)
			}
			continue
		}
		var groups []string
		for _, g := range got.groups {
			groups = append(groups, strconv.Itoa(int(g)))
		}
		if err != nil || got.uid != row.want.uid || got.gid != row.want.gid || got.home != row.want.home || strings.Join(groups, " ") != row.groups {
			t.Errorf("%q: %+v, %v; want %+v in groups %s", row.spec, got, err, row.want, row.groups)
		}
	}
	if got, err := lookUp("root", nil, nil); err != nil || got.uid != 0 || got.home != "/root" {
		t.Errorf("root without a passwd file: %+v, %v", got, err)
	}
}

func TestJoin(t *testing.T) {
	const group = "extra:x:77:\nbad:x:many:\n"
	for names, want := range map[string]string{
		"": "5", "7": "5 7", "extra": "5 77", "77 extra 5": "5 77",
		"nosuch": "group nosuch: not in the container's /etc/group; write its number instead",
		"bad":    "group bad: its line in the container's /etc/group has no id",
	} {
		u := userIDs{groups: []int32{5}}
		got := ""
		if err := u.join(strings.Fields(names), []byte(group)); err != nil {
			got = err.Error()
		} else {
			got = strings.Trim(fmt.Sprint(u.groups), "[]")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", names, got, want)
		}
	}
}

func TestResolv(t *testing.T) {
	const machine = "# made by hand\nnameserver 1.1.1.1\nsearch a.example\noptions edns0"
	for _, row := range []struct {
		names Names
		want  string
	}{
		{Names{}, machine},
		{Names{Hosts: []string{"::1\tx"}}, machine},
		{Names{Servers: []string{"2.2.2.2", "3.3.3.3"}}, "# made by hand\nsearch a.example\noptions edns0\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n"},
		{Names{Search: []string{"."}}, "# made by hand\nnameserver 1.1.1.1\noptions edns0\n"},
		{Names{Search: []string{"b", "c"}, Options: []string{"ndots:2"}}, "# made by hand\nnameserver 1.1.1.1\nsearch b c\noptions ndots:2\n"},
	} {
		if got := row.names.resolv(machine); got != row.want {
			t.Errorf("%v: %q, want %q", row.names, got, row.want)
		}
	}
}

func FuzzLookUp(f *testing.F) {
	f.Add("app:extra", "app:x:55:66::/srv:/bin/sh\n", "extra:x:77:app\n")
	f.Add(":", "::::::", ":::")
	f.Fuzz(func(t *testing.T, spec, passwd, group string) {
		ids, err := lookUp(spec, []byte(passwd), []byte(group))
		if err == nil && (ids.uid < 0 || ids.gid < 0 || len(ids.groups) > groupsMax || ids.home == "") {
			t.Fatalf("%q: %+v", spec, ids)
		}
	})
}
