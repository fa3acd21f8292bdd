package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Wish is that a unit move to a machine, once. It is gone when the unit is
// there, and kept with Declined, until the unit's next change, when it won't be.
type Wish struct {
	Machine  registry.MachineID `json:"machine"`
	Hostname string             `json:"hostname,omitempty"`
	Who      string             `json:"who,omitempty"`
	Declined []string           `json:"declined,omitempty"` // what keeps the unit off that machine
}

// MoveRequest asks that a unit move to a machine, given as an operator may write it.
type MoveRequest struct {
	Machine string `json:"machine"`
}

func (s *Server) moveUnit(c *Control, w http.ResponseWriter, r *http.Request) error {
	request, err := read[MoveRequest](r)
	if err != nil {
		return err
	}
	name, who := unit.Name(r.PathValue("unit")), callerOf(r.Context()).id.Name
	var moved Unit
	at, err := c.retry(r.Context(), func(view registry.View) ([]registry.Guard, []registry.Op, error) {
		p := c.picture(view, s.Now())
		guards, ops, err := planMove(p, name, request.Machine, who)
		if err == nil {
			moved, _ = p.unit(name)
		}
		return guards, ops, err
	})
	if err != nil {
		return err
	}
	moved.Revision = at
	s.Log.Info("move asked for", "unit", name, "machine", request.Machine, "who", who)
	return answer(w, moved)
}

func planMove(p *picture, name unit.Name, machine, who string) ([]registry.Guard, []registry.Op, error) {
	to, err := p.find(machine)
	if err != nil {
		return nil, nil, err
	}
	rec, present := p.view.Get(registry.UnitKey(name))
	if !present {
		return nil, nil, unknownUnit(name)
	}
	old, err := registry.Decode[registry.Unit](rec)
	switch {
	case err != nil:
		return nil, nil, conflict("move %s: %v; submit the unit again", name, err)
	case old.GetTarget() == registry.Target_GONE:
		return nil, nil, unknownUnit(name)
	case old.GetTarget() == registry.Target_INACTIVE:
		return nil, nil, conflict("move %s: it is on no machine, and is not to be (target inactive); start it first: clusterctl start %s", name, name)
	case p.files.about(p.view, unit.Hash(old.GetFile()), name).global:
		return nil, nil, badRequest("move %s: it is global, and on each machine that fits; to keep it off one, give its file a MachineMetadata=", name)
	}
	next := proto.CloneOf(old)
	next.Wish = &registry.Wish{Machine: string(to), Who: who}
	guards := []registry.Guard{{Key: rec.Key, Modified: rec.Modified}, p.guard(registry.MachineKey(to))}
	return guards, []registry.Op{{Key: rec.Key, Value: registry.Encode(next)}}, nil
}

// guard is the condition that a record is as it is in the picture.
func (p *picture) guard(key string) registry.Guard {
	rec, _ := p.view.Get(key)
	return registry.Guard{Key: key, Modified: rec.Modified}
}

func (s *Server) confirmDead(c *Control, w http.ResponseWriter, r *http.Request) error {
	who := callerOf(r.Context()).id.Name
	if _, err := c.retry(r.Context(), func(view registry.View) ([]registry.Guard, []registry.Op, error) {
		return planConfirm(c.picture(view, s.Now()), r.PathValue("machine"), who)
	}); err != nil {
		return err
	}
	s.Log.Info("machine confirmed dead", "machine", r.PathValue("machine"), "who", who)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// planConfirm writes into a silent machine's away mark that it is dead. The
// machine takes the mark back if it comes back.
func planConfirm(p *picture, text, who string) ([]registry.Guard, []registry.Op, error) {
	m, err := p.find(text)
	if err != nil {
		return nil, nil, err
	}
	info := p.machine(m)
	called := cmp.Or(info.record.GetHostname(), m.Short())
	if _, living := p.view.Get(registry.AliveKey(m)); living {
		if info.state == StateAway {
			return nil, nil, conflict("%s has stopped its clusterd a moment ago; in a few seconds, once its lease has run out, try again", called)
		}
		return nil, nil, conflict("%s keeps its lease, so it is %s; turn it off first, or move its units away: clusterctl machine drain %s", called, info.state, called)
	}
	next := &registry.Away{SinceUnixMs: p.now.UnixMilli(), Shutdown: true, ConfirmedBy: who}
	if rec, ok := p.view.Get(registry.AwayKey(m)); ok {
		if old, err := registry.Decode[registry.Away](rec); err == nil {
			next.SinceUnixMs, next.Incarnation = old.GetSinceUnixMs(), old.GetIncarnation()
		}
	}
	guards := []registry.Guard{p.guard(registry.MachineKey(m)), p.guard(registry.AliveKey(m)), p.guard(registry.AwayKey(m))}
	return guards, []registry.Op{{Key: registry.AwayKey(m), Value: registry.Encode(next)}}, nil
}

func (s *Server) machineUnits(c *Control, w http.ResponseWriter, r *http.Request) error {
	view, stale, err := c.recentView(r.Context())
	if err != nil {
		return err
	}
	p := c.picture(view, s.Now())
	m, err := p.find(r.PathValue("machine"))
	if err != nil {
		return err
	}
	return answer(w, Units{Units: p.on(m), Stale: stale})
}

// on are the units assigned to a machine, or running there, by name.
func (p *picture) on(m registry.MachineID) []Unit {
	var names []unit.Name
	seen := map[unit.Name]bool{}
	for _, prefix := range []string{registry.AssignmentsOf(m), registry.ObservedOf(m)} {
		for rec := range p.view.Range(registry.Prefix(prefix)) {
			if name := unit.Name(strings.TrimPrefix(rec.Key, prefix)); !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	units := []Unit{}
	for _, u := range p.several(names) {
		if u.On(m) != nil {
			units = append(units, u)
		}
	}
	return units
}

// On is the unit's state on a machine; nil when it neither is nor is to be there.
func (u *Unit) On(m registry.MachineID) *UnitState {
	for i := range u.States {
		if u.States[i].Machine == m {
			return &u.States[i]
		}
	}
	return nil
}

// wishOf is a unit's wish in the API's words.
func (p *picture) wishOf(r *registry.Unit) *Wish {
	w := r.GetWish()
	if w == nil {
		return nil
	}
	m := registry.MachineID(w.GetMachine())
	return &Wish{Machine: m, Hostname: p.machine(m).record.GetHostname(), Who: w.GetWho(), Declined: w.GetDeclined()}
}

// Limits of the metadata that operators set.
const (
	metadataKeyMax   = 128 // bytes
	metadataValueMax = 256 // bytes
	metadataMax      = 64  // keys a machine
)

// checkMetadata refuses keys that a unit's MachineMetadata= could not name, and
// values that no list could show.
func checkMetadata(machine registry.MachineID, change SettingsChange) error {
	said := map[string]bool{}
	check := func(key string) error {
		switch {
		case key == "hostname":
			return badRequest("set machine %s: the metadata hostname is its own, and can't be changed", machine.Short())
		case registry.IsFact(key):
			return badRequest("set machine %s: %s is a fact that the machine finds out, and can't be changed", machine.Short(), key)
		case key == "" || len(key) > metadataKeyMax || strings.ContainsFunc(key, notInKey):
			return badRequest("set machine %s: %q can't be a key of metadata; give up to %d characters, without spaces and =<>!,", machine.Short(), key, metadataKeyMax)
		case said[key]:
			return badRequest("set machine %s: the metadata %q is named twice", machine.Short(), key)
		}
		said[key] = true
		return nil
	}
	for key, value := range change.Metadata {
		if err := check(key); err != nil {
			return err
		}
		if value == "" || len(value) > metadataValueMax || strings.ContainsFunc(value, isControl) {
			return badRequest("set machine %s: %s=%q: a value has 1 to %d printable characters; to take the key away: clusterctl machine unset", machine.Short(), key, value, metadataValueMax)
		}
	}
	for _, keys := range [][]string{change.Unset, change.Reset} {
		for _, key := range keys {
			if err := check(key); err != nil {
				return err
			}
		}
	}
	return nil
}

func notInKey(r rune) bool { return strings.ContainsRune("=<>!,\"'\\ ", r) || isControl(r) }

func isControl(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }

// changeMetadata makes a change of metadata in what operators said before.
func changeMetadata(s *registry.Settings, change SettingsChange) {
	if s.Metadata == nil {
		s.Metadata = map[string]string{}
	}
	removed := map[string]bool{}
	for _, key := range append(s.MetadataRemoved, change.Unset...) {
		removed[key] = true
	}
	for _, key := range append(change.Unset, change.Reset...) {
		delete(s.Metadata, key)
	}
	for _, key := range change.Reset {
		delete(removed, key)
	}
	for key, value := range change.Metadata {
		s.Metadata[key] = value
		delete(removed, key)
	}
	s.MetadataRemoved = slices.Sorted(maps.Keys(removed))
}
