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
	words := []word{{text: a.Text}}
	if s.kind == "units" {
		var err error
		if words, err = splitWords(a.Text, false); err != nil {
			c.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "as systemd.syntax(7) has it")
		}
	}
	for _, w := range words {
		name, known := c.expand(w.text)
		if !known {
			continue // it becomes a name on the machine
		}
		if what, fix := c.unitName(s, name); what != "" {
			c.fail(a.Line, fmt.Sprintf("%s=: %s", a.key, what), fix)
		}
	}
}

func (c *checker) unitName(s setting, name string) (what, fix string) {
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
	if _, err := ParseName(name); err != nil {
		return err.Error(), "correct it"
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
		text, known := c.expand(a.Text)
		if _, ok := parseListen(text); !ok && known {
			is("is nothing to listen on", "write a port, address:port, [v6 address]:port, or a path")
		}
	}
}

// parseListen reads what a socket listens on, specifiers expanded. The port is
// 0 where it is no network address.
func parseListen(s string) (at Port, ok bool) {
	switch {
	case strings.HasPrefix(s, "/"), len(s) > 1 && s[0] == '@':
		return Port{}, true
	case strings.HasPrefix(s, "vsock:"):
		cid, port, _ := strings.Cut(s[len("vsock:"):], ":")
		_, badPort := strconv.ParseUint(port, 0, 32)
		_, badCID := strconv.ParseUint(cid, 0, 32)
		return Port{}, badPort == nil && (cid == "" || badCID == nil)
	}
	if n, err := strconv.ParseUint(s, 0, 16); err == nil {
		return Port{Number: uint16(n)}, n > 0
	}
	addr, port, _ := cutLast(s, ":")
	bare, v6 := strings.CutPrefix(addr, "[")
	if v6 {
		port, _, _ = strings.Cut(port, "%") // [fe80::1]:80%eth0
		if bare, v6 = strings.CutSuffix(bare, "]"); !v6 {
			return Port{}, false
		}
	}
	n, bad := strconv.ParseUint(port, 0, 16)
	ip, none := netip.ParseAddr(bare)
	if bad != nil || n == 0 || none != nil || ip.Is6() != v6 || ip.Zone() != "" {
		return Port{}, false
	}
	return Port{Address: bare, Number: uint16(n)}, true
}
