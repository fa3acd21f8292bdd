package api

import (
	"fmt"
	"slices"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// usable is nil when a file that was accepted before does for the unit: what
// newer software finds wrong with it holds up nothing.
func usable(name unit.Name, src []byte) error {
	f, err := unit.Parse(string(name), src)
	if err != nil {
		return err
	}
	if _, err := f.Options(name); err != nil {
		return err
	}
	_, err = container.Load(name, src)
	return err
}

// check refuses files that are new to their units when anything is wrong with
// them, and notes what is worth knowing about the others: once for a file, however
// many instances of a template have it.
func (c *checked) check(view registry.View, fleet fleet) error {
	noted := map[string]bool{}
	note := func(file unit.Hash, what, text string) {
		if key := string(file) + what; !noted[key] {
			noted[key] = true
			c.notes = append(c.notes, text)
		}
	}
	for _, change := range c.Changes {
		f := c.parsed[change.Name]
		if f == nil || isFileOf(view, change.Name, change.File) {
			continue
		}
		problems := checkFile(change.Name, f, fleet, c.AllowUnknown)
		if err := unit.Errors(problems); err != nil {
			return badRequest("%v", withWayOn(err, change.Name, f, fleet))
		}
		for _, p := range problems {
			note(change.File, fmt.Sprint(p.Line, p.What), p.Error())
		}
		if len(f.Keys("Install")) > 0 {
			note(change.File, "[Install]", fmt.Sprintf("%s: [Install] is not enabled on machines; only a unit of the cluster that it names, on the same machine, starts it", change.Name))
		}
		if _, known := c.needs[change.File]; !known && !c.AllowUnknown {
			c.needs[change.File] = container.Needs(change.Name, f)
		}
		c.fresh = append(c.fresh, change)
	}
	return nil
}

// brings says whether there is a file that is new to its unit.
func (c *checked) brings(view registry.View) bool {
	return slices.ContainsFunc(c.Changes, func(change Change) bool {
		return c.parsed[change.Name] != nil && !isFileOf(view, change.Name, change.File)
	})
}

// isFileOf says whether a unit has the file already.
func isFileOf(view registry.View, name unit.Name, file unit.Hash) bool {
	rec, ok := view.Get(registry.UnitKey(name))
	if !ok {
		return false
	}
	u, err := registry.Decode[registry.Unit](rec)
	return err == nil && unit.Hash(u.GetFile()) == file && u.GetTarget() != registry.Target_GONE
}

// checkFile checks a file for the newest systemd of the machines the unit may
// come to. What only older ones among them would ignore is a warning, for the
// unit is not placed there; a machine is named where a newer systemd, which no
// machine has, would be content.
func checkFile(name unit.Name, f *unit.File, fleet fleet, allowUnknown bool) []unit.Problem {
	check := func(systemd int) []unit.Problem {
		return container.Check(name, f, unit.CheckOptions{Systemd: systemd, AllowUnknown: allowUnknown})
	}
	same := func(p unit.Problem) func(unit.Problem) bool {
		return func(q unit.Problem) bool { return q.Line == p.Line && q.Warning == p.Warning }
	}
	versions := fleet.candidates(name, f).versions
	if len(versions) == 0 {
		return check(0)
	}
	problems := check(versions[0].systemd)
	if len(problems) > 0 {
		anywhere := check(0)
		for i, p := range problems {
			if !slices.ContainsFunc(anywhere, same(p)) {
				problems[i].What = versions[0].String() + ": " + p.What
			}
		}
	}
	if unit.Errors(problems) != nil {
		return problems
	}
	for _, older := range versions[1:] {
		for _, p := range check(older.systemd) {
			if slices.ContainsFunc(problems, same(p)) {
				continue
			}
			if p.What = older.String() + ": " + p.What; !p.Warning {
				p.Warning, p.Fix = true, "it will not be placed there; to have it ignored there: --allow-unknown"
			}
			problems = append(problems, p)
		}
	}
	return problems
}

// withWayOn adds to what is wrong with a file that it could be allowed, when
// nothing else is wrong.
func withWayOn(err error, name unit.Name, f *unit.File, fleet fleet) error {
	if unit.Errors(checkFile(name, f, fleet, true)) != nil {
		return err
	}
	return fmt.Errorf("%w\nif systemd is to ignore that: --allow-unknown", err)
}
