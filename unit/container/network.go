package container

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// What keys about the network, names and the kernel's settings do with their
// values.

const networkFix = "use Network=host, where the container has the machine's network, or leave it out for none"

func (r *renderer) network(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	if strings.HasSuffix(text, ".network") {
		r.fail(v.Line, key+"="+clip(text)+" names another Quadlet file, and there are none here", networkFix)
		return
	}
	if r.allowed(v, key, text, networkFix, []string{"none", "host"}) {
		r.flag(v.Line, "network", text)
	}
}

// publish judges a PublishPort=. On the machine's own network a port is
// published by the program listening there; the flag tells placement of it.
func (r *renderer) publish(v unit.Value, host bool) {
	text := bare(v.Text)
	if !host {
		r.fail(v.Line, "PublishPort="+clip(text)+" can't be had: containers have no network of their own yet", "use Network=host: then every port its program listens on is the machine's")
		return
	}
	ports, protocol, _ := strings.Cut(text, "/")
	part := strings.Split(ports, ":")
	inside := part[len(part)-1]
	switch {
	case len(part) > 2 || len(part) == 2 && part[0] != inside:
		r.fail(v.Line, "PublishPort="+clip(text)+" can't be had with Network=host: the program listens on the machine itself", "have the program listen where you want it, and write PublishPort="+inside)
		return
	case !variable(text) && (!isPorts(inside) || protocol != "" && protocol != "tcp" && protocol != "udp" && protocol != "sctp"):
		r.fail(v.Line, "PublishPort="+clip(text)+" is no port", "write such as 80 or 53/udp")
		return
	}
	out := inside + ":" + inside
	if protocol != "" {
		out += "/" + protocol
	}
	r.flag(v.Line, "publish", out)
}

// isPorts reads a port, or a row of them, as cmd/nsrun does, which says why it
// has its own.
func isPorts(s string) bool {
	first, last, row := strings.Cut(s, "-")
	if !row {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	return err1 == nil && err2 == nil && from > 0 && from <= to
}

// expose tells of a port and does nothing, as podman's without -P.
func (r *renderer) expose(key string, values []unit.Value) {
	for _, v := range values {
		if ports, _, _ := strings.Cut(bare(v.Text), "/"); !variable(ports) && !isPorts(ports) {
			r.fail(v.Line, key+"="+clip(v.Text)+" is no port", "write such as 80 or 53/udp")
		}
	}
}

func (r *renderer) addHost(key string, values []unit.Value) {
	for _, v := range values {
		text := bare(v.Text)
		name, address, ok := strings.Cut(text, ":")
		address = strings.Trim(address, "[]")
		_, err := netip.ParseAddr(address)
		switch {
		case variable(text):
		case address == "host-gateway":
			r.fail(v.Line, key+"="+clip(text)+" can't be had: there is no gateway to the machine", "use Network=host, and write "+key+"="+name+":127.0.0.1")
			continue
		case !ok || name == "" || err != nil || strings.ContainsFunc(name, func(c rune) bool { return c != ';' && special(c) }):
			r.fail(v.Line, key+"="+clip(text)+" is no name and address", "write such as db:10.0.0.1")
			continue
		}
		r.flag(v.Line, "add-host", text)
	}
}

func (r *renderer) dns(key string, values []unit.Value) {
	for _, v := range values {
		text := bare(v.Text)
		if _, err := netip.ParseAddr(text); err != nil && !variable(text) {
			r.fail(v.Line, key+"="+clip(text)+" is no address of a name server", "write such as 9.9.9.9, or leave it out for the machine's own")
			continue
		}
		r.flag(v.Line, "dns", text)
	}
}

// oneWord is a key each of whose values is a flag's, without white space.
func oneWord(name string) key {
	return key{do: func(r *renderer, key string, values []unit.Value) {
		for _, v := range values {
			text := bare(v.Text)
			if text == "" || strings.ContainsFunc(text, special) {
				r.fail(v.Line, key+"="+clip(text)+" is not one word", "write a line for each")
				continue
			}
			r.flag(v.Line, name, text)
		}
	}}
}

// ownSysctls are those outside net. and fs.mqueue. of which each container has
// its own, as nsrun knows them.
var ownSysctls = strings.Fields("kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni kernel.shm_rmid_forced")

func (r *renderer) sysctl(v unit.Value, host bool) {
	r.words("Sysctl", []unit.Value{v}, func(v unit.Value, word string) {
		name, _, ok := strings.Cut(word, "=")
		own := strings.HasPrefix(name, "net.") && !host || strings.HasPrefix(name, "fs.mqueue.") || slices.Contains(ownSysctls, name)
		switch {
		case !ok || name == "" || strings.Contains(name, "/"):
			r.fail(v.Line, "Sysctl="+clip(word)+" is no setting", "write such as net.core.somaxconn=1024, in quotes if there is white space in it")
		case strings.HasPrefix(name, "net.") && host:
			r.fail(v.Line, "Sysctl="+clip(word)+" can't be had: with Network=host it is the machine's", "set it there, in /etc/sysctl.d")
		case !own && !variable(name):
			r.fail(v.Line, "Sysctl="+clip(word)+" can't be had: it is the whole machine's", "set it there, in /etc/sysctl.d; a container has its own net.*, fs.mqueue.* and "+strings.Join(ownSysctls, ", "))
		default:
			r.flag(v.Line, "sysctl", word)
		}
	})
}

func (r *renderer) timezone(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	odd := func(c rune) bool { return !nameRune(c) && c != '/' && c != '+' }
	if !variable(text) && (text == "" || text[0] == '/' || strings.Contains(text, "..") || strings.ContainsFunc(text, odd)) {
		r.fail(v.Line, key+"="+clip(v.Text)+" is no time zone", "write such as Europe/Berlin, or local for the machine's")
		return
	}
	r.flag(v.Line, "tz", text)
}
