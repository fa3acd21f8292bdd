package machine

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Address returns the first global address of the interface with the default
// route; IPv4 is preferred. Without such a route, it is that of the only
// interface, loopback aside, that has one.
func Address(root string) (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("find this machine's address: %w; set Address= in clusterd.conf", err)
	}
	addresses := map[string]string{}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		list, err := i.Addrs()
		if err != nil {
			continue // it just went away
		}
		if a := global(list); a != "" {
			addresses[i.Name] = a
		}
	}
	routes, _ := os.ReadFile(filepath.Join("/", root, "proc/net/route")) // no file: no IPv4
	routes6, _ := os.ReadFile(filepath.Join("/", root, "proc/net/ipv6_route"))
	for _, name := range []string{defaultInterface(string(routes)), defaultInterface6(string(routes6))} {
		if a := addresses[name]; a != "" {
			return a, nil
		}
	}
	if len(addresses) == 1 {
		for _, a := range addresses {
			return a, nil
		}
	}
	return "", fmt.Errorf("find this machine's address: no default route, and %d interfaces have one; set Address= in clusterd.conf", len(addresses))
}

func global(list []net.Addr) string {
	found := ""
	for _, a := range list {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if prefix.Addr().Is4() {
			return prefix.Addr().String()
		}
		if found == "" {
			found = prefix.Addr().String()
		}
	}
	return found
}

// defaultInterface finds the interface of the default route with the lowest
// metric in the text of /proc/net/route.
func defaultInterface(routes string) string {
	name, best := "", uint64(1)<<33
	for line := range strings.Lines(routes) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		if metric, err := strconv.ParseUint(f[6], 10, 32); err == nil && metric < best {
			name, best = f[0], metric
		}
	}
	return name
}

// defaultInterface6 does so for /proc/net/ipv6_route.
func defaultInterface6(routes string) string {
	name, best := "", uint64(1)<<33
	for line := range strings.Lines(routes) {
		f := strings.Fields(line)
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || f[9] == "lo" {
			continue
		}
		if metric, err := strconv.ParseUint(f[5], 16, 32); err == nil && metric < best {
			name, best = f[9], metric
		}
	}
	return name
}
