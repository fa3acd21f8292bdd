package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Partition cuts the named machines off from all others; among themselves
// they, and the others, still reach each other. It replaces an earlier
// partition; without names it is Heal.
func (l *Lab) Partition(machines ...string) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	records, err := l.readRecords()
	if err != nil {
		return err
	}
	for _, m := range machines {
		if !slices.ContainsFunc(records, func(r record) bool { return r.Name == m }) {
			return fmt.Errorf("cut off machine %s: %w", m, ErrNoMachine)
		}
	}
	for i := range records {
		records[i].Cut = slices.Contains(machines, records[i].Name)
	}
	if err := l.writeRules(records); err != nil {
		return err
	}
	for _, r := range records {
		if err := l.writeRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// Heal ends a partition.
func (l *Lab) Heal() error { return l.Partition() }

// writeRules makes the bridge drop what would pass between machines that are
// cut off and those that aren't.
func (l *Lab) writeRules(records []record) error {
	err := inNetns(l.netnsPath(), func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: "lab", Family: nftables.TableFamilyBridge}
		// Added first, so that there is one to delete.
		c.AddTable(table)
		c.DelTable(table)
		table = c.AddTable(table)
		chain := c.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
		for _, a := range records {
			for _, b := range records {
				if a.Cut != b.Cut {
					c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: dropBetween(linkOf(a.Name), linkOf(b.Name))})
				}
			}
		}
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("write the bridge's rules: %w", err)
	}
	return nil
}

func dropBetween(from, to string) []expr.Any {
	match := func(key expr.MetaKey, link string) []expr.Any {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, link)
		return []expr.Any{
			&expr.Meta{Key: key, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		}
	}
	return slices.Concat(match(expr.MetaKeyIIFNAME, from), match(expr.MetaKeyOIFNAME, to),
		[]expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
}

// Pause stops every process of a machine where it is; Resume lets them go on.
func (l *Lab) Pause(machine string) error { return l.setPaused(machine, true) }

// Resume ends a Pause.
func (l *Lab) Resume(machine string) error { return l.setPaused(machine, false) }

func (l *Lab) setPaused(machine string, paused bool) error {
	verb := "resume"
	if paused {
		verb = "pause"
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := l.readRecord(machine)
	if err != nil {
		return err
	}
	if !r.running() {
		return fmt.Errorf("%s machine %s: %w: it is off", verb, machine, ErrState)
	}
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	if err := freeze(hs, l.machineCgroup(machine), paused); err != nil {
		return fmt.Errorf("%s machine %s: %w", verb, machine, err)
	}
	r.Paused = paused
	return l.writeRecord(r)
}

// freeze stops or thaws a cgroup: by the v1 freezer where the host has one,
// else by v2.
func freeze(hs []hierarchy, path string, frozen bool) error {
	file, text := "cgroup.freeze", "0"
	i := slices.IndexFunc(hs, func(h hierarchy) bool { return strings.Contains(","+h.Options+",", ",freezer,") })
	if i >= 0 {
		file, text = "freezer.state", "THAWED"
	} else if i = slices.IndexFunc(hs, hierarchy.v2); i < 0 {
		return errors.New("the host has no freezer among its cgroups")
	}
	if frozen {
		text = map[string]string{"cgroup.freeze": "1", "freezer.state": "FROZEN"}[file]
	}
	return os.WriteFile(filepath.Join(hs[i].Mount, path, file), []byte(text), 0o644)
}

// thawAll lets everything below path go on: a process frozen by v1 does not
// even die.
func thawAll(hs []hierarchy, path string) {
	for _, h := range hs {
		_ = filepath.WalkDir(filepath.Join(h.Mount, path), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && exists(filepath.Join(p, "freezer.state")) {
				_ = os.WriteFile(filepath.Join(p, "freezer.state"), []byte("THAWED"), 0o644)
			}
			return nil
		})
	}
}
