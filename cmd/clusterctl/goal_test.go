package main

import (
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
)

const (
	m1 = registry.MachineID("11111111222233334444555566667777")
	m2 = registry.MachineID("22222222222233334444555566667777")
)

func state(m registry.MachineID, assigned, active, sub string, done uint64) api.UnitState {
	return api.UnitState{Machine: m, Address: "10.0.0.1", MachineIs: "alive", Assigned: assigned, Generation: 3, Reported: active != "", Load: "loaded", Active: active, Sub: sub, Done: done, Result: "success"}
}

func with(s api.UnitState, change func(*api.UnitState)) api.UnitState {
	change(&s)
	return s
}

// say prints an outcome as one line.
func say(o outcome) string {
	switch {
	case o.unsure:
		return "perhaps: " + strings.ReplaceAll(o.err.Error(), "\n", " | ")
	case o.err != nil:
		return strings.ReplaceAll(o.err.Error(), "\n", " | ") + " -> " + map[int]string{1: "1", 6: "6"}[exitCode(o.err)]
	case o.done:
		return o.line
	}
	return "waiting for " + o.waiting
}

func TestGoal(t *testing.T) {
	launched := api.Unit{Name: "web.service", Known: true, Target: "launched", Generation: 3}
	at := func(target string, states ...api.UnitState) api.Unit {
		u := launched
		u.Target, u.States = target, states
		return u
	}
	pending := func(generation uint64) api.Unit {
		u := launched
		u.Pending = &api.Pending{Text: "2 lack region=eu", Generation: generation,
			Refusals: []api.Refusal{{Rule: "metadata", Detail: "lacks region=eu", Machines: []registry.MachineID{m1, m2}}}}
		return u
	}
	for _, tt := range []struct {
		name string
		verb string
		unit api.Unit
		want string
	}{
		{"not there yet", "start", api.Unit{Name: "web.service"}, "waiting for the change to arrive"},
		{"an older generation", "start", api.Unit{Name: "web.service", Known: true, Target: "inactive", Generation: 2}, "waiting for the change to arrive"},
		{"not placed", "start", launched, "waiting for a machine to be chosen"},
		{"A15 nothing fits", "start", pending(3), "start web.service: not placed: 2 lack region=eu |   metadata: lacks region=eu (11111111... 22222222...) | it starts by itself once one fits; to give it up: clusterctl unload web.service -> 6"},
		{"nothing fitted before", "load", pending(2), "perhaps: load web.service: not placed: 2 lack region=eu |   metadata: lacks region=eu (11111111... 22222222...) | it is loaded by itself once one fits; to give it up: clusterctl unload web.service"},
		{"assigned", "start", at("launched", state(m1, "launched", "", "", 0)), "waiting for 11111111.../10.0.0.1: not begun yet"},
		{"starting", "start", at("launched", state(m1, "launched", "activating", "start-pre", 2)), "waiting for 11111111.../10.0.0.1: activating (start-pre)"},
		{"still the start before", "start", at("launched", state(m1, "launched", "active", "running", 2)), "waiting for 11111111.../10.0.0.1: active (running)"},
		{"started", "start", at("launched", state(m1, "launched", "active", "running", 3)), "Unit web.service launched on 11111111.../10.0.0.1"},
		{"a oneshot that is done", "start", at("launched", state(m1, "launched", "inactive", "dead", 3)), "Unit web.service launched on 11111111.../10.0.0.1"},
		{"failed", "start", at("launched", with(state(m1, "launched", "failed", "failed", 3), func(s *api.UnitState) { s.Result, s.ExitStatus = "exit-code", 3 })),
			"start web.service: on 11111111.../10.0.0.1: failed, result exit-code, exit status 3; see clusterctl journal web.service -> 1"},
		{"tried again by systemd", "start", at("launched", with(state(m1, "launched", "activating", "auto-restart", 3), func(s *api.UnitState) { s.Result, s.ExitStatus = "exit-code", 1 })),
			"start web.service: on 11111111.../10.0.0.1: activating (auto-restart), result exit-code, exit status 1; see clusterctl journal web.service -> 1"},
		{"a step failed", "start", at("launched", with(state(m1, "launched", "inactive", "dead", 3), func(s *api.UnitState) { s.Reason = "load: bad setting" })),
			"start web.service: on 11111111.../10.0.0.1: load: bad setting; see clusterctl journal web.service -> 1"},
		{"C14 the name is taken there", "start", at("launched", with(state(m1, "launched", "inactive", "dead", 3), func(s *api.UnitState) { s.Reason = "name-taken(/etc/x)" })),
			"waiting for 11111111.../10.0.0.1: inactive (dead), name-taken(/etc/x)"},
		{"no machine's systemd will have it", "start", func() api.Unit {
			u := pending(3)
			u.States = []api.UnitState{with(state(m1, "launched", "inactive", "dead", 3), func(s *api.UnitState) { s.Reason = "unfit(runs systemd 249)" })}
			return u
		}(), "start web.service: not placed: 2 lack region=eu |   metadata: lacks region=eu (11111111... 22222222...) | it starts by itself once one fits; to give it up: clusterctl unload web.service -> 6"},
		{"C14 the name is taken everywhere", "start", func() api.Unit {
			u := pending(3)
			u.Pending.Text, u.Pending.Refusals[0] = "no", api.Refusal{Rule: "name-taken", Detail: "has the name for itself in /etc/x", Machines: []registry.MachineID{m1}}
			return u
		}(), "start web.service: not placed: no |   name-taken: has the name for itself in /etc/x (11111111...) | once a machine has given the name back: clusterctl start web.service | " +
			"it starts by itself once one fits; to give it up: clusterctl unload web.service -> 6"},
		{"its machine is dead, and no other fits", "start", func() api.Unit {
			u := pending(3)
			u.States = []api.UnitState{with(state(m1, "launched", "", "", 0), func(s *api.UnitState) { s.MachineIs = "dead" })}
			return u
		}(), "start web.service: not placed: 2 lack region=eu |   metadata: lacks region=eu (11111111... 22222222...) | it starts by itself once one fits; to give it up: clusterctl unload web.service -> 6"},
		{"away", "start", at("launched", with(state(m1, "launched", "", "", 0), func(s *api.UnitState) { s.MachineIs = "away" })), "waiting for 11111111.../10.0.0.1: not begun yet, the machine is away"},
		{"leaving its old machine", "start", at("launched", state(m1, "gone", "active", "running", 2), state(m2, "launched", "active", "running", 3)), "Unit web.service launched on 22222222.../10.0.0.1"},
		{"A22 a global on one of two", "start", at("launched", state(m1, "launched", "active", "running", 3), state(m2, "launched", "activating", "start", 2)), "waiting for 22222222.../10.0.0.1: activating (start)"},
		{"A22 a global on both", "restart", at("launched", state(m1, "launched", "active", "running", 3), state(m2, "launched", "active", "running", 3)), "Unit web.service launched on 11111111.../10.0.0.1, 22222222.../10.0.0.1"},
		{"loaded", "load", at("loaded", state(m1, "loaded", "inactive", "dead", 3)), "Unit web.service loaded on 11111111.../10.0.0.1"},
		{"C14 there is nothing to stop", "stop", at("loaded", with(state(m1, "loaded", "", "", 3), func(s *api.UnitState) { s.Reported, s.Reason = true, "name-taken(/etc/x)" })),
			"Unit web.service stopped; it is on no machine"},
		{"stopping", "stop", at("loaded", state(m1, "loaded", "deactivating", "stop-sigterm", 2)), "waiting for 11111111.../10.0.0.1: deactivating (stop-sigterm)"},
		{"A05 stopped", "stop", at("loaded", state(m1, "loaded", "inactive", "dead", 3)), "Unit web.service stopped on 11111111.../10.0.0.1"},
		{"stopped, nowhere", "stop", at("loaded"), "Unit web.service stopped; it is on no machine"},
		{"an unclaimed copy runs on", "stop", at("loaded", state(m1, "loaded", "inactive", "dead", 3), state(m2, "", "active", "running", 0)), "waiting for 22222222.../10.0.0.1: active (running)"},
		{"leaving", "unload", at("inactive", state(m1, "gone", "deactivating", "stop", 2)), "waiting for 11111111.../10.0.0.1: deactivating (stop)"},
		{"A04 unloaded", "unload", at("inactive"), "Unit web.service inactive"},
		{"C09 being destroyed", "destroy", at("gone", state(m1, "gone", "deactivating", "stop-post", 2)), "waiting for 11111111.../10.0.0.1: deactivating (stop-post)"},
		{"to be forgotten", "destroy", at("gone"), "waiting for the engine to forget it"},
		{"destroyed", "destroy", api.Unit{Name: "web.service"}, "Destroyed web.service"},
		{"destroyed by another", "start", at("gone"), "start web.service: it was destroyed meanwhile by someone -> 1"},
		{"stopped by another", "start", api.Unit{Name: "web.service", Known: true, Target: "loaded", Generation: 4, Who: "ann"}, "start web.service: ann made it loaded meanwhile -> 1"},
		{"started by another, too", "load", api.Unit{Name: "web.service", Known: true, Target: "launched", Generation: 4}, "waiting for a machine to be chosen"},
		{"submitted anew", "destroy", api.Unit{Name: "web.service", Known: true, Target: "inactive", Generation: 4, Who: "ann"}, "destroy web.service: ann submitted it anew meanwhile -> 1"},
		{"destroyed and submitted anew", "destroy seen", api.Unit{Name: "web.service", Known: true, Target: "inactive", Generation: 1}, "Destroyed web.service"},
		{"destroyed and submitted anew by another", "start seen", api.Unit{Name: "web.service", Known: true, Target: "inactive", Generation: 1}, "start web.service: someone destroyed and submitted it anew meanwhile -> 1"},
	} {
		verb, seen := strings.CutSuffix(tt.verb, " seen")
		g := goal{verb: verb, name: "web.service", generation: 3, seen: seen}
		if got := say(g.judge(tt.unit)); got != tt.want {
			t.Errorf("%s: %s\ngot  %s\nwant %s", tt.name, tt.verb, got, tt.want)
		}
	}
}

func TestUnitRows(t *testing.T) {
	units := []api.Unit{
		{Name: "b.service", Known: true, Target: "launched", States: []api.UnitState{state(m2, "launched", "active", "running", 3), state(m1, "", "active", "running", 0)}},
		{Name: "a.service", Known: true, Target: "launched", Pending: &api.Pending{Text: "no machine fits"}},
		{Name: "c.service", Known: true, Target: "inactive"},
		{Name: "d.service", Known: true, Target: "loaded", States: []api.UnitState{with(state(m1, "loaded", "", "", 0), func(s *api.UnitState) { s.MachineIs = "away" })}},
	}
	var out strings.Builder
	flags := &tableFlags{output: "table", fields: []string{"unit", "machine", "active", "sub"}}
	if err := printList(&out, flags, unitColumns, unitRows(units), units); err != nil {
		t.Fatal(err)
	}
	want := `UNIT       MACHINE               ACTIVE  SUB
a.service  -                     -       pending (no machine fits)
b.service  11111111.../10.0.0.1  active  running (unclaimed)
b.service  22222222.../10.0.0.1  active  running
d.service  11111111.../10.0.0.1  -       assigned (machine away)
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestChooseMachine(t *testing.T) {
	machines := []api.Machine{{ID: m1, Hostname: "m1"}, {ID: m2, Hostname: "m2"}, {ID: "11112222333344445555666677778888", Hostname: "m3"}}
	for _, tt := range []struct{ give, want, err string }{
		{give: "m2", want: string(m2)},
		{give: string(m1), want: string(m1)},
		{give: "2222", want: string(m2)},
		{give: "11111111...", want: string(m1)},
		{give: "1111", err: "means 2 machines"},
		{give: "9", err: "no machine 9; see clusterctl list-machines --full"},
		{give: "...", err: "no machine"},
	} {
		m, err := chooseMachine(machines, "machine cordon", tt.give)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want an error with %q", tt.give, err, tt.err)
			}
			continue
		}
		if err != nil || string(m.ID) != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.give, m.ID, err, tt.want)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, tt := range []struct{ old, new, want string }{
		{"a\nb\nc\n", "a\nx\ny\nc\n", "-b\n+x\n+y\n"},
		{"a\n", "a", "-a\n+a\n"},
		{"a\n", "a\nb\n", "+b\n"},
		{"", "a\n", "+a\n"},
	} {
		if got := diff(tt.old, tt.new); got != tt.want {
			t.Errorf("diff(%q, %q) = %q, want %q", tt.old, tt.new, got, tt.want)
		}
	}
}
