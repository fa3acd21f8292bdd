package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// whatIf is what the flags of simulate say.
type whatIf struct {
	lose, cordon, uncordon, drain, add, remove []string
	output                                     string
}

func newSimulate(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate FLAG...",
		Short: "Say which units would move or be without a place if something happened",
		Long: `Say which units would move, and which would be without a place, if all of this happened at once.
Nothing is changed. The answer is what the cluster's engine would decide, once all has come to rest.

Each flag may be given several times, or several words follow it; braces are expanded, {1..50} and
{a,b}, whether the shell does so or not. Exit code 6 says that a unit would be without a place, or
would have to stay where it should not, that has no such trouble now.`,
		Example: `  clusterctl simulate --lose m2
  clusterctl simulate --add web@{1..50}.service --cordon rack=7
  clusterctl simulate --lose m2 m3 --remove 'web@*' --output json`,
	}
	var w whatIf
	flags := cmd.Flags()
	flags.StringArrayVar(&w.lose, "lose", nil, "machines that would be no more: a host name, the beginning of an id, or a requirement such as rack=7")
	flags.StringArrayVar(&w.cordon, "cordon", nil, "machines that would take no new units")
	flags.StringArrayVar(&w.uncordon, "uncordon", nil, "machines that would take new units again, and would not be drained")
	flags.StringArrayVar(&w.drain, "drain", nil, "machines that would take no new units, and whose units would move")
	flags.StringArrayVar(&w.add, "add", nil, "units that would run: of the cluster, instances of its templates, or files")
	flags.StringArrayVar(&w.remove, "remove", nil, "units, or patterns, that would no longer run")
	flags.StringVarP(&w.output, "output", "o", "text", "text or json")
	// A shell makes of --add web@{1..3} one flag with a value and two words more.
	lists := []string{"--lose", "--cordon", "--uncordon", "--drain", "--add", "--remove"}
	cmd.DisableFlagParsing = true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cmd.DisableFlagParsing = false
		if err := cmd.ParseFlags(repeated(lists, args)); err != nil {
			return cmd.FlagErrorFunc()(cmd, err)
		}
		if help, err := flags.GetBool("help"); err == nil && help {
			return cmd.Help()
		}
		if rest := flags.Args(); len(rest) > 0 {
			return usageError("simulate: %q follows no flag; say what would happen, such as --lose %s", rest[0], rest[0])
		}
		return p.simulate(cmd.Context(), w)
	}
	return cmd
}

// repeated gives each of several words after a flag a flag of its own.
func repeated(lists, args []string) []string {
	var out []string
	flag, has := "", false // the last one, and whether it has a value
	for _, arg := range args {
		name, _, inline := strings.Cut(arg, "=")
		switch {
		case strings.HasPrefix(arg, "-"):
			if flag = ""; slices.Contains(lists, name) {
				flag = name
			}
			has = inline
			out = append(out, arg)
		case flag != "" && has:
			out = append(out, flag, arg)
		default:
			has = true
			out = append(out, arg)
		}
	}
	return out
}

// bracesMax bounds how many words one with braces stands for.
const bracesMax = 100_000

// braces expands the braces of a word as shells do: {1..3} and {a,b}.
func braces(word string) ([]string, error) {
	before, rest, ok := strings.Cut(word, "{")
	inner, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{word}, nil
	}
	var choices []string
	var from, to int
	if n, _ := fmt.Sscanf(inner+"\n", "%d..%d\n", &from, &to); n == 2 && inner == fmt.Sprintf("%d..%d", from, to) {
		if to < from || to-from >= bracesMax {
			return nil, usageError("%s: a range goes from a number to a higher one, with at most %d in it", word, bracesMax)
		}
		for i := from; i <= to; i++ {
			choices = append(choices, fmt.Sprint(i))
		}
	} else if choices = strings.Split(inner, ","); len(choices) < 2 {
		return nil, usageError("%s: braces hold a range or a list; write them as {1..50} or {a,b}", word)
	}
	tails, err := braces(after)
	if err != nil {
		return nil, err
	}
	if len(choices)*len(tails) > bracesMax {
		return nil, usageError("%s: that is more than %d words", word, bracesMax)
	}
	var words []string
	for _, c := range choices {
		for _, tail := range tails {
			words = append(words, before+c+tail)
		}
	}
	return words, nil
}

func (w *whatIf) expand() error {
	for _, list := range []*[]string{&w.lose, &w.cordon, &w.uncordon, &w.drain, &w.add, &w.remove} {
		var all []string
		for _, word := range *list {
			words, err := braces(word)
			if err != nil {
				return fmt.Errorf("simulate: %w", err)
			}
			all = append(all, words...)
		}
		*list = all
	}
	switch {
	case len(w.lose)+len(w.cordon)+len(w.uncordon)+len(w.drain)+len(w.add)+len(w.remove) == 0:
		return usageError("simulate: nothing would happen; say what, such as --lose m2; see clusterctl simulate --help")
	case w.output != "text" && w.output != "json":
		return usageError("simulate: --output=%s is unknown; use text or json", w.output)
	}
	return nil
}

func (p *program) simulate(ctx context.Context, w whatIf) error {
	if err := w.expand(); err != nil {
		return err
	}
	client, err := p.client()
	if err != nil {
		return err
	}
	defer client.Close()
	list, err := client.Machines(ctx)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	scenario, err := w.machines(list.Machines)
	if err != nil {
		return err
	}
	if len(w.add) > 0 {
		request, _, _, err := p.deploy(ctx, client, "simulate", "launched", w.add, deployFlags{replace: true})
		if err != nil {
			return err
		}
		scenario.Files, scenario.Add = request.Files, additions(request.Changes)
	}
	if len(w.remove) > 0 {
		units, err := known(ctx, client, "simulate", w.remove)
		if err != nil {
			return err
		}
		for _, u := range units {
			scenario.Remove = append(scenario.Remove, u.Name)
		}
	}
	prospect, err := client.Simulate(ctx, scenario)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	if w.output == "json" {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(prospect); err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	} else {
		p.printProspect(prospect, list.Machines, "No unit would move")
	}
	return newTrouble(prospect)
}

// machines is the scenario as far as machines go. Of one that is named for
// several things, all are to happen.
func (w *whatIf) machines(all []api.Machine) (api.Scenario, error) {
	s := api.Scenario{Settings: map[registry.MachineID]api.SettingsChange{}}
	yes, no := true, false
	for _, each := range []struct {
		words []string
		to    func(api.Machine)
	}{
		{w.lose, func(m api.Machine) { s.Lose = append(s.Lose, m.ID) }},
		{w.uncordon, func(m api.Machine) { s.Settings[m.ID] = api.SettingsChange{Cordon: &no, Drain: &no} }},
		{w.cordon, func(m api.Machine) {
			s.Settings[m.ID] = api.SettingsChange{Cordon: &yes, Drain: s.Settings[m.ID].Drain}
		}},
		{w.drain, func(m api.Machine) {
			s.Settings[m.ID] = api.SettingsChange{Cordon: s.Settings[m.ID].Cordon, Drain: &yes}
		}},
	} {
		machines, err := chooseMachines(all, "simulate", each.words)
		if err != nil {
			return s, err
		}
		for _, m := range machines {
			each.to(m)
		}
	}
	return s, nil
}

func additions(changes []api.Change) []api.Addition {
	var all []api.Addition
	for _, c := range changes {
		all = append(all, api.Addition{Unit: c.Name, File: c.File})
	}
	return all
}

func (p *program) printProspect(prospect api.Prospect, machines []api.Machine, otherwise string) {
	lines := prospectLines(prospect, machines)
	for _, line := range lines {
		fmt.Fprintln(p.stdout, line)
	}
	if len(lines) == 0 && otherwise != "" {
		fmt.Fprintln(p.stdout, otherwise)
	}
}

// newTrouble exits with ExitUnplaced when a unit would not be where it should,
// that is now, or that would be new.
func newTrouble(prospect api.Prospect, asked ...unit.Name) error {
	for _, u := range prospect.Pending {
		if !u.Before || slices.Contains(asked, u.Unit) {
			return exitStatus(api.ExitUnplaced)
		}
	}
	return nil
}
