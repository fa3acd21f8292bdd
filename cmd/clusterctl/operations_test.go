package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

func on(m registry.MachineID, assigned, active string) api.UnitState {
	return with(state(m, assigned, active, active, 3), func(s *api.UnitState) {
		if m == m2 {
			s.Address = "10.0.0.2"
		}
	})
}

func TestJudgeMove(t *testing.T) {
	g := goal{verb: "move", name: "web.service", generation: 3, to: m2, revision: 7}
	at := func(revision registry.Revision, states ...api.UnitState) api.Unit {
		return api.Unit{Name: "web.service", Known: true, Target: "launched", Generation: 3, Revision: revision, States: states}
	}
	wishing := func(u api.Unit, to registry.MachineID, declined ...string) api.Unit {
		u.Wish = &api.Wish{Machine: to, Hostname: "host-" + string(to[:1]), Who: "ann", Declined: declined}
		return u
	}
	kept := wishing(at(7, on(m1, "launched", "active")), m2)
	kept.Pending = &api.Pending{Text: "it should leave m1, but MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active",
		Refusals: []api.Refusal{{Rule: registry.RuleMinAvailable}}}
	gone := at(7)
	gone.Target, gone.Who = "gone", "ann"
	for _, tt := range []struct {
		name string
		unit api.Unit
		want string
	}{
		{"the wish is not seen yet", at(6, on(m1, "launched", "active")), "waiting for the change to arrive"},
		{"not decided", wishing(at(7, on(m1, "launched", "active")), m2), "waiting for the engine to decide"},
		{"declined", wishing(at(8, on(m1, "launched", "active")), m2, "is cordoned", "runs the conflicting db.service"),
			"move web.service: host-2 can't take it, and nothing was changed: |   is cordoned |   runs the conflicting db.service -> 6"},
		{"kept for now", kept, "waiting for MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active"},
		{"another wish", wishing(at(8, on(m1, "launched", "active")), m1), "move web.service: ann asked for another machine meanwhile, host-1 -> 1"},
		{"on its way", at(8, on(m1, "gone", "active"), on(m2, "launched", "")), "waiting for 22222222.../10.0.0.2: not begun yet"},
		{"still stopping where it was", at(8, on(m1, "gone", "deactivating"), on(m2, "launched", "active")),
			"waiting for 11111111.../10.0.0.1: deactivating; 22222222.../10.0.0.2: active"},
		{"there", at(8, on(m2, "launched", "active")), "Unit web.service moved to 22222222.../10.0.0.2"},
		{"it fails there", at(8, on(m2, "launched", "failed")), "move web.service: on 22222222.../10.0.0.2: failed, result success; see clusterctl journal web.service -> 1"},
		{"someone changed it", at(8, on(m1, "launched", "active")), "move web.service: it went elsewhere meanwhile: 11111111.../10.0.0.1: active -> 1"},
		{"destroyed", gone, "move web.service: it was destroyed meanwhile by ann -> 1"},
	} {
		if got := say(g.judge(tt.unit)); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestJudgeLeaving(t *testing.T) {
	at := func(target, pending, rule, detail string, states ...api.UnitState) api.Unit {
		u := api.Unit{Name: "web.service", Known: true, Target: target, Generation: 3, States: states}
		if pending != "" {
			u.Pending = &api.Pending{Text: pending, Refusals: []api.Refusal{{Rule: rule, Detail: detail}}}
		}
		return u
	}
	for _, tt := range []struct {
		name string
		unit api.Unit
		want string
	}{
		{"not decided", at("launched", "", "", "", on(m1, "launched", "active")), "waits for the engine to decide"},
		{"its machine is silent", at("launched", "", "", "", with(on(m1, "launched", "active"), func(s *api.UnitState) { s.MachineIs = "silent" })), "can't leave for now: 11111111.../10.0.0.1 is silent, and can't stop it"},
		{"nowhere to go", at("launched", "it should leave m1, but no machine fits: is cordoned (m2)", "cordon", "is cordoned", on(m1, "launched", "active")), "can't leave: no machine fits: is cordoned (m2)"},
		{"pinned", at("launched", "it should leave m1, but no machine fits: is not MachineID=m1 (m2)", "machine-id", "is not MachineID=m1", on(m1, "launched", "active")), "can't leave: it is pinned by MachineID=m1"},
		{"kept for now", at("launched", "it should leave m1, but MinAvailable=2 keeps it for now", registry.RuleMinAvailable, "", on(m1, "launched", "active")), "can't leave for now: MinAvailable=2 keeps it for now"},
		{"too few", at("launched", "it should leave m1, but MinAvailable=2 keeps it", registry.RuleTooFew, "", on(m1, "launched", "active")), "can't leave: MinAvailable=2 keeps it"},
		{"stopping", at("launched", "", "", "", on(m1, "gone", "deactivating"), on(m2, "launched", "activating")), "waits for 11111111.../10.0.0.1: deactivating"},
		{"starting elsewhere", at("launched", "", "", "", on(m2, "launched", "activating")), "waits for 22222222.../10.0.0.2: activating"},
		{"elsewhere", at("launched", "", "", "", on(m2, "launched", "active")), "left to 22222222.../10.0.0.2"},
		{"loaded elsewhere", at("loaded", "", "", "", on(m2, "loaded", "inactive")), "left to 22222222.../10.0.0.2"},
		{"fails there", at("launched", "", "", "", on(m2, "launched", "failed")), "left to 22222222.../10.0.0.2, start web.service: on 22222222.../10.0.0.2: failed, result success; see clusterctl journal web.service"},
		{"unloaded meanwhile", at("inactive", "", "", ""), "left to nowhere"},
		{"destroyed meanwhile", api.Unit{Name: "web.service"}, "left to nowhere"},
	} {
		l := judgeLeaving(tt.unit, func(m registry.MachineID) bool { return m == m1 })
		got := "waits for " + l.waiting
		switch {
		case l.blocked != "" && l.firm:
			got = "can't leave: " + l.blocked
		case l.blocked != "":
			got = "can't leave for now: " + l.blocked
		case l.left && l.to == "":
			got = "left to nowhere"
		case l.left && l.failed != "":
			got = "left to " + l.to + ", " + l.failed
		case l.left:
			got = "left to " + l.to
		}
		if got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestProspectLines(t *testing.T) {
	const m3 = registry.MachineID("33333333222233334444555566667777")
	prospect := api.Prospect{
		Moves: []api.Move{
			{Unit: "a.service", From: []registry.MachineID{m1}, To: []registry.MachineID{m2}},
			{Unit: "b.service", From: []registry.MachineID{m1}},
			{Unit: "c.service", To: []registry.MachineID{m2}},
			{Unit: "d.service", From: []registry.MachineID{m1}},
			{Unit: "g.service", From: []registry.MachineID{m1, m2}, To: []registry.MachineID{m2, m3}},
		},
		Pending: []api.WouldDefer{
			{Unit: "b.service", Text: "no machine fits: lacks rack=7 (m2)"},
			{Unit: "e.service", Text: "no machine fits: is cordoned (m2)", On: []registry.MachineID{m1}},
			{Unit: "h.service", Text: "no machine fits: lacks rack=7 (m1, m2)"},
			{Unit: "f.service", Text: "as ever", Before: true},
		},
	}
	want := `Unit a.service would move from m1 to m2
Unit c.service would be placed on m2
Unit g.service would leave m1
Unit g.service would come to 33333333...
Unit b.service would be stopped on m1: no machine fits: lacks rack=7 (m2)
Unit e.service would not find another place: no machine fits: is cordoned (m2)
Unit h.service would not find a place: no machine fits: lacks rack=7 (m1, m2)
Unit d.service would be stopped on m1`
	if got := strings.Join(prospectLines(prospect, []api.Machine{{ID: m1, Hostname: "m1"}, {ID: m2, Hostname: "m2"}}), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestScaling(t *testing.T) {
	instances := func(words string) *scaling {
		s := &scaling{template: api.Unit{Name: "web@.service", Known: true}, numbered: map[int]api.Unit{}}
		for word := range strings.FieldsSeq(words) {
			name, target, _ := strings.Cut(word, ":")
			u := api.Unit{Name: unit.Name("web@" + name + ".service"), Known: true, Target: target}
			if n, ok := instanceNumber(u.Name); ok {
				s.numbered[n] = u
			}
		}
		return s
	}
	for _, tt := range []struct {
		there string
		to    int
		want  string
	}{
		{"", 2, "start web@1.service web@2.service destroy"},
		{"1:launched 2:launched", 2, "start destroy"},
		{"1:launched 2:inactive 3:loaded", 3, "start web@2.service web@3.service destroy"},
		{"1:launched 2:gone", 2, "start web@2.service destroy"},
		{"1:launched 2:launched 3:inactive 4:gone 12:launched", 1, "start destroy web@12.service web@3.service web@2.service"},
		{"1:launched 2:launched", 0, "start destroy web@2.service web@1.service"},
		{"0:launched 01:launched blue:launched -1:launched", 0, "start destroy"},
	} {
		start, destroy := instances(tt.there).changes(tt.to)
		got := strings.Join(strings.Fields(fmt.Sprintf("start %v destroy %v", start, destroy)), " ")
		got = strings.NewReplacer("[", "", "]", "").Replace(got)
		if got = strings.Join(strings.Fields(got), " "); got != tt.want {
			t.Errorf("%s to %d: got %s, want %s", tt.there, tt.to, got, tt.want)
		}
	}
}

func TestChooseMachines(t *testing.T) {
	machines := []api.Machine{
		{ID: m1, Hostname: "m1", Metadata: map[string]string{"rack": "7", "disk": "ssd"}},
		{ID: m2, Hostname: "m2", Metadata: map[string]string{"rack": "8", "disk": "ssd"}},
	}
	for _, tt := range []struct{ give, want string }{
		{"m1", "m1"},
		{"rack=7", "m1"},
		{"disk=ssd,rack>7", "machine drain: no machine meets disk=ssd,rack>7; see clusterctl list-machines"},
		{"disk=ssd rack>7", "m2"},
		{"rack!=7|m1", "m2 m1"},
		{"m2|disk exists|rack=8", "m2 m1"},
		{"rack in 7,8", "m1 m2"},
		{"rack=7 rack!=7", "machine drain: no machine meets rack=7 rack!=7; see clusterctl list-machines"},
		{"m1|m3", "machine drain: no machine m3; see clusterctl list-machines --full"},
		{"rack<b", `machine drain: "rack<b" means no machines; write a requirement as rack=7, rack!=7, 'disk in ssd,nvme' or 'gpu exists'`},
	} {
		chosen, err := chooseMachines(machines, "machine drain", strings.Split(tt.give, "|"))
		var names []string
		for _, m := range chosen {
			names = append(names, m.Hostname)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.give, got, tt.want)
		}
	}
}
