package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// DropInName is the file name of the drop-in an agent puts beside a unit file.
const DropInName = "50-clusterd.conf"

// DropIn returns what the cluster adds to a unit on a machine, empty when that
// is nothing, and notes a person should see. isNsrun says whether a program of
// the unit, as written in it, is nsrun on that machine.
func DropIn(name unit.Name, f *unit.File, isNsrun func(program string) bool) (dropIn []byte, notes []string) {
	if !strings.HasSuffix(string(name), ".service") {
		return nil, nil
	}
	var lines []string
	set := func(key, value string) { lines = append(lines, key+"="+value) }
	if v, ok := f.Last("Service", "KillMode"); ok && v.Text == "none" {
		set("KillMode", "mixed")
		notes = append(notes, fmt.Sprintf("%s:%d: KillMode=none would leave processes behind when the unit stops; it runs with KillMode=mixed", name, v.Line))
	}
	if run, ok := nsrunCommand(f, isNsrun); ok {
		if access, ok := f.Last("Service", "NotifyAccess"); !ok || access.Text == "none" {
			set("NotifyAccess", "main")
		}
		if t, ok := f.Last("Service", "Type"); !ok || t.Text == "simple" {
			set("Type", "notify")
		}
		if len(f.Values("Service", "ExecStop")) == 0 && run.container != "" {
			set("ExecStop", "-"+run.program+" stop "+run.container)
		}
		set("ExecStopPost", "-"+run.program+" cleanup --unit %n")
	}
	if len(lines) == 0 {
		return nil, notes
	}
	return []byte("# Written by clusterd; changes here are lost.\n[Service]\n" + strings.Join(lines, "\n") + "\n"), notes
}

// nsrunCall is the command by which a unit runs a container.
type nsrunCall struct {
	program   string // as written in the unit
	container string // its --name=, empty when that isn't plain
}

// nsrunCommand finds the ExecStart= that is nsrun itself, running a container.
func nsrunCommand(f *unit.File, isNsrun func(string) bool) (nsrunCall, bool) {
	for _, v := range f.Values("Service", "ExecStart") {
		prefixes, argv, err := unit.SplitCommand(v.Text)
		if err != nil || !isNsrun(argv[0]) {
			continue
		}
		program, args := argv[0], argv[1:]
		if strings.Contains(prefixes, "@") && len(args) > 0 {
			args = args[1:] // the program's argv[0]
		}
		at := slices.IndexFunc(args, func(arg string) bool { return !strings.HasPrefix(arg, "-") })
		if at < 0 || args[at] != "run" {
			continue
		}
		return nsrunCall{program: program, container: containerName(args[at+1:])}, true
	}
	return nsrunCall{}, false
}

// containerName finds the value of --name among the arguments of run.
func containerName(args []string) string {
	for i, arg := range args {
		name, ok := strings.CutPrefix(arg, "--name=")
		switch {
		case arg == "--":
			return ""
		case arg == "--name" && i+1 < len(args):
			name, ok = args[i+1], true
		}
		if ok {
			if strings.ContainsFunc(name, needsQuotes) {
				return ""
			}
			return name
		}
	}
	return ""
}

// needsQuotes says whether a word with c in it can't be put into a command
// line of systemd's as it stands. Specifiers and variables may stay: they mean
// the same there.
func needsQuotes(c rune) bool {
	plain := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("_.-%${}:@", c)
	return !plain
}
