package api

import (
	"context"
	"net/http"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// ExplainRequest asks why a unit is where it is, or nowhere.
type ExplainRequest struct {
	Unit unit.Name `json:"unit"`
	// File is what its file would be; empty: what the cluster has.
	File []byte `json:"file,omitempty"`
}

// Explanation says for a unit what each machine has against it.
type Explanation struct {
	Unit unit.Name `json:"unit"`
	// Wanted says that it is to run now; else all is as if it were.
	Wanted bool `json:"wanted"`
	// Pending says that it is not, or would not be, where it should.
	Pending  bool             `json:"pending,omitempty"`
	On       []MachineName    `json:"on,omitempty"`
	Machines []MachineReasons `json:"machines"` // all that are registered, by id
	Rules    []RuleCount      `json:"rules,omitempty"`
	// Change is the smallest single change after which it would be where it
	// should, in words; empty when it is, or when none is known.
	Change string `json:"change,omitempty"`
}

// MachineName is a machine's id, and what people call it.
type MachineName struct {
	Machine  registry.MachineID `json:"machine"`
	Hostname string             `json:"hostname,omitempty"`
}

// MachineReasons are all that keeps a unit off one machine; it fits when there
// are none.
type MachineReasons struct {
	MachineName
	Reasons []Reason `json:"reasons,omitempty"`
}

// Reason is one rule that keeps a unit off a machine, and how.
type Reason struct {
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
}

// RuleCount is how many machines a rule refuses.
type RuleCount struct {
	Rule     string `json:"rule"`
	Machines int    `json:"machines"`
}

// explain answers from this machine's engine, be it the leader's or not.
func (s *Server) explain(c *Control, w http.ResponseWriter, r *http.Request) error {
	in, err := read[ExplainRequest](r)
	if err != nil {
		return err
	}
	if full, err := unit.ParseName(string(in.Unit)); err != nil || full != in.Unit {
		return badRequest("explain: unit name %q is not a full one, such as web.service", in.Unit)
	}
	if in.Unit.IsTemplate() {
		return badRequest("explain: %s is a template; name an instance, such as %s", in.Unit, in.Unit.InstanceOf("1"))
	}
	if c.Explain == nil {
		return noAnswer("explain: this machine runs no engine to ask")
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainMax)
	defer cancel()
	wanted := false
	if len(in.File) == 0 {
		if in.File, wanted, err = c.fileToExplain(ctx, in.Unit); err != nil {
			return err
		}
	}
	e, err := c.Explain(ctx, in.Unit, in.File)
	if err != nil {
		return err
	}
	e.Wanted = wanted
	return answer(w, e)
}

// fileToExplain is the file of a unit that is not to run now; none for one that
// is: the engine knows that.
func (c *Control) fileToExplain(ctx context.Context, name unit.Name) (src []byte, wanted bool, err error) {
	view, err := c.freshView(ctx)
	if err != nil {
		return nil, false, err
	}
	rec, ok := view.Get(registry.UnitKey(name))
	if !ok {
		return nil, false, notFound("explain: no unit %s; submit it first, or give its file: clusterctl explain ./%s", name, name)
	}
	u, err := registry.Decode[registry.Unit](rec)
	if err != nil {
		return nil, false, conflict("explain %s: %v", name, err)
	}
	if u.Target == registry.Target_LOADED || u.Target == registry.Target_LAUNCHED {
		return nil, true, nil
	}
	file, ok := view.Get(registry.FileKey(unit.Hash(u.File)))
	if !ok {
		return nil, false, conflict("explain %s: its file %s is not in the registry; submit it again", name, unit.Hash(u.File).Short())
	}
	return file.Value, false, nil
}
