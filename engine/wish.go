package engine

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// grant ends an operator's wish about a unit in the transaction that carries it
// out, or writes what is against it. It is not lost with a leader, and never
// pulls a unit back later.
func (x *index) grant(u *unitEntry, d placement.Decision, c *change) {
	wish := u.rec.GetWish()
	if wish == nil || len(wish.Declined) > 0 {
		return
	}
	next, declined := proto.CloneOf(u.rec), x.cluster.Declined(u.name)
	switch {
	case len(declined) > 0:
		next.Wish.Declined = declined
		if len(c.ops) == 0 {
			c.note, c.reason = "unit not moved", strings.Join(declined, "; ")
		}
	case len(d.On) == 1 && string(d.On[0]) == wish.Machine:
		next.Wish = nil
	default:
		return // it waits for MinAvailable=
	}
	c.put(registry.UnitKey(u.name), next, u.modified)
}

// keep remembers which units MinAvailable= keeps where they are.
func (x *index) keep(d placement.Decision) {
	template, ok := d.Unit.Template()
	if !ok {
		return
	}
	if isKept(d) {
		if x.kept[template] == nil {
			x.kept[template] = map[unit.Name]bool{}
		}
		x.kept[template][d.Unit] = true
	} else if kept := x.kept[template]; kept[d.Unit] {
		if delete(kept, d.Unit); len(kept) == 0 {
			delete(x.kept, template)
		}
	}
}

// isKept says that MinAvailable= keeps a unit where it is.
func isKept(d placement.Decision) bool {
	return len(d.Refusals) > 0 && placement.Keeps(d.Refusals[0].Rule)
}

// wakeSiblings marks the units that MinAvailable= keeps for the sake of one whose
// state has changed.
func (x *index) wakeSiblings(name unit.Name) {
	if len(x.kept) == 0 {
		return
	}
	template, _ := name.Template()
	for sibling := range x.kept[template] {
		if x.units[sibling] == nil {
			delete(x.kept[template], sibling) // destroyed
			continue
		}
		x.dirty[sibling] = true
	}
}
