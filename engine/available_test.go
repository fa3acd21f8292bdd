package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Whatever is drained and wished, and however slow machines are: what the engine
// writes leaves as many instances active as MinAvailable= says, unless there were
// fewer before. Once all drains and wishes have ended, all run and
// none waits.
func TestMinAvailable_Holds(t *testing.T) {
	moved := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 11))
		w := newWorld(t, "machine m0\nmachine m1\nmachine m2\nmachine m3")
		x := w.index(nil)
		instances, least := 1+r.IntN(7), []string{"0", "1", "2", "4", "50%", "75%", "100%"}[r.IntN(7)]
		need, _ := parseLeast(least)
		var story strings.Builder
		say := func(text string) {
			story.WriteString(text + "\n")
			w.say(text)
		}
		for i := range instances {
			say(fmt.Sprintf("unit web@%d.service launched MinAvailable=%s", i, least))
		}
		tell := func() string { return fmt.Sprintf("seed %d:\n%s", seed, story.String()) }
		settle(t, w, x, start, tell)
		for range 40 {
			switch m := r.IntN(4); r.IntN(4) {
			case 0:
				say(fmt.Sprintf("drain m%d", m))
			case 1:
				say(fmt.Sprintf("restore m%d", m))
			case 2:
				say(fmt.Sprintf("unit web@%d.service launched MinAvailable=%s wish:m%d", r.IntN(instances), least, m))
			}
			w.feed(x, start)
			before := activeIn(w)
			w.carryOut(x.decide(start))
			after := activeIn(w)
			if moved += before - after; after < min(before, need.Of(instances)) {
				t.Fatalf("of %d active, %d are left, and MinAvailable=%s of %d; %s", before, after, least, instances, tell())
			}
			w.workOn(func() bool { return r.IntN(3) == 0 })
		}
		say("restore m0\nrestore m1\nrestore m2\nrestore m3")
		for i := range instances { // a wish may wait for good
			say(fmt.Sprintf("unit web@%d.service launched MinAvailable=%s", i, least))
		}
		settle(t, w, x, start, tell)
		if n := activeIn(w); n != instances {
			t.Fatalf("%d of %d are active; %s", n, instances, tell())
		}
		if waiting := w.records(registry.Prefix(registry.PendingPrefix)); len(waiting) > 0 {
			t.Fatalf("%s remains; %s", waiting[0].Key, tell())
		}
	}
	if moved < 100 {
		t.Errorf("only %d moves were tried", moved)
	}
}

// parseLeast reads a MinAvailable= as a unit file has it.
func parseLeast(text string) (unit.Available, error) {
	f, err := unit.Parse("web@.service", []byte("[X-Cluster]\nMinAvailable="+text+"\n"))
	if err != nil {
		return unit.Available{}, err
	}
	o, err := f.Options("web@.service")
	return o.MinAvailable, err
}

// activeIn counts the units that are seen to run where they are to.
func activeIn(w *world) int {
	active := 0
	for _, rec := range w.records(registry.Prefix(registry.AssignmentsPrefix)) {
		a, err := registry.Decode[registry.Assignment](rec)
		if err != nil || a.Target != registry.Target_LAUNCHED {
			continue
		}
		seen := w.records(registry.Single(registry.ObservedPrefix + strings.TrimPrefix(rec.Key, registry.AssignmentsPrefix)))
		if len(seen) == 1 {
			if o, err := registry.Decode[registry.Observed](seen[0]); err == nil && o.Active == "active" {
				active++
			}
		}
	}
	return active
}
