package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// TestReachesTheGoal turns random clusters into what is wanted of them: the
// engine decides, machines that are up do as they are told, until nothing is
// left to do. Then everything wanted and placeable runs, once, where it may.
func TestReachesTheGoal(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t, "")
		x := w.index(nil)
		now := start
		var said []string
		for range 4 {
			text := randomSentences(r)
			said = append(said, text)
			w.say(text)
			now = now.Add(time.Hour) // past every grace, away limit and eviction limit
			settle(t, w, x, now, func() string { return fmt.Sprintf("seed %d:\n%s", seed, strings.Join(said, "")) })
			now = now.Add(time.Hour)
			settle(t, w, x, now, func() string { return fmt.Sprintf("seed %d:\n%s", seed, strings.Join(said, "")) })
			checkGoal(t, w, fmt.Sprintf("seed %d:\n%s", seed, strings.Join(said, "")))
		}
	}
}

// settle lets engine and machines work until neither has anything to do.
func settle(t *testing.T, w *world, x *index, now time.Time, story func() string) {
	t.Helper()
	for range 50 {
		w.feed(x, now)
		changes := x.decide(now)
		w.carryOut(changes)
		if !machinesWork(w) && len(changes) == 0 {
			return
		}
	}
	t.Fatalf("it never settles; %s", story())
}

// machinesWork does on each machine that is up what its assignments say, and
// reports whether there was anything to do.
func machinesWork(w *world) bool { return w.workOn(func() bool { return true }) }

// workOn does those of the things to do that each says.
func (w *world) workOn(each func() bool) bool {
	worked := false
	for _, rec := range w.records(registry.Prefix(registry.AssignmentsPrefix)) {
		m, name, _ := registry.CutMachineUnit(strings.TrimPrefix(rec.Key, registry.AssignmentsPrefix))
		a, err := registry.Decode[registry.Assignment](rec)
		up := w.records(registry.Single(registry.AliveKey(m)))
		if err != nil || len(up) == 0 || !each() {
			continue
		}
		alive, err := registry.Decode[registry.Alive](up[0])
		if err != nil {
			continue
		}
		value := registry.Encode(done(a, alive.Incarnation))
		key := registry.ObservedKey(m, name)
		if has := w.records(registry.Single(key)); len(has) == 0 || string(has[0].Value) != string(value) {
			w.commit(registry.Op{Key: key, Value: value})
			worked = true
		}
	}
	return worked
}

// done is what a machine observes once it has carried out an assignment.
func done(a *registry.Assignment, incarnation string) *registry.Observed {
	o := &registry.Observed{Incarnation: incarnation, Generation: a.Generation, Result: "success"}
	switch a.Target {
	case registry.Target_GONE:
		o.Gone = true
	case registry.Target_LAUNCHED:
		o.Load, o.Active, o.File = "loaded", "active", a.File
	default:
		o.Load, o.Active, o.File = "loaded", "inactive", a.File
	}
	return o
}

func randomSentences(r *rand.Rand) string {
	var b strings.Builder
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	for i := range 4 {
		switch r.IntN(6) {
		case 0, 1, 2:
			fmt.Fprintf(&b, "machine m%d region=%s %s\n", i, pick("eu", "us"), pick("", "", "cordoned", "drained"))
		case 3:
			fmt.Fprintf(&b, "dies m%d\n", i)
		case 4:
			fmt.Fprintf(&b, "machine m%d region=eu\nreturns m%d boot%d\n", i, i, r.IntN(9))
		}
	}
	for i := range 8 {
		if r.IntN(2) == 0 {
			continue
		}
		options := pick("", "", "MachineMetadata=region=eu", "Conflicts=u*.service", "Conflicts=u1.service", "Global=yes",
			"MachineID=m2", fmt.Sprintf("MachineOf=u%d.service", (i+1)%8))
		if options == "MachineOf="+fmt.Sprintf("u%d.service", i) {
			options = ""
		}
		fmt.Fprintf(&b, "unit u%d.service %s g%d %s\n", i, pick("launched", "launched", "loaded", "inactive", "gone"), r.IntN(1000), options)
		if r.IntN(8) == 0 {
			fmt.Fprintf(&b, "observed m%d u%d.service active unclaimed\n", r.IntN(4), i)
		}
	}
	return b.String()
}

func checkGoal(t *testing.T, w *world, story string) {
	t.Helper()
	placed := map[unit.Name]int{}
	for _, rec := range w.records(registry.Prefix(registry.AssignmentsPrefix)) {
		m, name, _ := registry.CutMachineUnit(strings.TrimPrefix(rec.Key, registry.AssignmentsPrefix))
		a, err := registry.Decode[registry.Assignment](rec)
		if err != nil {
			t.Fatal(err)
		}
		if a.Target == registry.Target_GONE {
			if len(w.records(registry.Single(registry.AliveKey(m)))) > 0 {
				t.Fatalf("%s is still to be gone from %s, which is up; %s", name, m, story)
			}
			continue
		}
		placed[name]++
		if placed[name] > 1 && !a.Global {
			t.Fatalf("%s is on several machines; %s", name, story)
		}
	}
	for _, rec := range w.records(registry.Prefix(registry.UnitsPrefix)) {
		name := unit.Name(strings.TrimPrefix(rec.Key, registry.UnitsPrefix))
		u, err := registry.Decode[registry.Unit](rec)
		if err != nil {
			t.Fatal(err)
		}
		wanted := u.Target == registry.Target_LAUNCHED || u.Target == registry.Target_LOADED
		pending := len(w.records(registry.Single(registry.PendingKey(name)))) > 0
		if wanted && placed[name] == 0 && !pending {
			t.Fatalf("%s is neither placed nor pending; %s", name, story)
		}
		if !wanted && (placed[name] > 0 || pending) {
			t.Fatalf("%s is not wanted, but placed on %d machines, pending %v; %s", name, placed[name], pending, story)
		}
	}
	if _, err := w.store.Range(context.Background(), registry.Everything()); err != nil {
		t.Fatal(err)
	}
}
