package container

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// What keys about the process do with their values: who and where it is, what it
// may, and which signals it gets. What nsrun would refuse is refused here.

func (r *renderer) hostName(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	odd := func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' }
	const bytesMax = 64 // the kernel's
	if !variable(text) && (len(text) > bytesMax || strings.ContainsFunc(text, odd)) {
		r.fail(v.Line, key+"="+clip(text)+" is no host name", "write letters, digits, - and dots, 64 at most")
		return
	}
	r.flag(v.Line, "hostname", text)
}

func (r *renderer) workingDir(key string, values []unit.Value) {
	v := values[len(values)-1]
	dir := bare(v.Text)
	if dir != "" && !strings.HasPrefix(dir, "/") && !variable(dir) {
		r.fail(v.Line, key+"="+clip(dir)+" is no absolute path in the container", "write /DIR")
		return
	}
	r.flag(v.Line, "workdir", dir)
}

func (r *renderer) stopSignal(key string, values []unit.Value) {
	v := values[len(values)-1]
	if r.isSignal(v, key) {
		r.flag(v.Line, "stop-signal", bare(v.Text))
	}
}

// reload is what nsrun does to a container that is to reload: words before its
// name and after.
type reload struct {
	before, after string
	line          int
}

func (r *renderer) reloadSignal(key string, values []unit.Value) {
	v := values[len(values)-1]
	if r.onlyReload(v, key) && r.isSignal(v, key) {
		r.reload = reload{before: "kill " + quote("--signal="+bare(v.Text)), line: v.Line}
	}
}

func (r *renderer) runInit(key string, values []unit.Value) {
	if r.boolean(key, values) {
		r.flags = append(r.flags, part{"--init", values[len(values)-1].Line})
	}
}

// reloadCmd runs a command in the container.
func (r *renderer) reloadCmd(key string, values []unit.Value) {
	v := values[len(values)-1]
	var argv []string
	r.words(key, []unit.Value{v}, func(_ unit.Value, w string) { argv = append(argv, w) })
	if len(argv) == 0 || !r.onlyReload(v, key) {
		return
	}
	r.reload = reload{before: "exec", after: " " + quoteAll(argv), line: v.Line}
}

// onlyReload says that nothing else says how to reload.
func (r *renderer) onlyReload(v unit.Value, key string) bool {
	rivals := []struct{ section, key string }{{"Service", "ExecReload"}, {Section, "ReloadCmd"}, {Section, "ReloadSignal"}}
	for _, rival := range rivals {
		own, ok := r.f.Last(rival.section, rival.key)
		if !ok || rival.key == key {
			continue
		}
		if rival.section == "Service" || own.Line < v.Line { // of two keys the later one says so
			r.fail(max(v.Line, own.Line), fmt.Sprintf("%s= (line %d) and %s= (line %d) both say how to reload", key, v.Line, rival.key, own.Line), "keep one of them")
			return false
		}
	}
	return true
}

// isSignal says whether a value is a signal, by name in letters of either case or
// by number.
func (r *renderer) isSignal(v unit.Value, key string) bool {
	text := bare(v.Text)
	known := text != "" && text[0] > '9' && unit.IsSignal(strings.ToUpper(text))
	if n, err := strconv.Atoi(text); err == nil {
		known = n > 0 && n <= 64
	}
	if !known && text != "" && !variable(text) {
		r.fail(v.Line, key+"="+clip(text)+" is no signal", "write a name such as SIGTERM, or a number up to 64; see signal(7)")
		return false
	}
	return true
}

// capabilities is a key each of whose words is a capability.
func capabilities(name string) key {
	return key{do: func(r *renderer, key string, values []unit.Value) {
		r.words(key, values, func(v unit.Value, word string) {
			full := strings.ToUpper(word)
			if full != "ALL" && !variable(word) && !unit.IsCapability("CAP_"+strings.TrimPrefix(full, "CAP_")) {
				r.fail(v.Line, key+"="+clip(word)+" is no capability", "write such as NET_ADMIN, or ALL; see capabilities(7)")
				return
			}
			r.flag(v.Line, name, word)
		})
	}}
}

func (r *renderer) user(key string, values []unit.Value) {
	v := values[len(values)-1]
	user := bare(v.Text)
	name, group, given := strings.Cut(user, ":")
	switch {
	case variable(user):
	case given && (group == "" || strings.Contains(group, ":")):
		r.fail(v.Line, key+"="+clip(user)+" is no user", "write USER, or USER:GROUP, each a name or a number")
		return
	case !r.isID(v, key, name) || !r.isID(v, key, group):
		return
	}
	if g, ok := r.f.Last(Section, "Group"); ok {
		user += ":" + bare(g.Text)
	}
	r.flag(v.Line, "user", user)
}

// group goes with the user.
func (r *renderer) group(key string, values []unit.Value) {
	v := values[len(values)-1]
	group := bare(v.Text)
	if user, _ := r.f.Last(Section, "User"); strings.Contains(user.Text, ":") {
		r.fail(v.Line, fmt.Sprintf("%s= and User=%s (line %d) both name a group", key, clip(user.Text), user.Line), "keep one of them")
		return
	}
	if strings.Contains(group, ":") && !variable(group) {
		r.fail(v.Line, key+"="+clip(group)+" names no group", "write a group of the container's, or a number")
		return
	}
	r.isID(v, key, group)
}

func (r *renderer) groupAdd(key string, values []unit.Value) {
	for _, v := range values {
		text := bare(v.Text)
		if text == "keep-groups" || text == "" || strings.ContainsFunc(text, special) {
			r.fail(v.Line, key+"="+clip(text)+" names no group", "write a group of the container's, or a number")
			continue
		}
		if r.isID(v, key, text) {
			r.flag(v.Line, "group-add", text)
		}
	}
}

// isID says whether a user or group, if it is a number, is one of the container's.
func (r *renderer) isID(v unit.Value, key, text string) bool {
	if variable(text) || text == "" || strings.Trim(text, "0123456789") != "" {
		return true // a name; who that is only the image knows
	}
	const ids = 65536 // of a range that is the container's own
	fix := "write a number below 65536, or give up its own range of ids: UserNS=host"
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && (n < ids || !r.ownIDs()) {
		return true
	} else if err != nil {
		fix = "write a number below 65536"
	}
	r.fail(v.Line, key+"=: "+clip(text)+" is no id that a container has", fix)
	return false
}

// ownIDs says whether the container surely has a range of ids of its own.
func (r *renderer) ownIDs() bool {
	for _, key := range []string{"UserNS", "Network"} {
		if v, ok := r.f.Last(Section, key); ok && (bare(v.Text) == "host" || variable(v.Text)) {
			return false
		}
	}
	return true
}
