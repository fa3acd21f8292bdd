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

// helpMore is help for verbs that take few flags or none, and for those that
// nsrun-image has.
func (a *app) helpMore(name string) error {
	text, ok := map[string]string{
		"port":            "port NAME [PORT[/PROTOCOL]]\n\nPrints where the ports of a container are to be had on the machine: all, or\nthose of one port of the container (default protocol: tcp).\n",
		"wait":            "wait NAME…\n\nWaits until each has ended and prints its exit code.\n",
		"container prune": "container prune --force\n\nRemoves every container that has ended. Nothing is asked.\n",
		"system prune":    "system prune --force [--all] [--volumes]\n\nRemoves every container that has ended, images that nobody needs (--all: those\nthat no container uses, too), and with --volumes volumes without a name.\n",
		"volume": "volume create [NAME], ls [-q], rm [-f] NAME…, inspect [-f TEMPLATE] NAME…, prune --force [--all]\n\n" +
			"A volume is a directory of this machine, kept by a name: run --volume NAME:/DIR.\nOne that is empty is filled with what the image has there.\n",
		"info":    "info [--format TEMPLATE]\n",
		"version": "version [--format TEMPLATE]\n",
		"help":    "help [VERB]\n",
	}[name]
	if ok {
		fmt.Fprintf(a.stdout, "%s %s", a.name, text)
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
		if program, err := imageProgram(); err == nil && slices.Contains(strings.Fields(imageVerbs), name) {
			ask := exec.Command(program, name, "--help")
			ask.Stdout, ask.Stderr = a.stdout, a.stderr
			return ask.Run()
		}
		fmt.Fprintf(a.stdout, "%s %s: %s\n", a.name, v.name, v.about)
		return nil
	}
	return usageError{a.unknown(name)}
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
	return a.eachBy(a.stdout, format, []any{object{{"Client", part}, {"Server", part}}})
}

// onlyFormat reads --format, the only flag of some verbs.
func onlyFormat(args []string) (format string, rest []string, err error) {
	rest, err = parse([]flag{{long: "format", short: 'f', text: text(&format)}}, args, true)
	return format, rest, err
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
	return a.eachBy(a.stdout, format, []any{object{
		{"ServerVersion", version}, {"Containers", len(all)}, {"ContainersRunning", running}, {"ContainersPaused", 0},
		{"ContainersStopped", len(all) - running}, {"Driver", "overlay2"}, {"LoggingDriver", "journald"}, {"CgroupDriver", "systemd"},
		{"KernelVersion", kernel()}, {"OSType", "linux"}, {"DefaultRuntime", "nsrun"},
	}})
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
