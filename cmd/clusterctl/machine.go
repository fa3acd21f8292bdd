package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
)

// findMachine returns the machine that text means: its id, an unambiguous
// beginning of it, or its host name.
func findMachine(ctx context.Context, client *api.Client, verb, text string) (api.Machine, error) {
	list, err := client.Machines(ctx)
	if err != nil {
		return api.Machine{}, fmt.Errorf("%s: %w", verb, err)
	}
	return chooseMachine(list.Machines, verb, text)
}

func chooseMachine(machines []api.Machine, verb, text string) (api.Machine, error) {
	wanted := strings.TrimSuffix(strings.ToLower(text), "...") // as list-machines prints it
	var found []api.Machine
	for _, m := range machines {
		if string(m.ID) == wanted {
			return m, nil
		}
		if m.Hostname == text || wanted != "" && strings.HasPrefix(string(m.ID), wanted) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return api.Machine{}, failure(api.ExitUnknown, "%s: no machine %s; see clusterctl list-machines --full", verb, text)
	case 1:
		return found[0], nil
	}
	var ids []string
	for _, m := range found {
		ids = append(ids, fmt.Sprintf("%s (%s)", m.ID, m.Hostname))
	}
	return api.Machine{}, usageError("%s: %s means %d machines: %s; give more of the id", verb, text, len(found), strings.Join(ids, ", "))
}

func newMachine(p *program) *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:     "machine",
		Short:   "Change what the cluster does with a machine",
		Example: "  clusterctl machine cordon m2",
	})
	yes, no := true, false
	cmd.AddCommand(newMachineRemove(p),
		newMachineSet(p, &cobra.Command{
			Use: "cordon MACHINE...", Short: "Place no further units on machines", Example: "  clusterctl machine cordon m2",
		}, api.SettingsChange{Cordon: &yes}),
		newMachineSet(p, &cobra.Command{
			Use: "uncordon MACHINE...", Short: "Place units on machines again", Example: "  clusterctl machine uncordon m2",
		}, api.SettingsChange{Cordon: &no, Drain: &no}))
	return cmd
}

func newMachineRemove(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove MACHINE...",
		Short:   "Take machines that are gone for good out of the cluster",
		Example: "  clusterctl machine remove 113f16a7",
		Args:    withArgs(cobra.MinimumNArgs(1)),
	}
	force := cmd.Flags().Bool("force", false, "one that is alive, too")
	cmd.RunE = p.eachMachine("Machine %s removed", func(ctx context.Context, client *api.Client, m api.Machine) error {
		return client.RemoveMachine(ctx, m.ID, *force)
	})
	return cmd
}

func newMachineSet(p *program, cmd *cobra.Command, change api.SettingsChange) *cobra.Command {
	cmd.Args = withArgs(cobra.MinimumNArgs(1))
	cmd.RunE = p.eachMachine("Machine %s "+cmd.Name()+"ed", func(ctx context.Context, client *api.Client, m api.Machine) error {
		return client.SetMachine(ctx, m.ID, change)
	})
	return cmd
}

// eachMachine finds all machines before it does anything to the first.
func (p *program) eachMachine(done string, do func(context.Context, *api.Client, api.Machine) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
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
		var machines []api.Machine
		for _, arg := range args {
			m, err := chooseMachine(list.Machines, verb, arg)
			if err != nil {
				return err
			}
			machines = append(machines, m)
		}
		for _, m := range machines {
			if err := do(cmd.Context(), client, m); err != nil {
				return fmt.Errorf("%s %s: %w", verb, m.ID.Short(), err)
			}
			fmt.Fprintf(p.stdout, done+"\n", m.ID)
		}
		return nil
	}
}

func newToken(p *program) *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:     "token",
		Short:   "Make tokens that let machines join",
		Example: "  clusterctl token create",
	})
	create := &cobra.Command{
		Use:     "create",
		Short:   "Print a token that lets one machine join, once",
		Example: "  clusterd join \"$(clusterctl token create)\"",
		Args:    withArgs(cobra.NoArgs),
	}
	ttl := create.Flags().Duration("ttl", time.Hour, "how long the token can be used")
	create.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		reply, err := client.CreateToken(cmd.Context(), api.TokenRequest{TTL: *ttl})
		if err != nil {
			return fmt.Errorf("token create: %w", err)
		}
		fmt.Fprintln(p.stdout, reply.Token)
		p.note("good for one machine until %s; on it: clusterd join TOKEN", reply.Expires.Local().Format(time.DateTime))
		return nil
	}
	cmd.AddCommand(create)
	return cmd
}
