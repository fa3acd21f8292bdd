package container

import (
	"fmt"
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
	clean := strings.TrimLeft(r.name, "_.-") == r.name && len(r.name) >= 2 && len(r.name) <= nameMax
	if !variable(r.name) && (!clean || strings.ContainsFunc(r.name, func(c rune) bool { return !nameRune(c) })) {
		r.fail(v.Line, key+"="+clip(r.name)+" is no name for a container", "use letters, digits and _.- only, beginning with a letter or digit, two at least")
	}
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
	v, ok := r.f.Last(Section, "Exec")
	if !ok {
		return nil
	}
	var argv []string
	r.words("Exec", []unit.Value{v}, func(_ unit.Value, w string) { argv = append(argv, w) })
	if len(argv) == 0 {
		return nil
	}
	return []part{{quoteAll(argv), v.Line}}
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
	program := bare(v.Text)
	if strings.HasPrefix(program, "[") {
		r.fail(v.Line, key+"= is a list", "put the program alone here and its arguments into Exec=")
		return
	}
	r.flag(v.Line, "entrypoint", program)
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

func (r *renderer) environmentFile(key string, values []unit.Value) {
	for _, v := range values {
		if path := bare(v.Text); r.absolute(v, key, path) {
			r.flag(v.Line, "env-file", path)
		}
	}
}

func (r *renderer) volume(key string, values []unit.Value) {
	for _, v := range values {
		volume := bare(v.Text)
		from, _, ok := strings.Cut(volume, ":")
		switch {
		case !ok && !variable(volume):
			r.fail(v.Line, key+"="+clip(volume)+" names no volume, and there are none without a name", "write FROM:TO")
		case strings.HasSuffix(from, ".volume"):
			r.fail(v.Line, key+"="+clip(volume)+" names another Quadlet file, and there are none here", "name the volume itself: Volume="+strings.TrimSuffix(from, ".volume")+strings.TrimPrefix(volume, from))
		case strings.HasPrefix(from, "."):
			r.absolute(v, key, from)
		default:
			r.flag(v.Line, "volume", volume)
		}
	}
}

func (r *renderer) volatileTmp(key string, values []unit.Value) {
	if r.boolean(key, values) {
		r.flag(values[len(values)-1].Line, "tmpfs", "/tmp")
	}
}

// readOnly makes the root read-only, with room for temporary files as podman
// gives it, unless ReadOnlyTmpfs= says no or the user put something there.
func (r *renderer) readOnly(key string, values []unit.Value) {
	if !r.boolean(key, values) {
		return
	}
	line := values[len(values)-1].Line
	r.flags = append(r.flags, part{"--read-only", line})
	if v, ok := r.f.Last(Section, "ReadOnlyTmpfs"); ok {
		if on, _ := parseBoolean(bare(v.Text)); !on {
			return
		}
	}
	if _, ok := r.f.Last(Section, "Rootfs"); ok {
		return // the user's own directory is left as it is
	}
	used := map[string]bool{}
	for _, v := range r.f.Values(Section, "Tmpfs") {
		dir, _, _ := strings.Cut(bare(v.Text), ":")
		used[dir] = true
	}
	for _, v := range r.f.Values(Section, "Volume") {
		if p := strings.Split(bare(v.Text), ":"); len(p) > 1 {
			used[p[1]] = true
		}
	}
	for _, dir := range []string{"/run", "/tmp", "/var/tmp"} {
		if !used[dir] {
			r.flag(line, "tmpfs", dir)
		}
	}
}

const networkFix = "use Network=host, where the container has the machine's network, or leave it out for none"

func (r *renderer) network(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	if strings.HasSuffix(text, ".network") {
		r.fail(v.Line, key+"="+clip(text)+" names another Quadlet file, and there are none here", networkFix)
		return
	}
	if r.allowed(v, key, text, networkFix, []string{"none", "host"}) {
		r.flag(v.Line, "network", text)
	}
}

// together looks at keys that only make sense with others.
func (r *renderer) together() {
	network, given := r.f.Last(Section, "Network")
	host := given && bare(network.Text) == "host"
	ports := r.f.Values(Section, "PublishPort")
	for _, v := range ports {
		r.publish(v, host)
	}
	if !given && len(ports) == 0 {
		r.note(r.header, "without Network= the container reaches nothing but itself", "write Network=none to say so, or Network=host for the machine's network")
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

// publish judges a PublishPort=. On the machine's own network a port is
// published by the program listening there.
func (r *renderer) publish(v unit.Value, host bool) {
	text := bare(v.Text)
	if !host {
		r.fail(v.Line, "PublishPort="+clip(text)+" can't be had: containers have no network of their own yet", "use Network=host: then every port its program listens on is the machine's")
		return
	}
	port, _, _ := strings.Cut(text, "/")
	parts := strings.Split(port, ":")
	if n := len(parts); n > 2 || n == 2 && parts[0] != parts[1] {
		r.fail(v.Line, "PublishPort="+clip(text)+" can't be had with Network=host: the program listens on the machine itself", "have the program listen where you want it, and write PublishPort="+parts[n-1])
	}
}

func (r *renderer) user(_ string, values []unit.Value) {
	v := values[len(values)-1]
	user := bare(v.Text)
	if g, ok := r.f.Last(Section, "Group"); ok {
		user += ":" + bare(g.Text)
	}
	r.flag(v.Line, "user", user)
}

func (r *renderer) group(key string, values []unit.Value) {
	v, _ := r.f.Last(Section, "User")
	if strings.Contains(v.Text, ":") {
		r.fail(values[len(values)-1].Line, fmt.Sprintf("%s= and User=%s (line %d) both name a group", key, clip(v.Text), v.Line), "keep one of them")
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

func (r *renderer) pidsLimit(key string, values []unit.Value) {
	v := values[len(values)-1]
	n, err := strconv.ParseInt(bare(v.Text), 10, 64)
	switch {
	case err != nil || n < -1:
		r.fail(v.Line, key+"="+clip(v.Text)+" is no number", "write how many processes and threads it may have, or -1")
	case n <= 0:
		r.set(v, key, "TasksMax", "infinity")
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

func (r *renderer) reloadSignal(key string, values []unit.Value) {
	v := values[len(values)-1]
	if own, ok := r.f.Last("Service", "ExecReload"); ok {
		r.fail(max(v.Line, own.Line), fmt.Sprintf("%s= (line %d) and ExecReload= (line %d) both say how to reload", key, v.Line, own.Line), "keep one of them")
		return
	}
	r.reload = part{bare(v.Text), v.Line}
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
