package container

import (
	"path"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// What keys about security do with their values.

// noNewPrivileges: that nothing gains privileges is what nsrun does anyway.
func (r *renderer) noNewPrivileges(key string, values []unit.Value) {
	if v := values[len(values)-1]; !r.boolean(key, values) {
		r.flag(v.Line, "security-opt", "no-new-privileges=false")
	}
}

func (r *renderer) seccompProfile(key string, values []unit.Value) {
	v := values[len(values)-1]
	switch text := bare(v.Text); {
	case text == "builtin": // so it is anyway
	case text == "unconfined", text != "" && r.absolute(v, key, text):
		r.flag(v.Line, "security-opt", "seccomp="+text)
	}
}

func (r *renderer) appArmor(key string, values []unit.Value) {
	v := values[len(values)-1]
	switch text := bare(v.Text); {
	case text == "unconfined": // so it is anyway
	case text == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		r.fail(v.Line, key+"="+clip(text)+" names no profile", "write that of one the machine has loaded, or unconfined")
	default:
		r.flag(v.Line, "security-opt", "apparmor="+text)
	}
}

// mask and unmask take paths with colons between, which podman's manual writes
// with a backslash before them.

func (r *renderer) mask(key string, values []unit.Value) {
	v := values[len(values)-1]
	list := strings.ReplaceAll(bare(v.Text), `\:`, ":")
	for part := range strings.SplitSeq(list, ":") {
		if clean := path.Clean(part); !variable(part) && !strings.HasPrefix(clean, "/proc/") && !strings.HasPrefix(clean, "/sys/") {
			r.fail(v.Line, key+"="+clip(part)+" can't be hidden so: it is not below /proc or /sys", "cover it with something empty: Tmpfs=/DIR, or Volume=/dev/null:/FILE:ro")
			return
		}
	}
	r.flag(v.Line, "security-opt", "mask="+list)
}

func (r *renderer) unmask(key string, values []unit.Value) {
	v := values[len(values)-1]
	list := strings.ReplaceAll(bare(v.Text), `\:`, ":")
	for part := range strings.SplitSeq(list, ":") {
		if _, err := path.Match(part, "/"); !variable(part) && !strings.EqualFold(part, "ALL") && (err != nil || !path.IsAbs(part)) {
			r.fail(v.Line, key+"="+clip(part)+" is no path", "write ALL, or paths such as /proc/acpi or /sys/fs/*, with colons between")
			return
		}
	}
	r.flag(v.Line, "security-opt", "unmask="+list)
}
