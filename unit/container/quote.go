package container

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/clusterd/clusterd/unit"
)

// quote writes a word of a command line so that systemd reads it back as it is.
// Specifiers (%) and variables ($) stay what they are: see literal.
func quote(word string) string {
	if word != "" && utf8.ValidString(word) && !strings.ContainsFunc(word, special) && word[0] != '#' {
		return word
	}
	var b strings.Builder
	text := utf8.ValidString(word)
	b.WriteByte('"')
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f || c >= utf8.RuneSelf && !text:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// special says whether a word with c in it needs quotes.
func special(c rune) bool {
	return c <= ' ' || c == 0x7f || c == '"' || c == '\'' || c == '\\' || c == ';'
}

// quoteAll quotes words and joins them.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// split takes the words of a value apart, as systemd quotes them.
func split(value string) ([]string, error) {
	// The program takes the prefixes away from the words, the end tells whether
	// a lone ; ended them.
	const program, end = "x ", "\x00"
	_, argv, err := unit.SplitCommand(program + value + " " + end)
	if err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		if why == "" {
			why = err.Error()
		}
		return nil, fmt.Errorf("%s", why)
	}
	if argv[len(argv)-1] != end {
		return nil, fmt.Errorf("a lone ; would end the command; write it as \\;")
	}
	return argv[1 : len(argv)-1], nil
}

// bare is a value that is taken as it stands, but for quotes around the whole.
func bare(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] &&
		strings.IndexByte(value[1:n-1], value[0]) < 0 {
		return value[1 : n-1]
	}
	return value
}

// bareQuote writes a value so that bare reads it back.
func bareQuote(value string) (string, error) {
	if strings.ContainsAny(value, "\n\r\x00") {
		return "", fmt.Errorf("%q has more than one line", value)
	}
	if value != "" && bare(value) == value && strings.TrimSpace(value) == value && !strings.HasSuffix(value, `\`) {
		return value, nil
	}
	for _, q := range []string{`"`, `'`} {
		if !strings.Contains(value, q) {
			return q + value + q, nil
		}
	}
	return "", fmt.Errorf("%q has quotes of both kinds", value)
}

// literal makes systemd take no sign of s for a specifier or a variable.
func literal(s string) string {
	return strings.NewReplacer("%", "%%", "$", "$$").Replace(s)
}
