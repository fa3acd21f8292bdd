package container

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/publish"
)

// What keys about the network, names and the kernel's settings do with their
// values.

const networkFix = "use bridge (which it is without Network=), none, host, container:NAME or ns:/run/netns/NAME"

func (r *renderer) network(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	name, options, _ := strings.Cut(text, ":")
	switch {
	case strings.HasSuffix(text, ".network"):
		r.fail(v.Line, key+"="+clip(text)+" names another Quadlet file, and there are none here", networkFix)
		return
	case strings.HasSuffix(text, ".container"):
		r.fail(v.Line, key+"="+clip(text)+" names another Quadlet file, and there are none here", "write container: and the name of that container, its ContainerName=")
		return
	case name == "bridge" && !variable(options) && !bridgeOptions(options):
		r.fail(v.Line, key+"="+clip(text)+" can't be had: a bridge has the options ip=, mac= and alias=", "write such as Network=bridge:ip=10.86.0.9")
		return
	case (name == "container" || name == "ns" && strings.HasPrefix(options, "/")) && options != "":
	case name == "bridge":
	case !r.allowed(v, key, text, networkFix, []string{"none", "host"}):
		return
	}
	r.flag(v.Line, "network", text)
}

func bridgeOptions(list string) bool {
	for _, option := range strings.Split(list, ",") {
		key, value, _ := strings.Cut(option, "=")
		if list != "" && (value == "" || key != "ip" && key != "mac" && key != "alias") {
			return false
		}
	}
	return true
}

// publish judges a PublishPort=. On the bridge it is as with docker. On the
// machine's own network a port is published by the program listening there; the
// flag tells placement of it.
func (r *renderer) publish(v unit.Value, network string) {
	text := bare(v.Text)
	p, err := publish.Parse(text)
	kind, _, _ := strings.Cut(network, ":")
	switch {
	case kind == "bridge" || kind == "" || variable(network):
		switch {
		case variable(text):
		case err != nil:
			r.fail(v.Line, "PublishPort="+clip(text)+" is no port: "+err.Error(), "write such as 8080:80 or 127.0.0.1:53:53/udp")
			return
		case strings.Contains(p.Address, ":"):
			r.fail(v.Line, "PublishPort="+clip(text)+" can't be had: containers on the bridge have IPv4 only", "leave the address out, or write an IPv4 address of the machine's")
			return
		case p.Protocol == "sctp":
			r.fail(v.Line, "PublishPort="+clip(text)+" can't be had: there are tcp and udp on the bridge", "use Network=host")
			return
		}
		r.flag(v.Line, "publish", text)
		return
	case kind != "host":
		r.fail(v.Line, "PublishPort="+clip(text)+" can't be had with Network="+clip(network), "use Network=bridge, or leave Network= out")
		return
	}
	ports, _, _ := strings.Cut(text, "/")
	part := strings.Split(ports, ":")
	inside := part[len(part)-1]
	switch {
	case len(part) > 2 || len(part) == 2 && part[0] != inside:
		r.fail(v.Line, "PublishPort="+clip(text)+" can't be had with Network=host: the program listens on the machine itself", "have the program listen where you want it, and write PublishPort="+inside)
		return
	case !variable(text) && err != nil:
		r.fail(v.Line, "PublishPort="+clip(text)+" is no port", "write such as 80 or 53/udp")
		return
	}
	out := inside + ":" + inside
	if _, protocol, given := strings.Cut(text, "/"); given {
		out += "/" + protocol
	}
	r.flag(v.Line, "publish", out)
}

// networkNeeds refuses keys that the network, as Network= has it, leaves no room for.
func (r *renderer) networkNeeds(network string) {
	kind, other, _ := strings.Cut(network, ":")
	if network == "" || kind == "bridge" || variable(network) {
		return
	}
	bad := []string{"IP", "NetworkAlias"}
	why, fix := "can't be had with Network="+clip(network), "use Network=bridge, or leave Network= out"
	if kind == "container" {
		bad = strings.Fields("IP NetworkAlias HostName AddHost DNS DNSSearch DNSOption ExposeHostPort")
		why, fix = why+": names, addresses and ports are "+clip(other)+"'s", "say it there"
	}
	for _, key := range bad {
		if v, ok := r.f.Last(Section, key); ok {
			r.fail(v.Line, key+"= "+why, fix)
		}
	}
	for _, v := range r.f.Values(Section, "AddHost") {
		if kind != "host" && kind != "container" && strings.HasSuffix(bare(v.Text), ":host-gateway") {
			r.fail(v.Line, "AddHost="+clip(v.Text)+" "+why+": there is no way to the machine", fix)
		}
	}
}

// expose tells of a port that the program listens on.
func (r *renderer) expose(key string, values []unit.Value) {
	for _, v := range values {
		text := bare(v.Text)
		if _, err := publish.ParseExpose(text); err != nil && !variable(text) {
			r.fail(v.Line, key+"="+clip(v.Text)+" is no port", "write such as 80 or 53/udp")
			continue
		}
		r.flag(v.Line, "expose", text)
	}
}

// address is the container's on the bridge.
func (r *renderer) address(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	if addr, err := netip.ParseAddr(text); !variable(text) && (err != nil || !addr.Is4()) {
		r.fail(v.Line, key+"="+clip(text)+" is no IPv4 address", "write one of the bridge's network, such as 10.86.0.9")
		return
	}
	r.flag(v.Line, "ip", text)
}

func (r *renderer) addHost(key string, values []unit.Value) {
	for _, v := range values {
		text := bare(v.Text)
		name, address, ok := strings.Cut(text, ":")
		address = strings.Trim(address, "[]")
		_, err := netip.ParseAddr(address)
		switch {
		case variable(text):
		case !ok || name == "" || err != nil && address != "host-gateway" || strings.ContainsFunc(name, func(c rune) bool { return c != ';' && special(c) }):
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

func (r *renderer) sysctl(v unit.Value, network string) {
	host := network == "host"
	joined := strings.HasPrefix(network, "container:") || strings.HasPrefix(network, "ns:")
	r.words("Sysctl", []unit.Value{v}, func(v unit.Value, word string) {
		name, _, ok := strings.Cut(word, "=")
		own := strings.HasPrefix(name, "net.") && !host && !joined || strings.HasPrefix(name, "fs.mqueue.") || slices.Contains(ownSysctls, name)
		switch {
		case !ok || name == "" || strings.Contains(name, "/"):
			r.fail(v.Line, "Sysctl="+clip(word)+" is no setting", "write such as net.core.somaxconn=1024, in quotes if there is white space in it")
		case strings.HasPrefix(name, "net.") && joined:
			r.fail(v.Line, "Sysctl="+clip(word)+" can't be had: with Network="+clip(network)+" it is the other's", "set it there")
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
