package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The network is the same in every lab: each has a namespace to itself.
const (
	bridgeName   = "lab0"
	gateway      = "10.77.0.1"
	prefixBits   = 24
	firstMachine = 10 // machine i is 10.77.0.(10+i)
	machinesMax  = 200

	registryName    = "registry.lab"
	registryPort    = "5000"
	registryAddress = registryName + ":" + registryPort
)

func addressOf(index int) string   { return fmt.Sprintf("10.77.0.%d", firstMachine+index) }
func linkOf(machine string) string { return "v-" + machine }
func hardwareOf(index int) net.HardwareAddr {
	// Fixed, so that a machine that boots again is found under the address its
	// neighbours remember.
	return net.HardwareAddr{0x02, 0x77, 0x4c, 0, 0, byte(index)}
}

// inNetns runs f in the network namespace at path.
func inNetns(path string, f func() error) error {
	return onOwnThread(func() error {
		if err := enterNetns(path); err != nil {
			return err
		}
		return f()
	})
}

// enterNetns moves the present thread into the network namespace at path.
func enterNetns(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// makeNetwork makes the lab's network namespace and the bridge in it.
func (p places) makeNetwork() error {
	path := p.netnsPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("name network namespace: %w", err)
	}
	f.Close()
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	return inNetns(path, makeBridge)
}

func makeBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	attrs.HardwareAddr = hardwareOf(0)
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("make bridge: %w", err)
	}
	return bringUp(bridgeName, gateway)
}

// bringUp gives a link of this thread's namespace its address and sets it up,
// and the loopback too.
func bringUp(name, address string) error {
	for _, n := range []string{"lo", name} {
		link, err := netlink.LinkByName(n)
		if err != nil {
			return fmt.Errorf("find link %s: %w", n, err)
		}
		if n == name {
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(prefixBits, 32)}}
			if err := netlink.AddrReplace(link, addr); err != nil {
				return fmt.Errorf("give %s the address %s: %w", n, address, err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("set link %s up: %w", n, err)
		}
	}
	return nil
}

// connect lays the cable between the bridge and the machine whose process 1
// is pid; inside, it is eth0.
func (p places) connect(r record, pid int) error {
	return inNetns(p.netnsPath(), func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return fmt.Errorf("find the lab's bridge: %w", err)
		}
		if stale, err := netlink.LinkByName(linkOf(r.Name)); err == nil {
			if err := netlink.LinkDel(stale); err != nil {
				return fmt.Errorf("remove old link: %w", err)
			}
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = linkOf(r.Name)
		attrs.MasterIndex = bridge.Attrs().Index
		veth := &netlink.Veth{
			LinkAttrs:        attrs,
			PeerName:         "eth0",
			PeerHardwareAddr: hardwareOf(r.Index),
			PeerNamespace:    netlink.NsPid(pid),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("make link: %w", err)
		}
		return netlink.LinkSetUp(veth)
	})
}

// unplug sets a machine's link down; remove takes it away. Both are content
// when there is none.
func (p places) unplug(machine string) error {
	return p.onLink(machine, netlink.LinkSetDown)
}

func (p places) removeLink(machine string) error {
	return p.onLink(machine, netlink.LinkDel)
}

func (p places) onLink(machine string, f func(netlink.Link) error) error {
	return inNetns(p.netnsPath(), func() error {
		link, err := netlink.LinkByName(linkOf(machine))
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err != nil {
			return err
		}
		return f(link)
	})
}

// removeNetwork lets go of the namespace; the kernel takes bridge and links
// with it.
func (p places) removeNetwork() error {
	path := p.netnsPath()
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return fmt.Errorf("remove network namespace: %w", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Dial opens a TCP connection from beside the machines, where nobody has
// credentials, to an IP address and port of one.
func (l *Lab) Dial(ctx context.Context, address string) (conn net.Conn, err error) {
	err = inNetns(l.netnsPath(), func() error {
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp4", address)
		return err
	})
	return conn, err
}
