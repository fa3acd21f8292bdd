package unit

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Port is a port, or a row of them, that a unit needs for itself on its machine.
type Port struct {
	Protocol string // tcp, udp or sctp
	Address  string // an address of the machine; empty means all of them
	Number   uint16
	Last     uint16 // of the row; Number where it is one port
	Line     int
}

// Clashes says whether two units can't have these ports on one machine.
func (p Port) Clashes(q Port) bool {
	return p.Protocol == q.Protocol && p.Number <= q.Last && q.Number <= p.Last &&
		(p.Address == "" || q.Address == "" || p.Address == q.Address)
}

func (p Port) String() string {
	s := strconv.Itoa(int(p.Number))
	if p.Last != p.Number {
		s += "-" + strconv.Itoa(int(p.Last))
	}
	if strings.Contains(p.Address, ":") {
		s = "[" + p.Address + "]:" + s
	} else if p.Address != "" {
		s = p.Address + ":" + s
	}
	return s + "/" + p.Protocol
}

// Ports are the ports that the unit needs as far as its file says: those that
// a socket unit listens on, and those that a container publishes, in an
// ExecStart= that is nsrun, docker or podman with -p or --publish. What only the
// machine can tell, by a specifier or a variable, is left out.
func (f *File) Ports(n Name) []Port {
	var ports []Port
	add := func(p Port, protocol string, line int) {
		if p.Number > 0 {
			p.Protocol, p.Line, p.Last = protocol, line, max(p.Last, p.Number)
			if addr, err := netip.ParseAddr(p.Address); err == nil && addr.IsUnspecified() {
				p.Address = ""
			}
			ports = append(ports, p)
		}
	}
	switch n.Type() {
	case "socket":
		for key, protocol := range map[string]string{"ListenStream": "tcp", "ListenDatagram": "udp"} {
			for _, v := range f.Values("Socket", key) {
				text, err := n.Expand(v.Text)
				if p, ok := parseListen(text); err == nil && ok {
					add(p, protocol, v.Line)
				}
			}
		}
	case "service":
		for _, v := range f.Values("Service", "ExecStart") {
			for _, text := range published(v.Text) {
				text, err := n.Expand(text)
				if p, protocol, ok := parsePublish(text); err == nil && ok {
					add(p, protocol, v.Line)
				}
			}
		}
	}
	sortPorts(ports)
	return ports
}

func sortPorts(ports []Port) {
	slices.SortStableFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Number, b.Number))
	})
}

// published returns the values of -p and --publish of a command that runs a
// container.
func published(command string) []string {
	prefixes, argv, err := SplitCommand(command)
	if err != nil {
		return nil
	}
	program := argv[0][strings.LastIndexByte(argv[0], '/')+1:]
	args := argv[1:]
	if strings.Contains(prefixes, "@") && len(args) > 0 {
		args = args[1:]
	}
	if program != "nsrun" && program != "docker" && program != "podman" {
		return nil
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:] // options of the program itself, which all stand in one word
	}
	if len(args) > 0 && args[0] == "container" {
		args = args[1:]
	}
	if len(args) == 0 || args[0] != "run" {
		return nil
	}
	return publishOptions(args[1:])
}

// flags are the options of a run that take no value; all others do.
const (
	flags      = " detach interactive tty rm init privileged read-only publish-all no-healthcheck oom-kill-disable sig-proxy disable-content-trust quiet replace rmi tls-verify no-hosts systemd env-host "
	shortFlags = "ditPq"
)

// publishOptions collects what -p and --publish are given, up to the image.
func publishOptions(args []string) []string {
	var found []string
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		option, value, inWord := strings.Cut(args[0], "=")
		args = args[1:]
		next := func() {
			if !inWord && len(args) > 0 {
				value, args = args[0], args[1:]
			}
		}
		if name, long := strings.CutPrefix(option, "--"); long {
			if !strings.Contains(flags, " "+name+" ") {
				next()
			}
			if name == "publish" {
				found = append(found, value)
			}
			continue
		}
		letters := strings.TrimLeft(option[1:], shortFlags)
		if letters == "" {
			continue
		}
		if len(letters) > 1 { // -p80:80, where an = belongs to the value
			value = letters[1:]
			if inWord {
				value += "="
			}
			inWord = true
		}
		next()
		if letters[0] == 'p' {
			found = append(found, value)
		}
	}
	return found
}

// parsePublish reads the value of a -p: [address:]port[-port]:port[-port][/protocol].
// It is false where no port of the machine's is named.
func parsePublish(s string) (p Port, protocol string, ok bool) {
	s, protocol, _ = strings.Cut(s, "/")
	s, _, ok = cutLast(s, ":")
	if !ok {
		return Port{}, "", false
	}
	if address, row, has := cutLast(s, ":"); has {
		addr, err := netip.ParseAddr(strings.Trim(address, "[]"))
		if err != nil {
			return Port{}, "", false
		}
		p.Address, s = addr.String(), row
	}
	first, last, row := strings.Cut(s, "-")
	if !row {
		last = first
	}
	from, bad := strconv.ParseUint(first, 10, 16)
	to, worse := strconv.ParseUint(last, 10, 16)
	p.Number, p.Last = uint16(from), uint16(to)
	return p, cmp.Or(strings.ToLower(protocol), "tcp"), bad == nil && worse == nil && from <= to
}
