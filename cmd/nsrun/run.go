package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/runtime"
	"github.com/clusterd/clusterd/agent/sheet"
)

// runOptions is what the flags of run say.
type runOptions struct {
	spec       runtime.Spec
	env        []string
	envFiles   []string
	entrypoint *string
	envHost    bool
	volumes    []string
	tmpfs      []string
	mountings  []string
	devices    []string
	shmSize    string
	sysctls    []string
	hosts      []string
	zone       string
	networking networkOptions
	notify     string
	userns     string
	stopAfter  time.Duration
	pull       string
	wanted     image.Platform // platform, read
	pinned     bool
	explain    bool

	volumesFrom   []string
	readOnlyTmpfs bool
	cidFile       string
	platform      string
	quiet         bool

	volumesOfImage map[string]struct{}
	notes          []string // for whoever wrote the flags
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// runFlags are the flags of run.
func runFlags(o *runOptions) []flag {
	s := &o.spec
	return slices.Concat(networkFlags(o), []flag{
		{long: "name", text: text(&s.Name), arg: "NAME", about: "the container's name (default: the beginning of its id)"},
		{long: "rm", set: boolean(&s.Remove), about: "keep nothing when it has ended"},
		{long: "rootfs", text: text(&s.RootFS), arg: "DIR[:O]", about: "run in a directory, no image; :O leaves the directory as it is"},
		{long: "env", short: 'e', text: list(&o.env), arg: "NAME[=VALUE]", about: "set a variable; without a value, pass on ours"},
		{long: "env-host", set: boolean(&o.envHost), about: "pass all our variables on, under those of the image"},
		{long: "env-file", text: list(&o.envFiles), arg: "FILE", about: "set variables from a file, one a line"},
		{long: "workdir", short: 'w', text: text(&s.WorkDir), arg: "DIR", about: "working directory in the container"},
		{long: "user", short: 'u', text: text(&s.User), arg: "USER[:GROUP]", about: "names of the container's, or numbers"},
		{long: "group-add", text: list(&s.Groups), arg: "GROUP", about: "be in this group, too"},
		{long: "hostname", short: 'h', text: text(&s.Hostname), arg: "NAME", about: "host name in the container"},
		{long: "entrypoint", text: func(v string) error { o.entrypoint = &v; return nil }, arg: "PROGRAM", about: "run this instead of what the image says"},
		{long: "read-only", set: boolean(&s.ReadOnly), about: "make the root read-only"},
		{long: "tmpfs", text: list(&o.tmpfs), arg: "DIR[:OPTIONS]", about: "an empty directory in memory (size=, mode=, exec)"},
		{long: "volume", short: 'v', text: list(&o.volumes), arg: "FROM:TO[:ro]", about: "bind a directory or file of the machine, or a named volume"},
		{long: "mount", text: list(&o.mountings), arg: "type=…,…", about: "the same: bind, volume or tmpfs, with source=, target=, readonly"},
		{long: "device", text: list(&o.devices), arg: "FROM[:TO]", about: "a device of the machine; -FROM if it is there"},
		{long: "shm-size", text: text(&o.shmSize), arg: "SIZE", about: "room in /dev/shm (default 64m)"},
		{long: "tz", text: text(&o.zone), arg: "ZONE", about: "time zone, such as Europe/Berlin; local: the machine's"},
		{long: "dns", text: list(&s.Names.Servers), arg: "ADDRESS", about: "ask this name server, not the machine's"},
		{long: "dns-search", text: list(&s.Names.Search), arg: "DOMAIN", about: "where to look for names without a dot; . is nowhere"},
		{long: "dns-option", text: list(&s.Names.Options), arg: "OPTION", about: "option of resolv.conf(5)"},
		{long: "dns-opt", text: list(&s.Names.Options)},
		{long: "sysctl", text: list(&o.sysctls), arg: "NAME=VALUE", about: "set net.*, fs.mqueue.* or shared memory's kernel.* for the container"},
		{long: "userns", text: text(&o.userns), arg: "host", about: "host: root inside is root outside"},
		{long: "cap-add", text: list(&s.CapAdd), arg: "NAME", about: "keep a capability"},
		{long: "cap-drop", text: list(&s.CapDrop), arg: "NAME", about: "drop a capability; ALL"},
		{long: "security-opt", text: securityOpt(s), arg: "OPTION[=VALUE]", about: "seccomp=unconfined|FILE, no-new-privileges=false, apparmor=NAME, mask=PATH, unmask=ALL|PATH"},
		{long: "label", short: 'l', text: list(&s.Labels), arg: "NAME[=VALUE]", about: "keep this with the container; see ps --filter label="},
		{long: "annotation", text: annotation(&s.Labels), arg: "NAME=VALUE", about: "the same as a label"},
		{long: "sdnotify", text: text(&o.notify), arg: "conmon|container", about: "who tells systemd READY=1: we, when the program runs (default), or it itself"},
		{long: "stop-signal", text: text(&s.StopSignal), arg: "SIGNAL", about: "what stop sends (default TERM)"},
		{long: "stop-timeout", text: o.stopTimeout, arg: "SECONDS", about: "how long stop waits before it kills (default 10)"},
		{long: "pull", text: text(&o.pull), arg: "missing|always|never", about: "when to ask the registry (default missing: when the image isn't here)"},
		{long: "require-digest", set: boolean(&o.pinned), about: "run only an image that is named with its digest"},
		{long: "interactive", short: 'i', set: boolean(&s.Stdin), about: "pass standard input on"},
		{long: "tty", short: 't', set: boolean(&s.TTY), about: "a terminal of the container's; in a unit, where output goes to the journal, it does nothing"},
		{long: "attach", short: 'a', text: stream, arg: "STREAM", about: "always so: output goes where nsrun's goes"},
		{long: "explain", set: boolean(&o.explain), about: "print every step and do nothing"},
	}, dockerFlags(o))
}

// stream reads docker's --attach.
func stream(v string) error {
	switch strings.ToLower(v) {
	case "stdin", "stdout", "stderr":
		return nil
	}
	return fmt.Errorf("%s: there are stdin, stdout and stderr", v)
}

// annotation reads one for list.
func annotation(at *[]string) func(string) error {
	return func(v string) error {
		if strings.IndexByte(v, '=') < 1 {
			return fmt.Errorf("%s: write NAME=VALUE", v)
		}
		*at = append(*at, v)
		return nil
	}
}

// stopTimeout reads --stop-timeout, of which zero is at once.
func (o *runOptions) stopTimeout(v string) error {
	err := seconds(&o.stopAfter)(v)
	if o.stopAfter == 0 {
		o.stopAfter = 1 // zero stands for the default
	}
	return err
}

// parseRun reads the flags of run.
func parseRun(o *runOptions, args []string) (rest []string, err error) {
	if rest, err = parse(runFlags(o), args, false); err != nil {
		// Perhaps it is one of docker's that we don't have, and know why; or it
		// is given so that it asks for what is so anyway.
		*o = runOptions{}
		rest, err = parse(append(runFlags(o), refused()...), args, false)
	}
	return rest, err
}

// refused are docker's flags that do nothing here yet, or never will, each with
// the way to get what it is for.
func refused() []flag {
	flags := []flag{
		{long: "detach", short: 'd', why: "a container stays with whoever started it; in a unit leave it out, in a shell: systemd-run nsrun run …"},
		{long: "privileged", why: "there is none; name what it needs: --cap-add, --userns=host, --volume"},
	}
	flags = append(flags, unitFlags()...)
	flags = append(flags, laterFlags()...)
	return flags
}

func (a *app) run(args []string) error {
	o := &runOptions{}
	rest, err := parseRun(o, args)
	if err != nil {
		return err
	}
	if err := runtime.PassOver(); err != nil {
		return err
	}
	o.spec.ID = runtime.NewID()
	if o.spec.Name == "" {
		o.spec.Name = o.spec.ID[:12]
	}
	var img *image.Image
	if o.spec.RootFS == "" {
		if len(rest) == 0 {
			return usageError{fmt.Errorf("no image; write: %s run [FLAG…] IMAGE [COMMAND…]", a.name)}
		}
		o.spec.Image, rest = rest[0], rest[1:]
		if img, err = a.image(o); err != nil {
			return err
		}
	}
	a.chooseNetwork(o)
	code, err := a.start(o, img, rest)
	if err != nil {
		return err
	}
	if code != 0 {
		runtime.EndLike(code)
		return exitError(code)
	}
	return nil
}

// start runs what the flags say, in an image or without one.
func (a *app) start(o *runOptions, img *image.Image, command []string) (code int, err error) {
	if err := o.complete(a.dir, img, command); err != nil {
		return 0, err
	}
	for _, note := range o.notes {
		fmt.Fprintf(a.stderr, "%s: run: note: %s\n", a.name, note)
	}
	if err := errors.Join(a.links(o), a.dir.ShareNetwork(&o.spec)); err != nil {
		return 0, err
	}
	for _, p := range o.networking.publish {
		if why := o.discarded(p); why != "" {
			fmt.Fprintf(a.stderr, "%s: run: warning: --publish=%s is discarded: %s\n", a.name, p, why)
		}
	}
	host := runtime.LookAtHost(o.spec.Masked...)
	if err := a.terminal(&o.spec, host.HandOver); err != nil {
		return 0, err
	}
	plan, err := runtime.Make(o.spec, host)
	if err != nil {
		return 0, err
	}
	if o.explain {
		fmt.Fprint(a.stdout, plan)
		return 0, nil
	}
	if img != nil {
		a.dir.UseLeases(leases{a.store, img})
	}
	if o.spec.Network == runtime.NetworkBridge {
		a.dir.UseNetwork(connector{})
	}
	undo, err := o.writeID()
	if err != nil {
		return 0, err
	}
	code, err = a.dir.Run(plan)
	if o.spec.Network == runtime.NetworkBridge && (err != nil || !plan.HandOver) {
		a.tidyNetwork() // it has ended
	}
	if err != nil {
		undo()
		return 0, fmt.Errorf("%s: %w", o.spec.Name, err)
	}
	return code, nil
}

// complete fills in what the flags leave to the image, to files and to systemd.
func (o *runOptions) complete(dir *runtime.Dir, img *image.Image, command []string) error {
	s := &o.spec
	if err := o.check(); err != nil {
		return err
	}
	var config image.Config
	if img != nil {
		s.Digest, s.Layers, config = string(img.Digest), img.Layers, img.Config
	}
	if rest, ok := strings.CutSuffix(s.RootFS, ":O"); ok {
		s.RootFS, s.RootOverlay = rest, true
	}
	if s.RootFS != "" {
		if info, err := os.Stat(s.RootFS); err != nil || !info.IsDir() {
			return fmt.Errorf("--rootfs=%s: no such directory", s.RootFS)
		}
		// In this order: the working directory's name may lead over links, too.
		abs, err := filepath.Abs(s.RootFS)
		if err == nil {
			s.RootFS, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return fmt.Errorf("--rootfs=%s: %w", s.RootFS, err)
		}
	}
	o.volumesOfImage = config.Volumes
	s.Argv = argv(config, o.entrypoint, command)
	s.HostIDs = o.userns == "host"
	s.StopTimeout = o.stopAfter
	if s.WorkDir == "" {
		s.WorkDir = config.WorkingDir
	}
	if s.User == "" {
		s.User = config.User
	}
	if s.StopSignal == "" {
		s.StopSignal = config.StopSignal
	}
	if s.Network == runtime.NetworkHost && s.Hostname == "" {
		s.Hostname, _ = os.Hostname()
	}
	if err := o.mounts(dir); err != nil {
		return err
	}
	if err := o.outside(); err != nil {
		return err
	}
	if err := o.ports(config); err != nil {
		return err
	}
	var err error
	if s.Env, err = o.environment(config.Env); err != nil {
		return err
	}
	return o.fromSystemd()
}

func (o *runOptions) check() error {
	s := &o.spec
	switch o.userns {
	case "", "host", "auto", "private":
	default:
		return usageError{fmt.Errorf("--userns=%s: there is the default, a range of its own, and host", o.userns)}
	}
	switch o.notify {
	case "", "conmon", "container":
	default:
		return usageError{fmt.Errorf("--sdnotify=%s: there are conmon (the default) and container", o.notify)}
	}
	if err := o.checkNetwork(); err != nil {
		return err
	}
	if s.StopSignal != "" {
		if _, err := runtime.ParseSignal(s.StopSignal); err != nil {
			return usageError{fmt.Errorf("--stop-signal: %w", err)}
		}
	}
	for _, l := range s.Labels {
		if l == "" || l[0] == '=' {
			return usageError{fmt.Errorf("--label=%s: a label needs a name", l)}
		}
	}
	return nil
}

// argv is docker's rule: a given entry point drops the image's command, too.
func argv(config image.Config, entrypoint *string, command []string) []string {
	if entrypoint != nil {
		if *entrypoint == "" {
			return command
		}
		return append([]string{*entrypoint}, command...)
	}
	if len(command) == 0 {
		command = config.Cmd
	}
	return append(append([]string{}, config.Entrypoint...), command...)
}

// environment puts the variables together: ours if asked for, the image's, then
// files, then flags.
func (o *runOptions) environment(image []string) ([]string, error) {
	var env []string
	if o.envHost {
		for _, entry := range os.Environ() {
			if name, value, _ := strings.Cut(entry, "="); !ours(name) {
				env = runtime.SetEnv(env, name, value)
			}
		}
	}
	for _, entry := range image {
		name, value, _ := strings.Cut(entry, "=")
		env = runtime.SetEnv(env, name, value)
	}
	env, err := givenEnv(env, o.envFiles, o.env)
	if err != nil {
		return nil, err
	}
	if !has(env, "PATH") {
		env = runtime.SetEnv(env, "PATH", defaultPath)
	}
	if !has(env, "HOSTNAME") {
		name := o.spec.Hostname
		if name == "" {
			name = o.spec.ID[:12]
		}
		env = runtime.SetEnv(env, "HOSTNAME", name)
	}
	return env, nil
}

// givenEnv puts over env what --env-file and --env say.
func givenEnv(env, files, flags []string) ([]string, error) {
	set := func(entry string) {
		name, value, ok := strings.Cut(entry, "=")
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				return
			}
		}
		env = runtime.SetEnv(env, name, value)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		entries, err := parseEnvFile(string(data))
		if err != nil {
			return nil, usageError{fmt.Errorf("--env-file=%s: %w", file, err)}
		}
		for _, entry := range entries {
			set(entry)
		}
	}
	for _, entry := range flags {
		if entry == "" || entry[0] == '=' {
			return nil, usageError{fmt.Errorf("--env=%s: a variable needs a name", entry)}
		}
		set(entry)
	}
	return env, nil
}

// ours says whether systemd means a variable for this process, not for what it
// starts.
func ours(name string) bool {
	switch name {
	case "INVOCATION_ID", "JOURNAL_STREAM", "MAINPID", "MANAGERPID", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID":
		return true
	}
	return strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "NSRUN_")
}

// parseEnvFile reads docker's format: NAME=value or NAME a line, the value as it
// stands, quotes and all; a line whose first sign is # is a comment.
func parseEnvFile(text string) ([]string, error) {
	var entries []string
	text = strings.TrimPrefix(text, "\ufeff") // an editor's mark, no part of the first name
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line, "=")
		if name == "" || strings.ContainsAny(name, " \t\r\x00") || strings.ContainsRune(line, 0) {
			return nil, fmt.Errorf("line %d: %q is no name of a variable", i+1, name)
		}
		entries = append(entries, line)
	}
	return entries, nil
}

func has(env []string, name string) bool {
	for _, entry := range env {
		if strings.HasPrefix(entry, name+"=") {
			return true
		}
	}
	return false
}

// fromSystemd takes over what systemd tells us about ourselves, and passes on
// the sockets it opened for us. NOTIFY_SOCKET stays here, as the first process
// has been reported ready when it runs, unless it is to say so itself; then it
// may keep the watchdog quiet, too.
func (o *runOptions) fromSystemd() (err error) {
	s := &o.spec
	s.Unit, s.Invocation = ownUnit(), os.Getenv("INVOCATION_ID")
	if s.Unit == "" {
		s.Invocation = ""
	}
	if o.notify == "container" && os.Getenv("NOTIFY_SOCKET") != "" {
		if s.Notify, err = runtime.PrepareNotify(os.Getenv("NOTIFY_SOCKET")); err != nil {
			return fmt.Errorf("--sdnotify=container: %w", err)
		}
		s.Env = runtime.SetEnv(s.Env, "NOTIFY_SOCKET", runtime.NotifySocket)
		if usec := os.Getenv("WATCHDOG_USEC"); usec != "" {
			s.Env = runtime.SetEnv(s.Env, "WATCHDOG_USEC", usec)
			s.Env = runtime.SetEnv(s.Env, "WATCHDOG_PID", o.programPID())
		}
	}
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 1 || n > 1000 {
		return nil
	}
	s.ListenFDs = n
	s.Env = runtime.SetEnv(s.Env, "LISTEN_FDS", strconv.Itoa(n))
	s.Env = runtime.SetEnv(s.Env, "LISTEN_PID", o.programPID())
	if names := os.Getenv("LISTEN_FDNAMES"); names != "" {
		s.Env = runtime.SetEnv(s.Env, "LISTEN_FDNAMES", names)
	}
	return nil
}

// programPID is the program's own id inside: it is the first process, or what init
// makes first.
func (o *runOptions) programPID() string {
	if o.spec.Init {
		return "2"
	}
	return "1"
}

// ownUnit returns the systemd service this process runs in, by its cgroup.
func ownUnit() string {
	data, err := sheet.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return unitOf(string(data))
}

// unitOf finds the service in the text of /proc/PID/cgroup: the innermost one
// of the hierarchy that is systemd's.
func unitOf(cgroups string) string {
	for _, line := range strings.Split(cgroups, "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		part := strings.Split(f[2], "/")
		for i := len(part) - 1; i >= 0; i-- {
			if strings.HasSuffix(part[i], ".service") {
				return strings.TrimPrefix(part[i], "_") // systemd escapes names that clash
			}
		}
	}
	return ""
}
