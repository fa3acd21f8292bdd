package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Wanted is what the cluster wants of this machine.
type Wanted struct {
	// Frozen says why nothing may be done now; empty when all is well.
	Frozen string
	Units  map[unit.Name]Desired
}

// Desired is what the cluster wants of one unit here.
type Desired struct {
	File       unit.Hash
	Target     registry.Target // LOADED, LAUNCHED or GONE
	Generation uint64
	Restart    uint64 // the generation that asks for a restart; 0 none
	// AllowUnknown lets systemd ignore what it doesn't know in the file.
	AllowUnknown bool
	// VerifiedBy is the version of the systemd that took the file as it stands
	// when it was submitted; empty when none was asked.
	VerifiedBy string
}

// Observed is what this machine has of one unit.
type Observed struct {
	// File is the hash of the unit file in the cluster's own directory, empty
	// when there is none. Drop-ins don't count.
	File unit.Hash
	// Ours says that the file was written by an agent.
	Ours bool
	// Taken is the path by which the machine has this name for itself.
	Taken string
	// Loaded says that the service manager has the unit in memory.
	Loaded bool
	// Active is systemd's ActiveState, empty when it isn't loaded.
	Active string
	// StaleDropIn says that another drop-in would be written today, or the file
	// rendered to another text.
	StaleDropIn bool
	// Done and Restarted are the last generations that were carried out, Begun
	// the last one whose start or restart the service manager has taken on.
	Done, Restarted, Begun uint64
	// Again says why it is to be started once more, though its generation is
	// carried out or begun; empty when it isn't.
	Again string
}

func (o Observed) running() bool { return running(o.Active) }

// running says so of an ActiveState.
func running(active string) bool {
	return active != "" && active != "inactive" && active != "failed"
}

// Verb is what a step does.
type Verb string

const (
	Stop          Verb = "stop"           // and wait until that is done
	ResetFailed   Verb = "reset-failed"   // so that a failed unit can be unloaded
	AwaitUnloaded Verb = "await-unloaded" // a bounded time; what is still referred to stays, Check then reloads
	Verify        Verb = "verify"         // that this machine's systemd takes the file as it stands, unless one like it did; the agent puts it first of all
	Pull          Verb = "pull"           // images; the agent puts it first where a plan starts a container
	Write         Verb = "write"          // unit file and drop-in
	Check         Verb = "check"          // that this file is what is loaded; reloads if it is not
	Start         Verb = "start"          // and wait for the result
	Restart       Verb = "restart"        // and wait for the result
	Remove        Verb = "remove"         // unit file and drop-in
	Done          Verb = "done"           // the generation is carried out
	Gone          Verb = "gone"           // nothing of the unit is left
)

// Action is one step of a plan.
type Action struct {
	Verb    Verb
	Unit    unit.Name
	Desired Desired
	Reason  string
	// Images are what Pull gets, with Refresh as their registry has them now.
	Images  []string
	Refresh bool
	// File and DropIn are what Write writes; the agent adds them to the plan.
	// An empty DropIn means none. WantedBy and RequiredBy are the units that
	// are to pull this one in, unless they are the machine's own. Verify looks
	// at File, as it was submitted.
	File, DropIn         []byte
	WantedBy, RequiredBy []unit.Name
	// Begun, if set, is called once the service manager has taken a Start or
	// Restart on; its result comes later.
	Begun func()
	// Along, if set, is called by a Stop that a Start follows, with the running
	// units that it takes along: those that require the unit, or are part of it.
	// Nothing was stopped yet then, and nothing is after an error.
	Along func([]unit.Name) error
}

func (a Action) String() string {
	switch a.Verb {
	case Write:
		return fmt.Sprintf("%s %s@%s", a.Verb, a.Unit, a.Desired.File.Short())
	case Pull:
		return fmt.Sprintf("%s %s for %s", a.Verb, strings.Join(a.Images, " "), a.Unit)
	case Done:
		return fmt.Sprintf("%s %s generation %d", a.Verb, a.Unit, a.Desired.Generation)
	default:
		return fmt.Sprintf("%s %s", a.Verb, a.Unit)
	}
}

// Plan returns the steps that turn observed into what is wanted, each unit's
// in the order to run them, units sorted by name. Units may proceed side by
// side. It does no I/O and reads no clock: equal inputs give equal plans.
//
// A unit that is observed but not wanted is left alone, whatever it does.
func Plan(wanted Wanted, observed map[unit.Name]Observed) []Action {
	if wanted.Frozen != "" {
		return nil
	}
	var steps []Action
	for _, name := range slices.Sorted(maps.Keys(wanted.Units)) {
		p := planner{name: name, want: wanted.Units[name], has: observed[name]}
		p.plan()
		steps = append(steps, p.steps...)
	}
	return steps
}

// TakenBy returns the path by which the machine has a unit's name for itself,
// so that it can't be used here, or nothing. unitDir is where agents write
// unit files: one there that no agent wrote is somebody else's, too, unless it
// is the very file that is wanted.
func TakenBy(want Desired, has Observed, name unit.Name, unitDir string) string {
	switch {
	case has.Taken != "" && !has.Ours:
		return has.Taken
	case has.File != "" && !has.Ours && has.File != want.File:
		return unitDir + "/" + string(name)
	}
	return ""
}

// Fresh says whether a generation has yet to be carried out. One that went back
// is another unit's of the same name when its file differs, and nothing new
// when it doesn't.
func Fresh(want Desired, has Observed) bool {
	return want.Generation > has.Done || want.Generation < has.Done && want.File != has.File
}

type planner struct {
	name  unit.Name
	want  Desired
	has   Observed
	steps []Action
}

func (p *planner) add(v Verb, reason string) {
	p.steps = append(p.steps, Action{Verb: v, Unit: p.name, Desired: p.want, Reason: reason})
}

func (p *planner) plan() {
	if p.want.Target == registry.Target_GONE {
		p.gone()
		return
	}
	if TakenBy(p.want, p.has, p.name, "") != "" {
		return
	}
	if !Fresh(p.want, p.has) {
		// Carried out: a unit that ended, failed or was stopped by hand since
		// then is left so. Only a lost file is written again.
		if p.has.File == "" && !p.has.Loaded {
			p.add(Write, "its file is missing")
		}
		p.again()
		return
	}
	switch p.want.Target {
	case registry.Target_LAUNCHED:
		p.launched()
	case registry.Target_LOADED:
		p.loaded()
	default:
		return // a target this software does not know
	}
	p.add(Done, fmt.Sprintf("generation %d is carried out", p.want.Generation))
}

// again starts a unit that was stopped for another one's sake.
func (p *planner) again() {
	if p.has.Again == "" {
		return
	}
	stopped := !p.has.running() || p.has.Active == "deactivating"
	itsFile := p.has.File == p.want.File || len(p.steps) > 0 // it is to be written
	if p.want.Target == registry.Target_LAUNCHED && stopped && itsFile {
		p.add(Start, p.has.Again)
	}
	p.add(Done, "it is where it is to be again")
}

func (p *planner) gone() {
	const reason = "it is to be gone from here"
	if p.has.Ours {
		if p.has.running() {
			p.add(Stop, reason)
		}
		if p.has.Loaded {
			p.add(ResetFailed, reason)
		}
		p.add(Remove, reason)
	}
	p.add(Gone, reason)
}

func (p *planner) loaded() {
	const reason = "it is to be loaded, not running"
	switch {
	case p.has.File == "":
		p.rewrite("it is new here")
	case p.has.File != p.want.File:
		p.rewrite("its file changed")
	case p.has.running():
		p.add(Stop, reason)
	}
	p.add(Check, "what is loaded must be its file")
}

func (p *planner) launched() {
	const reason = "it is to be launched"
	begun := p.has.Begun == p.want.Generation && p.has.File == p.want.File
	restart := p.want.Restart > p.has.Restarted && p.has.File != "" && !begun
	switch {
	case p.has.File == "":
		p.rewrite("it is new here")
	case p.has.File != p.want.File:
		p.rewrite("its file changed")
	case restart && p.has.running() && !p.has.StaleDropIn:
		p.add(Restart, "a restart is asked for")
		return
	case restart && p.has.running():
		p.rewrite("a restart is asked for, and its drop-in is out of date")
	case p.has.Active == "activating":
		p.add(Start, "it is starting; its result is awaited")
		return
	case p.has.running() && p.has.Active != "deactivating":
		return
	case begun && !p.has.running() && p.has.Again == "":
		return // it ended, or failed, while nobody was looking: that was its run
	case p.has.StaleDropIn:
		p.rewrite("its drop-in is out of date")
	case p.has.Active == "failed":
		p.add(ResetFailed, reason)
	}
	p.add(Start, reason)
}

// rewrite puts the wanted file in place of what is there. systemd reads a file
// when it loads a unit, so one that is loaded is unloaded first; that spares a
// reload of everything.
func (p *planner) rewrite(reason string) {
	if p.has.running() {
		p.add(Stop, reason)
	}
	if p.has.Loaded {
		p.add(ResetFailed, reason)
		p.add(AwaitUnloaded, reason)
	}
	p.add(Write, reason)
	// Another unit that names this one may have systemd load the old file at
	// any moment before the new one is written.
	if (p.has.Loaded || p.has.File != "") && p.want.Target == registry.Target_LAUNCHED {
		p.add(Check, "what is loaded must be its file")
	}
}
