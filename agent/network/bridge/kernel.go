package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
)

// kernel is a connection to it.
type kernel struct {
	links *netlink.Handle
}

func open() (*kernel, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("speak to the kernel of links: %w", unavailable(err))
	}
	return &kernel{links: links}, nil
}

func (k *kernel) close() { k.links.Close() }

// choose decides what the bridge is to be like, by what the machine has.
func (k *kernel) choose(c network.Config) (s network.State, err error) {
	routes, err := k.links.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return s, fmt.Errorf("list the machine's routes: %w", err)
	}
	var own int
	if link, err := k.links.LinkByName(network.Bridge); err == nil {
		own = link.Attrs().Index // left by somebody without a record
	}
	var taken []network.Prefix
	s.MTU = c.MTU
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			if link, err := k.links.LinkByIndex(r.LinkIndex); err == nil && c.MTU == 0 && link.Attrs().MTU >= 576 {
				s.MTU = link.Attrs().MTU
			}
			continue
		}
		ip := r.Dst.IP.To4()
		if bits, _ := r.Dst.Mask.Size(); ip != nil && r.LinkIndex != own {
			taken = append(taken, network.Prefix{Base: network.Address(ip[0])<<24 | network.Address(ip[1])<<16 | network.Address(ip[2])<<8 | network.Address(ip[3]), Bits: bits})
		}
	}
	if s.MTU == 0 {
		s.MTU = 1500
	}
	if s.Subnet, err = c.ChooseSubnet(taken); err != nil {
		return s, err
	}
	on, err := setting("ipv4/ip_forward")
	if err != nil {
		return s, fmt.Errorf("read whether packets are passed on: %w", unavailable(err))
	}
	s.Forward = on == "0"
	return s, nil
}

const settings = "/proc/sys/net/"

func setting(name string) (string, error) {
	data, err := os.ReadFile(settings + name)
	return strings.TrimSpace(string(data)), err
}

// set changes a setting of the kernel's unless it is so already.
func set(name, value string) error {
	if old, err := setting(name); err == nil && old == value {
		return nil
	}
	if err := os.WriteFile(settings+name, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", settings+name, value, unavailable(err))
	}
	return nil
}

// install makes everything that is for all containers, where it isn't there yet.
// fresh is the container that is new.
func (k *kernel) install(s network.State, live, dead []network.Record, fresh network.Record) error {
	if err := k.makeBridge(s); err != nil {
		return fmt.Errorf("make the bridge %s: %w", network.Bridge, unavailable(err))
	}
	// First the rules: before the machine passes packets on it is said which.
	if err := apply(network.Rules(s.Subnet, s.Forward, live)); err != nil {
		return fmt.Errorf("put rules into the table %s: %w", network.Table, unavailable(err))
	}
	if err := set("ipv4/ip_forward", "1"); err != nil {
		return err
	}
	return k.forget(dead, fresh)
}

// installed says whether anything of ours is in the kernel: the bridge, which is
// made first and removed last, or the table.
func (k *kernel) installed() bool {
	if link, err := k.links.LinkByName(network.Bridge); err == nil && link.Type() == "bridge" {
		return true
	}
	return tabled()
}

func (k *kernel) makeBridge(s network.State) error {
	gateway := s.Subnet.Gateway()
	link, err := k.links.LinkByName(network.Bridge)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = network.Bridge, s.MTU
		// Else the bridge takes the lowest address of its cables' and changes it as they come and go.
		if attrs.HardwareAddr, err = net.ParseMAC(gateway.Hardware()); err != nil {
			return err
		}
		if err := k.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		link, err = k.links.LinkByName(network.Bridge)
	}
	if err != nil {
		return err
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("there is a link of that name, a %s; remove it: ip link del %s", link.Type(), network.Bridge)
	}
	if err := k.links.AddrReplace(link, &netlink.Addr{IPNet: ipNet(gateway, s.Subnet.Bits)}); err != nil {
		return err
	}
	// A container must not be heard when it tells of routers; and nobody reaches
	// the machine's IPv6 by the bridge.
	err = set("ipv6/conf/"+network.Bridge+"/disable_ipv6", "1")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The machine's own 127.0.0.1:PORT is led to a container, and back.
	if err := set("ipv4/conf/"+network.Bridge+"/route_localnet", "1"); err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	return k.links.LinkSetUp(link)
}

func ipNet(a network.Address, bits int) *net.IPNet {
	return &net.IPNet{IP: a.Bytes(), Mask: net.CIDRMask(bits, 32)}
}

// plug lays the cable between the bridge and a container.
func plug(r network.Record, s network.State, ns int) error {
	k, err := open()
	if err != nil {
		return err
	}
	defer k.close()
	mac, err := net.ParseMAC(r.Hardware)
	if err != nil {
		return err
	}
	bridge, err := k.links.LinkByName(network.Bridge)
	if err != nil {
		return fmt.Errorf("find the bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = network.LinkName(r.ID), s.MTU, bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(ns)}
	if err := k.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the cable %s: %w", attrs.Name, unavailable(err))
	}
	if err := k.links.LinkSetUp(veth); err != nil {
		return fmt.Errorf("set the cable %s up: %w", attrs.Name, err)
	}
	inside, err := netlink.NewHandleAt(netns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter the container's network: %w", err)
	}
	defer inside.Close()
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find the container's end of the cable: %w", err)
	}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(r.Address, s.Subnet.Bits)}); err != nil {
		return fmt.Errorf("give the container the address %s: %w", r.Address, err)
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("set the container's end of the cable up: %w", err)
	}
	if err := inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: net.IP(s.Subnet.Gateway().Bytes())}); err != nil {
		return fmt.Errorf("lead the container out by %s: %w", s.Subnet.Gateway(), err)
	}
	return nil
}

// forget has the kernel forget what it takes for connections by UDP: those to
// containers that have ended, whose addresses and ports others get, and those to
// the ports of one that is new. It would go on leading their packets to where
// they went for as long as any come. (A connection by TCP ends by itself.)
func (k *kernel) forget(dead []network.Record, fresh network.Record) error {
	var filters []netlink.CustomConntrackFilter
	for _, r := range dead {
		if slices.ContainsFunc(r.Ports, udp) {
			f := &netlink.ConntrackFilter{}
			if err := errors.Join(f.AddProtocol(unix.IPPROTO_UDP), f.AddIP(netlink.ConntrackReplySrcIP, r.Address.Bytes())); err != nil {
				return err
			}
			filters = append(filters, f)
		}
	}
	for _, p := range fresh.Ports {
		if udp(p) {
			f := &netlink.ConntrackFilter{}
			if err := errors.Join(f.AddProtocol(unix.IPPROTO_UDP), f.AddPort(netlink.ConntrackOrigDstPort, p.Port)); err != nil {
				return err
			}
			filters = append(filters, f)
		}
	}
	// Looking through the table takes the kernel ten milliseconds, empty or not.
	if count, err := setting("netfilter/nf_conntrack_count"); len(filters) == 0 || err == nil && count == "0" {
		return nil
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filters...); err != nil {
		return fmt.Errorf("forget old connections: %w", err)
	}
	return nil
}

func udp(f network.Forward) bool { return f.Protocol == "udp" }

// dismantle takes everything back, in an order that can be begun again anywhere.
func (k *kernel) dismantle(s network.State, dead []network.Record) error {
	if s.Forward && k.installed() {
		if err := set("ipv4/ip_forward", "0"); err != nil {
			return err
		}
	}
	if err := remove(); err != nil {
		return fmt.Errorf("remove the table %s: %w", network.Table, err)
	}
	// The cables go with their name-spaces, which may take a moment; the links of
	// records that were never finished go here.
	for _, r := range dead {
		if link, err := k.links.LinkByName(network.LinkName(r.ID)); err == nil {
			if err := k.links.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("remove the cable of %s: %w", r.Name, err)
			}
		}
	}
	link, err := k.links.LinkByName(network.Bridge)
	if err == nil && link.Type() == "bridge" {
		err = k.links.LinkDel(link)
	}
	if err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove the bridge %s: %w", network.Bridge, err)
	}
	return k.forget(dead, network.Record{})
}
