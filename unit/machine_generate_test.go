//go:build machine

package unit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// generator makes one unit file up.
type generator struct {
	*rand.Rand
	typ  string
	text strings.Builder
	end  string // of a line
}

// generate makes up a file of a type: mostly good, of many settings, values and
// ways to write them.
func generate(typ string, seed uint64) (name string, src []byte) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, uint64(len(typ)))), typ: typ, end: "\n"}
	if seed%10 == 9 {
		g.end = "\r\n"
	}
	name = fmt.Sprintf("ddiff-g%d", seed)
	if slices.Contains(templated, typ) && seed%3 > 0 {
		name += "@" // a template, or an instance of its own
		if seed%3 == 2 {
			name += g.one("1", "8080", `a-b\x2dc`, "x:y_z")
		}
	}
	name += "." + typ
	path := fmt.Sprintf("/ddiff/g%d", seed)
	g.section("Unit", 2+g.IntN(6))
	if own := sectionOf(typ); own != "" {
		g.section(own, 3+g.IntN(10))
		switch typ {
		case "service":
			g.assign("ExecStart", g.value("exec", nil))
		case "socket":
			g.assign("ListenStream", strconv.Itoa(1+int(seed)))
		case "timer":
			g.assign("OnCalendar", g.value("calendar", nil))
		case "path":
			g.assign("PathExists", "/ddiff/%p")
		case "mount":
			g.assign("What", "/dev/ddiff")
			g.assign("Where", g.one("", "/")+path+g.one("", "/", "/."))
		case "automount":
			g.assign("Where", path)
		case "swap":
			g.assign("What", path)
		}
	}
	g.section("Unit", g.IntN(3)) // again
	return name, []byte(g.text.String())
}

func (g *generator) one(from ...string) string { return from[g.IntN(len(from))] }

func (g *generator) section(name string, settings int) {
	g.text.WriteString(g.one("", " ", "\t") + "[" + name + "]" + g.one("", " ") + g.end)
	keys := keysOf(name, 252)
	for range settings {
		key := keys[g.IntN(len(keys))]
		set, _, _ := lookUp(name, key)
		if slices.Contains(ofItsOwn, key) || (set.kind == "any" || set.kind == "text") && plain[key] == nil {
			continue
		}
		for range 1 + g.IntN(6)/4 {
			switch g.IntN(12) {
			case 0:
				g.assign(key, "")
			default:
				g.assign(key, g.value(set.kind, &set))
			}
		}
	}
}

// ofItsOwn are settings that every unit needs one good value of.
var ofItsOwn = []string{"ExecStart", "Where", "What"}

// assign writes one assignment in one of the ways there are.
func (g *generator) assign(key, value string) {
	line := g.one("", "", "", " ", "\t") + key + g.one("=", "=", "=", " = ", "= ", " =") + value
	if at := strings.LastIndexByte(value, ' '); at > 0 && g.IntN(3) == 0 && value[at-1] != '\\' {
		at += len(line) - len(value)
		line = line[:at] + `\` + g.end + g.one("", "# comment"+g.end, " ; another"+g.end) + g.one("", "  ", "\t") + line[at+1:]
	}
	g.text.WriteString(line + g.one("", "", " ") + g.end)
	if g.IntN(8) == 0 {
		g.text.WriteString(g.one("# ", ";", " #") + "ExecStart=no \\" + g.end)
	}
}

// plain are values of settings whose kind says nothing of them.
var plain = map[string][]string{
	"Description":            {"A unit", `with %n, %p of 100%%`, `"in quotes" \x20 \ttab`, "ü %i %I %j %J", "%N %P"},
	"SyslogIdentifier":       {"ddiff", "%p"},
	"FileDescriptorName":     {"ddiff", "a-b"},
	"PIDFile":                {"/run/ddiff.pid", "/run/%p.pid"},
	"PassEnvironment":        {"A B", "PATH"},
	"UnsetEnvironment":       {"A", "A=b"},
	"SupplementaryGroups":    {"root", "0"},
	"Options":                {"ro", "ro,nosuid"},
	"Delegate":               {"yes", "no", "cpu memory"},
	"AllowedCPUs":            {"0", "0-1"},
	"CPUAffinity":            {"0", "0 1", "0-1"},
	"DeviceAllow":            {"/dev/null rw", "char-pts"},
	"ConditionHost":          {"x", "!y", "|z"},
	"ConditionKernelVersion": {">5", ">=4.1"},
	"RebootArgument":         {"x"},
	"IODeviceWeight":         {"/dev/null 100"},
	"LogExtraFields":         {"A=b", `"A=b c"`},
	"LoadCredential":         {"a:/b", "%p:/x"},
	"PAMName":                {"login"},
	"Personality":            {"x86-64"},
	"SystemCallErrorNumber":  {"EPERM", "1"},
	"TCPCongestion":          {"cubic"},
}

// value makes up a value of a kind.
func (g *generator) value(kind string, set *setting) string {
	if set != nil && (kind == "enum" || (kind == "bool" || kind == "int") && g.IntN(3) == 0) {
		if word := g.ofWords(set); word != "" {
			return word
		}
	}
	switch kind {
	case "any", "text":
		return g.one(plain[set.key]...)
	case "enum":
		return set.words[0]
	case "int":
		low, high, _ := strings.Cut(set.words[0], "..")
		n, _ := strconv.ParseInt(low, 10, 64)
		m, _ := strconv.ParseInt(high, 10, 64)
		return g.one(low, high, strconv.FormatInt(n+1, 10), strconv.FormatInt(m/2, 10), "0x1", "1", "x")
	case "exec":
		return g.command()
	case "units", "unit", "slice":
		return g.units(kind, set)
	case "environ":
		return g.list("A=b", "A=", `"B=two words"`, `'C=it''s'`, `D=a\x20b`, `E=%n`, `F=100%%`, `G="x y"`, "H=a;b", `I="\"q\""`, "A_1=ü")
	case "set":
		return g.set(set)
	}
	if from := values[kind]; from != nil {
		return g.one(from...)
	}
	panic("no values of kind " + kind)
}

func (g *generator) list(from ...string) string {
	words := make([]string, 1+g.IntN(4))
	for i := range words {
		words[i] = g.one(from...)
	}
	return strings.Join(words, g.one(" ", " ", "  ", "\t"))
}

// ofWords is a word that the table allows.
func (g *generator) ofWords(set *setting) string {
	words := set.words
	if set.kind == "int" {
		words = words[1:]
	}
	if len(words) == 0 {
		return ""
	}
	word, since := cutVersion(g.one(words...))
	if strings.HasSuffix(word, "%*") {
		return "" // may be a path, once expanded
	}
	if n, _ := strconv.Atoi(since); n > 252 && g.IntN(4) > 0 {
		return ""
	}
	if strings.HasSuffix(word, ":*") {
		return strings.TrimSuffix(word, "*") + "/x"
	}
	if g.IntN(25) == 0 {
		return word + "x"
	}
	return strings.TrimSuffix(word, "*")
}

func (g *generator) set(set *setting) string {
	words := make([]string, 1+g.IntN(3))
	for i := range words {
		words[i], _ = cutVersion(g.one(set.words...))
	}
	tilde := ""
	if set.key != "SystemCallArchitectures" && set.key != "SecureBits" {
		tilde = g.one("", "", "~")
	}
	return tilde + strings.Join(words, " ")
}

func (g *generator) units(kind string, set *setting) string {
	switch {
	case kind == "slice":
		return g.one("ddiff-s.slice", "ddiff-%p.slice", "x.service", "system.slice")
	case kind == "unit":
		return g.one("ddiff-x.service", "%p.service", "ddiff-x@%i.service", "ddiff-x@.service", `ddiff-a\x2db.service`, "nothing")
	}
	return g.list("ddiff-x.service", "ddiff-y.target", "ddiff-%i-x.service", "ddiff-%p.socket", "ddiff-t@.service", "ddiff-t@%i.service",
		`ddiff-a\x2db.service`, `"ddiff-q.service"`, "network.target", "multi-user.target", "ddiff-%j.path", "ddiff-dev.device", "ddiff-m.mount")
}

// command makes up a command line.
func (g *generator) command() string {
	one := func() string {
		prefix := g.one("", "", "", "-", "+", "!", "!!", ":", "@", "-@", "@-", "-+", ":-!", "+:@")
		program := g.one("/bin/true", "/bin/true", "/usr/bin/../bin/x", "//bin/./echo", "true", `"/opt/my prog/x"`, `/opt/a\x20b`, "/bin/%p", `/opt/a\"b`)
		line := prefix + program
		if strings.Contains(prefix, "@") {
			line += g.one(" argv0", ` "argv 0"`)
		}
		for range g.IntN(5) {
			line += g.one(" ", "  ", "\t") + g.one("a", `"b c"`, `'d "e"'`, `f\x20g`, `\tz`, "%i", "%n", "100%%", "$A", "${A}", "$$", `\;`, `"j'k"l`, `\101`, "ü", `\u00e9`, "--x=y", `""`, "a;b", "';'", `\\`, "%I%j%J%P%N")
		}
		return line
	}
	line := one()
	for g.IntN(6) == 0 {
		line += " ; " + one()
	}
	return line
}

// values are good values of the kinds that are not lists of words, and some bad ones.
var values = map[string][]string{
	"bool":          {"yes", "no", "true", "false", "1", "0", "on", "off", "y", "n", "t", "f", "YES", "maybe"},
	"condbool":      {"yes", "!no", "|true"},
	"span":          {"5", "0", "1min 30s", "500ms", "infinity", "1.5h", "2weeks 1d", "90", "3 min", "1M", "5us", "5 parsecs", "1y 2months"},
	"nspan":         {"5", "50us", "1ms", "infinity"},
	"memory":        {"512M", "1.5G", "infinity", "10%", "33.3%", "1K", "1048576", "1G 512M", "1KB", "2T"},
	"size":          {"4096", "64K", "1.5M", "8 K"},
	"quota":         {"50%", "250%", "12.5%", "0.1%", "10"},
	"tasks":         {"100", "10%", "infinity", "1", "33%", "x"},
	"rlimit-int":    {"1024", "infinity", "1024:4096", "5:infinity", "9:8"},
	"rlimit-size":   {"1G", "infinity", "64K:1M"},
	"rlimit-span":   {"5", "1min:1h", "infinity"},
	"rlimit-uspan":  {"5", "1ms:1s", "infinity"},
	"rlimit-nice":   {"+5", "-3", "20", "1:40"},
	"signal":        {"SIGTERM", "TERM", "9", "SIGRTMIN+3", "RTMAX-1", "SIGRTMIN", "HUP", "SIGFOO"},
	"mode":          {"0755", "600", "22", "07777", "8"},
	"account":       {"root", "nobody", "0", "%p", "a:b"},
	"netlink":       {"route 1361", "kobject-uevent 1", "audit", "15", "foo"},
	"busname":       {"org.example.A", "org.example.%p"},
	"calendar":      {"daily", "Mon..Fri 08:00", "*-*-01 00:00:00", "hourly", "Sat *-*~07/1", "12:30:15.5", "2030-01-01", "*:0/5", "Mon,Wed 10..12:00 UTC", "never"},
	"path":          {"/ddiff/a", "/ddiff//b/./c/", "/ddiff/%p", "/", "ddiff"},
	"condpath":      {"/ddiff/a", "!/ddiff/%i", "|/x", "|!/x", "x"},
	"envfile":       {"/ddiff/env", "-/ddiff/env", "-/ddiff/%p", "x"},
	"workdir":       {"/ddiff", "-/ddiff", "~", "/ddiff/%i", "x"},
	"paths":         {"/ddiff/a", "/ddiff/a -/ddiff/b", `"/ddiff/a b"`, "/ddiff/%i"},
	"dirs":          {"ddiff", "ddiff/a ddiff/b", "ddiff-%i", "/ddiff", "a/../b"},
	"documentation": {"https://example.com/%p", "man:systemd(1) file:/x", "x"},
	"listen":        {"/run/ddiff", "8081", "127.0.0.1:8082", "[::1]:8083", "@ddiff", "%i", "0", "vsock::5"},
	"namespaces":    {"yes", "no", "net mnt", "~user", "x"},
	"syscalls":      {"@system-service", "~@mount", "read write", "@foo"},
	"networks":      {"any", "10.0.0.0/8 ::1", "localhost", "10.0.0.0/33"},
	"statuses":      {"1 2", "SIGTERM", "TEMPFAIL 250", "256"},
}
