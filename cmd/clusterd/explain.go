package main

import (
	"context"
	"net/http"

	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// explain asks this machine's engine about a unit: as it is, or, with a file, as
// it would be.
func (d *daemon) explain(ctx context.Context, name unit.Name, src []byte) (api.Explanation, error) {
	eng := d.engine.Load()
	if eng == nil {
		return api.Explanation{}, registry.ErrNoAnswer
	}
	var e placement.Explanation
	known := false
	if src == nil {
		err := eng.Look(ctx, func(c *placement.Cluster) { e, known = c.ExplainUnit(name) })
		if err == nil && !known {
			err = &api.Problem{Status: http.StatusServiceUnavailable, Exit: api.ExitNoAnswer,
				Message: "explain: the engine does not know " + string(name) + " yet; try again"}
		}
		return explanation(e), err
	}
	would, err := engine.Prospective(name, src)
	if err != nil {
		return api.Explanation{}, &api.Problem{Status: http.StatusBadRequest, Exit: api.ExitUsage, Message: "explain: " + err.Error(), Err: err}
	}
	if err := eng.Look(ctx, func(c *placement.Cluster) { e = c.ExplainAs(would) }); err != nil {
		return api.Explanation{}, err
	}
	return explanation(e), nil
}

func explanation(e placement.Explanation) api.Explanation {
	out := api.Explanation{Unit: e.Unit, Pending: e.Pending}
	on := map[registry.MachineID]bool{}
	for _, id := range e.On {
		on[id] = true
	}
	for _, m := range e.Machines {
		name := api.MachineName{Machine: m.ID, Hostname: m.Hostname}
		if on[m.ID] {
			out.On = append(out.On, name)
		}
		reasons := api.MachineReasons{MachineName: name}
		for _, p := range m.Problems {
			reasons.Reasons = append(reasons.Reasons, api.Reason{Rule: p.Rule, Detail: p.Detail})
		}
		out.Machines = append(out.Machines, reasons)
	}
	for _, r := range e.Rules {
		out.Rules = append(out.Rules, api.RuleCount{Rule: r.Rule, Machines: r.Machines})
	}
	if e.Change != nil {
		out.Change = e.Change.String()
	}
	return out
}
