package api

import (
	"context"
	"fmt"
	"testing"

	"github.com/clusterd/clusterd/registry"
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
	if got := fmt.Sprint(p, err); got != "{[{a.service ["+string(machineA)+"] [] }] [{a.service false no machine fits}]} <nil>" {
		t.Errorf("prospect: %s", got)
	}
	if got := fmt.Sprint(seen); got != fmt.Sprintf("{[%s] [{%s false true map[disk:ssd gpu:1 hostname:alpha]}]}", machineB, machineA) {
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
