package main

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
)

// foresee asks this machine's engine what would come of a scenario.
func (d *daemon) foresee(ctx context.Context, f api.Foreseen) (api.Prospect, error) {
	eng := d.engine.Load()
	if eng == nil {
		return api.Prospect{}, registry.ErrNoAnswer
	}
	var cluster *placement.Cluster
	if err := eng.Look(ctx, func(c *placement.Cluster) { cluster = c.Clone() }); err != nil {
		return api.Prospect{}, err
	}
	s := scenario(cluster, f)
	for _, add := range f.Add {
		would, err := unitAs(cluster, add)
		if err != nil {
			return api.Prospect{}, &api.Problem{Status: http.StatusBadRequest, Exit: api.ExitUsage, Message: "simulate: " + err.Error(), Err: err}
		}
		s.Add = append(s.Add, would)
	}
	return prospect(cluster.Simulate(s)), nil
}

// unitAs is a unit as placement would know it. What is known of one that runs
// stays, but for what its file says.
func unitAs(c *placement.Cluster, add api.ForeseenUnit) (placement.Unit, error) {
	would, err := engine.Prospective(add.Name, add.File)
	if err != nil {
		return would, err
	}
	would.Systemd = add.Systemd
	if is := c.Unit(add.Name); is.Wanted {
		is.Options, is.Needs, is.Ports, is.Systemd, is.Launched = would.Options, would.Needs, would.Ports, would.Systemd, true
		if add.Changed {
			is.Changed, is.Unfit = true, nil
		}
		return is, nil
	}
	return would, nil
}

// scenario says in placement's words how machines would differ from what they are.
func scenario(c *placement.Cluster, f api.Foreseen) placement.Scenario {
	s := placement.Scenario{Lose: f.Lose, Remove: f.Remove}
	for _, to := range f.Machines {
		is, ok := c.Machine(to.Machine)
		if !ok {
			continue
		}
		change := func(kind placement.ChangeKind, key, value string) {
			s.Change = append(s.Change, placement.Change{Kind: kind, Machine: to.Machine, Key: key, Value: value})
		}
		if is.Drained && !to.Drain {
			change(placement.EndDrain, "", "")
		}
		if is.Cordoned && !to.Cordon {
			change(placement.Uncordon, "", "")
		}
		if to.Cordon {
			s.Cordon = append(s.Cordon, to.Machine)
		}
		if to.Drain {
			s.Drain = append(s.Drain, to.Machine)
		}
		for _, key := range slices.Sorted(maps.Keys(is.Metadata)) {
			if _, stays := to.Metadata[key]; !stays {
				change(placement.RemoveMetadata, key, "")
			}
		}
		for _, key := range slices.Sorted(maps.Keys(to.Metadata)) {
			if value, has := is.Metadata[key]; !has || value != to.Metadata[key] {
				change(placement.SetMetadata, key, to.Metadata[key])
			}
		}
	}
	return s
}

func prospect(o placement.Outcome) api.Prospect {
	var p api.Prospect
	for _, m := range o.Moves {
		p.Moves = append(p.Moves, api.Move{Unit: m.Unit, From: m.From, To: m.To, Reason: m.Reason})
	}
	for _, u := range o.Pending {
		p.Pending = append(p.Pending, api.WouldDefer{Unit: u.Unit, Before: u.Before, Text: u.Text, On: u.On})
	}
	return p
}
