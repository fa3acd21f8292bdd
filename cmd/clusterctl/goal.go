package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// goal is what a verb promises of one unit.
type goal struct {
	verb       string // load, start, restart, stop, unload, destroy, move
	name       unit.Name
	generation uint64             // of the change that was asked for
	to         registry.MachineID // of a move
	revision   registry.Revision  // of a move: when it was asked for
	seen       bool               // the change was seen in the unit: from then on a unit that is not there was destroyed
}

// outcome is how far a goal is. When it is done, Err or Line says how.
type outcome struct {
	done    bool
	line    string // for the user
	err     error
	waiting string             // what is still to come, while it is not done
	machine registry.MachineID // where it failed, when it did on a machine
	unsure  bool               // done is an answer to an older change, to be believed only when none follows soon
}

// judge says how far the goal is, given the unit as it is now. It is called
// again whenever the unit changes.
func (g goal) judge(u api.Unit) outcome {
	switch g.verb {
	case "destroy":
		return g.judgeDestroy(u)
	case "move":
		return g.judgeMove(u)
	}
	switch {
	case g.seen && u.Known && u.Generation < g.generation:
		return g.failed(api.ExitFailed, "%s destroyed and submitted it anew meanwhile", cmp.Or(u.Who, "someone"))
	case !u.Known && !g.seen, u.Known && u.Generation < g.generation:
		return outcome{waiting: "the change to arrive"}
	case !u.Known || u.Target == "gone":
		return g.failed(api.ExitFailed, "it was destroyed meanwhile by %s", cmp.Or(u.Who, "someone"))
	case u.Generation > g.generation && g.superseded(u):
		return g.failed(api.ExitFailed, "%s made it %s meanwhile", cmp.Or(u.Who, "someone"), u.Target)
	}
	switch g.verb {
	case "unload":
		return g.judgeUnload(u)
	case "stop":
		return g.judgeStop(u)
	}
	return g.judgeRaise(u)
}

// superseded says whether a later change asks for something else.
func (g goal) superseded(u api.Unit) bool {
	switch g.verb {
	case "start", "restart":
		return u.Target != "launched"
	case "load":
		return u.Target == "inactive"
	case "stop":
		return u.Target == "launched"
	default:
		return u.Target != "inactive"
	}
}

func (g goal) failed(exit int, format string, args ...any) outcome {
	return outcome{done: true, err: failure(exit, "%s %s: %s", g.verb, g.name, fmt.Sprintf(format, args...))}
}

func (g goal) judgeDestroy(u api.Unit) outcome {
	switch {
	case !u.Known && len(u.States) == 0:
		return outcome{done: true, line: fmt.Sprintf("Destroyed %s", g.name)}
	case g.seen && u.Known && u.Generation < g.generation: // and submitted anew since
		return outcome{done: true, line: fmt.Sprintf("Destroyed %s", g.name)}
	case u.Known && u.Target != "gone" && u.Generation > g.generation:
		return g.failed(api.ExitFailed, "%s submitted it anew meanwhile", cmp.Or(u.Who, "someone"))
	case len(u.States) == 0:
		return outcome{waiting: "the engine to forget it"}
	}
	return outcome{waiting: describeAll(u.States)}
}

func (g goal) judgeUnload(u api.Unit) outcome {
	if len(u.States) == 0 {
		return outcome{done: true, line: fmt.Sprintf("Unit %s inactive", g.name)}
	}
	return outcome{waiting: describeAll(u.States)}
}

func (g goal) judgeStop(u api.Unit) outcome {
	var places []string
	for i := range u.States {
		s := &u.States[i]
		stopped := s.Active == "inactive" || s.Active == "failed"
		if rule, _, _ := registry.CutRefusal(s.Reason); rule == registry.RuleNameTaken {
			continue // what the machine has is its own
		}
		switch {
		case s.Reported && s.Done >= g.generation && s.Reason != "" && !stopped && s.Assigned != "gone":
			return g.failedOn(s, s.Reason)
		case !s.Reported || !stopped, s.Assigned == "loaded" && s.Done < g.generation:
			return outcome{waiting: describe(s)}
		}
		places = append(places, place(s, false))
	}
	if len(places) == 0 {
		return outcome{done: true, line: fmt.Sprintf("Unit %s stopped; it is on no machine", g.name)}
	}
	return outcome{done: true, line: fmt.Sprintf("Unit %s stopped on %s", g.name, strings.Join(places, ", "))}
}

// judgeRaise is for load, start and restart.
func (g goal) judgeRaise(u api.Unit) outcome {
	var on []*api.UnitState
	for i := range u.States {
		if s := &u.States[i]; s.Assigned == "launched" || s.Assigned == "loaded" {
			on = append(on, s)
		}
	}
	if len(on) == 0 {
		return g.judgePending(u)
	}
	var places []string
	for _, s := range on {
		if refusal(s) != "" && s.Done >= g.generation && u.Pending != nil {
			return g.judgePending(u) // it stays there for want of a better place
		}
		o := g.judgeState(s)
		if !o.done && s.MachineIs == api.StateDead && u.Pending != nil {
			return g.judgePending(u) // it is to leave there, and nowhere else fits
		}
		if !o.done || o.err != nil {
			return o
		}
		places = append(places, place(s, false))
	}
	what := "launched"
	if g.verb == "load" {
		what = "loaded"
	}
	return outcome{done: true, line: fmt.Sprintf("Unit %s %s on %s", g.name, what, strings.Join(places, ", "))}
}

func (g goal) judgePending(u api.Unit) outcome {
	if u.Pending == nil {
		if len(u.States) > 0 {
			return outcome{waiting: describeAll(u.States)}
		}
		return outcome{waiting: "a machine to be chosen"}
	}
	lines := []string{fmt.Sprintf("%s %s: not placed: %s", g.verb, g.name, cmp.Or(u.Pending.Text, "no reason given"))}
	for _, r := range u.Pending.Refusals {
		var machines []string
		for _, m := range r.Machines {
			machines = append(machines, m.Short())
		}
		if r.Others > 0 {
			machines = append(machines, fmt.Sprintf("and %d more", r.Others))
		}
		lines = append(lines, fmt.Sprintf("  %s: %s (%s)", r.Rule, r.Detail, strings.Join(machines, " ")))
	}
	if slices.ContainsFunc(u.Pending.Refusals, func(r api.Refusal) bool { return r.Rule == registry.RuleNameTaken }) {
		// No machine tells when it gives a name back.
		lines = append(lines, fmt.Sprintf("once a machine has given the name back: clusterctl %s %s", g.verb, g.name))
	}
	lines = append(lines, fmt.Sprintf("it starts by itself once one fits; to give it up: clusterctl unload %s", g.name))
	if g.verb == "load" {
		lines[len(lines)-1] = fmt.Sprintf("it is loaded by itself once one fits; to give it up: clusterctl unload %s", g.name)
	}
	return outcome{
		done: true, err: failure(api.ExitUnplaced, "%s", strings.Join(lines, "\n")),
		waiting: "a machine to be chosen", unsure: u.Pending.Generation < g.generation,
	}
}

// judgeState says how far a unit is on the machine it is assigned to.
func (g goal) judgeState(s *api.UnitState) outcome {
	switch {
	case !s.Reported || s.Done < g.generation || s.Generation < g.generation:
		return outcome{waiting: describe(s)}
	case refusal(s) != "":
		return outcome{waiting: describe(s)} // the engine looks for another machine
	case s.Reason != "" && s.Reason != s.Result:
		return g.failedOn(s, s.Reason)
	case s.Reason != "":
		return g.failedOn(s, result(s))
	case g.verb == "load":
		return outcome{done: true}
	case s.Active == "active", s.Active == "reloading", s.Active == "refreshing":
		return outcome{done: true}
	case s.Active == "inactive" && (s.Result == "success" || s.Result == ""):
		return outcome{done: true} // it has done its work, as a oneshot does
	case s.Active == "failed", s.Active == "inactive", s.Result != "success" && s.Result != "":
		return g.failedOn(s, result(s))
	}
	return outcome{waiting: describe(s)}
}

// refusal says why the machine won't have the unit; nothing if it will.
func refusal(s *api.UnitState) string {
	rule, detail, _ := registry.CutRefusal(s.Reason)
	if rule == registry.RuleNameTaken {
		return "has the name for itself in " + detail
	}
	return detail
}

func (g goal) failedOn(s *api.UnitState, why string) outcome {
	o := g.failed(api.ExitFailed, "on %s: %s; see clusterctl journal %s", place(s, false), why, g.name)
	o.machine = s.Machine
	return o
}

// result is how a unit ended, in systemd's words. A status of 0 says nothing:
// then another of its processes failed.
func result(s *api.UnitState) string {
	text := activity(s) + ", result " + cmp.Or(s.Result, "unknown")
	if s.ExitStatus != 0 {
		text += fmt.Sprintf(", exit status %d", s.ExitStatus)
	}
	return text
}

func activity(s *api.UnitState) string {
	if s.Sub == "" || s.Sub == s.Active {
		return s.Active
	}
	return s.Active + " (" + s.Sub + ")"
}

// describe says where a unit is and what it is doing there.
func describe(s *api.UnitState) string {
	text := place(s, false) + ": "
	switch {
	case !s.Reported:
		text += "not begun yet"
	case s.Reason != "":
		text += activity(s) + ", " + s.Reason
	default:
		text += activity(s)
	}
	if s.MachineIs != "" && s.MachineIs != "alive" {
		text += ", the machine is " + s.MachineIs
	}
	return text
}

func describeAll(states []api.UnitState) string {
	var all []string
	for i := range states {
		all = append(all, describe(&states[i]))
	}
	return strings.Join(all, "; ")
}
