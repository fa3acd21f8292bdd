package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

const machineLong = `

MACHINE is a machine's host name, the beginning of its id, or a requirement as units have it,
such as rack=7 or 'disk in ssd,nvme', which means all machines that meet it.`

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

// chooseMachines returns the machines that arguments mean, each once, in the
// arguments' order. One that means none is an error.
func chooseMachines(machines []api.Machine, verb string, args []string) ([]api.Machine, error) {
	var chosen []api.Machine
	seen := map[string]bool{}
	add := func(m api.Machine) {
		if !seen[string(m.ID)] {
			seen[string(m.ID)] = true
			chosen = append(chosen, m)
		}
	}
	for _, arg := range args {
		if !strings.ContainsAny(arg, "=<> ") {
			m, err := chooseMachine(machines, verb, arg)
			if err != nil {
				return nil, err
			}
			add(m)
			continue
		}
		needs, err := unit.ParseRequirements(arg)
		if err != nil || len(needs) == 0 {
			return nil, usageError("%s: %q means no machines; write a requirement as rack=7, rack!=7, 'disk in ssd,nvme' or 'gpu exists'", verb, arg)
		}
		found := false
		for _, m := range machines {
			if meets(m, needs) {
				add(m)
				found = true
			}
		}
		if !found {
			return nil, failure(api.ExitUnknown, "%s: no machine meets %s; see clusterctl list-machines", verb, arg)
		}
	}
	return chosen, nil
}

func meets(m api.Machine, needs []unit.Requirement) bool {
	has := registry.Selectable(&registry.Machine{Hostname: m.Hostname, Metadata: m.Metadata, Facts: m.Facts}, nil)
	return !slices.ContainsFunc(needs, func(r unit.Requirement) bool { return !r.Matches(has) })
}

func newMachine(p *program) *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:     "machine",
		Short:   "Look at machines, and change what the cluster does with them",
		Example: "  clusterctl machine drain m2",
	})
	yes, no := true, false
	cmd.AddCommand(newMachineShow(p),
		newMachineSettings(p, &cobra.Command{
			Use: "cordon MACHINE...", Short: "Place no further units on machines",
			Long:    "Place no further units on machines; those they have stay." + machineLong,
			Example: "  clusterctl machine cordon m2\n  clusterctl machine cordon rack=7",
		}, api.SettingsChange{Cordon: &yes}, "cordoned"),
		newMachineSettings(p, &cobra.Command{
			Use: "uncordon MACHINE...", Short: "Place units on machines again",
			Long: "Place units on machines again that were cordoned. A drain is ended by restore." + machineLong, Example: "  clusterctl machine uncordon m2",
		}, api.SettingsChange{Cordon: &no}, "uncordoned"),
		newMachineDrain(p),
		newMachineSettings(p, &cobra.Command{
			Use: "restore MACHINE...", Short: "End a drain: place units on machines again",
			Long: "End a drain, and a cordon with it: machines get units again. Those that left stay where they are." + machineLong, Example: "  clusterctl machine restore m2",
		}, api.SettingsChange{Cordon: &no, Drain: &no}, "restored"),
		newMachineSet(p), newMachineUnset(p), newMachineReset(p),
		newMachineConfirmDead(p), newMachineRemove(p))
	return cmd
}

func newMachineRemove(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove MACHINE...",
		Short: "Take machines that are gone for good out of the cluster",
		Long: `Take machines that are gone for good out of the cluster.

Their units move to other machines. A removed machine is refused from then on, until it joins anew.
One that is alive is drained first, and its clusterd stopped. With --force it is removed all the
same: what runs there goes on running while it is started elsewhere, so turn the machine off.` + machineLong,
		Example: "  clusterctl machine remove 113f16a7",
		Args:    machineArgs,
	}
	force := cmd.Flags().Bool("force", false, "remove one that is alive, too")
	dry := addDryRun(cmd)
	do := p.eachMachine(func(ctx context.Context, client *api.Client, m api.Machine) error {
		had, err := client.MachineUnits(ctx, m.ID)
		if err != nil {
			return err
		}
		if err := client.RemoveMachine(ctx, m.ID, *force); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "Machine %s removed\n", m.ID)
		p.noteHomeless(had.Units, m)
		if m.State == api.StateAlive || m.State == api.StateSuspect {
			p.note("clusterctl: note: %s was %s: what runs there goes on running until it is turned off, or joins anew", called(m), m.State)
		}
		return nil
	})
	cmd.RunE = p.orForesee(dry, lost, do)
	return cmd
}

func newMachineConfirmDead(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "confirm-dead MACHINE...",
		Short: "Say that missing machines are dead, so that their units move at once",
		Long: `Say that machines which have lost their lease are dead for certain, so that their units move at once:
without waiting for the grace or AwayLimit=, and also while so many machines are missing that nothing
moves. Only these machines' units move; others that are missing are waited for.

Turn the machine off first. If it still runs, its units run twice until it is back in the cluster.
A machine that comes back is as good as before.` + machineLong,
		Example: "  clusterctl machine confirm-dead m3 m4",
		Args:    machineArgs,
	}
	dry := addDryRun(cmd)
	do := p.eachMachine(func(ctx context.Context, client *api.Client, m api.Machine) error {
		had, err := client.MachineUnits(ctx, m.ID)
		if err != nil {
			return err
		}
		if err := client.ConfirmDead(ctx, m.ID); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "Machine %s confirmed dead\n", m.ID)
		p.noteHomeless(had.Units, m)
		return nil
	}, func(m api.Machine) error {
		if m.State == api.StateAlive || m.State == api.StateSuspect {
			return failure(api.ExitFailed, "it keeps its lease, so it is %s, and nothing was changed; turn it off first, or move its units away: clusterctl machine drain %s", m.State, called(m))
		}
		return nil
	})
	cmd.RunE = p.orForesee(dry, lost, do)
	return cmd
}

// noteHomeless says what becomes of the units of a machine that is no more.
func (p *program) noteHomeless(units []api.Unit, m api.Machine) {
	move := 0
	for _, u := range units {
		if s := u.On(m.ID); !u.Global && (s.Assigned == "loaded" || s.Assigned == "launched") {
			move++
		}
	}
	if move > 0 {
		p.note("clusterctl: note: %s off %s now; where to: clusterctl list-units", counted(move, "unit moves", "units move"), called(m))
	}
}

// counted is a number with what it counts.
func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// called is what texts call a machine.
func called(m api.Machine) string {
	if m.Hostname != "" {
		return m.Hostname
	}
	return m.ID.Short()
}

// machineArgs wants at least one machine.
func machineArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError("%sno machine given; use it as: %s", within(cmd), cmd.UseLine())
	}
	return nil
}

func newMachineSettings(p *program, cmd *cobra.Command, change api.SettingsChange, done string) *cobra.Command {
	cmd.Args = machineArgs
	cmd.RunE = p.eachMachine(func(ctx context.Context, client *api.Client, m api.Machine) error {
		if err := client.SetMachine(ctx, m.ID, change); err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "Machine %s %s\n", m.ID, done)
		if m.Drain && change.Drain == nil {
			p.note("clusterctl: note: %s is still being drained; to end that: clusterctl machine restore %s", called(m), called(m))
		}
		return nil
	})
	return cmd
}

// eachMachine finds and checks all machines before it does anything to the first.
func (p *program) eachMachine(do func(context.Context, *api.Client, api.Machine) error, checks ...func(api.Machine) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		verb := "machine " + cmd.Name()
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		machines, err := p.machines(cmd.Context(), client, verb, args)
		if err != nil {
			return err
		}
		for _, m := range machines {
			for _, check := range checks {
				if err := check(m); err != nil {
					return fmt.Errorf("%s %s: %w", verb, called(m), err)
				}
			}
		}
		for _, m := range machines {
			if err := do(cmd.Context(), client, m); err != nil {
				return fmt.Errorf("%s %s: %w", verb, called(m), err)
			}
		}
		return nil
	}
}

// machines returns those that arguments mean.
func (p *program) machines(ctx context.Context, client *api.Client, verb string, args []string) ([]api.Machine, error) {
	list, err := client.Machines(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", verb, err)
	}
	return chooseMachines(list.Machines, verb, args)
}
