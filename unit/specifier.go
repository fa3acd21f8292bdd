package unit

import (
	"fmt"
	"slices"
	"strings"
)

// machineSpecifiers are those that systemd knows, and nobody can expand who
// isn't on the unit's machine, or doesn't know its user.
const machineSpecifiers = "aAbBcCdDEfgGhHlLmMoqrRsStTuUvVwWyY"

// specifierFix says what may stand in their place.
const specifierFix = "use %n, %N, %p, %P, %i, %I, %j, %J, or %% for a percent sign"

// Expand replaces the specifiers of systemd.unit(5) that follow from the
// unit's name alone: %n %N %p %P %i %I %j %J and %%. Any other is an error
// that names it. For a template %i is a stand-in: the result is then only good
// for being checked.
func (n Name) Expand(text string) (string, error) {
	if strings.IndexByte(text, '%') < 0 {
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		if i == len(text) {
			return "", fmt.Errorf("%q ends in a percent sign", excerpt(text))
		}
		value, err := n.specifier(text[i])
		if err != nil {
			return "", err
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

func (n Name) specifier(c byte) (string, error) {
	switch c {
	case '%':
		return "%", nil
	case 'n':
		return string(n), nil
	case 'N':
		return n.stem(), nil
	case 'p':
		return n.Prefix(), nil
	case 'P':
		return unescaped(c, n.Prefix())
	case 'i':
		return n.instanceOrStandIn(), nil
	case 'I':
		return unescaped(c, n.instanceOrStandIn())
	case 'j':
		return n.lastPart(), nil
	case 'J':
		return unescaped(c, n.lastPart())
	}
	if strings.IndexByte(machineSpecifiers, c) >= 0 {
		return "", fmt.Errorf("%%%c is known on the unit's machine only", c)
	}
	if c < ' ' || c > '~' {
		return "", fmt.Errorf("no specifier follows the percent sign")
	}
	return "", fmt.Errorf("no specifier %%%c", c)
}

// instanced says whether text has specifiers whose values differ between the
// instances of a template.
func instanced(text string) bool {
	for i := 0; i+1 < len(text); i++ {
		if text[i] == '%' {
			i++
			if strings.IndexByte("iInN", text[i]) >= 0 {
				return true
			}
		}
	}
	return false
}

// lastPart is what follows the prefix's last dash, systemd's %j.
func (n Name) lastPart() string {
	return n.Prefix()[strings.LastIndexByte(n.Prefix(), '-')+1:]
}

func (n Name) instanceOrStandIn() string {
	if n.IsTemplate() {
		return "i"
	}
	instance, _ := n.Instance()
	return instance
}

func unescaped(specifier byte, s string) (string, error) {
	text, err := Unescape(s)
	if err != nil {
		return "", fmt.Errorf("%%%c: %w", specifier, err)
	}
	return text, nil
}

// unexpanded are the kinds of settings in whose values specifiers mean nothing.
var unexpanded = []string{"any", "bool", "int", "nspan", "rlimit-int", "rlimit-nice", "rlimit-size", "rlimit-span", "rlimit-uspan", "signal", "size", "memory", "quota", "tasks", "mode", "set", "namespaces", "syscalls", "networks", "statuses"}

// expands says whether systemd expands specifiers in a setting's value.
func expands(s setting) bool {
	switch s.kind {
	case "enum":
		return strings.HasPrefix(s.key, "Standard")
	case "span":
		return slices.Contains(timeKeys, s.key)
	}
	return !slices.Contains(unexpanded, s.kind)
}

// specifiers looks for those that systemd doesn't have: it ignores the value,
// or refuses the unit.
func (c *checker) specifiers(s setting, a assignment) {
	all := "nNpPiIjJ" + machineSpecifiers
	where := ""
	switch s.kind {
	case "units", "unit", "slice":
		all, where = "aAbBgGHijlmMnNopquUvwW", " in the name of a unit"
	}
	for i := 0; i+1 < len(a.Text); i++ {
		if a.Text[i] != '%' {
			continue
		}
		i++
		if letter := a.Text[i]; plainByte(letter) && strings.IndexByte(all, letter) < 0 {
			fix := fmt.Sprintf("write %%%%%c for a percent sign", letter)
			if where != "" {
				fix = "use %n, %N, %p, %i or %j"
			}
			c.fail(a.Line, fmt.Sprintf("%s=: systemd has no specifier %%%c%s", a.key, letter, where), fix)
			return
		}
	}
}

// expand replaces specifiers as systemd does, which lets those stand that it
// doesn't know. It is false, and the text as it was, where only the machine can
// tell, or the instance of a template.
func (c *checker) expand(text string) (string, bool) {
	if c.name.IsTemplate() && instanced(text) {
		return text, false
	}
	return c.substitute(text)
}

// substitute is expand with a stand-in for a template's instance.
func (c *checker) substitute(text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		if strings.IndexByte(machineSpecifiers, text[i]) >= 0 {
			return text, false
		}
		value, err := c.name.specifier(text[i])
		if err != nil {
			value = text[i-1 : i+1]
		}
		b.WriteString(value)
	}
	return b.String(), true
}
