package api

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Scenario is what might happen to machines. All of it happens at once.
type Scenario struct {
	// Lose are machines that are no more.
	Lose []registry.MachineID `json:"lose,omitempty"`
	// Settings are changes of machines' settings.
	Settings map[registry.MachineID]SettingsChange `json:"settings,omitempty"`
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
}

// Foreseen is a Scenario as a Control's Foresee takes it: machines as they would be.
type Foreseen struct {
	Lose     []registry.MachineID
	Machines []ForeseenMachine
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
			Machine: m, Cordon: settings.GetCordon(), Drain: settings.GetDrain(), Metadata: registry.EffectiveMetadata(record, settings),
		})
	}
	return f, nil
}
