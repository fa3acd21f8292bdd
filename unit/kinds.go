package unit

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value checks one assignment by the kind that keys.txt gives its key.
func (c *checker) value(s setting, a assignment) {
	if a.Text == "" {
		c.empty(s, a)
		return
	}
	if listOf(a.section, a.key) == "" {
		if c.added == nil {
			c.added = map[string]bool{}
		}
		c.added[a.section+" "+a.key] = true
	}
	if expands(s) {
		c.specifiers(s, a)
	}
	switch s.kind {
	case "any", "text", "busname":
	case "exec":
		c.command(a)
	case "environ":
		c.environment(a)
	case "paths":
		c.paths(a)
	case "dirs":
		c.directories(a)
	case "units", "unit", "slice":
		c.units(s, a)
	case "listen":
		c.listen(a)
	case "documentation":
		c.documentation(a)
	case "path", "condpath", "envfile", "workdir":
		c.path(s, a)
	case "set", "namespaces", "syscalls", "networks", "statuses":
		c.set(s, a)
	default:
		text := a.Text
		if expands(s) {
			full, known := c.expand(text)
			if !known && s.kind != "enum" || full == "" {
				return
			}
			text = full
		}
		if what, fix := s.judge(text, c.Systemd); what != "" {
			c.fail(a.Line, fmt.Sprintf("%s=%s %s", a.key, excerpt(a.Text), what), fix)
		}
	}
}

// empty checks an assignment that is to take back those before it.
func (c *checker) empty(s setting, a assignment) {
	switch {
	case s.filled:
		c.fail(a.Line, a.key+"= has no value, and systemd ignores it", "give it one, or take the line out: only lists, and few other settings, may be empty")
	case c.added[a.section+" "+a.key]:
		c.warn(a.Line, a.key+"= can't be taken back, and systemd keeps what the lines before say", "take those out")
	}
}

// judge says what is wrong with a value that is not a list; nothing if what is empty.
func (s setting) judge(text string, version int) (what, fix string) {
	ok, since := isOneOf(s.words, text, version)
	switch {
	case ok:
		return "", ""
	case since > 0:
		return fmt.Sprintf("came with systemd %d, and %d ignores it", since, version), "write another, or run the unit where systemd is newer"
	}
	switch s.kind {
	case "enum":
		return s.judgeEnum(text, version)
	case "bool":
		if _, ok := parseBool(text); !ok {
			if words := plainWords(s.words, version); words != "" {
				return "is nothing systemd knows", "use one of yes, no, " + words
			}
			return "is neither yes nor no", "write yes or no"
		}
	case "int":
		return judgeInt(text, s.words)
	case "span", "nspan":
		return judgeSpan(s.kind, text)
	case "memory", "size", "quota", "tasks":
		return s.judgeAmount(text)
	case "rlimit-int", "rlimit-size", "rlimit-span", "rlimit-uspan", "rlimit-nice":
		return judgeLimit(s.kind, text)
	case "signal":
		if !parseSignal(text) {
			return "is no signal", "use a name such as SIGTERM"
		}
	case "mode":
		if !parseMode(text) {
			return "is no access mode", "write it in octal, such as 0755"
		}
	case "account":
		if strings.ContainsAny(text, ":/") || text[0] == '-' {
			return "is no account", "give one name or number; a group has its own setting"
		}
	case "netlink":
		if !parseNetlink(text) {
			return "is no netlink family", "write it as route 1361 or kobject-uevent 1"
		}
	case "calendar":
		if !parseCalendar(text) {
			return "is no time of the calendar", "write it as daily, Mon..Fri 08:00 or *-*-01 00:00:00; systemd-analyze calendar explains one"
		}
	case "condbool":
		if _, ok := parseBool(strings.TrimLeft(text, "|! ")); !ok {
			return "is neither yes nor no", "write yes or no"
		}
	}
	return "", ""
}

func (s setting) judgeEnum(text string, version int) (what, fix string) {
	var words []string
	for _, word := range s.words {
		word, _ = cutVersion(word)
		words = append(words, strings.TrimRight(word, "*"))
	}
	if best := nearest(text, slices.Values(words)); best != "" && len(text) > 2 {
		if ok, _ := isOneOf(s.words, best, version); ok {
			return "is nothing systemd knows", "write " + best
		}
	}
	return "is nothing systemd knows", "use one of " + plainWords(s.words, version)
}

func judgeInt(text string, words []string) (what, fix string) {
	if low, high, _ := strings.Cut(words[0], ".."); !between(words[0], text) {
		fix = "give a whole number from " + low + " to " + high
		if len(words) > 1 {
			fix += ", or " + strings.Join(words[1:], ", ")
		}
		return "is out of range or no number", fix
	}
	return "", ""
}

// between says whether text is a number in the bounds of a word such as 0..9.
func between(word, text string) bool {
	low, high, isRange := strings.Cut(word, "..")
	smallest, _ := strconv.ParseInt(low, 10, 64)
	largest, _ := strconv.ParseInt(high, 10, 64)
	n, err := strconv.ParseInt(text, 0, 64)
	return isRange && err == nil && !strings.Contains(text, "_") && smallest <= n && n <= largest
}

func judgeSpan(kind, text string) (what, fix string) {
	plain := time.Second
	if kind == "nspan" {
		plain = time.Nanosecond
	}
	if _, ok := parseSpan(text, plain); !ok {
		return "is no time span", "write it as 90, 1min 30s, 500ms or infinity"
	}
	return "", ""
}

func (s setting) judgeAmount(text string) (what, fix string) {
	switch s.kind {
	case "size":
		if _, ok := parseSize(text); !ok {
			return "is no size", "write it as 4096, 64K or 1.5M"
		}
	case "quota":
		if _, ok := parseQuota(text); !ok {
			return "is no share of a CPU", "write it in percent: 50% is half a CPU, 200% are two"
		}
	case "tasks":
		if _, ok := parseTasks(text); !ok && text != "infinity" {
			return "is no number of tasks", "write it as 512, 10% or infinity"
		}
	case "memory":
		n, isSize := parseSize(text)
		mayBeNone := s.key != "MemoryMax" && s.key != "MemoryHigh" && s.key != "MemoryLimit"
		share, isShare := parseShare(text)
		if _, ok := parseMemory(text); !ok && text != "infinity" && !(mayBeNone && (isSize && n == 0 || isShare && share == 0)) {
			return "is no amount of memory", "write it as 512M, 1.5G, 10% or infinity; 1K is 1024 bytes, and no B follows"
		}
	}
	return "", ""
}

// judgeLimit checks a resource limit: one, or soft:hard.
func judgeLimit(kind, text string) (what, fix string) {
	soft, hard, both := strings.Cut(text, ":")
	low, ok := parseLimit(kind, soft)
	high := low
	if both && ok {
		high, ok = parseLimit(kind, hard)
	}
	switch {
	case !ok:
		return "is no resource limit", "give one value, or soft:hard; infinity is no limit"
	case low > high:
		return "has a soft limit above the hard one", "write the smaller one first"
	}
	return "", ""
}

// parseLimit reads one value of a resource limit; more is larger.
func parseLimit(kind, text string) (uint64, bool) {
	if text == "infinity" && kind != "rlimit-nice" {
		return math.MaxUint64, true
	}
	switch kind {
	case "rlimit-span":
		span, ok := parseSpan(text, time.Second)
		return uint64(span), ok
	case "rlimit-uspan":
		span, ok := parseSpan(text, time.Microsecond)
		return uint64(span), ok
	case "rlimit-size":
		return parseSize(text)
	case "rlimit-nice":
		n, err := strconv.ParseInt(text, 0, 8)
		if text != "" && (text[0] == '+' || text[0] == '-') { // a nice level
			return uint64(20 - n), err == nil && n >= -20 && n <= 19
		}
		return uint64(n), err == nil && n >= 0 && n <= 40
	}
	return parseUint(text, 64)
}

// path checks a value that is one path.
func (c *checker) path(s setting, a assignment) {
	text, known := c.expand(a.Text)
	switch s.kind {
	case "condpath":
		text = strings.TrimLeft(text, "|! ")
	case "envfile":
		text = strings.TrimPrefix(text, "-")
	case "workdir":
		if text = strings.TrimPrefix(text, "-"); text == "~" {
			return
		}
	}
	if what, fix := pathFault(text, known); what != "" {
		c.fail(a.Line, fmt.Sprintf("%s=%s %s", a.key, excerpt(a.Text), what), fix)
	}
}

// pathFault says what is wrong with a path that systemd takes in its plain form.
func pathFault(path string, known bool) (what, fix string) {
	switch {
	case !absolute(path, known):
		return "is no absolute path", "begin it with a /"
	case hasDotDot(path):
		return "has a .. in it", "write the path without"
	}
	return "", ""
}

// absolute says whether a path is; where not all of it is known, whether it
// may turn out to be. No part of a unit's name has a slash while it is escaped.
func absolute(path string, known bool) bool {
	return strings.HasPrefix(path, "/") || !known && len(path) > 1 && path[0] == '%' && strings.IndexByte("%inNpj", path[1]) < 0
}

// words splits a value, and reports quotes that are left open.
func (c *checker) words(a assignment) []word {
	words, err := splitWords(a.Text, true)
	if err != nil {
		c.fail(a.Line, fmt.Sprintf("%s=: %v", a.key, err), "as systemd.syntax(7) has it")
	}
	return words
}

// emptyWord is what a list has, outside of quotes, where blanks are not taken together.
var (
	emptyWord = regexp.MustCompile(`[ \t][ \t]`)
	quoted    = regexp.MustCompile(`"[^"]*"|'[^']*'`)
)

// unprefixed are settings whose paths take no - or +.
var unprefixed = []string{"RequiresMountsFor", "WantsMountsFor", "TemporaryFileSystem", "Symlinks"}

func (c *checker) paths(a assignment) {
	if strings.HasPrefix(a.key, "Bind") && emptyWord.MatchString(quoted.ReplaceAllString(a.Text, "x")) {
		c.warn(a.Line, a.key+"=: two blanks in a row have a path between them for systemd, which it ignores", "write one; where the line is continued, begin the next one with its path")
	}
	for _, w := range c.words(a) {
		path, known := c.expand(w.text)
		if !slices.Contains(unprefixed, a.key) {
			path = strings.TrimPrefix(path, "-")
			if !strings.HasPrefix(a.key, "Bind") {
				path = strings.TrimPrefix(path, "+")
			}
		}
		if what, fix := pathFault(path, known); what != "" {
			c.fail(a.Line, fmt.Sprintf("%s=: %s %s", a.key, excerpt(w.text), what), fix)
		}
	}
}

// directories checks StateDirectory= and its like.
func (c *checker) directories(a assignment) {
	for _, w := range c.words(a) {
		for part := range strings.SplitSeq(w.text, ":") { // a directory, and a link to it
			if path, _ := c.expand(part); strings.HasPrefix(path, "/") || hasDotDot(path) || path == "." {
				c.fail(a.Line, fmt.Sprintf("%s=: %s is not below the directory systemd makes it in", a.key, excerpt(part)), "write a relative path without ..")
			}
		}
	}
}

func (c *checker) environment(a assignment) {
	for _, w := range c.words(a) {
		text, known := c.expand(w.text)
		name, _, ok := strings.Cut(text, "=")
		if !known && strings.Contains(name, "%") {
			continue
		}
		if !ok || !variableName(name) {
			c.fail(a.Line, fmt.Sprintf("%s=: %q sets no variable", a.key, excerpt(w.text)), `write NAME=value; with blanks in it, quote the whole: "NAME=a b"`)
		}
	}
}

func variableName(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; !plainByte(c) && c != '_' || i == 0 && '0' <= c && c <= '9' {
			return false
		}
	}
	return name != ""
}

func (c *checker) documentation(a assignment) {
	for _, w := range c.words(a) {
		text, known := c.expand(w.text)
		scheme, _, ok := strings.Cut(text, ":")
		if !known && strings.Contains(scheme, "%") {
			continue
		}
		if !ok || !strings.Contains(" http https file info man ", " "+scheme+" ") {
			c.warn(a.Line, fmt.Sprintf("%s=: %s is no URI systemd takes", a.key, excerpt(w.text)), "begin it with https:, file:, man: or info:")
		}
	}
}
