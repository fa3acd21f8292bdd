package unit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SplitCommand takes the value of an ExecStart= or its like apart, as systemd
// quotes it: the special characters before the program's path (some of @-:+!|)
// and the words, quotes removed and escapes undone. Specifiers (%) and
// environment variables ($) stay as they are. After the prefix @ the second
// word is the program's argv[0]. A lone ; ends the first command, the only one returned.
func SplitCommand(value string) (prefixes string, argv []string, err error) {
	value = strings.TrimLeft(value, blank)
	// systemd looks for the prefixes in the first word once its quotes are off.
	words, err := splitWords(value, true)
	if err != nil {
		return "", nil, err
	}
	for i, word := range words {
		if word.text == ";" && word.bare {
			words = words[:i]
			break
		}
	}
	if len(words) == 0 {
		return "", nil, fmt.Errorf("split command: it is empty; give the path of a program")
	}
	program := strings.TrimLeft(words[0].text, "@-:+!|")
	prefixes = words[0].text[:len(words[0].text)-len(program)]
	if program == "" {
		return "", nil, fmt.Errorf("split command: nothing stands behind %q; give the path of a program", prefixes)
	}
	argv = append(argv, program)
	for _, word := range words[1:] {
		argv = append(argv, word.text)
	}
	return prefixes, argv, nil
}

// word is one word of a value; it is bare when it was written without quotes
// and escapes.
type word struct {
	text string
	bare bool
}

// splitWords splits s at white space. Quotes, double or single, hold words
// together and are taken off, in the middle of a word too. With unescape,
// C-style escapes are undone, and those that mean nothing are kept; without it
// a backslash is a character like any other, as unit names may have it.
func splitWords(s string, unescape bool) ([]word, error) {
	var words []word
	for {
		s = strings.TrimLeft(s, blank)
		if s == "" {
			return words, nil
		}
		var b strings.Builder
		w := word{bare: true}
		quote := byte(0)
		i := 0
	scan:
		for ; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '\\' && unescape:
				text, length := unescapeAt(s[i:])
				b.WriteString(text)
				w.bare = false
				i += length - 1
			case quote != 0 && c == quote:
				quote = 0
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
				w.bare = false
			case quote == 0 && strings.IndexByte(blank, c) >= 0:
				break scan
			default:
				b.WriteByte(c)
			}
		}
		if quote != 0 {
			return nil, fmt.Errorf("the quote %c is not closed in %q; close it, or escape it with a backslash", quote, excerpt(s))
		}
		w.text = b.String()
		words = append(words, w)
		s = s[i:]
	}
}

// unescapeAt undoes the escape that s begins with and returns what it means
// and how many bytes it has. What is no escape is returned as it stands.
func unescapeAt(s string) (text string, length int) {
	if len(s) < 2 {
		return s, len(s)
	}
	const from, to = `abfnrtvs\"';`, "\a\b\f\n\r\t\v \\\"';"
	if at := strings.IndexByte(from, s[1]); at >= 0 {
		return to[at : at+1], 2
	}
	switch c := s[1]; {
	case c == 'x':
		return codeAt(s, 2, 2, 16)
	case c == 'u':
		return codeAt(s, 2, 4, 16)
	case c == 'U':
		return codeAt(s, 2, 8, 16)
	case '0' <= c && c <= '7':
		return codeAt(s, 1, 3, 8)
	default:
		return s[:1], 1
	}
}

// codeAt reads the number of digits at s[from:] that an escape gives.
func codeAt(s string, from, digits, base int) (text string, length int) {
	end := from + digits
	if end > len(s) {
		return s[:1], 1
	}
	code, err := strconv.ParseUint(s[from:end], base, 32)
	switch {
	case err != nil || code == 0:
		return s[:1], 1
	case s[1] == 'u' || s[1] == 'U':
		if code > utf8.MaxRune || !utf8.ValidRune(rune(code)) {
			return s[:1], 1
		}
		return string(rune(code)), end
	case code > 0xff:
		return s[:1], 1
	}
	return string([]byte{byte(code)}), end
}
