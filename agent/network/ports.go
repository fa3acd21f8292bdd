package network

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/unit/publish"
)

// Forward is a published port.
type Forward struct {
	Address  Address // of the machine; zero: all it has
	Port     uint16  // of the machine
	Protocol string
	Inside   uint16 // of the container
}

// String is as docker shows it: 0.0.0.0:8080->80/tcp.
func (f Forward) String() string {
	return fmt.Sprintf("%s:%d->%d/%s", f.Address, f.Port, f.Inside, f.Protocol)
}

// clashes says whether two can't be at once.
func (f Forward) clashes(g Forward) bool {
	return f.Port == g.Port && f.Protocol == g.Protocol && (f.Address == 0 || g.Address == 0 || f.Address == g.Address)
}

// portsMax bounds how many ports one container publishes.
const portsMax = 4096

// Assign turns what a container wants published into ports of the machine.
// free says nil when nobody has a port; first and last bound the ports of which
// one is taken where none is named, and name decides with which to begin.
func Assign(name string, wanted []publish.Port, first, last uint16, free func(Forward) error) ([]Forward, error) {
	var got []Forward
	add := func(f Forward) error {
		for _, g := range got {
			if f.clashes(g) {
				return fmt.Errorf("port %d/%s is published twice", f.Port, f.Protocol)
			}
		}
		if len(got) >= portsMax {
			return fmt.Errorf("more than %d ports are published; with --network=host each is the machine's", portsMax)
		}
		err := free(f)
		if err == nil {
			got = append(got, f)
		}
		return err
	}
	for _, p := range wanted {
		var address Address
		if p.Address != "" {
			var err error
			if address, err = ParseAddress(p.Address); err != nil {
				return nil, fmt.Errorf("publish %s: containers on the bridge have IPv4 only; leave the address out, or write one of the machine's IPv4 addresses", p)
			}
		}
		if p.Protocol == "sctp" {
			return nil, fmt.Errorf("publish %s: there are tcp and udp on the bridge; for sctp use --network=host", p)
		}
		for inside := int(p.Inside); inside <= int(p.InsideLast); inside++ {
			f := Forward{Address: address, Protocol: p.Protocol, Inside: uint16(inside)}
			from, to := p.First, p.Last
			switch {
			case from == 0:
				from, to = first, last
			case p.Inside != p.InsideLast || from == to:
				from += uint16(inside) - p.Inside
				to = from
			}
			if slices.ContainsFunc(got, func(g Forward) bool { f.Port = g.Port; return f == g && g.Port >= from && g.Port <= to }) {
				continue // said twice
			}
			if err := oneOf(f, from, to, hash(name+p.String()), add); err != nil {
				return nil, fmt.Errorf("publish %s: %w", p, err)
			}
		}
	}
	slices.SortFunc(got, compareForwards)
	return got, nil
}

// ErrNoPort says that a row of ports has none that is free.
var ErrNoPort = errors.New("none of the ports is free")

// oneOf adds f with the first port that can be had of a row.
func oneOf(f Forward, from, to uint16, start uint32, add func(Forward) error) error {
	if from == to {
		f.Port = from
		return add(f)
	}
	count := uint32(to-from) + 1
	for i := range count {
		f.Port = from + uint16((start%count+i)%count)
		if add(f) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %d to %d", ErrNoPort, from, to)
}

func compareForwards(a, b Forward) int {
	return cmp.Or(cmp.Compare(a.Inside, b.Inside), strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
}

// Summary is docker's column PORTS: published ports, rows of them in one, then
// those that are exposed only.
func Summary(ports []Forward, exposed []publish.Port) string {
	var parts []string
	for i := 0; i < len(ports); {
		f, n := ports[i], 1
		for i+n < len(ports) && ports[i+n] == (Forward{f.Address, f.Port + uint16(n), f.Protocol, f.Inside + uint16(n)}) {
			n++
		}
		text := f.String()
		if n > 1 {
			text = fmt.Sprintf("%s:%d-%d->%d-%d/%s", f.Address, f.Port, int(f.Port)+n-1, f.Inside, int(f.Inside)+n-1, f.Protocol)
		}
		parts = append(parts, text)
		i += n
	}
	for _, e := range exposed {
		published := slices.ContainsFunc(ports, func(f Forward) bool {
			return f.Protocol == e.Protocol && f.Inside >= e.Inside && f.Inside <= e.InsideLast
		})
		if text := e.String(); !published && !slices.Contains(parts, text) {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ", ")
}

// Lookup returns where a container's port is published; ask is PORT or
// PORT/PROTOCOL.
func Lookup(ports []Forward, ask string) ([]Forward, error) {
	text, protocol, _ := strings.Cut(ask, "/")
	n, err := strconv.ParseUint(text, 10, 16)
	if protocol = strings.ToLower(protocol); protocol == "" {
		protocol = "tcp"
	}
	if err != nil {
		return nil, fmt.Errorf("%q is no port; write such as 80 or 53/udp", ask)
	}
	var found []Forward
	for _, f := range ports {
		if uint64(f.Inside) == n && f.Protocol == protocol {
			found = append(found, f)
		}
	}
	return found, nil
}
