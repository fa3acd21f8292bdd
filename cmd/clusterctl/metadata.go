package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
)

func newMachineShow(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show MACHINE...",
		Short:   "Show machines, with each of their metadata and where it comes from",
		Long:    "Show machines, with each of their metadata and where it comes from." + machineLong,
		Example: "  clusterctl machine show m2",
		Args:    machineArgs,
	}
	first := true
	cmd.RunE = p.eachMachine(func(_ context.Context, _ *api.Client, m api.Machine) error {
		if !first {
			fmt.Fprintln(p.stdout)
		}
		first = false
		tab := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintf(tab, "machine\t%s\nhostname\t%s\naddress\t%s\nstate\t%s\nunits\t%d\nsoftware\t%s\n",
			m.ID, cmp.Or(m.Hostname, "-"), cmp.Or(m.Address, "-"), machineState(m), m.Units, cmp.Or(m.Software, "-"))
		for _, line := range metadataLines(m) {
			fmt.Fprintf(tab, "metadata\t%s\n", line)
		}
		return tab.Flush()
	})
	return cmd
}

// metadataLines are a machine's metadata with their origin, what is hidden too.
func metadataLines(m api.Machine) []string {
	all := maps.Clone(m.Metadata)
	if all == nil {
		all = map[string]string{}
	}
	for _, key := range m.Unset {
		if _, own := m.Own[key]; own {
			all[key] = ""
		}
	}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		own, has := m.Own[key]
		_, set := m.Set[key]
		_, inForce := m.Metadata[key]
		switch {
		case !inForce:
			lines = append(lines, fmt.Sprintf("%s (taken away by an operator; the machine says %s)", key, own))
		case set && has:
			lines = append(lines, fmt.Sprintf("%s=%s (set by an operator; the machine says %s)", key, all[key], own))
		case set:
			lines = append(lines, fmt.Sprintf("%s=%s (set by an operator)", key, all[key]))
		default:
			lines = append(lines, fmt.Sprintf("%s=%s (the machine's own)", key, all[key]))
		}
	}
	return lines
}

const metadataLong = `

The machine's own metadata, of its clusterd.conf, stays as it is below what operators say, and is in
force again after reset. What operators say outlives the machine's restarts. Units that no longer fit
their machine move.` + machineLong

func newMachineSet(p *program) *cobra.Command {
	return newMetadata(p, &cobra.Command{
		Use:     "set MACHINE KEY=VALUE...",
		Short:   "Set or replace metadata of machines, for units to ask for",
		Long:    "Set or replace metadata of machines, for units to ask for." + metadataLong,
		Example: "  clusterctl machine set m2 rack=7 disk=ssd\n  clusterctl machine set rack=7 power=new",
	}, func(words []string) (api.SettingsChange, error) {
		change := api.SettingsChange{Metadata: map[string]string{}}
		for _, word := range words {
			key, value, ok := strings.Cut(word, "=")
			if !ok || key == "" || value == "" {
				return change, usageError("machine set: %q is not KEY=VALUE", word)
			}
			if has, twice := change.Metadata[key]; twice {
				return change, usageError("machine set: %s is given twice, as %s and %s", key, has, value)
			}
			change.Metadata[key] = value
		}
		return change, nil
	})
}

func newMachineUnset(p *program) *cobra.Command {
	return newMetadata(p, &cobra.Command{
		Use:     "unset MACHINE KEY...",
		Short:   "Take metadata away from machines, their own too",
		Long:    "Take metadata away from machines, their own too." + metadataLong,
		Example: "  clusterctl machine unset m2 rack",
	}, func(words []string) (api.SettingsChange, error) {
		return api.SettingsChange{Unset: words}, checkKeys("machine unset", words)
	})
}

func newMachineReset(p *program) *cobra.Command {
	return newMetadata(p, &cobra.Command{
		Use:     "reset MACHINE KEY...",
		Short:   "Let metadata of machines be again what they say themselves",
		Long:    "Let metadata of machines be again what they say themselves: forget what was set, or taken away." + metadataLong,
		Example: "  clusterctl machine reset m2 rack",
	}, func(words []string) (api.SettingsChange, error) {
		return api.SettingsChange{Reset: words}, checkKeys("machine reset", words)
	})
}

func checkKeys(verb string, words []string) error {
	for _, word := range words {
		if key, _, pair := strings.Cut(word, "="); pair {
			return usageError("%s: %q is a key with a value; give the key alone: %s", verb, word, key)
		}
	}
	return nil
}

// newMetadata completes the command of a verb for metadata.
func newMetadata(p *program, cmd *cobra.Command, change func(words []string) (api.SettingsChange, error)) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 {
			return usageError("%sa machine and what to change of it are needed; use it as: %s", within(cmd), cmd.UseLine())
		}
		return nil
	}
	dry := addDryRun(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := change(args[1:])
		if err != nil {
			return err
		}
		if *dry {
			return p.foresee(cmd, args[:1], func(machines []api.Machine) api.Scenario { return withSettings(machines, to) })
		}
		return p.eachMachine(func(ctx context.Context, client *api.Client, m api.Machine) error {
			for _, key := range append(slices.Clone(to.Unset), to.Reset...) {
				if _, has := m.Metadata[key]; !has && !slices.Contains(m.Unset, key) {
					p.note("clusterctl: note: %s has no metadata %s", called(m), key)
				}
			}
			if err := client.SetMachine(ctx, m.ID, to); err != nil {
				return err
			}
			fmt.Fprintf(p.stdout, "Machine %s %s\n", m.ID, describeChange(m, to))
			return nil
		})(cmd, args[:1])
	}
	return cmd
}

// describeChange says what a change of metadata comes to.
func describeChange(m api.Machine, change api.SettingsChange) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(change.Metadata)) {
		parts = append(parts, key+"="+change.Metadata[key])
	}
	for _, key := range change.Unset {
		parts = append(parts, "without "+key)
	}
	for _, key := range change.Reset {
		if own, has := m.Own[key]; has {
			parts = append(parts, key+"="+own)
		} else {
			parts = append(parts, "without "+key)
		}
	}
	return strings.Join(parts, " ")
}
