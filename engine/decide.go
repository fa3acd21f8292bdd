package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// decide returns what has to be written at this moment, for all that changed
// since it was last called. What it returns counts as done; what does not commit
// is to be reverted. When the registry isn't this cluster's, it decides nothing.
func (x *index) decide(now time.Time) []change {
	if x.identity.frozen != "" {
		return nil
	}
	x.judgeMachines(now)
	decidable := x.syncDirty()
	x.late = false
	if len(decidable) > 0 {
		x.limit.refill(now)
	}
	decidable = slices.DeleteFunc(decidable, x.postpone)
	decisions := x.cluster.Plan(decidable)
	decided := make(map[unit.Name]*placement.Decision, len(decisions))
	for i := range decisions {
		d := &decisions[i]
		decided[d.Unit] = d
		x.dirty[d.Unit] = true
		setMember(x.unplaced, d.Unit, (len(d.On) == 0 || len(d.Refusals) > 0) && x.cluster.Unit(d.Unit).Wanted)
		x.keep(*d)
	}
	var changes []change
	later := map[unit.Name]bool{}
	for _, name := range slices.Sorted(maps.Keys(x.dirty)) {
		u := x.units[name]
		if u == nil {
			continue
		}
		d := decided[name]
		if d == nil && u.trouble == "" && u.rec != nil {
			later[name] = true // the limit keeps it where it is
			continue
		}
		if d == nil {
			d = &placement.Decision{}
		}
		changes = append(changes, x.changesOf(u, *d)...)
	}
	x.dirty = later
	x.sweepOn()
	return append(changes, x.collectFiles(now)...)
}

// syncDirty brings the placement index up to the dirty units' records, and
// those that this concerns in turn. It returns the ones placement can decide.
func (x *index) syncDirty() []unit.Name {
	synced := make(map[unit.Name]bool, len(x.dirty))
	var decidable []unit.Name
	for {
		var todo []unit.Name
		for name := range x.dirty {
			if !synced[name] {
				todo = append(todo, name)
			}
		}
		if len(todo) == 0 {
			break
		}
		slices.Sort(todo)
		for _, name := range todo {
			synced[name] = true
			if x.units[name] != nil {
				x.syncUnit(name)
			}
		}
		decidable = append(decidable, todo...)
	}
	decidable = slices.DeleteFunc(decidable, func(name unit.Name) bool {
		u := x.units[name]
		return u == nil || u.rec == nil || u.trouble != ""
	})
	slices.Sort(decidable) // mostly it is
	return decidable
}

// postpone says that the limit on evictions keeps a unit on its lost machine a
// little longer.
func (x *index) postpone(name unit.Name) bool {
	u := x.cluster.Unit(name)
	if !u.Wanted || u.Options.Global {
		return false
	}
	for _, id := range x.cluster.PlacedOn(name) {
		if m := x.machines[id]; m != nil && m.known.State == placement.Lost && m.registered() && !x.limit.take() {
			x.late = true
			return true
		}
	}
	return false
}

// revert takes back what deciding about units did to the placement index: it
// is as the registry has it again.
func (x *index) revert(names []unit.Name) {
	for _, name := range names {
		if x.units[name] != nil {
			x.syncUnit(name)
		}
	}
}

// deadline is the earliest moment at which time alone changes an answer; zero
// when there is none.
func (x *index) deadline(now time.Time) time.Time {
	if x.identity.frozen != "" {
		return time.Time{}
	}
	if x.sweeping {
		return now
	}
	next := x.nextJudgement(now)
	if x.late {
		next = earlier(next, now.Add(time.Second/time.Duration(x.timing.EvictionsPerSecond)*10))
	}
	for _, since := range x.unused {
		if !since.IsZero() {
			next = earlier(next, since.Add(x.timing.FileGrace))
		}
	}
	return next
}

// collectFiles deletes the files nobody has used for a while. The while is for
// files that came just before the unit that uses them.
func (x *index) collectFiles(now time.Time) []change {
	var changes []change
	for _, h := range slices.Sorted(maps.Keys(x.unused)) {
		since := x.unused[h]
		if since.IsZero() {
			x.unused[h] = now
			continue
		}
		if now.Sub(since) < x.timing.FileGrace {
			continue
		}
		x.unused[h] = now // should it not commit, the while begins anew
		c := change{note: "unit file collected", reason: h.Short()}
		c.delete(registry.FileKey(h), x.files[h].modified)
		changes = append(changes, c)
	}
	return changes
}
