package api

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// Scenario is what might happen to machines and units. All of it happens at once.
type Scenario struct {
	// Files holds the bytes of unit files that Add names by hash.
	Files map[unit.Hash][]byte `json:"files,omitempty"`
	// Add are units that would run, whether the cluster has them yet or not.
	Add []Addition `json:"add,omitempty"`
	// Remove are units that would no longer run.
	Remove []unit.Name `json:"remove,omitempty"`
	// Lose are machines that are no more.
	Lose []registry.MachineID `json:"lose,omitempty"`
	// Settings are changes of machines' settings.
	Settings map[registry.MachineID]SettingsChange `json:"settings,omitempty"`
}

// Addition is a unit that would run. Without a File it has the one that the
// cluster has of it, or of its template.
type Addition struct {
	Unit unit.Name `json:"unit"`
	File unit.Hash `json:"file,omitempty"`
}

// Prospect is what would come of a Scenario, once all has come to rest.
type Prospect struct {
	Moves   []Move       `json:"moves,omitempty"`   // by unit
	Pending []WouldDefer `json:"pending,omitempty"` // by unit: those that would not be where they should
}

// Move is a unit's change of place. From is empty for one that was nowhere, To
// for one that would be.
type Move struct {
	Unit   unit.Name            `json:"unit"`
	From   []registry.MachineID `json:"from,omitempty"`
	To     []registry.MachineID `json:"to,omitempty"`
	Reason string               `json:"reason,omitempty"`
}

// WouldDefer is a unit that would not be where it should.
type WouldDefer struct {
	Unit   unit.Name `json:"unit"`
	Before bool      `json:"before,omitempty"` // it is so already
	Text   string    `json:"text"`
	// On is where it would be, though it should not; empty: nowhere.
	On []registry.MachineID `json:"on,omitempty"`
}

// Foreseen is a Scenario as a Control's Foresee takes it: machines and units as
// they would be.
type Foreseen struct {
	Lose     []registry.MachineID
	Machines []ForeseenMachine
	Add      []ForeseenUnit
	Remove   []unit.Name
}

// ForeseenUnit is a unit that would run with this file.
type ForeseenUnit struct {
	Name    unit.Name
	File    []byte
	Changed bool // it runs with another file now
	Systemd int  // the oldest that does for the file; 0: any
}

// ForeseenMachine is a machine with the settings it would have.
type ForeseenMachine struct {
	Machine       registry.MachineID
	Cordon, Drain bool
	Metadata      map[string]string // in force
}

func (s *Server) simulate(c *Control, w http.ResponseWriter, r *http.Request) error {
	scenario, err := read[Scenario](r)
	if err != nil {
		return err
	}
	if c.Foresee == nil {
		return noAnswer("simulate: this machine runs no engine to ask")
	}
	ctx, cancel := context.WithTimeout(r.Context(), foreseeWait)
	defer cancel()
	view, err := c.freshView(ctx)
	if err != nil {
		return err
	}
	f, err := planForeseen(c.picture(view, s.Now()), scenario)
	if err != nil {
		return err
	}
	prospect, err := c.Foresee(ctx, f)
	if err != nil {
		return err
	}
	return answer(w, prospect)
}

// planForeseen says how machines would be, by the rules that a real change has.
func planForeseen(p *picture, scenario Scenario) (Foreseen, error) {
	f := Foreseen{Lose: scenario.Lose}
	for m, change := range scenario.Settings {
		rec, ok := p.view.Get(registry.MachineKey(m))
		if !ok {
			return f, notFound("machine %s: no such machine; see clusterctl list-machines", m)
		}
		_, ops, err := planSettings(p, string(m), change)
		if err != nil {
			return f, err
		}
		record, err := registry.Decode[registry.Machine](rec)
		if err != nil {
			return f, conflict("simulate: %v", err)
		}
		settings := &registry.Settings{}
		if err := proto.Unmarshal(ops[0].Value, settings); err != nil {
			return f, conflict("simulate: %v", err)
		}
		f.Machines = append(f.Machines, ForeseenMachine{
			Machine: m, Cordon: settings.GetCordon(), Drain: settings.GetDrain(), Metadata: registry.Selectable(record, settings),
		})
	}
	return f, p.planUnits(scenario, &f)
}

// planUnits finds the files of units that would run, and checks that those are
// known which would not.
func (p *picture) planUnits(scenario Scenario, f *Foreseen) error {
	if len(scenario.Add)+len(scenario.Remove) > changesLimit {
		return badRequest("simulate: %d units at once; give at most %d", len(scenario.Add)+len(scenario.Remove), changesLimit)
	}
	for _, name := range scenario.Remove {
		if _, ok := p.view.Get(registry.UnitKey(name)); !ok {
			return notFound("simulate: %s is not in the registry, so it can't be removed", name)
		}
	}
	f.Remove = scenario.Remove
	for _, add := range scenario.Add {
		if full, err := unit.ParseName(string(add.Unit)); err != nil || full != add.Unit || add.Unit.IsTemplate() {
			return badRequest("simulate: %q is no unit that could run; give a full name, such as web.service or web@1.service", add.Unit)
		}
		to, err := p.planUnit(add, scenario.Files)
		if err != nil {
			return err
		}
		f.Add = append(f.Add, to)
	}
	return nil
}

func (p *picture) planUnit(add Addition, files map[unit.Hash][]byte) (ForeseenUnit, error) {
	to := ForeseenUnit{Name: add.Unit}
	names := []unit.Name{add.Unit}
	if template, ok := add.Unit.Template(); ok {
		names = append(names, template)
	}
	var has *registry.Unit
	for _, name := range names {
		rec, ok := p.view.Get(registry.UnitKey(name))
		if !ok {
			continue
		}
		u, err := registry.Decode[registry.Unit](rec)
		if err != nil {
			return to, conflict("simulate: %v; submit %s again", err, name)
		}
		if u.Target != registry.Target_GONE {
			to.Changed = name == add.Unit && add.File != "" && unit.Hash(u.File) != add.File
			has = u
			break
		}
	}
	switch {
	case add.File == "" && has == nil:
		return to, unknownUnit(add.Unit)
	case add.File == "" || has != nil && unit.Hash(has.File) == add.File:
		rec, ok := p.view.Get(registry.FileKey(unit.Hash(has.File)))
		if !ok {
			return to, conflict("simulate: the file %s of %s is not in the registry; submit it again", unit.Hash(has.File).Short(), add.Unit)
		}
		to.File, to.Systemd = rec.Value, int(has.NeedsSystemd)
		return to, nil
	}
	src, ok := files[add.File]
	if !ok || unit.HashOf(src) != add.File {
		return to, badRequest("simulate: the bytes of %s's file %s did not come along; send it again", add.Unit, add.File.Short())
	}
	parsed, err := unit.Parse(string(add.Unit), src)
	if err != nil {
		return to, badRequest("%v", err)
	}
	to.File, to.Systemd = src, container.Needs(add.Unit, parsed)
	return to, nil
}
