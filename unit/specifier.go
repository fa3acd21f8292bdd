package unit

import (
	"fmt"
	"strings"
)

// machineSpecifiers are those that systemd knows, and nobody can expand who
// isn't on the unit's machine, or doesn't know its user.
const machineSpecifiers = "aAbBCdDEfFgGhHlLmMoqrRsStTuUvVwWyY"

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
