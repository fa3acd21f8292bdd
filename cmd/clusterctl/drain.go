package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

func newMachineDrain(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain MACHINE...",
		Short: "Move all units off machines, and place none there any more",
		Long: `Move all units off machines, place none there any more, and wait until they run elsewhere.

Of a template with MinAvailable= as many instances stay active as that says: they move one after the
other. A unit that no other machine can take stays, with the reason, until one can. Global units stay.
When only units that can't leave are left, drain gives up waiting, unless it has a deadline. What it
began stays in force whatever becomes of clusterctl; restore ends it.` + machineLong,
		Example: "  clusterctl machine drain m2 --deadline 10m\n  clusterctl machine drain rack=7 --no-block",
		Args:    machineArgs,
	}
	deadline := cmd.Flags().Duration("deadline", 0, "how long to wait, such as 10m, also for units that can't leave; 0 is as long as it is of use")
	noBlock := cmd.Flags().Bool("no-block", false, "don't wait until the units have left")
	dry := addDryRun(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *dry {
			yes := true
			return p.foresee(cmd, args, func(machines []api.Machine) api.Scenario {
				return withSettings(machines, api.SettingsChange{Drain: &yes})
			})
		}
		if *deadline < 0 {
			return usageError("machine drain: --deadline %v is less than nothing; give a time such as 10m", *deadline)
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		machines, err := p.machines(cmd.Context(), client, "machine drain", args)
		if err != nil {
			return err
		}
		if err := beginDrain(cmd.Context(), client, machines); err != nil {
			return err
		}
		if *noBlock {
			for _, m := range machines {
				fmt.Fprintf(p.stdout, "Triggered machine %s drain\n", m.ID)
			}
			return nil
		}
		return p.drain(cmd.Context(), client, machines, *deadline)
	}
	return cmd
}

// beginDrain closes all machines before it drains the first, so that no unit goes
// from one to the next.
func beginDrain(ctx context.Context, client *api.Client, machines []api.Machine) error {
	yes := true
	changes := []api.SettingsChange{{Drain: &yes}}
	if len(machines) > 1 {
		changes = []api.SettingsChange{{Cordon: &yes}, {Drain: &yes}}
	}
	for _, change := range changes {
		for _, m := range machines {
			if err := client.SetMachine(ctx, m.ID, change); err != nil {
				return fmt.Errorf("machine drain %s: %w", called(m), err)
			}
		}
	}
	return nil
}

// stuckAfter is how long nothing has to change before a drain gives up waiting for
// units that no machine takes.
const stuckAfter = 3 * time.Second

// drain waits until the machines have no units any more.
func (p *program) drain(ctx context.Context, client *api.Client, machines []api.Machine, deadline time.Duration) error {
	d := &drain{p: p, from: map[registry.MachineID]api.Machine{}, live: p.live(), moved: map[unit.Name]bool{}}
	for _, m := range machines {
		d.from[m.ID] = m
		d.names = append(d.names, called(m))
		if m.State == api.StateAway || m.State == api.StateSilent {
			p.note("clusterctl: note: %s is %s, and can't stop its units: they leave once it is back; if it is off for certain: clusterctl machine confirm-dead %s", called(m), m.State, called(m))
		}
	}
	limited := ctx
	if deadline > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}
	for {
		names, err := d.left(limited, client)
		if err == nil && len(names) == 0 {
			return d.done(machines)
		}
		if err == nil {
			err = d.follow(limited, client, names, deadline > 0)
		}
		d.live.clear()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return d.failure(api.ExitCanceled, "interrupted; the drain stays in force, and units go on leaving", "")
		case limited.Err() != nil:
			return d.failure(api.ExitTimeout, fmt.Sprintf("not done after %v", deadline), "the drain stays in force, and units go on leaving")
		case errors.Is(err, errStuck):
			return d.failure(api.ExitUnplaced, "no machine takes what is left", "the drain stays in force: they leave once one does")
		default:
			return fmt.Errorf("%s: wait for the result: %w\nthe drain stays in force; to end it: %s", d.verb(), err, d.undo())
		}
	}
}

// drain is one drain as clusterctl sees it.
type drain struct {
	p     *program
	from  map[registry.MachineID]api.Machine
	names []string // of these machines
	live  *live

	open   map[unit.Name]leaving
	moved  map[unit.Name]bool
	failed []string // units that don't run where they came to
	stay   []string // global units, and those that aren't the cluster's
}

func (d *drain) verb() string { return "machine drain " + strings.Join(d.names, " ") }

func (d *drain) undo() string { return "clusterctl machine restore " + strings.Join(d.names, " ") }

// left returns the units that are still to leave.
func (d *drain) left(ctx context.Context, client *api.Client) ([]unit.Name, error) {
	d.open, d.stay = map[unit.Name]leaving{}, nil
	var names []unit.Name
	for id := range d.from {
		list, err := client.MachineUnits(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, u := range list.Units {
			if !u.Known || u.Global {
				if !slices.Contains(d.stay, string(u.Name)) {
					d.stay = append(d.stay, string(u.Name))
				}
				continue
			}
			if _, has := d.open[u.Name]; !has {
				d.open[u.Name] = leaving{waiting: "the engine to decide"}
				names = append(names, u.Name)
			}
		}
	}
	slices.Sort(d.stay)
	slices.Sort(names)
	return names, nil
}

var errStuck = errors.New("no machine takes what is left")

// follow watches units until all have left. With patient set it waits for those,
// too, that no machine takes.
func (d *drain) follow(ctx context.Context, client *api.Client, names []unit.Name, patient bool) error {
	watching, stop := context.WithCancel(ctx)
	updates := make(chan update)
	go func() {
		defer close(updates)
		follow(watching, client, names, updates)
	}()
	defer func() {
		stop()
		for range updates { // until the goroutine is gone
		}
	}()
	tick := time.NewTicker(noticeAfter)
	defer tick.Stop()
	changed, noticed := time.Now(), ""
	for len(d.open) > 0 {
		select {
		case u, ok := <-updates:
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case !ok:
				return failure(api.ExitNoAnswer, "the connection is gone")
			case u.err != nil:
				return u.err
			}
			changed = time.Now()
			d.see(u.unit)
		case now := <-tick.C:
			if !patient && d.stuck() && now.Sub(changed) >= stuckAfter {
				return errStuck
			}
			if text := d.waiting(); !d.live.terminal() && text != noticed {
				noticed = text
				d.p.note("waiting for %s", text)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		d.live.show(d.progress())
	}
	return nil
}

// see judges a unit anew.
func (d *drain) see(u api.Unit) {
	if _, open := d.open[u.Name]; !open {
		return
	}
	l := judgeLeaving(u, func(m registry.MachineID) bool { _, from := d.from[m]; return from })
	if !l.left {
		d.open[u.Name] = l
		return
	}
	delete(d.open, u.Name)
	if d.moved[u.Name] {
		return
	}
	d.moved[u.Name] = true
	text := fmt.Sprintf("Unit %s moved to %s", u.Name, l.to)
	if l.to == "" {
		text = fmt.Sprintf("Unit %s is on no machine any more", u.Name)
	}
	if l.failed != "" {
		d.failed = append(d.failed, l.failed)
	}
	if !d.live.terminal() || !isTerminal(d.p.stdout) {
		fmt.Fprintln(d.p.stdout, text)
	}
}

func (d *drain) stuck() bool {
	for _, l := range d.open {
		if l.blocked == "" || !l.firm {
			return false
		}
	}
	return true
}

// waiting says what is waited for, those units first that move.
func (d *drain) waiting() string {
	names := d.ordered()
	var parts []string
	for _, name := range names[:min(len(names), noticesMax)] {
		l := d.open[name]
		if l.blocked != "" {
			parts = append(parts, fmt.Sprintf("%s (%s)", name, l.blocked))
		} else {
			parts = append(parts, fmt.Sprintf("%s (%s)", name, l.waiting))
		}
	}
	text := strings.Join(parts, ", ")
	if more := len(names) - len(parts); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// ordered are the open units, those that can't leave last.
func (d *drain) ordered() []unit.Name {
	var names []unit.Name
	for name := range d.open {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b unit.Name) int {
		if x, y := d.open[a].blocked != "", d.open[b].blocked != ""; x != y {
			if x {
				return 1
			}
			return -1
		}
		return strings.Compare(string(a), string(b))
	})
	return names
}

// progress is the line on a terminal.
func (d *drain) progress() string {
	blocked := 0
	for _, l := range d.open {
		if l.blocked != "" {
			blocked++
		}
	}
	text := fmt.Sprintf("draining %s: %d of %s moved", strings.Join(d.names, " "), len(d.moved), counted(len(d.moved)+len(d.open), "unit", "units"))
	if blocked > 0 {
		text += fmt.Sprintf(", %d waiting", blocked)
	}
	if len(d.open) > 0 {
		text += "; " + d.waiting()
	}
	return text
}

func (d *drain) done(machines []api.Machine) error {
	d.live.clear()
	for _, m := range machines {
		fmt.Fprintf(d.p.stdout, "Machine %s drained\n", m.ID)
	}
	d.p.note("%s moved; to place units there again: %s", counted(len(d.moved), "unit", "units"), d.undo())
	d.noteStay()
	if len(d.failed) > 0 {
		return failure(api.ExitFailed, "%s: %s not as it should be where it came to:\n  %s",
			d.verb(), counted(len(d.failed), "unit is", "units are"), strings.Join(d.failed, "\n  "))
	}
	return nil
}

func (d *drain) noteStay() {
	if len(d.stay) == 0 {
		return
	}
	named := strings.Join(d.stay[:min(len(d.stay), noticesMax)], ", ")
	if more := len(d.stay) - noticesMax; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	d.p.note("clusterctl: note: what is global, or not the cluster's own, stays: %s", named)
}

// failure says what is left, unit by unit, and how to end the drain.
func (d *drain) failure(exit int, what, then string) error {
	d.noteStay()
	lines := []string{fmt.Sprintf("%s: %s; %d moved, %d left:", d.verb(), what, len(d.moved), len(d.open))}
	for _, name := range d.ordered() {
		l := d.open[name]
		if l.blocked != "" {
			lines = append(lines, fmt.Sprintf("  %s can't leave: %s", name, l.blocked))
		} else {
			lines = append(lines, fmt.Sprintf("  %s is on its way: %s", name, l.waiting))
		}
	}
	for _, text := range d.failed {
		lines = append(lines, "  "+text)
	}
	if then != "" {
		lines = append(lines, then)
	}
	return failure(exit, "%s\nto end the drain: %s", strings.Join(lines, "\n"), d.undo())
}
