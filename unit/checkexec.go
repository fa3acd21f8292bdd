package unit

import (
	"fmt"
	"strings"
)

// command checks an ExecStart= or its like. Several commands may stand in one
// value, with a lone ; between them.
func (c *checker) command(a assignment) {
	words, err := splitWords(a.Text, true)
	if err != nil {
		c.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "else systemd ignores the line")
		return
	}
	c.strangeEscapes(a)
	for len(words) > 0 {
		end := 0
		for end < len(words) && !(words[end].text == ";" && words[end].bare) {
			end++
		}
		if end > 0 {
			c.program(a, words[:end])
		}
		words = words[min(end+1, len(words)):]
	}
}

// program checks the first word of a command: prefixes and the program's path.
func (c *checker) program(a assignment, words []word) {
	path, argv0, bad := cutPrefixes(words[0].text)
	is := func(what, fix string) { c.fail(a.Line, fmt.Sprintf("%s=: %s", a.key, what), fix) }
	switch {
	case bad != "":
		is(bad, "systemd.service(5) has a table of the prefixes")
	case path == "":
		is("no program follows "+words[0].text, "write the path of one right behind it")
	case argv0 && len(words) < 2:
		is("nothing follows the program that @ could name it", "give its argv[0] as the second word")
	case strings.HasPrefix(path, "%"):
	case strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(`"'\`, c) }):
		is(fmt.Sprintf("%q: a program's path has no quotes, backslashes or control characters", excerpt(path)), "call it by a link that has none")
	case strings.Contains(path, "/") && path[0] != '/':
		is(excerpt(path)+" is no absolute path", "begin it with a /, or give the program's name alone")
	case strings.HasSuffix(path, "/"):
		is(excerpt(path)+" is a directory", "write the path of a program")
	case path == "." || path == "..":
		is(excerpt(path)+" is a directory", "write the path of a program")
	case strings.HasPrefix(path, "$"):
		is(excerpt(path)+": a variable can't stand for the program", "write its path, or have /bin/sh -c run it")
	}
}

// cutPrefixes takes the special characters off a command.
func cutPrefixes(s string) (path string, argv0 bool, bad string) {
	seen := ""
	for s != "" {
		switch c := s[0]; {
		case c == '!' && strings.HasSuffix(seen, "!") && strings.Count(seen, "!") == 1:
		case strings.IndexByte("@-:+!", c) < 0 || strings.IndexByte(seen, c) >= 0:
			return s, argv0, ""
		case c == '+' && strings.Contains(seen, "!") || c == '!' && strings.Contains(seen, "+"):
			return s, argv0, "the prefixes + and ! can't stand together"
		}
		argv0 = argv0 || s[0] == '@'
		seen += s[:1]
		s = s[1:]
	}
	return "", argv0, ""
}

// strangeEscapes warns of backslashes that begin no escape: systemd keeps them,
// with a warning in its journal.
func (c *checker) strangeEscapes(a assignment) {
	for text := a.Text; ; {
		at := strings.IndexByte(text, '\\')
		if at < 0 {
			return
		}
		text = text[at:]
		_, length := unescapeAt(text)
		if length == 1 {
			c.warn(a.Line, fmt.Sprintf("%s=: %s is no escape systemd knows", a.key, excerpt(text[:min(2, len(text))])), `write \\ for a backslash`)
			return
		}
		text = text[length:]
	}
}
