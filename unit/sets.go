package unit

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// set checks a list of words, each of which must be one that systemd knows.
func (c *checker) set(s setting, a assignment) {
	text := a.Text
	if s.kind != "networks" && s.kind != "statuses" {
		text = strings.TrimPrefix(text, "~")
	}
	if _, ok := parseBool(a.Text); ok && s.kind == "namespaces" || a.Text == "none" && a.key == "RestrictAddressFamilies" {
		return
	}
	words, err := splitWords(text, true)
	if err != nil {
		c.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "as systemd.syntax(7) has it")
		return
	}
	for _, w := range words {
		if s.allows(w.text, c.Systemd) {
			continue
		}
		c.fail(a.Line, fmt.Sprintf("%s=: %s is nothing systemd knows", a.key, excerpt(w.text)), s.instead(w.text, c.Systemd))
	}
}

// instead says what to write in place of a word that isn't allowed.
func (s setting) instead(word string, version int) string {
	for _, prefix := range []string{"CAP_", "AF_", "@"} {
		if full := prefix + strings.ToUpper(word); slices.Contains(s.words, full) {
			return "write " + full
		}
	}
	if best := nearest(word, slices.Values(s.words)); best != "" {
		return "write " + best
	}
	switch s.kind {
	case "networks":
		return "use " + plainWords(s.words, version) + " or an address such as 10.0.0.0/8"
	case "statuses":
		return "use numbers up to 255, or names such as SIGTERM and TEMPFAIL"
	}
	if len(s.words) < 10 {
		return "use some of " + plainWords(s.words, version)
	}
	return "take it out"
}

// allows says whether a word may be in the list.
func (s setting) allows(word string, version int) bool {
	switch s.kind {
	case "syscalls":
		if !strings.HasPrefix(word, "@") {
			name, _, _ := strings.Cut(word, ":") // the machine knows its own system calls
			return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
		}
		word, _, _ = strings.Cut(word, ":")
	case "networks":
		if _, err := netip.ParsePrefix(word); err == nil {
			return true
		}
		if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() == "" {
			return true
		}
	case "statuses":
		if n, err := strconv.ParseUint(word, 0, 64); err == nil {
			return n <= 255
		}
		if parseSignal(word) {
			return true
		}
	}
	if strings.HasPrefix(word, "CAP_") || strings.HasPrefix(word, "cap_") {
		word = strings.ToUpper(word)
	}
	ok, _ := isOneOf(s.words, word, version)
	return ok
}

// IsCapability says whether there is a capability of that name, in capitals and
// with CAP_ in front.
func IsCapability(name string) bool {
	s, _, ok := lookUp("Service", "CapabilityBoundingSet")
	return ok && slices.Contains(s.words, name)
}
