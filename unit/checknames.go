package unit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// units checks settings that name units.
func (c *checker) units(s setting, a assignment) {
	names := []string{a.Text}
	switch {
	case s.kind == "units" && a.section == "Install":
		words, err := splitWords(a.Text, false)
		if err != nil {
			c.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "as systemd.syntax(7) has it")
		}
		names = nil
		for _, w := range words {
			names = append(names, w.text)
		}
	case s.kind == "units":
		names = strings.Fields(a.Text)
	}
	for _, text := range names {
		if s.key == "Sockets" && strings.Contains(text, `\`) {
			c.fail(a.Line, fmt.Sprintf("%s=: %s has a backslash, which systemd takes off", a.key, excerpt(text)), "name the service in the socket's Service= instead")
		}
		name, known := c.substitute(text)
		if !known || c.name.IsTemplate() && instanced(text[strings.LastIndexByte(text, '.')+1:]) {
			continue // it becomes a name on the machine, or gets its type from the instance
		}
		if what, fix := c.unitName(s, name); what != "" {
			c.fail(a.Line, fmt.Sprintf("%s=: %s", a.key, what), fix)
		}
	}
	if s.key == "Unit" {
		c.onlyOne(s, a)
	}
}

// onlyOne refuses what systemd ignores: of several good ones it takes the first.
func (c *checker) onlyOne(s setting, a assignment) {
	for _, v := range c.file.Values(a.section, a.key) {
		name, known := c.expand(v.Text)
		if what, _ := c.unitName(s, name); v.Line >= a.Line || !known || what != "" {
			continue
		}
		c.fail(a.Line, fmt.Sprintf("%s= is there already, in line %d, and systemd ignores this one", a.key, v.Line), "keep one of them")
		return
	}
}

func (c *checker) unitName(s setting, name string) (what, fix string) {
	typ := Name(name).Type()
	switch {
	case strings.ContainsAny(name, `"'`):
		return excerpt(name) + " has quotes, which systemd takes for part of the name", "write it without them"
	case len(typ) == len(name) || !slices.Contains(types, typ) && !slices.Contains(fileless, typ):
		suffix := "service"
		if s.kind == "slice" {
			suffix = "slice"
		}
		return excerpt(name) + " has no unit type", "write it in full, such as " + excerpt(suggestUnit(name, suffix))
	case s.kind == "slice" && typ != "slice":
		return excerpt(name) + " is no slice", "name a .slice unit"
	case s.key == "Sockets" && typ != "socket":
		return excerpt(name) + " is no socket", "name a .socket unit"
	case s.key == "Service" && typ != "service":
		return excerpt(name) + " is no service", "name a .service unit"
	case s.key == "Service" && Name(name).IsTemplate():
		return excerpt(name) + " is a template", "name one of its instances; Accept=yes makes them itself"
	case typ == "device" && (s.key == "Before" || s.key == "OnFailure"):
		return fmt.Sprintf("systemd ignores it for %s, which nothing can start or delay", excerpt(name)), "take it out"
	case s.key == "OnFailure" && c.name.Type() == "slice":
		return "systemd ignores it, as slices don't fail", "take it out"
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
	text, known := c.expand(a.Text)
	switch a.key {
	case "ListenFIFO", "ListenSpecial", "ListenMessageQueue", "ListenUSBFunction":
		if what, fix := pathFault(text, known); what != "" {
			is(what, fix)
		}
	case "ListenSequentialPacket":
		if !absolute(text, known) && !strings.HasPrefix(text, "@") {
			is("is no path", "begin it with a /, or with @ for an abstract socket")
		}
	default:
		if _, ok := parseListen(text); !ok && known {
			is("is nothing to listen on", "write a port, address:port, [v6 address]:port, or a path")
		}
	}
}

// netlinkFamilies are those that a socket may be of.
const netlinkFamilies = " route firewall inet-diag nflog xfrm selinux iscsi audit fib-lookup connector netfilter ip6-fw dnrtmsg kobject-uevent generic scsitransport ecryptfs rdma "

// parseNetlink says whether s is a netlink family, with a group perhaps.
func parseNetlink(s string) bool {
	words := strings.Fields(s)
	if len(words) == 0 || len(words) > 2 {
		return false
	}
	for i, word := range words {
		if _, ok := parseUint(word, 31); !ok && (i > 0 || !strings.Contains(netlinkFamilies, " "+word+" ")) {
			return false
		}
	}
	return true
}

// parseListen reads what a socket listens on, specifiers expanded. The port is
// 0 where it is no network address.
func parseListen(s string) (at Port, ok bool) {
	switch {
	case strings.HasPrefix(s, "/"), len(s) > 1 && s[0] == '@':
		return Port{}, true
	case strings.HasPrefix(s, "vsock:"):
		cid, port, _ := strings.Cut(s[len("vsock:"):], ":")
		_, isPort := parseUint(port, 32)
		_, isCID := parseUint(cid, 32)
		return Port{}, isPort && (cid == "" || isCID)
	}
	if n, ok := parseUint(s, 16); ok {
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
	n, ok := parseUint(port, 16)
	ip, none := netip.ParseAddr(bare)
	if !ok || n == 0 || none != nil || ip.Is6() != v6 || ip.Zone() != "" {
		return Port{}, false
	}
	return Port{Address: bare, Number: uint16(n)}, true
}
