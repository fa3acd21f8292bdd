package main

import (
	"fmt"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
)

// leaving is how far a unit is that is to leave.
type leaving struct {
	left    bool   // it is off the machines, and has come to rest
	to      string // where it is now
	failed  string // why it doesn't run there
	waiting string // what is still to come
	blocked string // why it can't leave
	firm    bool   // and won't by itself
}

// judgeLeaving says how far a unit is that is to leave machines.
func judgeLeaving(u api.Unit, from func(registry.MachineID) bool) leaving {
	var l leaving
	for i := range u.States {
		s := &u.States[i]
		if !from(s.Machine) {
			continue
		}
		switch to := s.Assigned == "loaded" || s.Assigned == "launched"; {
		case to && u.Pending != nil:
			l.blocked, l.firm = blocker(u.Pending)
			return l
		case to && s.MachineIs != api.StateAlive && s.MachineIs != api.StateSuspect:
			l.blocked = place(s, false) + " is " + s.MachineIs + ", and can't stop it"
			return l
		case to:
			l.waiting = "the engine to decide"
			return l
		}
		l.waiting = describe(s)
	}
	if l.waiting != "" {
		return l
	}
	if !u.Known || u.Target == "inactive" || u.Target == "gone" {
		return leaving{left: true}
	}
	verb := "start"
	if u.Target == "loaded" {
		verb = "load"
	}
	var on *api.UnitState
	for i := range u.States {
		if s := &u.States[i]; s.Assigned == "loaded" || s.Assigned == "launched" {
			on = s
		}
	}
	if on == nil {
		l.waiting = "a machine to be chosen"
		if u.Pending != nil {
			return leaving{left: true, failed: fmt.Sprintf("%s is on no machine: %s", u.Name, u.Pending.Text)}
		}
		return l
	}
	o := goal{verb: verb, name: u.Name, generation: on.Generation}.judgeState(on)
	if !o.done {
		l.waiting = o.waiting
		return l
	}
	l = leaving{left: true, to: place(on, false)}
	if o.err != nil {
		l.failed = o.err.Error()
	}
	return l
}

// blocker says why a unit can't leave, and whether that may end by itself.
func blocker(p *api.Pending) (why string, firm bool) {
	firm = true
	for _, r := range p.Refusals {
		if r.Rule == registry.RuleMinAvailable {
			firm = false
		}
		if pin, ok := strings.CutPrefix(r.Detail, "is not MachineID="); ok {
			return "it is pinned by MachineID=" + pin, true
		}
	}
	_, text, cut := strings.Cut(p.Text, ", but ") // "it should leave m1, but ..."
	if !cut {
		text = p.Text
	}
	return text, firm
}
