package main

import (
	"fmt"
	"testing"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// A scenario says how machines would differ; placement then moves what that moves.
func TestA23_ScenarioOfMachines(t *testing.T) {
	for _, tt := range []struct {
		name string
		is   placement.Machine
		to   api.ForeseenMachine
		want string
	}{
		{"nothing changes", placement.Machine{Metadata: map[string]string{"rack": "7"}}, api.ForeseenMachine{Metadata: map[string]string{"rack": "7"}}, "[] []"},
		{"another value", placement.Machine{Metadata: map[string]string{"rack": "7"}}, api.ForeseenMachine{Metadata: map[string]string{"rack": "8"}}, "[{a.service [m1] [m2] m1 lacks rack=7}] []"},
		{"no value", placement.Machine{Metadata: map[string]string{"rack": "7"}}, api.ForeseenMachine{}, "[{a.service [m1] [m2] m1 lacks rack=7}] []"},
		{"a drain", placement.Machine{Metadata: map[string]string{"rack": "7"}}, api.ForeseenMachine{Drain: true, Metadata: map[string]string{"rack": "7"}}, "[{a.service [m1] [m2] m1 is being drained}] []"},
		{"the end of a drain", placement.Machine{Drained: true, Metadata: map[string]string{"rack": "7"}}, api.ForeseenMachine{Metadata: map[string]string{"rack": "7"}}, "[] []"},
	} {
		c := placement.New()
		tt.is.ID, tt.is.Hostname, tt.to.Machine = "m1", "m1", "m1"
		c.SetMachine(tt.is)
		c.SetMachine(placement.Machine{ID: "m2", Hostname: "m2", Metadata: map[string]string{"rack": "7"}})
		needs, err := unit.ParseRequirements("rack=7")
		if err != nil {
			t.Fatal(err)
		}
		c.SetUnit(placement.Unit{Name: "a.service", Wanted: true, Options: unit.Options{Requirements: needs}})
		c.Put("m1", "a.service", placement.Place{Since: 1})
		p := prospect(c.Simulate(scenario(c, api.Foreseen{Machines: []api.ForeseenMachine{tt.to, {Machine: registry.MachineID("m9")}}})))
		if got := fmt.Sprint(p.Moves, p.Pending); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
