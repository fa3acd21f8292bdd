package main

import (
	"context"
	"maps"
	"slices"

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
	return prospect(cluster.Simulate(scenario(cluster, f))), nil
}

// scenario says in placement's words how machines would differ from what they are.
func scenario(c *placement.Cluster, f api.Foreseen) placement.Scenario {
	s := placement.Scenario{Lose: f.Lose}
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
		p.Pending = append(p.Pending, api.WouldDefer{Unit: u.Unit, Before: u.Before, Text: u.Text})
	}
	return p
}
