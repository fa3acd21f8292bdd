package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// fleet is the machines that are alive, as far as checking unit files goes.
type fleet struct {
	machines []runs      // by id
	versions []versionOf // of their systemds, the newest first
}

// runs is a machine and its systemd.
type runs struct {
	id       registry.MachineID
	machine  string // for people
	hostname string
	metadata map[string]string
	version  string // as its systemd says it
	systemd  int    // the number that version begins with; 0: not known
}

func newFleet(view registry.View) fleet {
	var all []runs
	for rec := range view.Range(registry.Prefix(registry.MachinesPrefix)) {
		id := registry.MachineID(rec.Key[len(registry.MachinesPrefix):])
		m, err := registry.Decode[registry.Machine](rec)
		if _, alive := view.Get(registry.AliveKey(id)); !alive || err != nil {
			continue
		}
		var settings *registry.Settings
		if rec, ok := view.Get(registry.SettingsKey(id)); ok {
			settings, _ = registry.Decode[registry.Settings](rec) // what can't be read says nothing
		}
		all = append(all, runs{
			id: id, machine: cmp.Or(m.GetHostname(), id.Short()), hostname: m.GetHostname(),
			metadata: registry.Selectable(m, settings),
			version:  m.GetFacts()[registry.FactSystemd], systemd: registry.SystemdNumber(m.GetFacts()[registry.FactSystemd]),
		})
	}
	return fleetOf(all)
}

func fleetOf(machines []runs) fleet { return fleet{machines, byVersion(machines)} }

// candidates are the machines that a unit's MachineID= and MachineMetadata=
// allow, or all when there is none. It is all the same when they have one systemd.
func (all fleet) candidates(name unit.Name, f *unit.File) fleet {
	if len(all.versions) < 2 {
		return all
	}
	o, err := f.Options(name)
	if err != nil || o.MachineID == "" && len(o.Requirements) == 0 {
		return all
	}
	var some []runs
	for _, m := range all.machines {
		lacks := func(r unit.Requirement) bool { return r.Lacks(m.metadata) != "" }
		if strings.HasPrefix(string(m.id), o.MachineID) || m.hostname == o.MachineID {
			if !slices.ContainsFunc(o.Requirements, lacks) {
				some = append(some, m)
			}
		}
	}
	if len(some) == 0 {
		return all
	}
	return fleetOf(some)
}

// verifier is the machine whose systemd is to look at a unit's file: here, if the
// unit may come here and no machine has a newer systemd, else the first that
// has the newest. It is false when there is none.
func (all fleet) verifier(name unit.Name, f *unit.File, here registry.MachineID) (runs, bool) {
	var best runs
	for _, m := range all.candidates(name, f).machines {
		if m.systemd > best.systemd || m.systemd == best.systemd && m.id == here {
			best = m
		}
	}
	return best, best.systemd > 0
}

// errand is what one machine is to look at.
type errand struct {
	to      runs
	request VerifyRequest
}

// split gives each file of a request to the machine that is to look at it. What
// no machine that is alive can look at is left out.
func (all fleet) split(r VerifyRequest, parsed []*unit.File, here registry.MachineID) []errand {
	var errands []errand
	for i, file := range r.Files {
		m, ok := all.verifier(file.Name, parsed[i], here)
		if !ok {
			continue
		}
		at := slices.IndexFunc(errands, func(e errand) bool { return e.to.id == m.id })
		if at < 0 {
			at = len(errands)
			errands = append(errands, errand{m, VerifyRequest{AllowUnknown: r.AllowUnknown, Alone: r.Alone}})
		}
		errands[at].request.Files = append(errands[at].request.Files, file)
	}
	return errands
}

// askedMax is how many machines are asked to look at a file before it is left
// to those where the unit starts.
const askedMax = 3

// like are machines with m's systemd, m first and a few.
func (all fleet) like(m runs) []runs {
	few := []runs{m}
	for _, other := range all.machines {
		if len(few) < askedMax && other.systemd == m.systemd && other.id != m.id {
			few = append(few, other)
		}
	}
	return few
}

// versionOf is a systemd that some machines have.
type versionOf struct {
	runs   // the first of them
	others int
}

func (v versionOf) String() string {
	switch v.others {
	case 0:
		return fmt.Sprintf("%s runs systemd %d", v.machine, v.systemd)
	case 1:
		return fmt.Sprintf("%s and another machine run systemd %d", v.machine, v.systemd)
	}
	return fmt.Sprintf("%s and %d other machines run systemd %d", v.machine, v.others, v.systemd)
}

// byVersion groups machines by the systemd they have, the newest first; those
// that don't say are left out.
func byVersion(machines []runs) []versionOf {
	var found []versionOf
	for _, m := range machines {
		i := slices.IndexFunc(found, func(v versionOf) bool { return v.systemd == m.systemd })
		switch {
		case m.systemd == 0:
		case i < 0:
			found = append(found, versionOf{runs: m})
		default:
			found[i].others++
		}
	}
	slices.SortStableFunc(found, func(a, b versionOf) int { return b.systemd - a.systemd })
	return found
}
