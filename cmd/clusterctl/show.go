package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
)

func newCat(p *program) *cobra.Command {
	var rendered *bool
	cmd := &cobra.Command{
		Use:   "cat UNIT...",
		Short: "Print unit files, byte for byte as they were submitted",
		Example: `  clusterctl cat busybox
  clusterctl cat --rendered web`,
		Args: unitArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := p.client()
			if err != nil {
				return err
			}
			defer client.Close()
			units, err := known(cmd.Context(), client, "cat", args)
			if err != nil {
				return err
			}
			for _, u := range units {
				if !u.Known || u.Hash == "" {
					return failure(api.ExitUnknown, "cat %s: the registry has no file of it; it only runs on a machine, see clusterctl status %s", u.Name, u.Name)
				}
				text, err := client.File(cmd.Context(), u.Hash)
				if err != nil {
					return fmt.Errorf("cat %s: %w", u.Name, err)
				}
				if *rendered {
					if text, err = renderedText(u.Name, text); err != nil {
						return err
					}
				}
				if _, err := p.stdout.Write(text); err != nil {
					return fmt.Errorf("cat %s: %w", u.Name, err)
				}
			}
			return nil
		},
	}
	rendered = cmd.Flags().Bool("rendered", false, "what systemd gets for it: a [Container] section as the service it stands for")
	return cmd
}

func newStatus(p *program) *cobra.Command {
	var machine string
	cmd := &cobra.Command{
		Use:     "status UNIT...",
		Short:   "Show what systemd says of units on their machines; exit 3 when one is not active",
		Example: "  clusterctl status busybox",
		Args:    unitArgs,
	}
	cmd.Flags().StringVar(&machine, "machine", "", "only on this machine: its id, the beginning of it, or its host name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		units, err := known(cmd.Context(), client, "status", args)
		if err != nil {
			return err
		}
		id, err := machineFlag(cmd, client, machine)
		if err != nil {
			return err
		}
		exit := 0
		for i, u := range units {
			if i > 0 {
				fmt.Fprintln(p.stdout)
			}
			one, err := p.status(cmd, client, u, id)
			if err != nil {
				return fmt.Errorf("status %s: %w", u.Name, err)
			}
			if exit == 0 {
				exit = one
			}
		}
		if exit != 0 {
			return exitStatus(exit)
		}
		return nil
	}
	return cmd
}

// status shows one unit. One that is on no machine has no systemd to ask.
func (p *program) status(cmd *cobra.Command, client *api.Client, u api.Unit, machine registry.MachineID) (int, error) {
	on := func(s api.UnitState) bool { return s.Reported && (machine == "" || s.Machine == machine) }
	if slices.ContainsFunc(u.States, on) {
		return client.Status(cmd.Context(), u.Name, machine, p.stdout)
	}
	fmt.Fprint(p.stdout, elsewhere(u))
	return api.ExitInactive, nil
}

// elsewhere is the status of a unit that no machine has reported.
func elsewhere(u api.Unit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "○ %s", u.Name)
	if u.Description != "" {
		fmt.Fprintf(&b, " - %s", u.Description)
	}
	fmt.Fprintf(&b, "\n     Loaded: not-found (on no machine; target %s)\n     Active: inactive (dead)\n", u.Target)
	for i := range u.States {
		fmt.Fprintf(&b, "     Placed: %s\n", describe(&u.States[i]))
	}
	if u.Broken != "" {
		fmt.Fprintf(&b, "     Broken: %s\n", u.Broken)
	}
	if u.Pending != nil {
		fmt.Fprintf(&b, "    Pending: %s\n", u.Pending.Text)
		for _, r := range u.Pending.Refusals {
			fmt.Fprintf(&b, "             %s: %s (%d machines)\n", r.Rule, r.Detail, len(r.Machines)+r.Others)
		}
	}
	return b.String()
}

func newJournal(p *program) *cobra.Command {
	var options api.JournalOptions
	var machine string
	cmd := &cobra.Command{
		Use:     "journal UNIT",
		Short:   "Print a unit's journal, from the machine it is on",
		Example: "  clusterctl journal --follow busybox",
		Args:    oneUnit,
	}
	flags := cmd.Flags()
	flags.IntVarP(&options.Lines, "lines", "n", 10, "how many of the last lines to print; -1 is all")
	flags.BoolVarP(&options.Follow, "follow", "f", false, "go on printing as lines come")
	flags.StringVarP(&options.Output, "output", "o", "short", "form of the lines, as of journalctl: short, cat, json, ...")
	flags.StringVar(&options.Since, "since", "", "only lines since then, as of journalctl")
	flags.StringVar(&machine, "machine", "", "which machine's, of a unit on several: its id, the beginning of it, or its host name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if options.Lines < -1 {
			return usageError("journal: --lines %d is less than nothing; give a number, or -1 for all", options.Lines)
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		if isGlob(args[0]) {
			return usageError("journal %s: name one unit; see clusterctl list-units '%s'", args[0], args[0])
		}
		units, err := known(cmd.Context(), client, "journal", args)
		if err != nil {
			return err
		}
		id, err := machineFlag(cmd, client, machine)
		if err != nil {
			return err
		}
		if err := client.Journal(cmd.Context(), units[0].Name, id, options, p.stdout); err != nil {
			return fmt.Errorf("journal %s: %w", units[0].Name, err)
		}
		return nil
	}
	return cmd
}

// machineFlag resolves --machine; empty stays empty.
func machineFlag(cmd *cobra.Command, client *api.Client, machine string) (registry.MachineID, error) {
	if machine == "" {
		return "", nil
	}
	m, err := findMachine(cmd.Context(), client, cmd.Name(), machine)
	return m.ID, err
}
