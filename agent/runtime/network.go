package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Networks a container can have. Beside these there are container:NAME, the
// network of another container, and ns:PATH, a network name-space by its file.
const (
	NetworkNone   = "none" // a name-space of its own with nothing but loopback
	NetworkHost   = "host"
	NetworkBridge = "bridge" // a name-space of its own with a cable to the machine's bridge

	ofContainer = "container:"
	ofFile      = "ns:"
)

// Bridge is what a container on the bridge asks for.
type Bridge struct {
	Address  string   // empty: one that is free
	Hardware string   // empty: as goes with the address
	Aliases  []string // further names, for /etc/hosts
	Publish  []string // as --publish has it
	Gateway  []string // names for the machine's address on the bridge, for /etc/hosts
	Default  bool     // nobody named the bridge: where none is to be had it may be NetworkNone
}

// gatewayNames are podman's and docker's for the machine.
var gatewayNames = []string{"host.containers.internal", "host.docker.internal"}

// Network connects containers to the bridge.
type Network interface {
	// Connect begins to connect the container of spec, whose first process is pid,
	// started at start. It closes netns, a descriptor of that one's network. wait
	// returns the container's address and the bridge's; ErrNoBridge, if this
	// machine can't have one.
	Connect(spec Spec, pid int, start uint64, netns int) (wait func() (own, gateway string, err error), err error)
}

// ErrNoBridge says that this machine can't have a bridge.
var ErrNoBridge = errors.New("this machine can't have bridge networks")

// UseNetwork makes containers on the bridge be connected by n.
func (d *Dir) UseNetwork(n Network) { d.network = n }

// Alive says whether a process runs, known by its id and its start, in ticks
// since boot.
func Alive(pid int, start uint64) bool { return (&Live{PID: pid, Start: start}).alive() }

// joins says whether a network is one that is there already.
func joins(network string) bool {
	return strings.HasPrefix(network, ofContainer) || strings.HasPrefix(network, ofFile)
}

// checkNetwork refuses networks that can't be.
func checkNetwork(s *Spec, host Host) error {
	switch {
	case s.Network == NetworkNone, s.Network == NetworkHost:
		return nil
	case s.Network != NetworkBridge && !joins(s.Network):
		return fmt.Errorf("--network=%s: there are bridge, none, host, container:NAME and ns:PATH", s.Network)
	case !host.Root:
		return fmt.Errorf("--network=%s: needs root; without root there are --network=none and --network=host", s.Network)
	case strings.HasPrefix(s.Network, ofFile) && !path.IsAbs(strings.TrimPrefix(s.Network, ofFile)):
		return fmt.Errorf("--network=%s: write the whole path, such as ns:/run/netns/NAME", s.Network)
	case strings.HasPrefix(s.Network, ofContainer) && s.shared == nil:
		return fmt.Errorf("--network=%s: its container was not looked up", s.Network)
	}
	if s.Network != NetworkBridge {
		return nil
	}
	for _, name := range append(s.Bridge.Aliases, s.Bridge.Gateway...) {
		if !OneWord(name) {
			return fmt.Errorf("--network-alias: %q is no host name; write letters, digits, - and dots", name)
		}
	}
	return nil
}

// shared is the container whose network another one has, too.
type shared struct {
	name  string
	live  Live
	files map[string]string // its etcFiles
}

// ShareNetwork looks up the container that s.Network names as container:NAME, and
// has s share its names, too: its host name, /etc/hosts and resolv.conf. For
// other networks it does nothing.
func (d *Dir) ShareNetwork(s *Spec) error {
	name, ok := strings.CutPrefix(s.Network, ofContainer)
	if !ok {
		return nil
	}
	c, err := d.Get(name)
	if err != nil {
		return fmt.Errorf("--network=%s: %w", s.Network, err)
	}
	if !c.Running() {
		return fmt.Errorf("--network=%s: container %s is not running, and so has no network to share; start it first", s.Network, c.Name)
	}
	share := &shared{name: c.Name, live: *c.Live, files: map[string]string{}}
	// As the container sees them: no link of its leads out.
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", c.Live.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("--network=%s: look into %s: %w", s.Network, c.Name, err)
	}
	defer unix.Close(root)
	for _, file := range etcFiles {
		text, err := readIn(root, "/etc/"+file)
		if err != nil {
			return fmt.Errorf("--network=%s: %w", s.Network, err)
		}
		share.files[file] = string(text)
	}
	if !c.Live.alive() { // the process was another's by then
		return fmt.Errorf("--network=%s: container %s has just ended; start it first", s.Network, c.Name)
	}
	if host := strings.TrimSpace(share.files["hostname"]); OneWord(host) && len(host) <= hostnameMax {
		s.Hostname = host
	}
	s.shared, s.Network = share, ofContainer+c.Name
	return nil
}

// openNetwork opens the network name-space that a container is to join.
func (s *Spec) openNetwork() (int, error) {
	file, named := strings.CutPrefix(s.Network, ofFile)
	if !named {
		pidfd, err := s.shared.live.open()
		if err != nil {
			return -1, fmt.Errorf("join the network of %s: it has just ended; start it first", s.shared.name)
		}
		defer unix.Close(pidfd)
		file = fmt.Sprintf("/proc/%d/ns/net", s.shared.live.PID)
		fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil && !s.shared.live.alive() {
			unix.Close(fd)
			return -1, fmt.Errorf("join the network of %s: it has just ended; start it first", s.shared.name)
		}
		return fd, err
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("--network=ns:%s: %w; make it: ip netns add NAME, which is /run/netns/NAME then", file, err)
	}
	return fd, nil
}

// inNetwork carries f out in the network name-space that the container is to
// join: the child must be born there, since the user name-space that it is born
// into has no rights over it. Nor can it mount the sysfs that shows it, so that
// is made here, too. The thread is locked.
func (l *launch) inNetwork(f func() error) error {
	ns, err := l.plan.Spec.openNetwork()
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open our own network: %w", err)
	}
	defer unix.Close(own)
	switch err := unix.Setns(ns, unix.CLONE_NEWNET); {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("--network=%s: that is no network name-space; ip netns list shows those with a name", l.plan.Spec.Network)
	case err != nil:
		return fmt.Errorf("join the network: %w", err)
	}
	fd, err := sysFS()
	if err == nil {
		l.fds["sysfs"] = fd
		err = f()
	}
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("come back from the other network: %w", back))
	}
	return err
}

// sysFS makes a sysfs that shows this thread's network.
func sysFS() (int, error) {
	fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make sysfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make sysfs: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make sysfs: %w", err)
	}
	return fd, nil
}

// connect begins to connect the container to the bridge.
func (l *launch) connect() error {
	if l.dir.network == nil {
		return errors.New("--network=bridge: nobody is there to connect it")
	}
	start, _, err := startTime(l.pid)
	if err != nil {
		return fmt.Errorf("connect it to the bridge: its process is gone: %w", err)
	}
	netns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", l.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		// Its id can't have become another's if it is still there.
		if err = unix.PidfdSendSignal(l.pidfd, 0, nil, 0); err != nil {
			unix.Close(netns)
		}
	}
	if err != nil {
		return fmt.Errorf("connect it to the bridge: its process is gone: %w", err)
	}
	l.connected, err = l.dir.network.Connect(l.plan.Spec, l.pid, start, netns)
	return err
}

// awaitNetwork waits until the container is connected, and keeps its address
// and the bridge's for the gate.
func (l *launch) awaitNetwork() error {
	own, gateway, err := l.connected()
	l.connected = nil
	if errors.Is(err, ErrNoBridge) && l.plan.Spec.Bridge.Default {
		fmt.Fprintf(os.Stderr, "nsrun: run %s: warning: %v; so it has loopback only; write --network=none if that is meant\n", l.plan.Spec.Name, err)
		own, gateway, err = "127.0.1.1", "127.0.0.1", nil
	}
	if err != nil {
		return err
	}
	l.mail.ownLen = int32(copy(l.mail.own[:], own))
	l.mail.gatewayLen = int32(copy(l.mail.gateway[:], gateway))
	return nil
}

// upstreamFile is where systemd-resolved says whom it asks itself.
const upstreamFile = "/run/systemd/resolve/resolv.conf"

// reachable returns a machine's resolv.conf without name servers on its
// loopback, which a container doesn't reach. Where there is one, those that
// systemd-resolved asks are taken instead, if upstream, its file, names some.
func reachable(resolv, upstream string) string {
	near := func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 1 && f[0] == "nameserver" && (strings.HasPrefix(f[1], "127.") || f[1] == "::1")
	}
	split := func(text string) (rest string, servers, local int) {
		var b strings.Builder
		for line := range strings.Lines(text) {
			if near(line) {
				local++
				continue
			}
			if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
				servers++
			}
			b.WriteString(line)
		}
		return b.String(), servers, local
	}
	rest, servers, local := split(resolv)
	if local == 0 || servers > 0 {
		return rest
	}
	if other, servers, _ := split(upstream); servers > 0 {
		return other
	}
	return rest
}
