package container

import (
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// What keys about file systems and devices do with their values. What nsrun
// would refuse when the unit starts is refused here, where the user sees it.

// volumeFixes are options of a volume that can't be had; volumeOptions those
// that nsrun takes.
var volumeFixes = map[string]string{
	"U":    "leave it out: ids are mapped, so that root in the container owns what root owns here; for another user change the owner on the machine",
	"O":    "leave it out, or bind it with ro",
	"copy": "leave it out: a new volume is empty",
	"dev":  "leave it out, and use AddDevice=",
	"suid": "leave it out: nothing in a container gains privileges",
}

const volumeOptions = " ro rw z Z private rprivate rbind exec noexec nodev nosuid nocopy idmap cached delegated consistent "

func (r *renderer) volume(key string, values []unit.Value) {
	for _, v := range values {
		volume := bare(v.Text)
		part := strings.SplitN(volume, ":", 3)
		from := part[0]
		switch {
		case len(part) == 1 && !variable(volume):
			r.fail(v.Line, key+"="+clip(volume)+" names no volume, and there are none without a name", "write NAME:"+volume+" to keep what is in it; without Volume= it ends with the container")
			continue
		case strings.HasSuffix(from, ".volume"):
			r.fail(v.Line, key+"="+clip(volume)+" names another Quadlet file, and there are none here", "name the volume itself: Volume="+strings.TrimSuffix(from, ".volume")+strings.TrimPrefix(volume, from))
			continue
		case strings.HasPrefix(from, "."):
			r.absolute(v, key, from)
			continue
		case !variable(from) && !strings.HasPrefix(from, "/") && !containerName(from):
			r.fail(v.Line, key+"="+clip(volume)+" comes neither from a path that begins with a slash nor from a volume", "write /PATH:/DIR or NAME:/DIR; a volume's name has letters, digits and _.- only")
			continue
		case len(part) > 1 && !variable(volume) && !strings.HasPrefix(part[1], "/"):
			r.fail(v.Line, key+"="+clip(volume)+" goes to no absolute path in the container", "write FROM:/DIR")
			continue
		case len(part) == 3 && !r.options(v, key, part[2]):
			continue
		}
		r.flag(v.Line, "volume", volume)
	}
}

// options says whether a volume's options can be had.
func (r *renderer) options(v unit.Value, key, list string) bool {
	for _, o := range strings.Split(list, ",") {
		if variable(o) || o != "" && strings.Contains(volumeOptions, " "+o+" ") {
			continue
		}
		fix, ok := volumeFixes[o]
		if !ok {
			fix = "there are ro and noexec; leave others out"
		}
		r.fail(v.Line, key+"=: option "+clip(o)+" can't be had", fix)
		return false
	}
	return true
}

// tmpfsOptions are those of tmpfs(5) and of the mount; the kernel looks at their
// values.
const tmpfsOptions = " ro rw exec noexec suid nosuid dev nodev size mode uid gid nr_blocks nr_inodes huge mpol noswap inode32 inode64 "

func (r *renderer) tmpfs(key string, values []unit.Value) {
	for _, v := range values {
		dir, options, _ := strings.Cut(bare(v.Text), ":")
		if !variable(dir) && !strings.HasPrefix(dir, "/") {
			r.fail(v.Line, key+"="+clip(v.Text)+" is no absolute path in the container", "write /DIR, or /DIR:size=64m")
			continue
		}
		var served []string
		ok := true
		for _, o := range strings.Split(options, ",") {
			name, _, _ := strings.Cut(o, "=")
			switch {
			case o == "" || o == "notmpcopyup":
			case variable(o) || strings.Contains(tmpfsOptions, " "+name+" "):
				served = append(served, o)
			default:
				ok = false
				r.fail(v.Line, key+"=: option "+clip(o)+" can't be had", "there are size=, mode=, uid=, gid=, ro and exec; it is empty at the start")
			}
		}
		if len(served) > 0 {
			dir += ":" + strings.Join(served, ",")
		}
		if ok {
			r.flag(v.Line, "tmpfs", dir)
		}
	}
}

// mount is the long way to write a volume or a tmpfs. What is bound must be
// there, as with podman.
func (r *renderer) mount(key string, values []unit.Value) {
	r.words(key, values, func(v unit.Value, word string) {
		if variable(word) && !strings.Contains(word, ",") {
			r.flag(v.Line, "mount", word) // as a whole from elsewhere
			return
		}
		if text, ok := r.mountOf(v, key, word); ok {
			r.flag(v.Line, "mount", text)
		}
	})
}

// mountOf reads the value of a Mount= and writes it as nsrun takes it.
func (r *renderer) mountOf(v unit.Value, key, text string) (string, bool) {
	fail := func(what, fix string) (string, bool) {
		r.fail(v.Line, key+"=: "+what, fix)
		return "", false
	}
	kind, source, target := "volume", "", ""
	var options []string
	for _, o := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "type":
			kind = value
		case "source", "src":
			source = value
		case "target", "destination", "dst":
			target = value
		default:
			options = append(options, o)
		}
	}
	switch {
	case kind != "bind" && kind != "volume" && kind != "tmpfs":
		return fail("type "+clip(kind)+" can't be had", "there are bind, volume and tmpfs")
	case strings.Contains(text, `"`):
		return fail("a quote is part of no path here", "put the whole into quotes: "+key+`="type=…,source=…,target=…"; a comma goes with Volume=`)
	case !strings.HasPrefix(target, "/") && !variable(target):
		return fail("it goes to no absolute path in the container", "write target=/DIR")
	case kind == "tmpfs" && source != "":
		return fail("a tmpfs comes from nowhere", "take source= out")
	case strings.HasSuffix(source, ".volume"), strings.HasSuffix(source, ".image"):
		return fail("source="+clip(source)+" names another Quadlet file, and there are none here", "name the volume itself: source="+strings.TrimSuffix(source, ".volume"))
	case kind == "bind" && !strings.HasPrefix(source, "/") && !variable(source):
		return fail("it comes from no absolute path, and on a machine the unit is in a directory of its own", "write source=/PATH, the whole path on the machine")
	case kind == "volume" && !variable(source) && !containerName(source):
		return fail("it names no volume, and there are none without a name", "write source=NAME")
	}
	out := "type=" + kind
	if source != "" {
		out += ",source=" + source
	}
	out += ",target=" + target
	for _, o := range options {
		option, ok := mountOption(kind, o)
		if !ok {
			return fail("option "+clip(o)+" can't be had with type="+kind, "there are readonly and noexec, and for a tmpfs exec, tmpfs-size=64m and tmpfs-mode=1777")
		}
		if option != "" {
			out += "," + option
		}
	}
	return out, true
}

// mountOption is an option as nsrun takes it; empty when so it is anyway.
func mountOption(kind, text string) (option string, ok bool) {
	name, value, given := strings.Cut(text, "=")
	switch name {
	case "size", "tmpfs-size":
		_, size := bytesOf(value)
		return "tmpfs-size=" + value, kind == "tmpfs" && (size || variable(value))
	case "mode", "tmpfs-mode":
		_, err := strconv.ParseUint(value, 8, 12)
		return "tmpfs-mode=" + value, kind == "tmpfs" && (err == nil || variable(value))
	case "bind-propagation":
		return "", kind == "bind" && (value == "private" || value == "rprivate")
	case "relabel": // SELinux is not used
		return "", kind == "bind" && (value == "shared" || value == "private")
	}
	on := true
	if given {
		if on, ok = parseBoolean(value); !ok {
			return "", false
		}
	}
	switch name {
	case "ro", "readonly":
		return map[bool]string{true: "readonly"}[on], true
	case "rw":
		return map[bool]string{false: "readonly"}[on], true
	case "noexec", "exec":
		exec := on == (name == "exec")
		switch {
		case !exec:
			return "noexec", true
		case kind == "tmpfs":
			return "exec", true
		}
		return "", true
	case "nosuid", "nodev", "idmap", "volume-nocopy", "notmpcopyup", "z", "Z":
		return "", on
	}
	return "", false
}

func (r *renderer) device(key string, values []unit.Value) {
	r.words(key, values, func(v unit.Value, word string) {
		part := strings.Split(strings.TrimPrefix(word, "-"), ":")
		access := part[len(part)-1]
		switch {
		case variable(word):
		case !strings.HasPrefix(part[0], "/dev/") || len(part) > 3 || len(part) == 3 && !strings.HasPrefix(part[1], "/"):
			r.fail(v.Line, key+"="+clip(word)+" is no device", "write its path, as in /dev/net/tun, or /dev/A:/dev/B; - in front if it needn't be there")
			return
		case len(part) > 1 && !strings.HasPrefix(access, "/") && access != "rw" && access != "rwm":
			r.fail(v.Line, key+"="+clip(word)+" can't be had: a container reads and writes its devices", "to allow less put DeviceAllow="+part[0]+" "+access+" into [Service]")
			return
		}
		r.flag(v.Line, "device", word)
	})
}

func (r *renderer) shmSize(key string, values []unit.Value) {
	v := values[len(values)-1]
	text := bare(v.Text)
	if n, ok := bytesOf(text); !variable(text) && (!ok || n == 0) {
		r.fail(v.Line, key+"="+clip(v.Text)+" is no size", "write such as 64m, which it is anyway, or 1g")
		return
	}
	r.flag(v.Line, "shm-size", text)
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
	for _, v := range r.f.Values(Section, "Mount") {
		for _, option := range strings.FieldsFunc(v.Text, func(c rune) bool { return special(c) || c == ',' }) {
			switch name, value, _ := strings.Cut(option, "="); name {
			case "target", "destination", "dst":
				used[value] = true
			}
		}
	}
	for _, dir := range []string{"/run", "/tmp", "/var/tmp"} {
		if !used[dir] {
			r.flag(line, "tmpfs", dir)
		}
	}
}
