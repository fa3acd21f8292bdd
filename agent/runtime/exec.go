package runtime

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ExecSpec says what to run in a container that runs, and how. [MakeExec] checks it.
type ExecSpec struct {
	Argv    []string // program and arguments; a program without a slash is looked up in PATH
	Env     []string // NAME=value, over the container's own
	WorkDir string   // absolute, in the container; empty means the container's
	User    string   // user[:group], names or numbers; empty means the container's
	Stdin   bool     // pass standard input on; otherwise it is empty
	TTY     bool     // a terminal of the container's
}

// ErrStopped says that a container doesn't run.
var ErrStopped = errors.New("not running")

// Joined is what a plan to run something in a container has to know of it and
// of this process. [Dir.Hold] finds it out.
type Joined struct {
	Record
	Root       bool       // we may choose among the container's ids
	Namespaces []string   // the container's that aren't ours, as in /proc/PID/ns
	Cgroup     string     // directory of the container's, to be born in; empty: our own will do
	MoveTo     []string   // or else directories to move to, one a hierarchy
	Limits     []ownLimit // the container's first process's
	OOMScore   string     // likewise
}

// ownLimit is one of a process's limits.
type ownLimit struct {
	Resource int
	unix.Rlimit
}

// ExecPlan is how a process comes to a container.
type ExecPlan struct {
	Spec   ExecSpec
	Joined Joined
	UserNS bool
	Env    []string // all of it but a HOME that is not known yet
	Caps   capSet
	Parent []Step // nsrun's own
	Join   []Step // a process's that isn't seen from the container
	Child  []Step // its child's, which is; then the program's
}

// MakeExec decides how to run something in a container. It does no I/O. The
// error says which part of spec can't be, and what can.
func MakeExec(spec ExecSpec, j Joined) (*ExecPlan, error) {
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return nil, errors.New("no command: write one behind the container's name")
	}
	if spec.User == "" {
		spec.User = j.Details.User
	}
	if spec.WorkDir == "" {
		spec.WorkDir = path.Join("/", j.Details.WorkDir)
	}
	if !path.IsAbs(spec.WorkDir) {
		return nil, fmt.Errorf("--workdir=%s: must begin with a slash", spec.WorkDir)
	}
	if !j.Root && spec.User != j.Details.User && !(isRoot(spec.User) && isRoot(j.Details.User)) {
		return nil, fmt.Errorf("--user=%s: without root the container has one id, %s's; leave --user out", spec.User, orRoot(j.Details.User))
	}
	p := &ExecPlan{Spec: spec, Joined: j, Caps: capSet(j.Details.Caps)}
	for _, entry := range j.Details.Env {
		if name, value, _ := strings.Cut(entry, "="); !firstOnly(name) {
			p.Env = SetEnv(p.Env, name, value)
		}
	}
	if spec.TTY && !hasEnv(p.Env, "TERM") {
		p.Env = SetEnv(p.Env, "TERM", "xterm") // which every image knows, as docker has it
	}
	for _, entry := range spec.Env {
		name, value, _ := strings.Cut(entry, "=")
		p.Env = SetEnv(p.Env, name, value)
	}
	for _, ns := range j.Namespaces {
		p.UserNS = p.UserNS || ns == "user"
	}
	p.steps()
	return p, nil
}

// firstOnly says whether a variable is meant for a container's first process,
// which systemd knows, and for no other.
func firstOnly(name string) bool {
	return name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "WATCHDOG_") || strings.HasPrefix(name, "LISTEN_")
}

func (p *ExecPlan) steps() {
	s, j := p.Spec, p.Joined
	look := lookUpUser{User: s.User}
	if s.User == j.Details.User {
		look.Groups = j.Details.Groups
	}
	p.Parent = append(p.Parent, look)
	if s.TTY {
		p.Parent = append(p.Parent, makeTerminal{})
	}
	p.Parent = append(p.Parent, cloneCarrier{Cgroup: j.Cgroup}, stay{})

	add := func(steps ...Step) { p.Join = append(p.Join, steps...) }
	add(hideMemory{}, dieWithParent{})
	for _, dir := range j.MoveTo {
		add(moveToCgroup{dir})
	}
	if j.AppArmor != "" {
		add(openProc{}, enterAppArmor{j.AppArmor})
	}
	add(takeLimits{j.Limits, j.OOMScore}, joinNamespaces{j.Namespaces})
	if p.UserNS && (j.Root || isRoot(j.Details.User)) { // else there is no root
		add(becomeRoot{Groups: j.Root})
	}
	add(ownKeys{}, keepGate{}, enterDir{s.WorkDir})
	add(p.lockDown()...)
	add(forkInto{})

	p.Child = []Step{newSession{Terminal: s.TTY}, dieWithParent{Again: true}, program{Argv: s.Argv, Path: env(p.Env, "PATH")}}
}

// lockDown is the container's own, with the filter before the clone: without a
// user name-space a container that may trace could else keep the new process
// from setting it. A user's profile may forbid to clone, so where nobody can
// trace, that is set when the program is found, as in a start.
func (p *ExecPlan) lockDown() []Step {
	sec := p.Joined.Security
	steps := sec.lockDown(p.Caps, becomeUser{p.Spec.User, p.Joined.Root})
	for i, step := range steps {
		if f, ok := step.(filterCalls); ok {
			f.First = f.First || !sec.ownProfile() || !p.UserNS
			steps[i] = f
		}
	}
	return steps
}

// compile turns the steps behind the clone into a carrier.
func (p *ExecPlan) compile(in *inputs, mask uint64) *builder {
	b := newCarrier("nsrun: exec " + p.Joined.Name + ": ")
	b.t.oldMask = mask
	for _, list := range [][]Step{p.Join, p.Child} {
		for _, step := range list {
			step.(childStep).compile(b, in)
		}
	}
	return b
}

// String prints the plan as --explain does.
func (p *ExecPlan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "container %s\n", p.Joined.Name)
	explain(&b, p.Spec.Argv, "the container's "+strings.Join(p.Joined.Namespaces, " "), p.UserNS, p.Caps,
		part{"nsrun", p.Parent}, part{"a program of these steps, not seen from the container", p.Join}, part{"its child, in the container", p.Child})
	return b.String()
}
