package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
)

func newMove(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move UNIT MACHINE",
		Short: "Move a unit to a machine, once",
		Long: `Move a unit to a machine, and wait until it runs there.

This is no pin: the unit stays there as it would anywhere, and leaves when it has to. If the machine
can't take the unit, nothing changes and the reasons are printed. To tie a unit to a machine, give its
file a MachineID=.`,
		Example: "  clusterctl move web@3 m2",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError("%sit takes a unit and a machine, and %s given; use it as: %s", within(cmd), counted(len(args), "word is", "words are"), cmd.UseLine())
			}
			return nil
		},
	}
	wait := addWaitFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := wait.check("move"); err != nil {
			return err
		}
		name, err := parseName(args[0])
		if err != nil {
			return fmt.Errorf("move: %w", err)
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		to, err := findMachine(cmd.Context(), client, "move", args[1])
		if err != nil {
			return err
		}
		before, err := client.Unit(cmd.Context(), name)
		if err != nil {
			return fmt.Errorf("move: %w", err)
		}
		if s := before.On(to.ID); s != nil && before.Wish == nil && (s.Assigned == "loaded" || s.Assigned == "launched") && !before.Global {
			fmt.Fprintf(p.stdout, "Unit %s is on %s already\n", name, place(s, false))
			return nil
		}
		asked, err := client.Move(cmd.Context(), name, to.ID)
		if err != nil {
			return err
		}
		if wait.noBlock {
			fmt.Fprintf(p.stdout, "Triggered unit %s move\n", name)
			return nil
		}
		g := goal{verb: "move", name: name, generation: asked.Generation, to: to.ID, revision: asked.Revision}
		return p.wait(cmd.Context(), client, "move", []goal{g}, wait.timeout)
	}
	return cmd
}

// judgeMove says how far a unit is that was asked to move.
func (g goal) judgeMove(u api.Unit) outcome {
	switch {
	case !u.Known || u.Target == "gone":
		if !u.Known && !g.seen {
			return outcome{waiting: "the change to arrive"}
		}
		return g.failed(api.ExitFailed, "it was destroyed meanwhile by %s", cmp.Or(u.Who, "someone"))
	case u.Revision < g.revision:
		return outcome{waiting: "the change to arrive"}
	case u.Wish != nil && u.Wish.Machine != g.to:
		return g.failed(api.ExitFailed, "%s asked for another machine meanwhile, %s", cmp.Or(u.Wish.Who, "someone"), cmp.Or(u.Wish.Hostname, u.Wish.Machine.Short()))
	case u.Wish != nil && len(u.Wish.Declined) > 0:
		return g.failed(api.ExitUnplaced, "%s can't take it, and nothing was changed:\n  %s", cmp.Or(u.Wish.Hostname, u.Wish.Machine.Short()), strings.Join(u.Wish.Declined, "\n  "))
	case u.Wish != nil && u.Pending != nil:
		why, _ := blocker(u.Pending)
		return outcome{waiting: why}
	case u.Wish != nil:
		return outcome{waiting: "the engine to decide"}
	}
	s := u.On(g.to)
	if s == nil || s.Assigned == "gone" || s.Unclaimed {
		where := describeAll(u.States)
		return g.failed(api.ExitFailed, "it went elsewhere meanwhile: %s", cmp.Or(where, "it is on no machine"))
	}
	as := goal{verb: "start", name: g.name, generation: s.Generation}
	if u.Target == "loaded" {
		as.verb = "load"
	}
	o := as.judgeState(s)
	switch {
	case o.err != nil:
		return g.failedOn(s, cmp.Or(s.Reason, result(s)))
	case !o.done:
		return o
	case len(u.States) > 1:
		return outcome{waiting: describeAll(u.States)}
	}
	return outcome{done: true, line: fmt.Sprintf("Unit %s moved to %s", g.name, place(s, false))}
}
