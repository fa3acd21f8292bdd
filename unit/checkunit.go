package unit

import (
	"fmt"
	"slices"
	"strings"
)

// The settings that a timer, and a path, have one list of.
var (
	timeKeys = []string{"OnCalendar", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec"}
	pathKeys = []string{"PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty"}
)

// wholeUnit checks what a unit of each type must have, and what can't be
// together: systemd refuses to load it otherwise.
func (c *checker) wholeUnit() {
	if slices.Contains(c.file.Sections(), containerSection) {
		return // what is to run becomes known when it is rendered
	}
	c.isolates()
	c.pam()
	switch c.name.Type() {
	case "service":
		c.service()
	case "socket":
		c.socket()
	case "timer":
		c.needsOneOf(slices.Concat(timeKeys, []string{"OnClockChange", "OnTimezoneChange"})...)
	case "path":
		c.needsOneOf(pathKeys...)
	case "mount":
		c.named("Where")
		c.needsOneOf("What")
	case "automount":
		c.named("Where")
	case "swap":
		c.named("What")
		c.needsOneOf("What")
	}
}

// line is where the unit's own section begins.
func (c *checker) line() int {
	for _, h := range c.file.headers {
		if h.name == c.own {
			return h.line
		}
	}
	return 0
}

// last is a setting of the unit's own section.
func (c *checker) last(key string) (Value, bool) { return c.file.Last(c.own, key) }

func (c *checker) needsOneOf(keys ...string) {
	for _, key := range keys {
		if _, ok := c.last(key); ok || c.misspelt {
			return
		}
	}
	fix := "add " + strings.Join(keys, "=, ") + "="
	if len(keys) > 1 {
		fix = "add one of " + strings.Join(keys, "=, ") + "="
	}
	c.fail(c.line(), fmt.Sprintf("[%s] doesn't say what the %s is for", c.own, c.name.Type()), fix)
}

func (c *checker) service() {
	starts := c.file.Values("Service", "ExecStart")
	stops := c.file.Values("Service", "ExecStop")
	_, acts := c.file.Last("Unit", "SuccessAction")
	typ, typed := c.last("Type")
	bus, onBus := c.last("BusName")
	kind := typ.Text
	switch {
	case !typed && onBus:
		kind = "dbus"
	case !typed && len(starts) == 0:
		kind = "oneshot"
	case !typed:
		kind = "simple"
	}
	remains, _ := c.last("RemainAfterExit")
	stays, _ := parseBool(remains.Text)
	line := max(c.line(), typ.Line)
	switch {
	case c.misspelt && len(starts) == 0:
	case len(starts) == 0 && len(stops) == 0 && !acts:
		c.fail(c.line(), "the service has no ExecStart=", "add ExecStart= with the program to run to [Service]")
	case len(starts) == 0 && kind != "oneshot":
		c.fail(line, fmt.Sprintf("Type=%s needs an ExecStart=", kind), "add one to [Service], or set Type=oneshot")
	case len(starts) == 0 && !stays && !acts:
		c.fail(c.line(), "without ExecStart= the service is over at once", "add RemainAfterExit=yes, so that its ExecStop= runs when it is stopped")
	}
	if n := commandCount(starts); n > 1 && kind != "oneshot" {
		c.fail(starts[len(starts)-1].Line, fmt.Sprintf("Type=%s takes one ExecStart= command, and these are %d", kind, n), "run the others by ExecStartPre=, set Type=oneshot, or put an empty ExecStart= above the last")
	}
	if kind == "dbus" && !onBus {
		c.fail(typ.Line, "Type=dbus needs a BusName=", "add it to [Service]")
	} else if name, known := c.expand(bus.Text); onBus && known && !strings.Contains(name, ".") {
		c.fail(bus.Line, fmt.Sprintf("BusName=%s is no bus name", excerpt(bus.Text)), "write it as org.example.Name")
	}
	if kind == "oneshot" {
		c.oneshot(typ)
	}
}

// oneshot checks what a service that is to run once can't have.
func (c *checker) oneshot(typ Value) {
	restart, ok := c.last("Restart")
	if ok && (restart.Text == "always" || restart.Text == "on-success") {
		c.fail(restart.Line, fmt.Sprintf("Restart=%s in line %d and Type=oneshot in line %d can't hold together", restart.Text, restart.Line, typ.Line), "use Restart=on-failure, or another Type=")
	}
	if exit, ok := c.last("ExitType"); ok && exit.Text == "cgroup" {
		c.fail(exit.Line, fmt.Sprintf("ExitType=cgroup in line %d and Type=oneshot in line %d can't hold together", exit.Line, typ.Line), "take one of them out")
	}
	if limit, ok := c.last("RuntimeMaxSec"); ok && limit.Text != "infinity" {
		c.warn(limit.Line, "RuntimeMaxSec= has no effect on Type=oneshot", "use TimeoutStartSec=")
	}
}

// commandCount counts the commands in several values.
func commandCount(values []Value) int {
	n := 0
	for _, v := range values {
		words, err := splitWords(v.Text, true)
		if err != nil {
			continue
		}
		within := false
		for _, w := range words {
			separator := w.text == ";" && w.bare
			if !separator && !within {
				n++
			}
			within = !separator
		}
	}
	return n
}

// isolates checks that a failure of the unit has one unit to leave running.
func (c *checker) isolates() {
	mode, _ := c.file.Last("Unit", "OnFailureJobMode")
	names := 0
	for _, d := range c.file.Dependencies(c.name) {
		if d.Kind == "OnFailure" {
			names++
		}
	}
	if mode.Text == "isolate" && names > 1 {
		c.fail(mode.Line, "OnFailureJobMode=isolate takes one unit in OnFailure=, and these are several", "name one, or choose another mode")
	}
}

// pam checks that all that PAM starts for the unit is killed with it.
func (c *checker) pam() {
	name, ok := c.last("PAMName")
	mode, set := c.last("KillMode")
	if ok && set && (mode.Text == "process" || mode.Text == "none") {
		c.fail(mode.Line, fmt.Sprintf("KillMode=%s in line %d and PAMName= in line %d can't hold together", mode.Text, mode.Line, name.Line), "use KillMode=control-group or mixed")
	}
}

func (c *checker) socket() {
	c.needsOneOf("ListenStream", "ListenDatagram", "ListenSequentialPacket", "ListenFIFO", "ListenSpecial", "ListenNetlink", "ListenMessageQueue", "ListenUSBFunction")
	paths, unsure := 0, false
	deaf := Value{} // what takes no connections
	for key := range listens {
		for _, v := range c.file.Values("Socket", key) {
			text, known := c.expand(v.Text)
			switch {
			case !listens[key].path:
			case absolute(text, true):
				paths++
			case absolute(text, known):
				unsure = true
			}
			if !listens[key].accepts && (deaf.Line == 0 || v.Line < deaf.Line) {
				deaf = v
			}
		}
	}
	if links, ok := c.last("Symlinks"); ok && paths != 1 && !(unsure && paths == 0) {
		c.fail(links.Line, fmt.Sprintf("Symlinks= needs one path that the socket listens on, and there are %d", paths), "take it out, or make a socket unit of each path")
	}
	accept, _ := c.last("Accept")
	if yes, _ := parseBool(accept.Text); !yes {
		return
	}
	if service, named := c.last("Service"); named {
		c.fail(service.Line, fmt.Sprintf("Service= in line %d and Accept=yes in line %d can't hold together", service.Line, accept.Line), "take Service= out, and name the template "+c.name.Prefix()+"@.service")
	}
	if deaf.Line > 0 {
		c.fail(accept.Line, fmt.Sprintf("Accept=yes in line %d is for connections, and line %d listens without", accept.Line, deaf.Line), "take it out, or listen by ListenStream=")
	}
	if most, ok := c.last("MaxConnections"); ok && most.Text == "0" {
		c.fail(most.Line, fmt.Sprintf("Accept=yes in line %d and MaxConnections=0 can't hold together", accept.Line), "allow some connections")
	}
}

// listens are the settings of what a socket listens on: whether it may be a
// path that systemd makes, and whether there are connections.
var listens = map[string]struct{ path, accepts bool }{
	"ListenStream": {true, true}, "ListenSequentialPacket": {true, true}, "ListenDatagram": {true, false}, "ListenFIFO": {true, false},
	"ListenSpecial": {}, "ListenNetlink": {}, "ListenMessageQueue": {}, "ListenUSBFunction": {},
}

// named checks that a unit has the name that follows from one of its settings.
func (c *checker) named(key string) {
	v, ok := c.last(key)
	if !ok {
		return // systemd takes the name then, where it can
	}
	path, err := c.name.Expand(v.Text)
	if err != nil || path == "" || path[0] != '/' {
		return // known on the machine only, as UUID=... is, or complained of already
	}
	if c.own == "Automount" && SimplifyPath(path) == "/" {
		c.fail(v.Line, "the root directory can't be mounted on demand", "choose another directory")
		return
	}
	stem, err := EscapePath(path)
	if err != nil {
		if key != "Where" { // which is complained of as any path is
			c.fail(v.Line, fmt.Sprintf("%s=%s has a .. in it", key, excerpt(v.Text)), "write the path without")
		}
		return
	}
	if want := stem + "." + c.name.Type(); want != string(c.name) {
		c.fail(v.Line, fmt.Sprintf("%s=%s belongs to a unit named %s, not %s", key, excerpt(v.Text), want, c.name), "rename the unit, or change the path")
	}
}
