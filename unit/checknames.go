package unit

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// units checks settings that name units.
func (c *checker) units(s setting, a assignment) {
	for _, w := range c.words(a) {
		name, err := c.name.Expand(w.text)
		if err != nil {
			continue // it becomes a name on the machine, or systemd says what it is not
		}
		if what, fix := c.unitName(s, a, name); what != "" {
			c.fail(a.Line, fmt.Sprintf("%s=: %s", a.key, what), fix)
		}
	}
}

func (c *checker) unitName(s setting, a assignment, name string) (what, fix string) {
	typ := Name(name).Type()
	switch {
	case len(typ) == len(name) || !slices.Contains(types, typ) && !slices.Contains(fileless, typ):
		suffix := "service"
		if s.kind == "slice" {
			suffix = "slice"
		}
		return excerpt(name) + " has no unit type", "write it in full, such as " + excerpt(suggestUnit(name, suffix))
	case s.kind == "slice" && typ != "slice":
		return excerpt(name) + " is no slice", "name a .slice unit"
	case s.key == "Alias" && typ != c.name.Type():
		return fmt.Sprintf("%s is not of the unit's own type", excerpt(name)), "give it the suffix ." + c.name.Type()
	}
	if slices.Contains(fileless, typ) {
		name = strings.TrimSuffix(name, typ) + "service" // judged by its stem alone
	}
	n, err := ParseName(name)
	if err != nil {
		return err.Error(), "correct it"
	}
	if n.IsTemplate() && a.section == "Unit" {
		return excerpt(name) + " is a template, and no unit", "name an instance of it, such as " + string(n.InstanceOf("1"))
	}
	return "", ""
}

// listen checks a ListenStream= or its like.
func (c *checker) listen(a assignment) {
	is := func(what, fix string) {
		c.fail(a.Line, fmt.Sprintf("%s=%s %s", a.key, excerpt(a.Text), what), fix)
	}
	switch a.key {
	case "ListenFIFO", "ListenSpecial", "ListenMessageQueue", "ListenUSBFunction":
		if !absolute(a.Text) {
			is("is no absolute path", "begin it with a /")
		}
	case "ListenNetlink":
	case "ListenSequentialPacket":
		if !absolute(a.Text) && a.Text[0] != '@' {
			is("is no path", "begin it with a /, or with @ for an abstract socket")
		}
	default:
		if _, ok := parseListen(a.Text); !ok {
			is("is nothing to listen on", "write a port, address:port, [v6 address]:port, or a path")
		}
	}
}

// parseListen reads what a socket listens on. The port is 0 where it is no
// network address, or has a specifier in it.
func parseListen(s string) (at Port, ok bool) {
	if strings.Contains(s, "%") && !strings.HasPrefix(s, "[") || absolute(s) || len(s) > 1 && s[0] == '@' || strings.HasPrefix(s, "vsock:") {
		return Port{}, true
	}
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return Port{Number: uint16(n)}, n > 0
	}
	addr, port := s, ""
	if at := strings.LastIndexByte(s, ':'); at >= 0 {
		addr, port = s[:at], s[at+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if i := strings.IndexByte(port, '%'); i >= 0 { // [fe80::1]:80%eth0
		n, err = strconv.ParseUint(port[:i], 10, 16)
	}
	bare, v6 := strings.CutPrefix(addr, "[")
	if v6 {
		bare, v6 = strings.CutSuffix(bare, "]")
		if !v6 {
			return Port{}, false
		}
	}
	if strings.Contains(bare, "%") || strings.Contains(port, "%") && err != nil {
		return Port{}, true
	}
	ip, bad := netip.ParseAddr(bare)
	if err != nil || n == 0 || bad != nil || ip.Is6() != v6 {
		return Port{}, false
	}
	return Port{Address: bare, Number: uint16(n)}, true
}
