package main

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime"
)

// imageVerbs are those that nsrun-image has, and knows the flags of.
const imageVerbs = "pull images rmi load save tag history login logout verify prune"

// helpMore is help for verbs of two words or few flags, and for those that
// nsrun-image has.
func (a *app) helpMore(name string) error {
	if usageLine, about, flags := pageOf(name); usageLine != "" {
		fmt.Fprintf(a.stdout, "Usage: %s %s\n", a.name, usageLine)
		for _, text := range []string{about, usage(flags)} {
			if text != "" {
				fmt.Fprintf(a.stdout, "\n%s", text)
			}
		}
		return nil
	}
	if verbs, ok := groups[name]; ok {
		fmt.Fprintf(a.stdout, "%s %s VERB: %s, or any verb without the word in front\n", a.name, name, strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
		return nil
	}
	for _, v := range verbs() {
		if v.name != name {
			continue
		}
		if !slices.Contains(strings.Fields(imageVerbs), name) {
			fmt.Fprintf(a.stdout, "Usage: %s %s\n\n%s\n", a.name, v.name, v.about)
			return nil
		}
		program, err := imageProgram()
		if err != nil {
			return err
		}
		ask := exec.Command(program, name, "--help")
		ask.Args[0] = a.name
		ask.Stdout, ask.Stderr = a.stdout, a.stderr
		return ask.Run()
	}
	return usageError{a.unknown(name)}
}

// pageOf is what help says of one of nsrun's smaller verbs; usageLine is empty
// where there is no such page.
func pageOf(name string) (usageLine, about string, flags []flag) {
	var yes bool
	var str string
	all := &pruneOptions{}
	byOrder := "Nothing is removed without --force or a yes on a terminal.\n"
	switch name {
	case "port":
		return "port NAME [PORT[/PROTOCOL]]", "Prints where the ports of a container are to be had on the machine: all, or\nthose of one port of the container (default protocol: tcp).\n", nil
	case "wait":
		return "wait NAME…", "Waits until each has ended and prints its exit code.\n", nil
	case "container prune":
		return name + " [FLAG…]", "Removes every container that has ended. " + byOrder, pruneFlags(all)[1:]
	case "system prune":
		return name + " [FLAG…]", "Removes every container that has ended, and images that nobody needs. " + byOrder, append(pruneFlags(all), volumesFlag(all))
	case "volume":
		return "volume create|ls|rm|inspect|prune …", "A volume is a directory of this machine, kept by a name: run --volume NAME:/DIR.\n" +
			"One that is empty is filled with what the image has there. volume VERB --help tells more.\n", nil
	case "volume create":
		return name + " [NAME]", "Makes a volume, unless it is there, and prints its name.\n", volumeCreateFlags(&str)
	case "volume ls", "volume list":
		return "volume ls [FLAG…]", "Lists volumes.\n", volumeLsFlags(&yes)
	case "volume rm", "volume remove":
		return "volume rm [FLAG…] NAME…", "Removes volumes that no container has, with what is in them.\n", volumeRmFlags(&yes)
	case "volume inspect":
		return name + " [FLAG…] NAME…", "Tells where volumes are.\n", formatFlags(&str)
	case "volume prune":
		return name + " [FLAG…]", "Removes volumes without a name that no container has. " + byOrder, []flag{
			{long: "all", short: 'a', about: "those with names, too"}, {long: "force", short: 'f', about: "don't ask"},
		}
	case "info":
		return name + " [FLAG…]", "Says how many containers there are and what this machine can do for them.\n", formatFlags(&str)
	case "version":
		return name + " [FLAG…]", "Prints name and version.\n", formatFlags(&str)
	case "help":
		return "help [VERB]", "Prints what there is, or what a verb does.\n", nil
	}
	return "", "", nil
}

// version prints name and version, and nothing else; with a template, what
// docker's has to say.
func (a *app) version(args []string) error {
	format, rest, err := onlyFormat(args)
	if err != nil || len(rest) > 0 {
		return errors.Join(err, tooMany(rest))
	}
	if format == "" {
		fmt.Fprintf(a.stdout, "%s %s\n", "nsrun", version)
		return nil
	}
	part := object{{"Version", version}, {"Os", "linux"}, {"KernelVersion", kernel()}}
	return a.tell(format, object{{"Client", part}, {"Server", part}})
}

// onlyFormat reads --format, the only flag of some verbs.
func onlyFormat(args []string) (format string, rest []string, err error) {
	rest, err = parse(formatFlags(&format), args, true)
	return format, rest, err
}

func formatFlags(format *string) []flag {
	return []flag{{long: "format", short: 'f', text: text(format), arg: "TEMPLATE", about: "print by a template of Go's, or json: all of it"}}
}

func tooMany(rest []string) error {
	if len(rest) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s: takes no arguments", rest[0])}
}

func kernel() string {
	var uts unix.Utsname
	unix.Uname(&uts) // fails for a bad address only
	return unix.ByteSliceToString(uts.Release[:])
}

// infoBy prints by a template what docker info tells, as far as it is so here.
func (a *app) infoBy(format string, all []*runtime.Container, running int) error {
	return a.tell(format, object{
		{"ServerVersion", version}, {"Containers", len(all)}, {"ContainersRunning", running}, {"ContainersPaused", 0},
		{"ContainersStopped", len(all) - running}, {"Driver", "overlay2"}, {"LoggingDriver", "journald"}, {"CgroupDriver", "systemd"},
		{"KernelVersion", kernel()}, {"OSType", "linux"}, {"DefaultRuntime", "nsrun"},
	})
}

// tell prints one thing by a template, or as JSON on one line: not in a list, as
// docker's info and version are none.
func (a *app) tell(format string, what object) error {
	if format == "json" {
		format = "{{json .}}"
	}
	return a.eachBy(a.stdout, format, []any{what})
}

// startAgain is docker's start and restart, which need somebody who has kept how
// to start a container: that is systemd.
func startAgain(verb string) func(*app, []string) error {
	return func(a *app, args []string) error {
		var ignored string
		names, err := parse([]flag{
			{long: "time", short: 't', text: text(&ignored)}, {long: "timeout", text: text(&ignored)}, {long: "signal", short: 's', text: text(&ignored)},
			{long: "attach", short: 'a', set: func(bool) {}}, {long: "interactive", short: 'i', set: func(bool) {}},
		}, args, true)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return errors.New("which one? write its name")
		}
		var errs []error
		for _, name := range names {
			c, err := a.dir.Get(name)
			switch {
			case err != nil:
			case c.Unit != "":
				err = fmt.Errorf("%s: systemd starts it, as its unit says: systemctl %s %s", name, verb, c.Unit)
			default:
				err = fmt.Errorf("%s: a container keeps no process to start it again; run it anew, or from a unit, and systemd does: systemctl %s UNIT", name, verb)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}
