package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// TestPendingRecordsStaySmall: however many machines refuse a unit, its pending
// record names a few and counts all.
func TestPendingRecordsStaySmall(t *testing.T) {
	sizes := map[int]int{}
	for _, n := range []int{refusedMax, refusedMax + 1, 1000} {
		w := newWorld(t, "unit a.service launched MachineMetadata=region=eu")
		for i := range n {
			w.say(fmt.Sprintf("machine m%03d region=us", i))
		}
		x := w.index(nil)
		w.feed(x, start)
		w.carryOut(x.decide(start))
		rec := w.records(registry.Single(registry.PendingKey("a.service")))[0]
		p, err := registry.Decode[registry.Pending](rec)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Refusals) != 1 || len(p.Refusals[0].Machines) != refusedMax || int(p.Refusals[0].Others) != n-refusedMax {
			t.Fatalf("%d machines: the record says %v", n, p.Refusals)
		}
		if !strings.Contains(p.Text, fmt.Sprintf("(%d machines)", n)) {
			t.Errorf("%d machines: %q doesn't count them", n, p.Text)
		}
		sizes[n] = len(rec.Value)
	}
	if sizes[1000] > sizes[refusedMax]+16 {
		t.Errorf("sizes in bytes by machines: %v", sizes)
	}
}

// TestUnreadableRecordsStopNothing: a record of each kind that doesn't parse is
// kept as it is, and all else is decided.
func TestUnreadableRecordsStopNothing(t *testing.T) {
	bad := []string{
		registry.UnitKey("bad.service"), registry.AssignmentKey("m1", "bad.service"), registry.ObservedKey("m2", "worse.service"),
		registry.PendingKey("odd.service"), registry.MachineKey("m8"), registry.AliveKey("m9"), registry.AwayKey("m7"), registry.SettingsKey("m6"),
	}
	w := newWorld(t, "machine m1\nmachine m2\nunit a.service launched\nunit b.service launched")
	for _, key := range bad {
		w.say("garbage " + key)
	}
	x := w.index(nil)
	for range 5 {
		w.feed(x, start)
		w.carryOut(x.decide(start))
	}
	for _, name := range []unit.Name{"a.service", "b.service"} {
		on1, on2 := w.records(registry.Single(registry.AssignmentKey("m1", name))), w.records(registry.Single(registry.AssignmentKey("m2", name)))
		if len(on1)+len(on2) != 1 {
			t.Errorf("%s is on %d machines, want 1", name, len(on1)+len(on2))
		}
	}
	for _, key := range bad {
		if key == registry.PendingKey("odd.service") {
			continue // says nothing of a unit that is not there: it goes
		}
		if left := w.records(registry.Single(key)); len(left) != 1 || string(left[0].Value) != "\xff\xfenot a record" {
			t.Errorf("%s was not kept as it is", key)
		}
	}
}
