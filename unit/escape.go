package unit

import (
	"fmt"
	"strings"
)

// Escape turns any text into one that may stand in a unit's name, as
// systemd-escape(1) does: a slash becomes a dash, and what a name can't hold
// becomes \x and two hexadecimal digits.
func Escape(s string) string {
	return escapeBytes(s, func(i int, c byte) bool {
		return plainByte(c) || c == ':' || c == '_' || c == '.' && i > 0
	})
}

// Unescape undoes Escape. It refuses a backslash that begins no \xHH.
func Unescape(s string) (string, error) {
	if !strings.ContainsAny(s, `-\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '-':
			b.WriteByte('/')
		case '\\':
			if i+4 > len(s) || s[i+1] != 'x' || !isHex(s[i+2]) || !isHex(s[i+3]) {
				return "", fmt.Errorf(`unescape %s: the backslash begins no \xHH; write \x5c for a backslash`, clip(s))
			}
			c := hexDigit(s[i+2])<<4 | hexDigit(s[i+3])
			if c == 0 {
				return "", fmt.Errorf(`unescape %s: \x00 stands for nothing; take it out`, clip(s))
			}
			b.WriteByte(c)
			i += 3
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// EscapePath turns a path into the name that systemd gives a unit that is
// about it, without a suffix: /srv/my data is srv-my\x20data, and / is a dash.
// A path with .. in it has none.
func EscapePath(path string) (string, error) {
	simple := SimplifyPath(path)
	if simple == "" || simple == "/" {
		return "-", nil
	}
	if hasDotDot(simple) {
		return "", fmt.Errorf("escape path %q: it has a .. in it; give the path without", excerpt(path))
	}
	return Escape(strings.TrimPrefix(simple, "/")), nil
}

// UnescapePath undoes EscapePath.
func UnescapePath(s string) (string, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("unescape path: it is empty; a dash stands for /")
	case s == "-":
		return "/", nil
	}
	path, err := Unescape(s)
	if err != nil {
		return "", err
	}
	path = "/" + path
	if SimplifyPath(path) != path || hasDotDot(path) {
		return "", fmt.Errorf("unescape path %s: %q is not the plain form of a path; use the name that systemd-escape --path prints", clip(s), excerpt(path))
	}
	return path, nil
}

// SimplifyPath takes doubled slashes, single dots and a slash at the end out
// of a path, as systemd does before it compares two.
func SimplifyPath(path string) string {
	absolute := strings.HasPrefix(path, "/")
	var parts []string
	for _, part := range strings.Split(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	simple := strings.Join(parts, "/")
	if absolute {
		simple = "/" + simple
	}
	return simple
}

func hasDotDot(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// Mangle turns what a user typed into a unit's name, as systemctl does: a path
// becomes its mount unit, what a name can't hold is escaped, and a name
// without a type is a service's.
func Mangle(s string) (Name, error) {
	if strings.HasPrefix(s, "/") {
		stem, err := EscapePath(s)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(s, "/dev/") || strings.HasPrefix(s, "/sys/") {
			return ParseName(stem + ".device")
		}
		return ParseName(stem + ".mount")
	}
	return ParseName(escapeBytes(s, func(_ int, c byte) bool { return nameByte(c) }))
}

// escapeBytes escapes the bytes of s that plain, given their place, doesn't let stand.
func escapeBytes(s string, plain func(i int, c byte) bool) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plain(i, c):
			b.WriteByte(c)
		case c == '/':
			b.WriteByte('-')
		default:
			b.WriteString(`\x`)
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// plainByte says whether c is a letter or a digit, in ASCII.
func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexDigit(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
