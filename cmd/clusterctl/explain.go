package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
)

func newExplain(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain UNIT|FILE...",
		Short: "Say why units are where they are, or nowhere, machine by machine, and what would help",
		Long: `Say for each machine what keeps a unit off it, and what single change would let a unit run that
fits nowhere. That change was tried, and taken back, on what the cluster's engine knows.

A unit that is not to run now, or a file that was not submitted (with a / in its path), is explained
as if it were started now. Exit code 6 says that a unit is, or would be, without a place.`,
		Example: `  clusterctl explain web
  clusterctl explain --all web
  clusterctl explain ./new.service`,
		Args: unitArgs,
	}
	all := cmd.Flags().Bool("all", false, "a line for each machine, in place of one for each reason")
	output := cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *output != "text" && *output != "json" {
			return usageError("explain: --output=%s is unknown; use text or json", *output)
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		questions, err := explainRequests(cmd, client, args)
		if err != nil {
			return err
		}
		var answers []api.Explanation
		for _, q := range questions {
			e, err := client.Explain(cmd.Context(), q)
			if err != nil {
				return err
			}
			answers = append(answers, e)
		}
		if err := p.printExplanations(answers, *all, *output); err != nil {
			return err
		}
		if slices.ContainsFunc(answers, func(e api.Explanation) bool { return e.Pending }) {
			return exitStatus(api.ExitUnplaced)
		}
		return nil
	}
	return cmd
}

// explainRequests turns arguments into questions: paths are files that may not
// be submitted yet, all else is what the cluster knows.
func explainRequests(cmd *cobra.Command, client *api.Client, args []string) ([]api.ExplainRequest, error) {
	var questions []api.ExplainRequest
	for _, arg := range args {
		if strings.Contains(arg, "/") {
			d, err := readDeployment("explain", arg)
			if err != nil {
				return nil, err
			}
			if d.name.IsTemplate() {
				return nil, usageError("explain %s: a template runs nowhere; name an instance, such as ./%s", d.name, d.name.InstanceOf("1"))
			}
			questions = append(questions, api.ExplainRequest{Unit: d.name, File: d.local})
			continue
		}
		units, err := known(cmd.Context(), client, "explain", []string{arg})
		if err != nil {
			return nil, err
		}
		for _, u := range units {
			questions = append(questions, api.ExplainRequest{Unit: u.Name})
		}
	}
	return questions, nil
}

func (p *program) printExplanations(all []api.Explanation, each bool, output string) error {
	if output == "json" {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	for i, e := range all {
		if i > 0 {
			fmt.Fprintln(p.stdout)
		}
		if _, err := fmt.Fprint(p.stdout, explained(e, each)); err != nil {
			return fmt.Errorf("explain: %w", err)
		}
	}
	return nil
}

// namedMost is how many machines one line names.
const namedMost = 5

// explained is an explanation for people.
func explained(e api.Explanation, each bool) string {
	var b strings.Builder
	fmt.Fprintln(&b, verdict(e))
	tab := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	if each {
		fmt.Fprintln(tab, "  MACHINE\tRULE\tWHY")
		for _, m := range e.Machines {
			if len(m.Reasons) == 0 {
				fmt.Fprintf(tab, "  %s\t-\tit fits\n", nameOf(m.MachineName))
			}
			for _, r := range m.Reasons {
				fmt.Fprintf(tab, "  %s\t%s\t%s\n", nameOf(m.MachineName), r.Rule, r.Detail)
			}
		}
	} else if groups := grouped(e.Machines); len(groups) > 0 {
		fmt.Fprintln(tab, "  RULE\tMACHINES\tWHY")
		for _, g := range groups {
			fmt.Fprintf(tab, "  %s\t%s\t%s\n", g.Rule, named(g.machines), g.Detail)
		}
	}
	tab.Flush()
	switch {
	case e.Change != "":
		fmt.Fprintf(&b, "What would help: %s\n", e.Change)
	case e.Pending && len(e.Machines) > 0:
		fmt.Fprintln(&b, "No single change would help; see what keeps it off each machine with --all")
	}
	return b.String()
}

// verdict is an explanation's first line.
func verdict(e api.Explanation) string {
	fits := 0
	var elsewhere []string
	for _, m := range e.Machines {
		if len(m.Reasons) > 0 {
			continue
		}
		fits++
		if !slices.Contains(e.On, m.MachineName) {
			elsewhere = append(elsewhere, nameOf(m.MachineName))
		}
	}
	of := counted(len(e.Machines), "machine", "machines")
	var on []string
	for _, m := range e.On {
		on = append(on, nameOf(m))
	}
	as := "is"
	if !e.Wanted {
		as = "would be"
	}
	switch {
	case len(e.Machines) == 0:
		return fmt.Sprintf("%s %s without a place: no machine is registered", e.Unit, as)
	case e.Pending && len(on) > 0:
		return fmt.Sprintf("%s %s on %s, where it should not stay or not alone; it fits %d of %s", e.Unit, as, named(on), fits, of)
	case e.Pending:
		return fmt.Sprintf("%s %s without a place: it fits %d of %s", e.Unit, as, fits, of)
	case len(on) > 0 && len(elsewhere) == 0:
		return fmt.Sprintf("%s is on %s, and fits no other of %s", e.Unit, named(on), of)
	case len(on) > 0:
		return fmt.Sprintf("%s is on %s; it would fit %s, too", e.Unit, named(on), named(elsewhere))
	case e.Wanted:
		return fmt.Sprintf("%s is about to be placed; it fits %d of %s: %s", e.Unit, fits, of, named(elsewhere))
	}
	return fmt.Sprintf("%s would fit %d of %s: %s", e.Unit, fits, of, named(elsewhere))
}

// reasonGroup is one reason and the machines it holds for.
type reasonGroup struct {
	api.Reason
	machines []string
}

// grouped lists reasons, the one that holds for most machines first.
func grouped(machines []api.MachineReasons) []reasonGroup {
	var groups []reasonGroup
	at := map[api.Reason]int{}
	for _, m := range machines {
		for _, r := range m.Reasons {
			i, seen := at[r]
			if !seen {
				i = len(groups)
				at[r] = i
				groups = append(groups, reasonGroup{Reason: r})
			}
			groups[i].machines = append(groups[i].machines, nameOf(m.MachineName))
		}
	}
	slices.SortStableFunc(groups, func(a, b reasonGroup) int { return -cmp.Compare(len(a.machines), len(b.machines)) })
	return groups
}

func nameOf(m api.MachineName) string { return cmp.Or(m.Hostname, m.Machine.Short()) }

// named lists machines, a few of them by name.
func named(machines []string) string {
	if more := len(machines) - namedMost; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(machines[:namedMost], ", "), more)
	}
	return strings.Join(machines, ", ")
}
