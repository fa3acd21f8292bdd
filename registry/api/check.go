package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	if container.Has(f) {
		_, err = container.Render(name, f)
	}
	return err
}

// check refuses files that are new to their units when anything is wrong with
// them, and notes what is worth knowing about the others: once for a file, however
// many instances of a template have it.
func (c *checked) check(view registry.View) error {
	oldest := oldestSystemd(view)
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
		problems := checkFile(change.Name, f, oldest, c.AllowUnknown)
		if err := unit.Errors(problems); err != nil {
			return badRequest("%v", withWayOn(err, change.Name, f, oldest))
		}
		for _, p := range problems {
			note(change.File, fmt.Sprint(p.Line, p.What), p.Error())
		}
		if len(f.Keys("Install")) > 0 {
			note(change.File, "[Install]", fmt.Sprintf("%s: [Install] is not enabled on machines; the cluster starts units itself", change.Name))
		}
	}
	return nil
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

// runs is the systemd of a machine.
type runs struct {
	machine string // for people
	systemd int    // 0: not known
}

// oldestSystemd is the oldest of the machines that are alive.
func oldestSystemd(view registry.View) runs {
	var oldest runs
	for rec := range view.Range(registry.Prefix(registry.MachinesPrefix)) {
		id := registry.MachineID(rec.Key[len(registry.MachinesPrefix):])
		m, err := registry.Decode[registry.Machine](rec)
		if _, alive := view.Get(registry.AliveKey(id)); !alive || err != nil {
			continue
		}
		version := systemdVersion(m.GetFacts()["systemd"])
		if version > 0 && (oldest.systemd == 0 || version < oldest.systemd) {
			oldest = runs{m.GetHostname(), version}
			if oldest.machine == "" {
				oldest.machine = id.Short()
			}
		}
	}
	return oldest
}

// systemdVersion is the number that a version such as "252 (252.38-1~deb12u1)"
// begins with, or 0.
func systemdVersion(text string) int {
	digits := strings.IndexFunc(text+" ", func(c rune) bool { return c < '0' || c > '9' })
	n, _ := strconv.Atoi(text[:digits])
	return n
}

// checkFile checks a file for the oldest systemd. The machine is named where a
// newer one would be content.
func checkFile(name unit.Name, f *unit.File, oldest runs, allowUnknown bool) []unit.Problem {
	problems := container.Check(name, f, unit.CheckOptions{Systemd: oldest.systemd, AllowUnknown: allowUnknown})
	if oldest.systemd == 0 || len(problems) == 0 {
		return problems
	}
	anywhere := container.Check(name, f, unit.CheckOptions{AllowUnknown: allowUnknown})
	for i, p := range problems {
		if !slices.ContainsFunc(anywhere, func(q unit.Problem) bool { return q.Line == p.Line && q.Warning == p.Warning }) {
			problems[i].What = fmt.Sprintf("%s runs systemd %d: %s", oldest.machine, oldest.systemd, p.What)
		}
	}
	return problems
}

// withWayOn adds to what is wrong with a file that it could be allowed, when
// nothing else is wrong.
func withWayOn(err error, name unit.Name, f *unit.File, oldest runs) error {
	if unit.Errors(checkFile(name, f, oldest, true)) != nil {
		return err
	}
	return fmt.Errorf("%w\nif systemd is to ignore that: --allow-unknown", err)
}
