package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

func newPlan(p *program) *cobra.Command {
	plan := &cobra.Command{
		Use:   "plan VERB UNIT...",
		Short: "Say what submit, load, start, unload or destroy would do, and change nothing",
		Long: `Say what a verb would do, and change nothing: which units are new or would have another text, which
would be placed or would move, and why some would be without a place. It is the verb with --dry-run.
Exit code 6 says that one of the units, or another one because of them, would be without a place.`,
		Example: `  clusterctl plan start ./web.service
  clusterctl plan destroy 'web@*'`,
	}
	for _, verb := range []*cobra.Command{newSubmit(p), newLoad(p), newStart(p), newUnload(p), newDestroy(p)} {
		dry := verb.Flags().Lookup("dry-run")
		_ = dry.Value.Set("true") // a boolean takes it
		dry.Hidden = true
		for _, name := range []string{"no-block", "timeout", "message"} { // of what does happen
			if f := verb.Flags().Lookup(name); f != nil {
				f.Hidden = true
			}
		}
		verb.Short = "What " + verb.Name() + " would do"
		verb.Long = verb.Short + ". Nothing is changed."
		verb.Example = strings.ReplaceAll(verb.Example, "clusterctl ", "clusterctl plan ")
		plan.AddCommand(verb)
	}
	return asGroup(plan)
}

func addPlan(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("dry-run", false, "say what would be done and which units would move, and change nothing")
}

// plan says what a request would do to its units, and what would come of it.
func (p *program) plan(ctx context.Context, client *api.Client, verb string, request api.Apply) error {
	names := make([]unit.Name, len(request.Changes))
	for i, c := range request.Changes {
		names[i] = c.Name
	}
	if len(names) == 0 {
		return nil
	}
	found, err := lookup(ctx, client, names)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	scenario := api.Scenario{Files: request.Files}
	for _, c := range request.Changes {
		u := found[c.Name]
		old := ""
		if c.File != "" && u.Hash != "" && u.Hash != c.File {
			text, err := client.File(ctx, u.Hash)
			if err != nil {
				return fmt.Errorf("%s %s: %w", verb, c.Name, err)
			}
			old = string(text)
		}
		fmt.Fprint(p.stdout, planned(u, c, old, string(request.Files[c.File])))
		switch to := targetAfter(c, u); {
		case to == "loaded" || to == "launched":
			scenario.Add = append(scenario.Add, api.Addition{Unit: c.Name, File: c.File})
		case wanted(u):
			scenario.Remove = append(scenario.Remove, c.Name)
		}
	}
	if len(scenario.Add)+len(scenario.Remove) == 0 {
		return nil
	}
	list, err := client.Machines(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	prospect, err := client.Simulate(ctx, scenario)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	p.printProspect(prospect, list.Machines, "No unit would move")
	return newTrouble(prospect, names...)
}

// targetAfter is the target that a unit would have after a change.
func targetAfter(c api.Change, u api.Unit) string {
	switch {
	case c.Target != "":
		return c.Target
	case u.Known && u.Target != "gone":
		return u.Target
	}
	return "inactive"
}

// planned says what a change does to a unit's text and target. The texts are
// those before and after it, when it brings another one.
func planned(u api.Unit, c api.Change, old, text string) string {
	is, to := u.Target, targetAfter(c, u)
	known := u.Known && is != "gone"
	changed := known && c.File != "" && u.Hash != c.File
	var line string
	switch {
	case to == "gone":
		line = "would be destroyed"
	case !known:
		line = "is new, and would be " + to
	case changed && is == to:
		line = "would have another text, and stay " + to
	case changed:
		line = fmt.Sprintf("would have another text, and be %s; it is %s", to, is)
	case is == to:
		line = "is " + to + " already"
	default:
		line = fmt.Sprintf("would be %s; it is %s", to, is)
	}
	if changed {
		line += "\n  " + strings.ReplaceAll(strings.TrimSuffix(diff(old, text), "\n"), "\n", "\n  ")
	}
	return fmt.Sprintf("Unit %s %s\n", c.Name, line)
}
