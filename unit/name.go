package unit

import (
	"fmt"
	"slices"
	"strings"
)

// Name is a unit's full name, such as web@1.service. Make one with ParseName.
type Name string

// NameMax is how many bytes a unit's name may have. systemd takes 255, but then
// no drop-in fits beside the file, nor what else is called after the unit.
const NameMax = 240

// types are the kinds of unit that a file can describe.
var types = []string{"service", "socket", "timer", "path", "mount", "automount", "swap", "target", "slice"}

// templated are the types that systemd has templates and instances of. The
// others are named after what they are about.
var templated = []string{"service", "socket", "timer", "path", "target"}

// fileless are the kinds of unit that systemd makes itself and no file describes.
var fileless = []string{"device", "scope", "snapshot", "busname"}

// ParseName checks s by systemd's rules for unit names and returns it in full:
// without the suffix of a unit type, it is a service's.
func ParseName(s string) (Name, error) {
	if s == "" {
		return "", fmt.Errorf("unit name: it is empty; give one such as web.service")
	}
	full := s
	if suffix := s[strings.LastIndexByte(s, '.')+1:]; len(suffix) == len(s) || !slices.Contains(types, suffix) {
		if len(suffix) < len(s) && slices.Contains(fileless, suffix) {
			return "", fmt.Errorf("unit name %s: systemd makes .%s units itself, none has a file; use one of .%s", clip(s), suffix, strings.Join(types, ", ."))
		}
		full = s + ".service"
	}
	if len(full) > NameMax {
		return "", fmt.Errorf("unit name %s: it has %d bytes; use at most %d", clip(s), len(full), NameMax)
	}
	for i := 0; i < len(full); i++ {
		if c := full[i]; !nameByte(c) {
			return "", fmt.Errorf("unit name %s: %s", clip(s), badByte(c))
		}
	}
	switch {
	case full[0] == '@':
		return "", fmt.Errorf("unit name %s: nothing stands before the @; use the form template@instance.service", clip(s))
	case full[0] == '.':
		return "", fmt.Errorf("unit name %s: it begins with a dot; put a name before it, such as web.service", clip(s))
	}
	if err := Name(full).checkType(); err != nil {
		return "", err
	}
	return Name(full), nil
}

// checkType checks what only some types' names have to keep to.
func (n Name) checkType() error {
	typ, stem := n.Type(), n.stem()
	switch {
	case strings.Contains(stem, "@") && !slices.Contains(templated, typ):
		return fmt.Errorf("unit name %s: systemd has no templates of type .%s; take the @ out, or write it as \\x40", clip(string(n)), typ)
	case typ == "slice" && stem != "-" && (stem[0] == '-' || stem[len(stem)-1] == '-' || strings.Contains(stem, "--")):
		return fmt.Errorf("unit name %s: the dashes of a slice's name stand between the slices it lies in; write it as parent-child.slice", clip(string(n)))
	}
	return nil
}

// nameByte says whether systemd allows c in a unit's name.
func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(`:-_.\@`, c) >= 0
}

func badByte(c byte) string {
	if c == '/' {
		return "it contains a /; a name is no path, systemd-escape(1) turns one into a name"
	}
	return fmt.Sprintf(`it contains %q; use letters, digits and :-_.\@ only, systemd-escape(1) turns other text into a name`, rune(c))
}

// clip quotes s for an error where it could be mistaken, and shortens it.
func clip(s string) string {
	const shown = 60
	if len(s) > shown {
		return fmt.Sprintf("%q...", s[:shown])
	}
	for i := 0; i < len(s); i++ {
		if !nameByte(s[i]) {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}

// String returns the full name.
func (n Name) String() string { return string(n) }

// Type is the suffix without its dot: service, socket, ...
func (n Name) Type() string {
	return string(n[strings.LastIndexByte(string(n), '.')+1:])
}

// stem is the name without its suffix, systemd's %N.
func (n Name) stem() string {
	if dot := strings.LastIndexByte(string(n), '.'); dot >= 0 {
		return string(n[:dot])
	}
	return string(n)
}

// Prefix is the part before the @, or before the suffix when there is none;
// systemd's %p.
func (n Name) Prefix() string {
	prefix, _, _ := strings.Cut(n.stem(), "@")
	return prefix
}

// Instance is the part between the @ and the suffix, systemd's %i. It is false
// for a template and for a name without an @.
func (n Name) Instance() (string, bool) {
	_, instance, _ := strings.Cut(n.stem(), "@")
	return instance, instance != ""
}

// IsTemplate says whether n names a template, such as web@.service.
func (n Name) IsTemplate() bool {
	prefix, instance, at := strings.Cut(n.stem(), "@")
	return at && instance == "" && prefix != ""
}

// Template is the name of the template that n is an instance of; false when n
// is no instance.
func (n Name) Template() (Name, bool) {
	if _, ok := n.Instance(); !ok {
		return "", false
	}
	return Name(n.Prefix() + "@." + n.Type()), true
}

// InstanceOf returns the name of this template's instance i, unchecked.
func (n Name) InstanceOf(i string) Name {
	return Name(n.Prefix() + "@" + i + "." + n.Type())
}
