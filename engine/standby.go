package engine

import (
	"slices"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
)

// keepUp brings the placement index up to the registry without deciding
// anything, and notes which units a new leader would have to decide first. All
// that the leader has dealt with is at rest here, too, once its writes are seen.
func (x *index) keepUp(now time.Time) {
	if x.identity.frozen != "" {
		return
	}
	x.judgeMachines(now)
	x.syncDirty()
	for name := range x.dirty {
		u := x.units[name]
		setMember(x.due, name, u != nil && !x.atRest(u))
	}
	clear(x.dirty)
}

// atRest says that nothing has to be written about a unit as long as it stays
// where it is, and that no machine it is on is to be left. A rule that it
// breaks there only shows when it is decided.
func (x *index) atRest(u *unitEntry) bool {
	if u.rec == nil && u.modified == 0 {
		return len(x.changesOf(u, placement.Decision{Unit: u.name})) == 0
	}
	wanted := x.cluster.Unit(u.name)
	d := placement.Decision{Unit: u.name, On: x.cluster.PlacedOn(u.name)}
	if u.trouble != "" {
		return len(x.changesOf(u, d)) == 0
	}
	if wanted.Options.Global || wanted.Wish != "" || wanted.Wanted != (len(d.On) == 1) {
		return false
	}
	for _, id := range d.On {
		if m := x.machines[id]; m == nil || m.known.State == placement.Lost || m.known.Drained || !m.registered() {
			return false
		}
	}
	return len(x.changesOf(u, d)) == 0
}

// begin makes due what was found so while another engine led, and has all
// other units looked at once, in parts: the last leader may have gone in the
// middle of something that its writes don't show.
func (x *index) begin() {
	for name := range x.due {
		x.dirty[name] = true
	}
	x.sweep = x.sweep[:0]
	for name := range x.units {
		if !x.due[name] {
			x.sweep = append(x.sweep, name)
		}
	}
	slices.Sort(x.sweep)
	clear(x.due)
}

// rest is the end of a reign: others decide now.
func (x *index) rest() {
	x.sweep, x.sweeping, x.late = nil, false, false
	for h := range x.unused {
		x.unused[h] = time.Time{}
	}
}

// sweepMost is how many units are looked at in one pass beside what is due.
const sweepMost = 2000

// sweepOn marks the next units of the sweep, for the next pass.
func (x *index) sweepOn() {
	x.sweeping = len(x.sweep) > 0
	n := min(len(x.sweep), sweepMost)
	for _, name := range x.sweep[:n] {
		x.dirty[name] = true
	}
	if x.sweep = x.sweep[n:]; len(x.sweep) == 0 {
		x.sweep = nil
	}
}
