package engine

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// candidates are engines of one world of which one leads.
type candidates struct {
	*world
	indexes []*index
	known   []map[string]registry.Revision
	leader  int
}

func newCandidates(w *world, n int) *candidates {
	c := &candidates{world: w}
	for range n {
		c.indexes = append(c.indexes, w.index(nil))
		c.known = append(c.known, maps.Clone(w.known))
	}
	return c
}

// see lets a candidate learn what the registry has.
func (c *candidates) see(i int, now time.Time) {
	c.world.known = c.known[i]
	c.feed(c.indexes[i], now)
	c.indexes[i].listed = true
	if i != c.leader {
		c.indexes[i].keepUp(now)
	}
}

// elect makes another candidate the leader.
func (c *candidates) elect(i int, now time.Time) {
	c.indexes[c.leader].rest()
	c.leader = -1
	c.see(i, now)
	c.leader = i
	c.indexes[i].begin()
}

// settle lets all work until nothing is to be done. Leaders come and go in the
// middle of it, and of what one decides only a part commits when it goes.
func (c *candidates) settle(r *rand.Rand, now time.Time, story string) {
	c.t.Helper()
	for round := range 100 {
		if round < 60 && r.IntN(2) == 0 {
			c.see(c.leader, now)
			changes := c.indexes[c.leader].decide(now)
			cut := r.IntN(len(changes) + 1)
			c.carryOut(changes[:cut])
			var lost []unit.Name
			for _, ch := range changes[cut:] {
				lost = append(lost, ch.unit)
			}
			c.see(c.leader, now)
			c.indexes[c.leader].revert(lost)
			for _, name := range lost {
				c.indexes[c.leader].dirty[name] = true
			}
			c.elect(r.IntN(len(c.indexes)), now)
		}
		for i := range c.indexes {
			c.see(i, now)
		}
		x := c.indexes[c.leader]
		changes := x.decide(now)
		c.carryOut(changes)
		if !machinesWork(c.world) && len(changes) == 0 && !x.sweeping && round >= 60 {
			return
		}
	}
	c.t.Fatalf("it never settles; %s", story)
}

// TestStandbysTakeOverAnywhere: with leaders that come and go in the middle of
// what they do, random clusters become what is wanted of them, as one engine
// that knows nothing beforehand would have it.
func TestStandbysTakeOverAnywhere(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 23))
		w := newWorld(t, "")
		c := newCandidates(w, 3)
		now := start
		var said strings.Builder
		for range 3 {
			text := randomSentences(r)
			said.WriteString(text)
			story := fmt.Sprintf("seed %d:\n%s", seed, said.String())
			w.say(text)
			for range 2 {
				now = now.Add(time.Hour) // past every grace, away limit and eviction limit
				c.settle(r, now, story)
			}
			checkGoal(t, w, story)
			w.known = map[string]registry.Revision{}
			fresh := w.index(nil)
			w.feed(fresh, now)
			fresh.judgeMachines(now) // from now on it waits for those that are missing
			for _, ch := range fresh.decide(now.Add(time.Hour)) {
				// Unit files are collected when there is time. And an engine that saw a file
				// which is gone now gives other reasons than one that didn't.
				if ch.unit != "" && ch.note != "unit pending" {
					t.Fatalf("a fresh engine would still %s; %s", w.tell(ch), story)
				}
			}
		}
	}
}

// TestStandbyKnowsWhatIsDue: in a cluster at rest nothing is due, and a new
// leader first deals with what is.
func TestStandbyKnowsWhatIsDue(t *testing.T) {
	w := newWorld(t, "machine m1\nmachine m2\nunit a.service launched\nunit b.service launched\nunit c.service loaded\nunit d.service inactive")
	c := newCandidates(w, 2)
	for range 5 {
		c.see(0, start)
		w.carryOut(c.indexes[0].decide(start))
		machinesWork(w)
	}
	c.see(1, start)
	if n := len(c.indexes[1].due); n != 0 {
		t.Fatalf("%d units are due, want none: %v", n, c.indexes[1].due)
	}
	w.say("unit new.service launched\nunit a.service inactive g2")
	c.elect(1, start)
	if got, want := fmt.Sprint(c.indexes[1].dirty), "map[a.service:true new.service:true]"; got != want {
		t.Fatalf("decided first: %s, want %s", got, want)
	}
	w.say("dies m1")
	c.elect(0, start.Add(time.Minute))
	c.see(0, start.Add(time.Hour))
	if got := w.carryOut(c.indexes[0].decide(start.Add(time.Hour))); !strings.Contains(got, "m2/") {
		t.Fatalf("nothing moves off the dead machine: %q", got)
	}
}

func TestLookAtLeaderAndStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1\nmachine m2\nunit a.service launched MachineID=m9")
		leader := w.run(w.store, "m1", nil)
		defer leader.stop()
		synctest.Wait()
		standby := w.run(w.store, "m2", nil)
		defer standby.stop()
		synctest.Wait()
		for _, e := range []running{leader, standby} {
			var why placement.Explanation
			if err := e.Look(t.Context(), func(c *placement.Cluster) { why, _ = c.ExplainUnit("a.service") }); err != nil {
				t.Fatal(err)
			}
			if !why.Pending || len(why.Machines) != 2 || why.Machines[0].Problems[0].Rule != placement.RuleMachineID {
				t.Errorf("leading %v: %+v", e.Leading(), why)
			}
		}
	})
}

func TestLookBeforeTheRegistryAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "machine m1")
		w.store.Cut()
		e := w.run(w.store, "m1", nil)
		defer e.stop()
		err := e.Look(t.Context(), func(*placement.Cluster) { t.Error("there is something to look at") })
		if err == nil || !strings.Contains(err.Error(), "not read yet") {
			t.Errorf("error: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Look(ctx, func(*placement.Cluster) {}); err == nil {
			t.Error("no error after the context ended")
		}
		w.store.Heal()
		time.Sleep(10 * time.Second)
		if err := e.Look(t.Context(), func(*placement.Cluster) {}); err != nil {
			t.Error(err)
		}
	})
}
