// Package publish reads how docker writes ports: the values of --publish and
// --expose. nsrun reads them at a container's start and package unit/container
// in a unit's file, alike. It imports next to nothing, for nsrun's sake, and
// looks at no machine.
package publish

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Port is a port of a container, or a row of them, and where on the machine it
// is to be had.
type Port struct {
	Address            string // of the machine, without brackets; empty: all that it has
	First, Last        uint16 // of the machine; zero: any that is free
	Inside, InsideLast uint16 // of the container
	Protocol           string // tcp, udp or sctp
}

// errForm says how it is written.
var errForm = errors.New("write PORT, PORT:PORT or ADDRESS:PORT:PORT, with /udp behind it if need be")

// Parse reads a value of --publish: [ADDRESS:][PORT[-PORT]:]PORT[-PORT][/PROTOCOL].
// The row outside is as long as the one inside or, for one port inside, the
// choice there is.
func Parse(s string) (Port, error) {
	ports, protocol, _ := strings.Cut(s, "/")
	p := Port{Protocol: strings.ToLower(protocol)}
	if err := p.checkProtocol(strings.Contains(s, "/")); err != nil {
		return Port{}, err
	}
	rest := ports
	if at := strings.LastIndexByte(rest, ':'); at >= 0 {
		rest = ports[at+1:]
		outside := ports[:at]
		if at := strings.LastIndexByte(outside, ':'); at >= 0 {
			p.Address, outside = outside[:at], outside[at+1:]
			if err := p.checkAddress(); err != nil {
				return Port{}, err
			}
		}
		var ok bool
		if p.First, p.Last, ok = Row(outside); !ok && outside != "" {
			return Port{}, fmt.Errorf("%q is no port of the machine; %w", outside, errForm)
		}
	}
	var ok bool
	if p.Inside, p.InsideLast, ok = Row(rest); !ok {
		return Port{}, errForm
	}
	if p.First != 0 && p.Inside != p.InsideLast && p.Last-p.First != p.InsideLast-p.Inside {
		return Port{}, fmt.Errorf("%d ports of the machine for %d of the container; write as many", int(p.Last-p.First)+1, int(p.InsideLast-p.Inside)+1)
	}
	return p, nil
}

// ParseExpose reads a value of --expose, or of an image's EXPOSE: PORT[-PORT][/PROTOCOL].
func ParseExpose(s string) (Port, error) {
	ports, protocol, _ := strings.Cut(s, "/")
	p := Port{Protocol: strings.ToLower(protocol)}
	if err := p.checkProtocol(strings.Contains(s, "/")); err != nil {
		return Port{}, err
	}
	var ok bool
	if p.Inside, p.InsideLast, ok = Row(ports); !ok {
		return Port{}, errors.New("write PORT or PORT-PORT, with /udp behind it if need be")
	}
	return p, nil
}

func (p *Port) checkProtocol(given bool) error {
	switch p.Protocol {
	case "tcp", "udp", "sctp":
		return nil
	case "":
		if !given {
			p.Protocol = "tcp"
			return nil
		}
	}
	return fmt.Errorf("protocol %q: there are tcp, udp and sctp", p.Protocol)
}

func (p *Port) checkAddress() error {
	address, bracketed := strings.CutPrefix(p.Address, "[")
	if bracketed {
		var closed bool
		if address, closed = strings.CutSuffix(address, "]"); !closed || !strings.Contains(address, ":") {
			return fmt.Errorf("%q is no address", p.Address)
		}
	}
	switch {
	case address == "":
		p.Address = ""
		return nil
	case !IsAddress(address):
		return fmt.Errorf("%q is no address", p.Address)
	}
	p.Address = address
	return nil
}

// Row reads a port, or a row of them written with a dash; false where it is
// neither. No port is zero.
func Row(s string) (first, last uint16, ok bool) {
	a, b, row := strings.Cut(s, "-")
	if !row {
		b = a
	}
	from, err1 := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	if err1 != nil || err2 != nil || from == 0 || from > to {
		return 0, 0, false
	}
	return uint16(from), uint16(to), true
}

// IsAddress says whether s looks like an IP address without a zone. (Package
// netip does it better, and costs every start of a container.)
func IsAddress(s string) bool {
	if strings.Count(s, ":") >= 2 {
		return strings.Trim(s, "0123456789abcdefABCDEF:.") == ""
	}
	parts := strings.Split(s, ".")
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 8); err != nil || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	return len(parts) == 4
}

// String is p as --publish takes it.
func (p Port) String() string {
	s := row(p.Inside, p.InsideLast) + "/" + p.Protocol
	address := p.Address
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	switch {
	case p.First != 0:
		s = row(p.First, p.Last) + ":" + s
	case address != "":
		s = ":" + s
	}
	if address != "" {
		s = address + ":" + s
	}
	return s
}

func row(first, last uint16) string {
	if first == last {
		return strconv.Itoa(int(first))
	}
	return strconv.Itoa(int(first)) + "-" + strconv.Itoa(int(last))
}
