package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/runtime"
)

// each does something to every container named. The first error doesn't hold up
// the others. Names that were dealt with are printed, as docker does, but not
// one of which do says errNothing.
func (a *app) each(names []string, do func(name string) error) error {
	if len(names) == 0 {
		return errors.New("which one? write its name")
	}
	var errs []error
	for _, name := range names {
		switch err := do(name); {
		case err == nil:
			fmt.Fprintln(a.stdout, name)
		case !errors.Is(err, errNothing):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// errNothing says that there was nothing to do, which is as good.
var errNothing = errors.New("nothing to do")

func stopFlags(limit *time.Duration, signal *string) []flag {
	return []flag{
		{long: "time", short: 't', text: seconds(limit), arg: "SECONDS", about: "how long to wait before killing (default: as run was told, or 10)"},
		{long: "timeout", text: seconds(limit)},
		{long: "signal", short: 's', text: text(signal), arg: "SIGNAL", about: "what to ask with (default: as run was told, or TERM)"},
	}
}

func (a *app) stop(args []string) error {
	limit, signal := time.Duration(-1), ""
	names, err := parse(stopFlags(&limit, &signal), args, true)
	if err != nil {
		return err
	}
	if signal != "" {
		if _, err := runtime.ParseSignal(signal); err != nil {
			return usageError{err}
		}
	}
	defer a.tidyNetwork()
	return a.each(names, func(name string) error {
		err := a.dir.Stop(name, signal, limit)
		if errors.Is(err, runtime.ErrUnknown) {
			// It was to be removed when it ended, say: what was asked for is so.
			fmt.Fprintf(a.stderr, "%s: stop: %v: nothing to stop\n", a.name, err)
			return nil
		}
		return err
	})
}

func killFlags(signal *string) []flag {
	return []flag{{long: "signal", short: 's', text: text(signal), arg: "SIGNAL", about: "TERM, SIGTERM or 15 (default KILL)"}}
}

func (a *app) kill(args []string) error {
	name := "KILL"
	names, err := parse(killFlags(&name), args, true)
	if err != nil {
		return err
	}
	sig, err := runtime.ParseSignal(name)
	if err != nil {
		return usageError{err}
	}
	defer a.tidyNetwork()
	return a.each(names, func(name string) error { return a.dir.Kill(name, sig) })
}

func rmFlags(force, volumes *bool) []flag {
	return []flag{
		{long: "force", short: 'f', set: boolean(force), about: "kill one that runs; one that isn't there is no error"},
		{long: "volumes", short: 'v', set: boolean(volumes), about: "its volumes without a name, too"},
		{long: "link", short: 'l', why: "there are no links"},
	}
}

func (a *app) rm(args []string) error {
	var force, volumes bool
	names, err := parse(rmFlags(&force, &volumes), args, true)
	if err != nil {
		return err
	}
	defer a.tidyNetwork()
	remove := a.dir.Remove
	if volumes {
		remove = a.dir.RemoveAll
	}
	return a.each(names, func(name string) error {
		c, err := a.dir.Get(name)
		switch {
		case force && errors.Is(err, runtime.ErrUnknown):
			return errNothing
		case err != nil && !errors.Is(err, runtime.ErrUnknown):
			return a.dir.Remove(name) // its record is damaged
		case err != nil:
			return err
		case force && c.Live != nil:
			if err := a.dir.Kill(c.Name, unix.SIGKILL); err != nil && !errors.Is(err, runtime.ErrUnknown) {
				if again, e := a.dir.Get(name); e == nil && again.Live != nil {
					return err
				}
			}
		}
		err = remove(c.Name)
		if force && errors.Is(err, runtime.ErrUnknown) {
			return nil // its own parent was faster: --rm
		}
		return err
	})
}

func (a *app) cleanup(args []string) error {
	unit := ""
	rest, err := parse([]flag{{long: "unit", text: text(&unit), arg: "UNIT"}}, args, true)
	if err != nil {
		return err
	}
	if unit == "" || len(rest) > 0 {
		return usageError{errors.New("which unit? write cleanup --unit UNIT")}
	}
	defer a.tidyNetwork()
	return a.dir.CleanUp(unit, exitOfUnit(os.Getenv("EXIT_CODE"), os.Getenv("EXIT_STATUS")))
}

// exitOfUnit reads how systemd tells ExecStopPost= that the main process ended.
func exitOfUnit(code, status string) int {
	if code == "exited" {
		if n, err := strconv.Atoi(status); err == nil {
			return n
		}
		return -1
	}
	if sig, err := runtime.ParseSignal(status); status != "" && err == nil {
		return runtime.ExitSignal + int(sig)
	}
	return -1
}

func logsFlags(follow, stamps *bool, tail, since, until *string) []flag {
	return []flag{
		{long: "follow", short: 'f', set: boolean(follow), about: "go on as more comes"},
		{long: "tail", short: 'n', text: text(tail), arg: "LINES", about: "only the last ones"},
		{long: "timestamps", short: 't', set: boolean(stamps), about: "with the time of each line"},
		{long: "since", text: text(since), arg: "TIME", about: "from then on, as journalctl reads it"},
		{long: "until", text: text(until), arg: "TIME", about: "up to then"},
	}
}

func (a *app) logs(args []string) error {
	var follow, stamps bool
	var tail, since, until string
	names, err := parse(logsFlags(&follow, &stamps, &tail, &since, &until), args, true)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return usageError{errors.New("which container? write one name")}
	}
	c, err := a.dir.Get(names[0])
	if err != nil {
		return err
	}
	if c.Unit == "" {
		return fmt.Errorf("%s: not started by a systemd unit, so its output went to whoever started it", c.Name)
	}
	program, err := exec.LookPath("journalctl")
	if err != nil {
		return fmt.Errorf("%s: its output is in the journal of unit %s, but there is no journalctl here; install systemd's", c.Name, c.Unit)
	}
	query := []string{"journalctl", "--no-pager", "--quiet", "--output=cat"}
	if stamps {
		query[3] = "--output=short-iso-precise"
	}
	if follow {
		query = append(query, "--follow")
	}
	if tail == "" {
		tail = "all"
	}
	query = append(query, "--lines="+tail)
	if since != "" {
		query = append(query, "--since="+journalTime(since, time.Now()))
	}
	if until != "" {
		query = append(query, "--until="+journalTime(until, time.Now()))
	}
	if c.Invocation != "" {
		query = append(query, "_SYSTEMD_INVOCATION_ID="+c.Invocation)
	} else {
		query = append(query, "--unit="+c.Unit)
	}
	return fmt.Errorf("run %s: %w", program, syscall.Exec(program, query, os.Environ()))
}

func (a *app) info(args []string) error {
	format, rest, err := onlyFormat(args)
	if err != nil || len(rest) > 0 {
		return errors.Join(err, tooMany(rest))
	}
	h := runtime.LookAtHost()
	all, err := a.dir.List()
	if err != nil {
		return err
	}
	running := 0
	for _, c := range all {
		if c.Running() {
			running++
		}
	}
	if format != "" {
		return a.infoBy(format, all, running)
	}
	ids := "a range of 65536 per container, from 524288 up"
	if !h.Root {
		ids = "one, the caller's own (no root)"
	}
	fmt.Fprintf(a.stdout, "Version: %s\nContainers: %d\n Running: %d\n Stopped: %d\nKernel: %s\nNetworks: %s\nIds: %s\n",
		version, len(all), running, len(all)-running, kernel(), a.networks(h), ids)
	return a.features()
}

// features prints what this machine can do, and what is done where it can't.
func (a *app) features() error {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nTRIED OUT\tWORKS\tINSTEAD, OR WHICH")
	for _, f := range a.dir.Features() {
		works := "no"
		if f.Works {
			works = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, works, f.Note)
	}
	return w.Flush()
}

func (a *app) help(args []string) error {
	if len(args) > 0 {
		name, rest := ungroup(args[0], args[1:])
		if name == "volume" && len(rest) > 0 {
			name += " " + rest[0]
		}
		return a.helpFor(name)
	}
	fmt.Fprintf(a.stdout, "%s runs containers without a daemon. Started by systemd, it leaves the program to systemd; in a shell it stays beside it.\n\n"+
		"  %s run busybox echo hello\n  %s run --rootfs /srv/root /bin/sh -c 'id; mount'\n\nCommands:\n", a.name, a.name, a.name)
	for _, v := range verbs() {
		if v.about != "" {
			fmt.Fprintf(a.stdout, "  %-15s %s\n", v.name, v.about)
		}
	}
	fmt.Fprintf(a.stdout, "\nNetworks: bridge (the default for root), none (loopback only; the default for others), host,\ncontainer:NAME, ns:PATH. Exit codes of run and exec: the program's own; 125 nsrun failed, 126 not executable,\n127 not found, 128+n ended by signal n. Without root a container\nhas one id, the caller's own, which is root in there, or --user; and no network but --network=host.\n")
	return nil
}

func (a *app) helpFor(name string) error {
	var (
		yes  bool
		str  string
		wait time.Duration
	)
	about, flags := "", []flag(nil)
	switch name {
	case "run":
		about, flags = "run [FLAG…] IMAGE [COMMAND…], or run --rootfs DIR COMMAND…", runFlags(&runOptions{})
	case "exec":
		about, flags = "exec [FLAG…] CONTAINER COMMAND…", execFlags(&execOptions{})
	case "ps":
		about, flags = "ps [FLAG…]", psFlags(&psOptions{})
	case "inspect":
		about, flags = "inspect [FLAG…] NAME…", inspectFlags(&inspectOptions{})
	case "stop":
		about, flags = "stop [FLAG…] NAME…", stopFlags(&wait, &str)
	case "kill":
		about, flags = "kill [FLAG…] NAME…", killFlags(&str)
	case "rm":
		about, flags = "rm [FLAG…] NAME…", rmFlags(&yes, &yes)
	case "logs":
		about, flags = "logs [FLAG…] NAME", logsFlags(&yes, &yes, &str, &str, &str)
	case "cleanup":
		about = "cleanup --unit UNIT: for ExecStopPost="
	default:
		return a.helpMore(name)
	}
	fmt.Fprintf(a.stdout, "%s %s\n\n%s", a.name, about, usage(flags))
	return nil
}

// quote shortens a command for a column.
func quote(command []string) string {
	text := strings.Join(command, " ")
	if len(text) > 20 {
		text = text[:19] + "…"
	}
	return strconv.Quote(text)
}
