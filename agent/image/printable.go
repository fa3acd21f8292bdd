package image

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Printable returns text, which strangers may have written, with nothing in it
// that speaks to a terminal: line ends, other control characters and bytes that
// are no text stand there as Go would quote them.
func Printable(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		c, size := utf8.DecodeRuneInString(text)
		if strconv.IsPrint(c) && (c != utf8.RuneError || size > 1) {
			out.WriteString(text[:size])
		} else {
			quoted := strconv.Quote(text[:size])
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return out.String()
}

// PrintableLines is Printable for text of several lines.
func PrintableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = Printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
