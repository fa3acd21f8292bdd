package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
)

func addDryRun(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("dry-run", false, "say which units would move, and change nothing")
}

// withSettings is the scenario in which machines' settings change.
func withSettings(machines []api.Machine, change api.SettingsChange) api.Scenario {
	s := api.Scenario{Settings: map[registry.MachineID]api.SettingsChange{}}
	for _, m := range machines {
		s.Settings[m.ID] = change
	}
	return s
}

// lost is the scenario in which machines are no more.
func lost(machines []api.Machine) api.Scenario {
	var s api.Scenario
	for _, m := range machines {
		s.Lose = append(s.Lose, m.ID)
	}
	return s
}

// orForesee does what a command does, or with dry set says what would come of it.
func (p *program) orForesee(dry *bool, scenario func([]api.Machine) api.Scenario, do func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if *dry {
			return p.foresee(cmd, args, scenario)
		}
		return do(cmd, args)
	}
}

// foresee prints which units would move if something happened to machines.
func (p *program) foresee(cmd *cobra.Command, args []string, scenario func([]api.Machine) api.Scenario) error {
	verb := "machine " + cmd.Name()
	client, err := p.client()
	if err != nil {
		return err
	}
	defer client.Close()
	list, err := client.Machines(cmd.Context())
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	machines, err := chooseMachines(list.Machines, verb, args)
	if err != nil {
		return err
	}
	prospect, err := client.Simulate(cmd.Context(), scenario(machines))
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	p.printProspect(prospect, list.Machines, "No unit would move")
	return nil
}

// another says what kind of place a unit would not find.
func another(u api.WouldDefer) string {
	if len(u.On) > 0 {
		return "another"
	}
	return "a"
}

func without(all, some []registry.MachineID) []registry.MachineID {
	return slices.DeleteFunc(slices.Clone(all), func(m registry.MachineID) bool { return slices.Contains(some, m) })
}

// prospectLines says what would come of a scenario, one line a unit. Units that
// wait as they do now are left out.
func prospectLines(prospect api.Prospect, machines []api.Machine) []string {
	names := map[registry.MachineID]string{}
	for _, m := range machines {
		names[m.ID] = called(m)
	}
	words := func(ids []registry.MachineID) string {
		var all []string
		for _, id := range ids {
			if name := names[id]; name != "" {
				all = append(all, name)
			} else {
				all = append(all, id.Short())
			}
		}
		return strings.Join(all, ", ")
	}
	var lines []string
	nowhere := map[string]string{} // units that would be nowhere, and where they are
	for _, m := range prospect.Moves {
		switch {
		case len(m.To) == 0:
			nowhere[string(m.Unit)] = words(m.From)
		case len(m.From) == 0:
			lines = append(lines, fmt.Sprintf("Unit %s would be placed on %s", m.Unit, words(m.To)))
		case len(m.From) > 1 || len(m.To) > 1:
			if off := without(m.From, m.To); len(off) > 0 {
				lines = append(lines, fmt.Sprintf("Unit %s would leave %s", m.Unit, words(off)))
			}
			if on := without(m.To, m.From); len(on) > 0 {
				lines = append(lines, fmt.Sprintf("Unit %s would come to %s", m.Unit, words(on)))
			}
		default:
			lines = append(lines, fmt.Sprintf("Unit %s would move from %s to %s", m.Unit, words(m.From), words(m.To)))
		}
	}
	for _, u := range prospect.Pending {
		from, stops := nowhere[string(u.Unit)]
		delete(nowhere, string(u.Unit))
		switch {
		case stops:
			lines = append(lines, fmt.Sprintf("Unit %s would be stopped on %s: %s", u.Unit, from, u.Text))
		case !u.Before:
			lines = append(lines, fmt.Sprintf("Unit %s would not find %s place: %s", u.Unit, another(u), u.Text))
		}
	}
	for _, m := range prospect.Moves { // in order
		if from, stops := nowhere[string(m.Unit)]; stops {
			lines = append(lines, fmt.Sprintf("Unit %s would be stopped on %s", m.Unit, from))
		}
	}
	return lines
}
