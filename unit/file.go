package unit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Hash is the SHA-256 of a unit file's bytes, in lower-case hex.
type Hash string

// HashOf returns the hash of a unit file's bytes.
func HashOf(src []byte) Hash {
	sum := sha256.Sum256(src)
	return Hash(hex.EncodeToString(sum[:]))
}

// Short is the abbreviation that lists show.
func (h Hash) Short() string { return string(h[:min(len(h), 7)]) }

// FileMax is how many bytes a unit file may have.
const FileMax = 1 << 20

// errorsMax is how many errors of a file are reported at once.
const errorsMax = 20

// File is a unit file that was read without an error.
type File struct {
	name        string
	src         []byte
	headers     []header // the first of each section
	assignments []assignment
}

type header struct {
	name string
	line int
}

type assignment struct {
	section, key string
	Value
}

// Value is what stands behind a key's equals sign, continuation lines joined
// and the white space around it cut off, with the line the key stands in,
// counted from 1.
type Value struct {
	Text string
	Line int
}

// A SyntaxError is one place where a unit file can't be understood.
type SyntaxError struct {
	File string // the unit's name
	Line int    // from 1; 0 is the file as a whole
	What string
	Fix  string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s; %s", e.File, e.What, e.Fix)
	}
	return fmt.Sprintf("%s:%d: %s; %s", e.File, e.Line, e.What, e.Fix)
}

// Parse reads a unit file as systemd.syntax(7) has it. The name is used in
// errors only. The error joins a *SyntaxError for each broken line; systemd
// would ignore such lines with a warning in its journal, which is easily missed.
// The File keeps src, which must not be changed afterwards.
func Parse(name string, src []byte) (*File, error) {
	p := parser{file: &File{name: name, src: src}}
	if len(src) > FileMax {
		p.fail(0, fmt.Sprintf("the file has %d bytes, more than the %d a unit may have", len(src), FileMax), "keep large data in a file of its own on the machines")
		return nil, errors.Join(p.errs...)
	}
	if nul := bytes.IndexByte(src, 0); nul >= 0 {
		p.fail(1+lineEnds(src[:nul]), "a NUL byte", "give a text file in UTF-8")
		return nil, errors.Join(p.errs...)
	}
	p.lines(strings.TrimPrefix(string(src), "\ufeff"))
	if len(p.errs) == 0 && len(p.file.headers) == 0 {
		p.fail(0, "the file has no section; systemd takes such a file for a masked unit", "put a header such as [Service] and settings into it")
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return p.file, nil
}

type parser struct {
	file    *File
	section string
	utf8    bool            // the whole text is, so that no line needs to be looked at
	seen    map[string]bool // the sections, once there are many
	errs    []error
}

func (p *parser) fail(line int, what, fix string) {
	if len(p.errs) < errorsMax {
		p.errs = append(p.errs, &SyntaxError{p.file.name, line, what, fix})
	}
}

// lines cuts text into lines and joins those that a backslash continues.
// Comments between continued lines are dropped. Lines are parts of text: only
// continued ones are copied.
func (p *parser) lines(text string) {
	p.utf8 = utf8.ValidString(text)
	p.file.assignments = make([]assignment, 0, strings.Count(text, "\n")/2+1)
	p.file.headers = make([]header, 0, 4)
	cut := cutLine
	if strings.IndexByte(text, '\r') < 0 {
		cut = cutAtLF
	}
	var joined strings.Builder // what is continued; a long one must not be copied for each line
	continued, first := false, 0
	for n := 1; text != ""; n++ {
		var line string
		line, text = cut(text)
		start := trimLeft(line)
		if start != "" && (start[0] == '#' || start[0] == ';') {
			continue
		}
		more := endsEscaped(line)
		if !continued && !more {
			if start != "" {
				p.line(n, trimRight(start))
			}
			continue
		}
		if !continued {
			first = n
		}
		if continued = more; more {
			joined.WriteString(line[:len(line)-1])
			joined.WriteByte(' ')
			continue
		}
		joined.WriteString(line)
		p.line(first, trim(joined.String()))
		joined.Reset()
	}
	p.line(first, trim(joined.String()))
}

const blank = " \t\r\n"

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimLeft(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	return s
}

func trimRight(s string) string {
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func trim(s string) string { return trimLeft(trimRight(s)) }

// cutAtLF is cutLine for a text without CR.
func cutAtLF(text string) (line, rest string) {
	if end := strings.IndexByte(text, '\n'); end >= 0 {
		return text[:end], text[end+1:]
	}
	return text, ""
}

// cutLine cuts text after its first line end: LF, CR LF or CR.
func cutLine(text string) (line, rest string) {
	end := strings.IndexAny(text, "\r\n")
	if end < 0 {
		return text, ""
	}
	line, rest = text[:end], text[end+1:]
	if text[end] == '\r' {
		rest = strings.TrimPrefix(rest, "\n")
	}
	return line, rest
}

func lineEnds(src []byte) int {
	n := 0
	for rest := string(src); strings.ContainsAny(rest, "\r\n"); n++ {
		_, rest = cutLine(rest)
	}
	return n
}

// endsEscaped says whether line ends in a backslash that no other escapes.
func endsEscaped(line string) bool {
	n := 0
	for n < len(line) && line[len(line)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// line reads one logical line.
func (p *parser) line(n int, line string) {
	switch {
	case line == "":
		return
	case !p.utf8 && !utf8.ValidString(line):
		p.fail(n, "the line is not UTF-8", "save the file in UTF-8")
		return
	case line[0] == '[':
		p.header(n, line)
		return
	}
	key, value, ok := strings.Cut(line, "=")
	key = trimRight(key)
	switch {
	case !ok:
		p.fail(n, fmt.Sprintf("%q has no =", excerpt(line)), "write Key=value, or end the line before it with a backslash to continue it")
	case key == "":
		p.fail(n, "nothing stands before the =", "put the setting's name there")
	case p.section == "":
		p.fail(n, excerpt(key)+"= stands before any section", "put a header such as [Service] above it")
	default:
		p.file.assignments = append(p.file.assignments, assignment{p.section, key, Value{trimLeft(value), n}})
	}
}

func (p *parser) header(n int, line string) {
	name := strings.TrimSuffix(line[1:], "]")
	if name == "" || len(name) == len(line)-1 || strings.ContainsAny(name, "[]") {
		p.fail(n, fmt.Sprintf("%q is no section header", excerpt(line)), "write it as [Service], with nothing behind the bracket")
		p.section = "?" // what follows is not judged as being outside
		return
	}
	p.section = name
	if !p.known(name) {
		p.file.headers = append(p.file.headers, header{name, n})
	}
}

// known says whether a section was there before. A file of many thousand
// sections is nonsense, and must not take long.
func (p *parser) known(section string) bool {
	const few = 16
	if len(p.file.headers) < few {
		return slices.ContainsFunc(p.file.headers, func(h header) bool { return h.name == section })
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
		for _, h := range p.file.headers {
			p.seen[h.name] = true
		}
	}
	before := p.seen[section]
	p.seen[section] = true
	return before
}

// excerpt shortens s for an error's text.
func excerpt(s string) string {
	const shown = 40
	if len(s) <= shown {
		return s
	}
	cut := shown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// Bytes are the file's bytes as they were given to Parse; don't change them.
func (f *File) Bytes() []byte { return f.src }

// Hash is the hash of the file's bytes.
func (f *File) Hash() Hash { return HashOf(f.src) }

// Sections are the names of the sections, in the order they begin.
func (f *File) Sections() []string {
	names := make([]string, len(f.headers))
	for i, h := range f.headers {
		names[i] = h.name
	}
	return names
}

// Keys are the names of the keys of a section, in the order they first appear.
func (f *File) Keys(section string) []string {
	var keys []string
	seen := map[string]bool{}
	for _, a := range f.assignments {
		if a.section == section && !seen[a.key] {
			seen[a.key] = true
			keys = append(keys, a.key)
		}
	}
	return keys
}

// Values are the values assigned to a key, in order. As with systemd's lists,
// an empty assignment drops those before it and is itself left out. Some lists
// are of several keys, and are dropped as one: an empty ListenStream= drops
// ListenDatagram= too. The names of units that [Unit] depends on stay.
func (f *File) Values(section, key string) []Value {
	var values []Value
	for _, a := range f.assignments {
		switch {
		case a.section != section:
		case a.Text == "":
			if takesBack(a, section, key) {
				values = nil
			}
		case a.key == key:
			values = append(values, a.Value)
		}
	}
	return values
}

// takesBack says whether an empty assignment drops what a key has.
func takesBack(empty assignment, section, key string) bool {
	if empty.section != section {
		return false
	}
	list := listOf(section, key)
	return list != "" && list == listOf(section, empty.key)
}

// listOf is the list that a key adds to: one of several keys, or its own; empty
// where nothing drops what was added.
func listOf(section, key string) string {
	switch section {
	case "Unit":
		if isDependency(key) {
			return ""
		}
		for _, group := range []string{"Condition", "Assert"} {
			if strings.HasPrefix(key, group) {
				return group
			}
		}
	case "Service":
		if key == "Sockets" {
			return ""
		}
	case "Socket":
		if strings.HasPrefix(key, "Listen") {
			return "Listen"
		}
	case "Path":
		if key == "Unit" {
			return ""
		}
		if slices.Contains(pathKeys, key) {
			return "Path"
		}
	case "Timer":
		if key == "Unit" {
			return ""
		}
		if slices.Contains(timeKeys, key) {
			return "On"
		}
	}
	return key
}

// Last is the last value assigned to a key, as of systemd's settings that
// take one value; false when there is none, or an empty assignment took it back.
func (f *File) Last(section, key string) (Value, bool) {
	values := f.Values(section, key)
	if len(values) == 0 {
		return Value{}, false
	}
	return values[len(values)-1], true
}

// Description is the text of Description=, its specifiers not expanded.
func (f *File) Description() string {
	v, _ := f.Last("Unit", "Description")
	return v.Text
}
