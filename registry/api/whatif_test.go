package api

import (
	"context"
	"fmt"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// a scenario reaches the engine as machines would be, by the rules that a
// real change has, and changes nothing.
func TestA23_Simulate(t *testing.T) {
	r := newRig(t) // alpha says disk=ssd
	yes, no := true, false
	r.put(registry.SettingsKey(machineA), &registry.Settings{Cordon: true, Metadata: map[string]string{"rack": "7"}})
	if _, err := r.client.Simulate(r.ctx, Scenario{}); ExitCode(err) != ExitNoAnswer {
		t.Errorf("without an engine: %v", err)
	}
	var seen Foreseen
	r.control.Foresee = func(_ context.Context, f Foreseen) (Prospect, error) {
		seen = f
		return Prospect{Moves: []Move{{Unit: "a.service", From: []registry.MachineID{machineA}}}, Pending: []WouldDefer{{Unit: "a.service", Text: "no machine fits"}}}, nil
	}
	change := SettingsChange{Drain: &yes, Cordon: &no, Metadata: map[string]string{"gpu": "1"}, Reset: []string{"rack"}}
	p, err := r.client.Simulate(r.ctx, Scenario{Lose: []registry.MachineID{machineB}, Settings: map[registry.MachineID]SettingsChange{machineA: change}})
	if got := fmt.Sprint(p, err); got != "{[{a.service ["+string(machineA)+"] [] }] [{a.service false no machine fits []}]} <nil>" {
		t.Errorf("prospect: %s", got)
	}
	if got := fmt.Sprint(seen); got != fmt.Sprintf("{[%s] [{%s false true map[disk:ssd gpu:1 hostname:alpha]}] [] []}", machineB, machineA) {
		t.Errorf("the engine was asked of %s", got)
	}
	list, err := r.client.Machines(r.ctx)
	if err != nil || list.Machines[0].Drain || list.Machines[0].Metadata["rack"] != "7" {
		t.Errorf("it changed alpha: %+v, %v", list.Machines[0], err)
	}
	for name, s := range map[string]Scenario{
		"no such machine": {Settings: map[registry.MachineID]SettingsChange{machineC: {}}},
		"a bad key":       {Settings: map[registry.MachineID]SettingsChange{machineA: {Unset: []string{"hostname"}}}},
	} {
		if _, err := r.client.Simulate(r.ctx, s); ExitCode(err) != ExitUnknown && ExitCode(err) != ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Units that would run come to the engine with their files: those sent along,
// the cluster's own, or their templates'.
func TestSimulateUnits(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "launched", "web.service")
	r.mustSubmit(web, "", "web@.service")
	var seen Foreseen
	r.control.Foresee = func(_ context.Context, f Foreseen) (Prospect, error) {
		seen = f
		return Prospect{}, nil
	}
	other := web + "MemoryMax=1G\n"
	hash := unit.HashOf([]byte(other))
	files := map[unit.Hash][]byte{hash: []byte(other)}
	if _, err := r.client.Simulate(r.ctx, Scenario{Files: files, Remove: []unit.Name{"web@.service"}, Add: []Addition{
		{"new.service", hash}, {"web@7.service", ""}, {"web.service", ""}, {"web.service", hash}}}); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, u := range seen.Add {
		got += fmt.Sprintf("%s %s %v; ", u.Name, unit.HashOf(u.File).Short(), u.Changed)
	}
	old, now := unit.HashOf([]byte(web)).Short(), hash.Short()
	want := fmt.Sprintf("new.service %s false; web@7.service %s false; web.service %s false; web.service %s true; ", now, old, old, now)
	if got != want || fmt.Sprint(seen.Remove) != "[web@.service]" {
		t.Errorf("got %s without %v\nwant %s", got, seen.Remove, want)
	}
	for name, tt := range map[string]struct {
		s    Scenario
		exit int
	}{
		"an unknown unit":       {Scenario{Add: []Addition{{"none.service", ""}}}, ExitUnknown},
		"an unknown one to go":  {Scenario{Remove: []unit.Name{"none.service"}}, ExitUnknown},
		"a template":            {Scenario{Add: []Addition{{"web@.service", ""}}}, ExitUsage},
		"a file left at home":   {Scenario{Add: []Addition{{"new.service", hash}}}, ExitUsage},
		"a file of another sum": {Scenario{Files: map[unit.Hash][]byte{hash: []byte(web)}, Add: []Addition{{"new.service", hash}}}, ExitUsage},
	} {
		if _, err := r.client.Simulate(r.ctx, tt.s); ExitCode(err) != tt.exit {
			t.Errorf("%s: %v", name, err)
		}
	}
}
