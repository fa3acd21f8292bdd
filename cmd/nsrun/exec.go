package main

import (
	"fmt"

	"github.com/clusterd/clusterd/agent/runtime"
)

// execOptions is what the flags of exec say.
type execOptions struct {
	spec     runtime.ExecSpec
	env      []string
	envFiles []string
	explain  bool
}

func execFlags(o *execOptions) []flag {
	s := &o.spec
	return []flag{
		{long: "interactive", short: 'i', set: boolean(&s.Stdin), about: "pass standard input on"},
		{long: "tty", short: 't', set: boolean(&s.TTY), about: "a terminal of the container's; with -i for a shell"},
		{long: "env", short: 'e', text: list(&o.env), arg: "NAME[=VALUE]", about: "set a variable beside the container's; without a value, pass on ours"},
		{long: "env-file", text: list(&o.envFiles), arg: "FILE", about: "set variables from a file, one a line"},
		{long: "user", short: 'u', text: text(&s.User), arg: "USER[:GROUP]", about: "names of the container's, or numbers (default: the container's)"},
		{long: "workdir", short: 'w', text: text(&s.WorkDir), arg: "DIR", about: "working directory in the container (default: the container's)"},
		{long: "explain", set: boolean(&o.explain), about: "print every step and do nothing"},
		{long: "detach", short: 'd', why: "nobody stays to wait for it; in a shell put & behind the command, in a unit give it a unit of its own"},
		{long: "privileged", why: "there is none: nothing in a container may do more than its first program; name what that needs: run --cap-add"},
		{long: "detach-keys", takes: true, why: "a program ends with its nsrun exec, so there is no detaching; leave it out"},
	}
}

func (a *app) exec(args []string) error {
	o := &execOptions{}
	rest, err := parse(execFlags(o), args, false)
	if err != nil {
		return err
	}
	if len(rest) < 2 {
		return usageError{fmt.Errorf("write a container and a command: %s exec [FLAG…] CONTAINER COMMAND…", a.name)}
	}
	o.spec.Argv = rest[1:]
	if o.spec.Env, err = givenEnv(nil, o.envFiles, o.env); err != nil {
		return err
	}
	if o.spec.TTY && o.spec.Stdin && !o.explain {
		if err := runtime.CheckTerminal(); err != nil {
			return err
		}
	}
	target, err := a.dir.Hold(rest[0])
	if err != nil {
		return err
	}
	defer target.Close()
	plan, err := runtime.MakeExec(o.spec, target.Joined)
	if err != nil {
		return fmt.Errorf("%s: %w", target.Name, err)
	}
	if o.explain {
		fmt.Fprint(a.stdout, plan)
		return nil
	}
	code, err := target.Exec(plan)
	if err != nil {
		return fmt.Errorf("%s: %w", target.Name, err)
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

// terminal checks whether run can have the terminal that --tty asks for. Where
// systemd takes the container over nobody stays to attend to one: units have the
// flag from the time when somebody typed their command, and do well without it.
func (a *app) terminal(s *runtime.Spec, handOver bool) error {
	switch {
	case !s.TTY:
		return nil
	case handOver:
		s.TTY = false
		fmt.Fprintf(a.stderr, "%s: run: note: --tty does nothing in a unit: output goes to the journal; for a terminal of the machine's set StandardInput=tty and TTYPath=\n", a.name)
		return nil
	}
	if !has(s.Env, "TERM") {
		s.Env = runtime.SetEnv(s.Env, "TERM", "xterm") // which every image knows, as docker has it
	}
	if s.Stdin {
		return runtime.CheckTerminal()
	}
	return nil
}
