package runtime

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// check fills in what spec leaves open and refuses what can't be.
func check(s *Spec, host Host) error {
	if s.Network == "" {
		s.Network = NetworkNone
	}
	if s.WorkDir == "" {
		s.WorkDir = "/"
	}
	switch {
	case !ValidName(s.Name):
		return fmt.Errorf("name %q: letters, digits, _ . and - only, two at least, a letter or digit first", s.Name)
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return errors.New("no command: the image names none; write one behind the image")
	case !path.IsAbs(s.WorkDir):
		return fmt.Errorf("working directory %s: must begin with a slash", s.WorkDir)
	case s.TTY && host.HandOver:
		return errors.New("--tty: in a unit nobody stays to attend to a terminal; leave it out: output goes to the journal, and StandardInput=tty with TTYPath= names a terminal of the machine's")
	case s.HostIDs && !host.Root:
		return errors.New("--userns=host: needs root; leave it out")
	case !host.Root && len(s.Groups) > 0:
		return fmt.Errorf("--group-add=%s: without root the container has one group; leave --group-add out", s.Groups[0])
	}
	if n := len(s.Layers) + 1; n > layersMax && (host.LayersByPath || !host.Root) {
		return fmt.Errorf("run an image of %d layers: %d are what this kernel takes by path, without root any kernel; build it with fewer", n-1, layersMax-1)
	}
	if err := checkNetwork(s, host); err != nil {
		return err
	}
	if s.Network == NetworkHost && host.Root {
		s.HostIDs = true // a user name-space can't mount sysfs or bind low ports there
	}
	if s.RootFS != "" && host.Root {
		if err := checkSource(s.RootFS); err != nil {
			return fmt.Errorf("--rootfs=%w", err)
		}
	}
	if s.Notify != "" {
		if err := checkNotify(s.Notify, host.UID); err != nil {
			return fmt.Errorf("--sdnotify=container: %w", err)
		}
	}
	if s.Hostname == "" && len(s.ID) >= 12 {
		s.Hostname = s.ID[:12]
	}
	if err := errors.Join(checkShared(s, host), checkLimits(s), s.checkSecurity()); err != nil {
		return err
	}
	if err := checkMounts(s); err != nil {
		return err
	}
	if err := s.checkLines(); err != nil {
		return err
	}
	for _, c := range s.Sysctls {
		if err := checkSysctl(c.Name, s.Network); err != nil {
			return fmt.Errorf("--sysctl=%s=%s: %w", c.Name, c.Value, err)
		}
	}
	return nil
}

const hostnameMax = 64 // bytes

// checkLines keeps what is written into a line of /etc/hosts or resolv.conf from
// being more than that.
func (s *Spec) checkLines() error {
	if s.Hostname != "" && !OneWord(s.Hostname) {
		return fmt.Errorf("--hostname=%q: is not one word, as /etc/hosts needs it; write letters, digits, - and dots", s.Hostname)
	}
	if len(s.Hostname) > hostnameMax {
		return fmt.Errorf("--hostname=%s: has %d bytes, and the kernel takes %d; choose a shorter one", s.Hostname, len(s.Hostname), hostnameMax)
	}
	for _, line := range s.Names.Hosts {
		for _, word := range strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' }) {
			if !OneWord(word) {
				return fmt.Errorf("--add-host: %q: no line of /etc/hosts can say that; write NAME:ADDRESS", line)
			}
		}
	}
	for _, word := range slices.Concat(s.Names.Servers, s.Names.Search, s.Names.Options) {
		if !OneWord(word) {
			return fmt.Errorf("--dns, --dns-search, --dns-option: %q is not one word; write the flag once for each", word)
		}
	}
	return nil
}

// OneWord reports whether s can stand in a line of /etc/hosts or resolv.conf as
// one word: it has no white space, control character or comment in it.
func OneWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' })
}

func checkMounts(s *Spec) error {
	for _, v := range s.Volumes {
		if err := checkTarget(v.Target); err != nil {
			return fmt.Errorf("%s: %w", v.flag(), err)
		}
		if err := checkSource(v.Source); err != nil {
			return fmt.Errorf("volume %w", err)
		}
	}
	for _, t := range s.Tmpfs {
		if err := checkTarget(t.Target); err != nil {
			return fmt.Errorf("%s: %w", t.flag(), err)
		}
	}
	for _, d := range s.Devices {
		if err := checkTarget(d.Target); err != nil {
			return fmt.Errorf("--device: %w", err)
		}
		if name := ownDevice(d.Target); name != "" {
			return fmt.Errorf("--device: %s: %s is the container's own; choose another place: --device=%s:/dev/NAME", d.Target, name, d.Source)
		}
	}
	return nil
}

// ownSysctls are those outside net. of which each container has its own.
var ownSysctls = strings.Fields(`kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall
	kernel.shmmax kernel.shmmni kernel.shm_rmid_forced`)

// checkSysctl lets a container set what is its own, and nothing of the machine's.
func checkSysctl(name, network string) error {
	for _, part := range strings.Split(name, ".") {
		if part == "" || strings.ContainsAny(part, "/\x00") {
			return errors.New("write it with dots, as in net.ipv4.ip_forward=1")
		}
	}
	switch {
	case strings.HasPrefix(name, "net.") && joins(network):
		return errors.New("with --network=" + network + " that belongs to the other; set it there")
	case strings.HasPrefix(name, "net.") && network == NetworkHost:
		return errors.New("with --network=host that is the machine's; set it there, in /etc/sysctl.d")
	case strings.HasPrefix(name, "net."), strings.HasPrefix(name, "fs.mqueue."), slices.Contains(ownSysctls, name):
		return nil
	}
	return fmt.Errorf("that is the whole machine's; set it there, in /etc/sysctl.d; a container has its own net.*, fs.mqueue.* and %s", strings.Join(ownSysctls, ", "))
}

// checkTarget keeps volumes off what the container's safety hangs on.
func checkTarget(target string) error {
	if !path.IsAbs(target) {
		return fmt.Errorf("%s: a place in the container must begin with a slash", target)
	}
	clean := path.Clean(target)
	for _, own := range []string{"/proc", "/sys"} {
		if clean == own || strings.HasPrefix(clean, own+"/") {
			return fmt.Errorf("%s: %s is the container's own; choose another place", target, own)
		}
	}
	if clean == "/" || clean == "/dev" {
		return fmt.Errorf("%s: can't be covered; choose a directory below it", target)
	}
	return nil
}

// ownDevices are what each container has in /dev beside its devices.
var ownDevices = strings.Fields("core fd mqueue notify ptmx pts shm stderr stdin stdout")

// ownDevice returns which of those a device would cover, or lie in.
func ownDevice(target string) string {
	rest, ok := strings.CutPrefix(path.Clean(target), "/dev/")
	if top, _, _ := strings.Cut(rest, "/"); ok && slices.Contains(ownDevices, top) {
		return "/dev/" + top
	}
	return ""
}

// controlPaths are the sockets, and the directories that hold them, by which a
// container would rule the machine: ours, systemd's, D-Bus' and those of other
// runtimes and package managers.
var controlPaths = []string{
	"/run/clusterd", "/run/clusterd-lab", "/run/nsrun", "/var/lib/clusterd", "/var/lib/nsrun",
	"/run/dbus", "/run/systemd", "/run/initctl",
	"/run/buildkit", "/run/containerd", "/run/crio", "/run/docker", "/run/docker.sock", "/run/podman",
	"/run/libvirt", "/run/snapd.socket", "/run/incus", "/run/lxd", "/run/lxd.socket",
	"/var/lib/docker", "/var/lib/incus", "/var/lib/lxd", "/var/snap/lxd",
}

// userControl are the parts of a user's /run/user/UID that rule what is that user's.
var userControl = []string{"bus", "systemd", "podman", "docker", "docker.sock", "containerd"}

// checkSource refuses directories and sockets that would let a container out.
func checkSource(source string) error {
	clean := path.Clean(source)
	if rest, ok := strings.CutPrefix(clean, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		clean = "/run" + rest
	}
	if rest, ok := strings.CutPrefix(clean, "/var/lib/nsrun/volumes/"); ok && rest != "" {
		return nil // a named volume
	}
	for _, c := range controlPaths {
		if clean == c || strings.HasPrefix(clean, c+"/") || clean == "/" || strings.HasPrefix(c, clean+"/") {
			return fmt.Errorf("%s: would hand the container %s, by which it could rule this machine; bind the directory it needs, no more", source, c)
		}
	}
	if rest, ok := strings.CutPrefix(clean, "/run/user"); ok && (rest == "" || rest[0] == '/') {
		part := strings.Split(rest, "/") // "", UID, what is there
		if len(part) < 3 || slices.Contains(userControl, part[2]) {
			return fmt.Errorf("%s: would hand the container sockets by which it could act as a user of this machine; bind the directory it needs, no more", source)
		}
	}
	return nil
}

// checkNotify lets a container have systemd's notification socket, the system's
// or that of the user we are, and no other: the name comes from the environment,
// where a unit can put that of any socket.
func checkNotify(socket string, uid int) error {
	own := fmt.Sprintf("/run/user/%d/systemd/notify", uid)
	if socket == systemNotify || socket == own {
		return nil
	}
	return fmt.Errorf("NOTIFY_SOCKET leads to %s, which is not systemd's (%s or %s); leave that variable to systemd: take it out of Environment= and the like",
		socket, systemNotify, own)
}

const systemNotify = "/run/systemd/notify"
