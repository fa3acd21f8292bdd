package container

import (
	"bytes"
	"strings"
)

// line is a logical line of a unit file, continuations joined.
type line struct {
	first, last int // physical lines, from 1
	text        string
	section     string // that it stands in
	header      int    // offset of "[Section]" in the file, when it is a header; else -1
}

// lines takes a file apart as package unit does, which has found no error in
// it. What is here beyond what unit tells is where the headers are.
func lines(src []byte) []line {
	var all []line
	section := ""
	current := line{header: -1}
	var text strings.Builder
	flush := func() {
		current.text = strings.Trim(text.String(), blank)
		text.Reset()
		if current.text == "" {
			return
		}
		if current.text[0] == '[' {
			section = strings.Trim(current.text, "[]")
		} else {
			current.header = -1
		}
		current.section = section
		all = append(all, current)
	}
	offset := len(src) - len(bytes.TrimPrefix(src, []byte("\ufeff")))
	continued := false
	for n := 1; offset < len(src); n++ {
		physical, length := cutLine(src[offset:])
		trimmed := bytes.TrimLeft(physical, blank)
		if len(trimmed) > 0 && (trimmed[0] == '#' || trimmed[0] == ';') {
			offset += length
			continue
		}
		if !continued {
			current = line{first: n, header: -1}
		}
		current.last = n
		if at := bytes.IndexByte(physical, '['); at >= 0 && current.header < 0 {
			current.header = offset + at
		}
		offset += length
		if continued = endsEscaped(physical); continued {
			text.Write(physical[:len(physical)-1])
			text.WriteByte(' ')
			continue
		}
		text.Write(physical)
		flush()
	}
	if continued {
		flush()
	}
	return all
}

const blank = " \t\r\n"

// cutLine returns the first line of src without its end, and its length with it.
func cutLine(src []byte) (text []byte, length int) {
	end := bytes.IndexAny(src, "\r\n")
	if end < 0 {
		return src, len(src)
	}
	length = end + 1
	if src[end] == '\r' && length < len(src) && src[length] == '\n' {
		length++
	}
	return src[:end], length
}

func endsEscaped(s []byte) bool {
	return (len(s)-len(bytes.TrimRight(s, `\`)))%2 == 1
}

// key is the name of the setting on a line, empty when it is a header.
func (l line) key() string {
	if l.header >= 0 {
		return ""
	}
	key, _, _ := strings.Cut(l.text, "=")
	return strings.Trim(key, blank)
}
