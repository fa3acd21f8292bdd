package container

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// What keys of [Container] do with their values.

func (r *renderer) flag(line int, name, value string) {
	r.flags = append(r.flags, part{"--" + name + "=" + value, line})
}

// words calls do with each word of the values.
func (r *renderer) words(key string, values []unit.Value, do func(v unit.Value, word string)) {
	for _, v := range values {
		words, err := split(v.Text)
		if err != nil {
			what, fix, _ := strings.Cut(err.Error(), "; ")
			r.fail(v.Line, key+"=: "+what, fix)
			continue
		}
		for _, w := range words {
			do(v, w)
		}
	}
}

// allowed says whether a value is one that can be had. What systemd or the
// machine only fills in is not judged.
func (r *renderer) allowed(v unit.Value, key, text, fix string, allowed []string) bool {
	if slices.Contains(allowed, text) || variable(text) {
		return true
	}
	r.fail(v.Line, key+"="+clip(text)+" can't be had", fix)
	return false
}

// variable says whether systemd puts something else for parts of a value.
func variable(text string) bool { return strings.ContainsAny(text, "%$") }

// parseBoolean reads yes and no as systemd does.
func parseBoolean(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}

// boolean is the last value as yes or no; false when it is neither.
func (r *renderer) boolean(key string, values []unit.Value) bool {
	v := values[len(values)-1]
	on, ok := parseBoolean(bare(v.Text))
	if !ok {
		r.fail(v.Line, key+"="+clip(v.Text)+" is neither yes nor no", "write one of them")
	}
	return on
}

func (r *renderer) containerName(key string, values []unit.Value) {
	v := values[len(values)-1]
	r.name = bare(v.Text)
	if !variable(r.name) && !containerName(r.name) {
		r.fail(v.Line, key+"="+clip(r.name)+" is no name for a container", "use letters, digits and _.- only, beginning with a letter or digit, two at least")
	}
}

// containerName says whether nsrun takes a name for a container or a volume.
func containerName(s string) bool {
	return len(s) >= 2 && len(s) <= nameMax && strings.TrimLeft(s, "_.-") == s && !strings.ContainsFunc(s, func(c rune) bool { return !nameRune(c) })
}

func (r *renderer) image(key string, values []unit.Value) {
	v := values[len(values)-1]
	image := bare(v.Text)
	switch {
	case strings.HasSuffix(image, ".image"), strings.HasSuffix(image, ".build"):
		r.fail(v.Line, key+"="+clip(image)+" names another Quadlet file, and there are none here", "name the image itself, such as docker.io/library/nginx:1.27")
	case image == "" || strings.ContainsFunc(image, special) || image[0] == '-':
		r.fail(v.Line, key+"="+clip(image)+" is no image", "name one, such as docker.io/library/nginx:1.27")
	}
	r.program = append([]part{{quote(image), v.Line}}, r.exec()...)
	if ref, ok := expand(image, r.unit); ok {
		r.images = []string{ref}
	}
}

// exec is what the program in the container is told.
func (r *renderer) exec() []part {
	var parts []part
	add := func(line int, argv []string) {
		if len(argv) > 0 {
			parts = append(parts, part{quoteAll(argv), line})
		}
	}
	if v, ok := r.f.Last(Section, "Entrypoint"); ok {
		_, arguments, _ := entryOf(v)
		add(v.Line, arguments)
	}
	if v, ok := r.f.Last(Section, "Exec"); ok {
		var argv []string
		r.words("Exec", []unit.Value{v}, func(_ unit.Value, w string) { argv = append(argv, w) })
		add(v.Line, argv)
	}
	return parts
}

func (r *renderer) rootfs(key string, values []unit.Value) {
	v := values[len(values)-1]
	dir := bare(v.Text)
	if !r.absolute(v, key, dir) {
		return
	}
	r.flag(v.Line, "rootfs", dir)
	// The -- tells the end of the flags, where otherwise the image does.
	r.program = append([]part{{"--", v.Line}}, r.exec()...)
	_, entry := r.f.Last(Section, "Entrypoint")
	if len(r.program) == 1 && !entry {
		r.fail(v.Line, "Rootfs= does not say what to run in it", "put the program and its arguments into Exec=")
	}
}

// absolute says whether a path of the machine begins with a slash.
func (r *renderer) absolute(v unit.Value, key, path string) bool {
	if strings.HasPrefix(path, "/") || variable(path) && path[0] != '.' {
		return true
	}
	r.fail(v.Line, key+"="+clip(path)+" is no absolute path, and on a machine the unit is in a directory of its own", "write the whole path on the machine")
	return false
}

func (r *renderer) pull(key string, values []unit.Value) {
	v := values[len(values)-1]
	switch bare(v.Text) {
	case "missing": // so it is anyway
	case "always", "newer":
		r.refresh = true
	case "never":
		r.flag(v.Line, "pull", "never")
	default:
		r.fail(v.Line, key+"="+clip(v.Text)+" is no policy", "use missing, always, newer or never")
	}
}

func (r *renderer) entrypoint(key string, values []unit.Value) {
	v := values[len(values)-1]
	program, _, err := entryOf(v)
	if err != nil {
		r.fail(v.Line, key+"="+clip(v.Text)+" is no list", `write the program alone, or such as ["/bin/sh", "-c"]`)
		return
	}
	r.flag(v.Line, "entrypoint", program)
}

// entryOf reads an Entrypoint=, which may be a list in JSON: the program, and
// what comes before what Exec= says.
func entryOf(v unit.Value) (program string, arguments []string, err error) {
	program = bare(v.Text)
	if !strings.HasPrefix(program, "[") {
		return program, nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(program), &list); err != nil || len(list) == 0 || list[0] == "" {
		return "", nil, errors.New("no list of strings")
	}
	return list[0], list[1:], nil
}

func (r *renderer) stopTimeout(key string, values []unit.Value) {
	v := values[len(values)-1]
	seconds, err := strconv.Atoi(bare(v.Text))
	if err != nil || seconds < 0 || seconds > 1<<31 {
		r.fail(v.Line, key+"="+clip(v.Text)+" is no number of seconds", "write a whole number, such as 30")
		return
	}
	r.flag(v.Line, "stop-timeout", strconv.Itoa(seconds))
	const systemd, margin = 90, 10 // seconds: TimeoutStopSec= by default, and what else a stop takes
	if _, ok := r.f.Last("Service", "TimeoutStopSec"); !ok && seconds+margin > systemd {
		r.settings = append(r.settings, part{"TimeoutStopSec=" + strconv.Itoa(seconds+margin), v.Line})
	}
}

func (r *renderer) environment(key string, values []unit.Value) {
	r.words(key, values, func(v unit.Value, word string) {
		if name, _, _ := strings.Cut(word, "="); name == "" || strings.ContainsAny(name, " \t\n") {
			r.fail(v.Line, key+"="+clip(word)+" names no variable", "write NAME=value, in quotes if there is white space in it")
			return
		}
		r.flag(v.Line, "env", word)
	})
}

// environmentHost passes on what nsrun itself has: Environment= of [Service].
func (r *renderer) environmentHost(key string, values []unit.Value) {
	if r.boolean(key, values) {
		r.flags = append(r.flags, part{"--env-host", values[len(values)-1].Line})
	}
}

func (r *renderer) httpProxy(key string, values []unit.Value) {
	if !r.boolean(key, values) {
		return
	}
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy"} {
		r.flag(values[len(values)-1].Line, "env", name)
		r.flag(values[len(values)-1].Line, "env", strings.ToUpper(name))
	}
}

func (r *renderer) label(key string, values []unit.Value) {
	r.words(key, values, func(v unit.Value, word string) {
		if name, _, _ := strings.Cut(word, "="); name == "" {
			r.fail(v.Line, key+"="+clip(word)+" names no label", "write NAME=value, in quotes if there is white space in it")
			return
		}
		r.flag(v.Line, strings.ToLower(key), word)
	})
}

// annotation is a label, unless it is a word to what runs podman's containers.
func (r *renderer) annotation(key string, values []unit.Value) {
	for _, v := range values {
		for _, prefix := range []string{"run.oci.", "io.podman.annotations."} {
			if strings.Contains(v.Text, prefix) {
				r.fail(v.Line, key+"="+clip(v.Text)+" can't be had: "+prefix+" is a word to podman's runtime", "leave it out")
				return
			}
		}
	}
	r.label(key, values)
}

// autoUpdate is a label to podman, too, for a timer that is not here.
func (r *renderer) autoUpdate(key string, values []unit.Value) {
	v := values[len(values)-1]
	const fix = "write registry or local, or leave it out"
	if text := bare(v.Text); r.allowed(v, key, text, fix, []string{"registry", "local", "disabled"}) {
		r.flag(v.Line, "label", "io.containers.autoupdate="+text)
		if text != "disabled" {
			r.note(v.Line, key+"= is kept as a label, and nothing updates containers by itself", "for a fresh image at each start write Pull=always; then clusterctl restart is an update")
		}
	}
}

func (r *renderer) environmentFile(key string, values []unit.Value) {
	for _, v := range values {
		if path := bare(v.Text); r.absolute(v, key, path) {
			r.flag(v.Line, "env-file", path)
		}
	}
}

// together looks at keys that only make sense with others.
func (r *renderer) together() {
	last, _ := r.f.Last(Section, "Network")
	network := bare(last.Text)
	r.networkNeeds(network)
	for _, v := range r.f.Values(Section, "PublishPort") {
		r.publish(v, network)
	}
	for _, v := range r.f.Values(Section, "Sysctl") {
		r.sysctl(v, network)
	}
	if group, ok := r.f.Last(Section, "Group"); ok {
		if _, ok := r.f.Last(Section, "User"); !ok {
			r.fail(group.Line, "Group= needs User=", "say who it runs as: User=0 is root")
		}
	}
	if _, ok := r.f.Last(Section, "Image"); !ok {
		r.refresh = false
	}
	if v, ok := r.f.Last(Section, "Pull"); ok && bare(v.Text) == "never" {
		r.images = nil
	}
}

func (r *renderer) memory(key string, values []unit.Value) {
	v := values[len(values)-1]
	if size, ok := memorySize(bare(v.Text)); ok {
		r.set(v, key, "MemoryMax", size)
		return
	}
	r.fail(v.Line, key+"="+clip(v.Text)+" is no size", "write such as 512m or 2g")
}

// memorySize turns docker's way to write a size into systemd's.
func memorySize(s string) (string, bool) {
	digits := strings.TrimRight(s, "bBkKmMgGtT")
	suffix := strings.TrimSuffix(strings.ToUpper(s[len(digits):]), "B")
	if _, err := strconv.ParseUint(digits, 10, 64); err != nil || len(suffix) > 1 {
		return "", false
	}
	return digits + suffix, true
}

// tasksMin is how few processes and threads a unit may be allowed: nsrun itself
// has five for a moment, one more is the program, and a Go program that may have
// no further thread ends without a word of sense.
const tasksMin = 6

func (r *renderer) pidsLimit(key string, values []unit.Value) {
	v := values[len(values)-1]
	n, err := strconv.ParseInt(bare(v.Text), 10, 64)
	switch {
	case err != nil || n < -1:
		r.fail(v.Line, key+"="+clip(v.Text)+" is no number", "write how many processes and threads it may have, or -1")
	case n <= 0:
		r.set(v, key, "TasksMax", "infinity")
	case n < tasksMin:
		r.fail(v.Line, key+"="+clip(v.Text)+" is too few to start anything", "write "+strconv.Itoa(tasksMin)+" at least: nsrun has five threads itself until the program runs")
	default:
		r.set(v, key, "TasksMax", strconv.FormatInt(n, 10))
	}
}

func (r *renderer) ulimit(key string, values []unit.Value) {
	for _, v := range values {
		name, limits, ok := limit(bare(v.Text))
		if !ok {
			r.fail(v.Line, key+"="+clip(v.Text)+" is no limit", "write such as nofile=1024:4096")
			continue
		}
		r.set(v, key, name, limits)
	}
}

// limit turns docker's nofile=soft:hard into the setting systemd has for it.
func limit(s string) (key, value string, ok bool) {
	name, numbers, ok := strings.Cut(s, "=")
	const known = " as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack "
	if !ok || name == "" || !strings.Contains(known, " "+name+" ") {
		return "", "", false
	}
	parts := strings.Split(numbers, ":")
	for i, p := range parts {
		n, err := strconv.ParseInt(p, 10, 64)
		if err != nil || n < -1 || len(parts) > 2 {
			return "", "", false
		}
		if n == -1 {
			parts[i] = "infinity"
		}
	}
	return "Limit" + strings.ToUpper(name), strings.Join(parts, ":"), true
}

// notify has the program itself say when it is ready, and whether it is well.
func (r *renderer) notify(key string, values []unit.Value) {
	v := values[len(values)-1]
	if bare(v.Text) == "healthy" {
		r.fail(v.Line, key+"=healthy can't be had: there are no health checks yet", "leave it out, or have the program tell systemd itself: "+key+"=yes")
		return
	}
	if r.boolean(key, values) {
		r.flag(v.Line, "sdnotify", "container")
		if _, ok := r.f.Last("Service", "NotifyAccess"); !ok {
			r.settings = append(r.settings, part{"NotifyAccess=all", v.Line})
		}
	}
}

func (r *renderer) logDriver(key string, values []unit.Value) {
	v := values[len(values)-1]
	if bare(v.Text) == "none" {
		r.set(v, key, "StandardOutput", "null")
		return
	}
	r.allowed(v, key, bare(v.Text), "leave it out: the journal takes it all", []string{"journald", "passthrough"})
}

func (r *renderer) logOpt(key string, values []unit.Value) {
	tag, line := "", 0
	for _, v := range values {
		text, ok := strings.CutPrefix(bare(v.Text), "tag=")
		if !ok || text == "" || strings.Contains(text, "{{") {
			r.fail(v.Line, key+"="+clip(v.Text)+" can't be had", "leave it out: the journal takes it all; see journald.conf(5) for how much it keeps; tag=NAME is served, and so is SyslogIdentifier= in [Service]")
			continue
		}
		tag, line = text, v.Line
	}
	if line > 0 {
		r.set(unit.Value{Text: tag, Line: line}, key, "SyslogIdentifier", tag)
	}
}

// retry is about pulls, which the agent tries again at its own pace.
func (r *renderer) retry(key string, values []unit.Value) {
	v := values[len(values)-1]
	if text := bare(v.Text); !variable(text) && (text == "" || strings.Trim(text, "0123456789smh.") != "") {
		r.fail(v.Line, key+"="+clip(v.Text)+" is no number", "write one, or leave it out")
		return
	}
	r.note(v.Line, key+"= is left out", "a pull that fails is tried again anyway, until it is done or the unit is not wanted any more")
}

// podmanArgs serves flags that stand for settings of [Service]: podman's Quadlet
// has no keys for those.
func (r *renderer) podmanArgs(key string, values []unit.Value) {
	for _, v := range values {
		c := &converter{tool: "podman"}
		var args []string
		r.words(key, []unit.Value{v}, func(_ unit.Value, w string) { args = append(args, w) })
		if rest := c.parse(args); len(rest) > 0 {
			r.fail(v.Line, key+"="+clip(rest[0])+" is no flag", "write it as --flag=value")
			continue
		}
		c.limits()
		for _, err := range c.errs {
			what, fix, _ := strings.Cut(err.Error(), "; ")
			r.fail(v.Line, key+"=: "+what, fix)
		}
		if c.name != "" {
			c.set(Section, "ContainerName", c.name)
		}
		for _, s := range c.settings {
			if s.section == Section {
				r.fail(v.Line, key+"= asks for what has a key of its own here", "write "+s.key+"="+s.value)
				continue
			}
			r.set(v, key, s.key, s.value)
		}
		for _, n := range c.notes {
			what, fix, _ := strings.Cut(n, ": ")
			r.note(v.Line, key+"=: "+what, fix)
		}
	}
}

// expand puts in what systemd does for specifiers that only depend on the
// unit's name; false when there is something else to put in.
func expand(text string, u unit.Name) (string, bool) {
	if strings.Contains(text, "$") {
		return "", false
	}
	instance, _ := u.Instance()
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i++; i == len(text) {
			return "", false
		}
		switch text[i] {
		case '%':
			b.WriteByte('%')
		case 'i':
			b.WriteString(instance)
		case 'p':
			b.WriteString(u.Prefix())
		case 'n':
			b.WriteString(string(u))
		case 'N':
			b.WriteString(strings.TrimSuffix(string(u), ".service"))
		default:
			return "", false
		}
	}
	return b.String(), !u.IsTemplate()
}
