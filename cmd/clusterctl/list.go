package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// unitRow is a unit on one machine, or, without a State, one on no machine.
type unitRow struct {
	Unit  api.Unit
	State *api.UnitState
}

// unitRows are the rows of list-units: one for each unit and machine, and one
// for each unit that is to be somewhere and is not.
func unitRows(units []api.Unit) []unitRow {
	var rows []unitRow
	for _, u := range units {
		for i := range u.States {
			rows = append(rows, unitRow{u, &u.States[i]})
		}
		if len(u.States) == 0 && wanted(u) {
			rows = append(rows, unitRow{u, nil})
		}
	}
	slices.SortStableFunc(rows, func(a, b unitRow) int {
		return cmp.Or(cmp.Compare(a.Unit.Name, b.Unit.Name), cmp.Compare(a.machine(), b.machine()))
	})
	return rows
}

// wanted says whether a unit is to be on a machine.
func wanted(u api.Unit) bool { return u.Target == "loaded" || u.Target == "launched" }

func (r unitRow) machine() string {
	if r.State == nil {
		return ""
	}
	return string(r.State.Machine)
}

// sub is systemd's SUB state; what must not go unnoticed follows it in brackets.
func (r unitRow) sub() string {
	if r.State == nil {
		if r.Unit.Pending != nil && r.Unit.Pending.Text != "" {
			return "pending (" + r.Unit.Pending.Text + ")"
		}
		return "pending (not placed yet)"
	}
	s := r.State
	var notes []string
	if s.MachineIs != "" && s.MachineIs != "alive" {
		notes = append(notes, "machine "+s.MachineIs)
	}
	switch {
	case s.Unclaimed || s.Assigned == "":
		notes = append(notes, "unclaimed")
	case s.Assigned == "gone":
		notes = append(notes, "leaving")
	}
	if s.Reason != "" {
		notes = append(notes, s.Reason)
	}
	sub := cmp.Or(s.Sub, "assigned")
	if len(notes) > 0 {
		sub += " (" + strings.Join(notes, "; ") + ")"
	}
	return strings.ReplaceAll(sub, "\n", "; ")
}

func (r unitRow) of(field func(*api.UnitState) string) string {
	if r.State == nil {
		return ""
	}
	return field(r.State)
}

func unitColumns(full bool) []column[unitRow] {
	return []column[unitRow]{
		{"unit", func(r unitRow) string { return string(r.Unit.Name) }},
		{"machine", func(r unitRow) string { return r.of(func(s *api.UnitState) string { return place(s, full) }) }},
		{"load", func(r unitRow) string { return r.of(func(s *api.UnitState) string { return s.Load }) }},
		{"active", func(r unitRow) string { return r.of(func(s *api.UnitState) string { return s.Active }) }},
		{"sub", unitRow.sub},
		{"hash", func(r unitRow) string {
			return shortHash(unit.Hash(r.of(func(s *api.UnitState) string { return string(s.Hash) })), full)
		}},
		{"target", func(r unitRow) string { return r.Unit.Target }},
		{"hostname", func(r unitRow) string { return r.of(func(s *api.UnitState) string { return s.Hostname }) }},
		{"desc", func(r unitRow) string { return r.Unit.Description }},
	}
}

// place is a machine as lists show it: the beginning of its id and its address.
func place(s *api.UnitState, full bool) string {
	id := s.Machine.Short()
	if full {
		id = string(s.Machine)
	}
	if s.Address == "" {
		return id
	}
	return id + "/" + s.Address
}

func shortHash(h unit.Hash, full bool) string {
	if full {
		return string(h)
	}
	return h.Short()
}

func newListUnits(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list-units [PATTERN...]",
		Short: "List the units on machines, and those that should be",
		Long:  "One line for each unit and machine it is on. A unit that is to be on a machine and is on\nnone has one too, with the reason.",
		Example: `  clusterctl list-units
  clusterctl list-units 'web@*' --fields unit,machine,active --no-legend`,
	}
	flags := addTableFlags(cmd, unitColumns, "unit", "machine", "active", "sub")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list, err := p.listUnits(cmd, args)
		if err != nil {
			return err
		}
		rows := unitRows(list.Units)
		shown := []api.Unit{}
		for _, u := range list.Units {
			if len(u.States) > 0 || wanted(u) {
				shown = append(shown, u)
			}
		}
		if err := printList(p.stdout, flags, unitColumns, rows, shown); err != nil {
			return err
		}
		return p.age(list.Stale)
	}
	return cmd
}

// listUnits asks for the units that match patterns, or all, and warns of those
// that are broken.
func (p *program) listUnits(cmd *cobra.Command, patterns []string) (api.Units, error) {
	client, err := p.client()
	if err != nil {
		return api.Units{}, err
	}
	defer client.Close()
	globs, err := nameGlobs(patterns)
	if err != nil {
		return api.Units{}, fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	list, err := client.Units(cmd.Context(), globs...)
	if err != nil {
		return api.Units{}, fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	p.heed(list.Notice)
	for _, u := range list.Units {
		if u.Broken != "" {
			p.note("clusterctl: warning: %s is broken: %s", u.Name, u.Broken)
		}
	}
	return list, nil
}

// heed passes on what the control machine wants operators to know.
func (p *program) heed(notice string) {
	if notice != "" {
		p.note("clusterctl: warning: %s", notice)
	}
}

// age reports a list that was answered from a copy: exit code 7, since it may
// have changed meanwhile.
func (p *program) age(stale time.Duration) error {
	if stale <= 0 {
		return nil
	}
	p.note("clusterctl: the registry does not answer; this is how things were %s ago", stale.Round(time.Second/10))
	return exitStatus(api.ExitNoAnswer)
}

// fileState is how far a unit has come on its way to its target, in fleet's words.
func fileState(u api.Unit) string {
	if u.Global {
		return ""
	}
	state := "inactive"
	for _, s := range u.States {
		if !s.Reported || s.Load != "loaded" || s.Assigned == "" || s.Assigned == "gone" {
			continue
		}
		if s.Assigned == "launched" && s.Done >= s.Generation {
			return "launched"
		}
		state = "loaded"
	}
	if state == "inactive" && wanted(u) && u.Pending != nil {
		return "pending"
	}
	return state
}

// fileTarget is where a unit is to be.
func fileTarget(u api.Unit, full bool) string {
	if u.Global {
		return "global"
	}
	for i := range u.States {
		if s := &u.States[i]; s.Assigned == "loaded" || s.Assigned == "launched" {
			return place(s, full)
		}
	}
	return ""
}

func fileColumns(full bool) []column[api.Unit] {
	return []column[api.Unit]{
		{"unit", func(u api.Unit) string { return string(u.Name) }},
		{"hash", func(u api.Unit) string { return shortHash(u.Hash, full) }},
		{"dstate", func(u api.Unit) string { return u.Target }},
		{"state", fileState},
		{"target", func(u api.Unit) string { return fileTarget(u, full) }},
		{"global", func(u api.Unit) string { return fmt.Sprint(u.Global) }},
		{"desc", func(u api.Unit) string { return u.Description }},
	}
}

func newListUnitFiles(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list-unit-files [PATTERN...]",
		Short:   "List the units the cluster knows",
		Long:    "DSTATE is what the unit is to be, STATE how far it has come, TARGET the machine it is placed on.",
		Example: "  clusterctl list-unit-files --full",
	}
	flags := addTableFlags(cmd, fileColumns, "unit", "hash", "dstate", "state", "target")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list, err := p.listUnits(cmd, args)
		if err != nil {
			return err
		}
		known := []api.Unit{}
		for _, u := range list.Units {
			if u.Known {
				known = append(known, u)
			}
		}
		slices.SortFunc(known, func(a, b api.Unit) int { return cmp.Compare(a.Name, b.Name) })
		if err := printList(p.stdout, flags, fileColumns, known, known); err != nil {
			return err
		}
		return p.age(list.Stale)
	}
	return cmd
}

func machineColumns(full bool) []column[api.Machine] {
	return []column[api.Machine]{
		{"machine", func(m api.Machine) string {
			if full {
				return string(m.ID)
			}
			return m.ID.Short()
		}},
		{"ip", func(m api.Machine) string { return m.Address }},
		{"metadata", func(m api.Machine) string { return metadataText(m.Metadata) }},
		{"state", machineState},
		{"hostname", func(m api.Machine) string { return m.Hostname }},
		{"units", func(m api.Machine) string { return fmt.Sprint(m.Units) }},
		{"member", func(m api.Machine) string { return fmt.Sprint(m.Member) }},
		{"leader", func(m api.Machine) string { return fmt.Sprint(m.Leader) }},
		{"software", func(m api.Machine) string { return m.Software }},
	}
}

// machineState is how the machine is, with what must not go unnoticed.
func machineState(m api.Machine) string {
	var notes []string
	if m.Cordon {
		notes = append(notes, "cordoned")
	}
	if m.Drain {
		notes = append(notes, "drained")
	}
	if m.Why != "" {
		notes = append(notes, m.Why)
	}
	if len(notes) == 0 {
		return m.State
	}
	return m.State + " (" + strings.Join(notes, "; ") + ")"
}

func metadataText(metadata map[string]string) string {
	var pairs []string
	for k, v := range metadata {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func newListMachines(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list-machines",
		Short:   "List the machines of the cluster",
		Example: "  clusterctl list-machines --full --fields machine,hostname,state,leader",
		Args:    withArgs(cobra.NoArgs),
	}
	flags := addTableFlags(cmd, machineColumns, "machine", "ip", "metadata", "state")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		list, err := client.Machines(cmd.Context())
		if err != nil {
			return fmt.Errorf("list-machines: %w", err)
		}
		p.heed(list.Notice)
		machines := append([]api.Machine{}, list.Machines...)
		slices.SortFunc(machines, func(a, b api.Machine) int { return cmp.Compare(a.ID, b.ID) })
		if err := printList(p.stdout, flags, machineColumns, machines, machines); err != nil {
			return err
		}
		return p.age(list.Stale)
	}
	return cmd
}
