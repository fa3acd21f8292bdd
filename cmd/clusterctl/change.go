package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

func newStop(p *program) *cobra.Command {
	return newChange(p, &cobra.Command{
		Use:     "stop UNIT...",
		Short:   "Stop units; they stay loaded on their machines",
		Example: "  clusterctl stop 'web@*'",
	}, func(u api.Unit) (api.Change, string) {
		if u.Target == "inactive" {
			return api.Change{}, "Unit %s inactive"
		}
		return api.Change{Name: u.Name, Target: "loaded", Existing: true}, ""
	})
}

func newRestart(p *program) *cobra.Command {
	return newChange(p, &cobra.Command{
		Use:     "restart UNIT...",
		Short:   "Stop and start units on their machines",
		Example: "  clusterctl restart busybox",
	}, func(u api.Unit) (api.Change, string) {
		return api.Change{Name: u.Name, Target: "launched", Restart: true, Existing: true}, ""
	})
}

func newUnload(p *program) *cobra.Command {
	return newChange(p, &cobra.Command{
		Use:     "unload UNIT...",
		Short:   "Stop units and take them off their machines; the cluster still knows them",
		Example: "  clusterctl unload busybox",
	}, func(u api.Unit) (api.Change, string) {
		return api.Change{Name: u.Name, Target: "inactive", Existing: true}, ""
	})
}

func newDestroy(p *program) *cobra.Command {
	return newChange(p, &cobra.Command{
		Use:     "destroy UNIT...",
		Short:   "Stop units and forget them; waits until nothing of them is left",
		Example: "  clusterctl destroy busybox 'web@*'",
	}, func(u api.Unit) (api.Change, string) {
		return api.Change{Name: u.Name, Target: "gone"}, ""
	})
}

// newChange completes the command of a verb for units the cluster knows. The
// change of a unit is empty when there is nothing to do, which is then said.
func newChange(p *program, cmd *cobra.Command, change func(api.Unit) (api.Change, string)) *cobra.Command {
	wait := addWaitFlags(cmd)
	why := addWhy(cmd)
	dry := new(bool)
	if verb := cmd.Name(); verb == "unload" || verb == "destroy" { // the others move nothing
		dry = addPlan(cmd)
	}
	cmd.Args = unitArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := wait.check(cmd.Name()); err != nil {
			return err
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		units, err := known(cmd.Context(), client, cmd.Name(), args)
		if err != nil {
			return err
		}
		request := api.Apply{Why: *why}
		var names []unit.Name
		for _, u := range units {
			c, nothing := change(u)
			if nothing != "" {
				fmt.Fprintf(p.stdout, nothing+"\n", u.Name)
				continue
			}
			request.Changes = append(request.Changes, c)
			names = append(names, u.Name)
		}
		if *dry {
			return p.plan(cmd.Context(), client, cmd.Name(), request)
		}
		return p.apply(cmd.Context(), client, cmd.Name(), request, names, nil, wait)
	}
	return cmd
}

func addWhy(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("message", "m", "", "why, kept with the change")
}

// apply sends a request and, unless wait says otherwise, waits until the
// units of the names have reached what the verb promises. What there is to note
// about a unit's text is said of its file, for units that have one in files.
func (p *program) apply(ctx context.Context, client *api.Client, verb string, request api.Apply, names []unit.Name, files map[unit.Name]string, wait *waitFlags) error {
	if len(request.Changes) == 0 {
		return nil
	}
	applied, err := client.Apply(ctx, request)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	p.noteApplied(applied, files)
	goals := make([]goal, len(names))
	for i, name := range names {
		goals[i] = goal{verb: verb, name: name}
		if i < len(applied.Units) {
			goals[i].generation = applied.Units[i].Generation
		}
	}
	switch {
	case wait == nil:
		for i, g := range goals {
			target := "inactive"
			if i < len(applied.Units) && applied.Units[i].Target != "" {
				target = applied.Units[i].Target
			}
			fmt.Fprintf(p.stdout, "Unit %s %s\n", g.name, target)
		}
		return nil
	case wait.noBlock:
		for _, g := range goals {
			fmt.Fprintf(p.stdout, "Triggered unit %s %s\n", g.name, verb)
		}
		return nil
	}
	return p.wait(ctx, client, verb, goals, wait.timeout)
}

// noteApplied says what there is to note about units' texts.
func (p *program) noteApplied(applied api.Applied, files map[unit.Name]string) {
	for _, n := range applied.Notes {
		name, rest, _ := strings.Cut(n, ":")
		if file, ok := files[unit.Name(name)]; ok {
			n = file + ":" + rest
		}
		p.note("clusterctl: note: %s", n)
	}
}
