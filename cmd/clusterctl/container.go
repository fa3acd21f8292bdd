package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// unitOfFile is the unit that a file of that name makes: web.container makes
// web.service.
func unitOfFile(base string) (unit.Name, error) {
	if stem, ok := strings.CutSuffix(base, container.Suffix); ok && stem != "" {
		base = stem + ".service"
	}
	return unit.ParseName(base)
}

// filesOf are the names of the files that may hold a unit, the first first; arg
// is what the user called it.
func filesOf(name unit.Name, arg string) []string {
	names := []unit.Name{name}
	if template, ok := name.Template(); ok {
		names = append(names, template)
	}
	var files []string
	for _, n := range names {
		stem, service := strings.CutSuffix(string(n), ".service")
		switch {
		case !service:
			files = append(files, string(n))
		case strings.HasSuffix(arg, container.Suffix):
			files = append(files, stem+container.Suffix)
		case strings.HasSuffix(arg, ".service"):
			files = append(files, string(n))
		default:
			files = append(files, string(n), stem+container.Suffix)
		}
	}
	return files
}

// isFileOf says whether a file is the unit's own, not its template's.
func isFileOf(file string, name unit.Name) bool {
	own, err := unitOfFile(filepath.Base(file))
	return err == nil && own == name
}

// separate takes a joined error apart.
func separate(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// renderedText is what systemd gets for a unit file.
func renderedText(name unit.Name, src []byte) ([]byte, error) {
	l, err := container.Load(name, src)
	if err != nil {
		return nil, failure(api.ExitFailed, "%v", err)
	}
	return l.Text, nil
}

func newConvert(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert -- docker run [FLAG...] IMAGE [COMMAND...]",
		Short: "Turn a docker or podman run command line into a unit, and print that",
		Long: `Turn a docker or podman run command line into a unit with a [Container] section, and print that.

The command line may be given as words or as one argument in quotes. What is left out is said on
stderr. Nothing is sent to the cluster.`,
		Example: `  clusterctl convert -- docker run -d --name web --net host nginx > web.container
  clusterctl convert 'docker run -d --restart always --name web --net host nginx'`,
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError("convert: no command line given; use it as: %s", cmd.UseLine())
		}
		return nil
	}
	cmd.Flags().SetInterspersed(false)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		text, notes, err := container.Convert(args)
		fmt.Fprint(p.stdout, text)
		p.notes(notes)
		if err != nil {
			return failure(api.ExitUsage, "%v", err)
		}
		return nil
	}
	return cmd
}

// runFlag is a flag of run that goes into the unit as docker's of that name.
type runFlag struct{ name, short, value, usage string }

func runFlags() []runFlag {
	return []runFlag{
		{"env", "e", "NAME[=VALUE]", "set a variable; without a value, as it is here"},
		{"env-file", "", "FILE", "set variables from a file of the machine"},
		{"volume", "v", "FROM:TO", "bind a directory of the machine, or a named volume; FROM:TO:ro for reading only"},
		{"mount", "", "type=...,...", "the same, as docker has it: bind, volume or tmpfs with source=, target=, readonly"},
		{"tmpfs", "", "DIR", "an empty directory in memory"},
		{"shm-size", "", "SIZE", "room in /dev/shm (default 64m)"},
		{"device", "", "FROM[:TO]", "a device of the machine"},
		{"network", "", "NETWORK", "none (the default) or host: the machine's"},
		{"publish", "p", "PORT", "a port its program listens on, with --network host"},
		{"add-host", "", "NAME:ADDRESS", "a line for its /etc/hosts"},
		{"dns", "", "ADDRESS", "ask this name server, not the machine's"},
		{"sysctl", "", "NAME=VALUE", "a setting of the kernel's of its own, such as net.core.somaxconn=1024"},
		{"tz", "", "ZONE", "time zone, such as Europe/Berlin; local: the machine's"},
		{"user", "u", "USER[:GROUP]", "who it runs as"},
		{"group-add", "", "GROUP", "be in this group, too"},
		{"hostname", "", "NAME", "host name in the container"},
		{"workdir", "w", "DIR", "working directory in the container"},
		{"entrypoint", "", "PROGRAM", "run this instead of what the image says"},
		{"cap-add", "", "NAME", "keep a capability"},
		{"cap-drop", "", "NAME", "drop a capability"},
		{"memory", "", "SIZE", "at most so much memory, such as 512m"},
		{"cpus", "", "NUMBER", "at most so many CPUs, such as 1.5"},
		{"pids-limit", "", "NUMBER", "at most so many processes"},
		{"ulimit", "", "NAME=SOFT:HARD", "a limit of its processes, such as nofile=1024:4096"},
		{"label", "l", "NAME=VALUE", "keep this with the container"},
		{"restart", "", "POLICY", "no (the default), on-failure or always"},
		{"pull", "", "WHEN", "missing (the default), always or never"},
		{"stop-signal", "", "SIGNAL", "what ends it (default TERM)"},
		{"stop-timeout", "", "SECONDS", "how long it has to end (default 10)"},
	}
}

func newRun(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run --name UNIT [FLAG...] IMAGE [COMMAND...]",
		Short: "Make a unit that runs a command in a container, and start it",
		Long: `Make a unit that runs a command in a container, show it, submit and start it, and wait until it
runs. From then on it is a unit as any other: clusterctl cat, stop, start, destroy.

Flags before the image are docker's; what follows the image belongs to the command.`,
		Example: `  clusterctl run --name hello busybox sh -c "while true; do echo Hello; sleep 1; done"
  clusterctl run --name web --network host --restart always --memory 512m nginx
  clusterctl run --name web --dry-run nginx > web.container`,
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	name := flags.String("name", "", "what the unit is called; .service may be left out")
	dry := flags.Bool("dry-run", false, "print the unit and do nothing")
	replace := flags.Bool("replace", false, "let it take the place of the unit of this name")
	allow := addAllowUnknown(cmd)
	why := addWhy(cmd)
	wait := addWaitFlags(cmd)
	var given []string
	for _, f := range runFlags() {
		flags.VarP(&collect{f, &given}, f.name, f.short, f.usage)
	}
	readOnly := flags.Bool("read-only", false, "make its root read-only")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *readOnly {
			given = append(given, "--read-only")
		}
		n, text, notes, err := p.newUnit(cmd, *name, given, args)
		if err != nil {
			return err
		}
		fmt.Fprint(p.stdout, text)
		if *dry {
			p.notes(notes) // else they come back from the API
			return nil
		}
		if err := wait.check("run"); err != nil {
			return err
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		hash := unit.HashOf([]byte(text))
		found, err := lookup(cmd.Context(), client, []unit.Name{n})
		if err != nil {
			return fmt.Errorf("run: %w", err)
		}
		if u, ok := found[n]; ok && u.Known && u.Target != "gone" && u.Hash != hash && !*replace {
			return failure(api.ExitFailed, "run %s: there is another unit of this name; choose another, or go on with --replace; to look at it: clusterctl cat %s", n, n)
		}
		request := api.Apply{Why: *why, AllowUnknown: *allow, Files: map[unit.Hash][]byte{hash: []byte(text)}, Changes: []api.Change{{Name: n, File: hash, Replace: *replace, Target: "launched"}}}
		return p.apply(cmd.Context(), client, "start", request, []unit.Name{n}, nil, wait)
	}
	return cmd
}

// newUnit makes the unit that run is asked for.
func (p *program) newUnit(cmd *cobra.Command, name string, flags, args []string) (n unit.Name, text string, notes []string, err error) {
	if name == "" {
		return "", "", nil, usageError("run: the unit has no name; give one with --name, as in: clusterctl run --name web nginx")
	}
	if len(args) == 0 {
		return "", "", nil, usageError("run: no image given; use it as: %s", cmd.UseLine())
	}
	n, err = unitOfFile(name)
	switch {
	case err != nil:
		return "", "", nil, usageError("run: %v", err)
	case n.Type() != "service" || n.IsTemplate():
		return "", "", nil, usageError("run: a container is a service that can run, and %s is none; give a name such as web", n)
	}
	for i, f := range flags {
		if variable, ok := strings.CutPrefix(f, "--env="); ok && !strings.Contains(variable, "=") {
			flags[i] += "=" + p.getenv(variable) // as docker: the caller's
		}
	}
	if text, notes, err = container.New(n, args[0], args[1:], flags...); err != nil {
		fmt.Fprint(p.stderr, text)
		return "", "", nil, usageError("run: %v", err)
	}
	return n, text, notes, nil
}

func (p *program) notes(notes []string) {
	for _, n := range notes {
		p.note("clusterctl: note: %s", n)
	}
}

// collect hands a flag over as it was given.
type collect struct {
	flag  runFlag
	given *[]string
}

func (c *collect) String() string { return "" }
func (c *collect) Type() string   { return c.flag.value }
func (c *collect) Set(value string) error {
	*c.given = append(*c.given, "--"+c.flag.name+"="+value)
	return nil
}
