package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// step is a moment in a story: what happens, then what the engine writes.
type step struct {
	after time.Duration // since the story's beginning
	given string
	want  string
}

func story(t *testing.T, gossip Gossip, steps ...step) {
	t.Helper()
	w := newWorld(t, "")
	x := w.index(gossip)
	for i, s := range steps {
		w.say(s.given)
		now := start.Add(s.after)
		w.feed(x, now)
		got := w.carryOut(x.decide(now))
		if want := unindent(s.want); got != want {
			t.Fatalf("step %d: got\n%s\nwant\n%s", i+1, got, want)
		}
	}
}

func unindent(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name, given, want string
	}{
		{
			name: "a launched unit is placed",
			given: `machine m1
				unit a.service launched g3`,
			want: `put assignments/m1/a.service launched g3`,
		},
		{
			name: "an inactive unit is not",
			given: `machine m1
				unit a.service inactive`,
		},
		{
			name: "what is as it should be is left alone",
			given: `machine m1
				unit a.service launched
				assigned m1 a.service launched
				observed m1 a.service active`,
		},
		{
			name: "a new generation goes where the unit is",
			given: `machine m1
				machine m2
				unit a.service launched g2
				assigned m2 a.service loaded g1`,
			want: `put assignments/m2/a.service launched g2`,
		},
		{
			name: "a unit made inactive is to be gone",
			given: `machine m1
				unit a.service inactive g2
				assigned m1 a.service launched g1
				observed m1 a.service active`,
			want: `put assignments/m1/a.service gone g2`,
		},
		{
			name: "once it is gone its keys go",
			given: `machine m1
				unit a.service inactive g2
				assigned m1 a.service gone g2
				observed m1 a.service inactive gone g2`,
			want: `delete assignments/m1/a.service + delete observed/m1/a.service`,
		},
		{
			name: "an old gone is not this one",
			given: `machine m1
				unit a.service inactive g4
				assigned m1 a.service gone g4
				observed m1 a.service inactive gone g2`,
		},
		{
			name: "a destroyed unit's record goes when nothing is left of it",
			given: `machine m1
				unit a.service gone g2`,
			want: `delete units/a.service`,
		},
		{
			name: "a destroyed unit is stopped first",
			given: `machine m1
				unit a.service gone g2
				assigned m1 a.service launched g1
				observed m1 a.service active`,
			want: `put assignments/m1/a.service gone g2`,
		},
		{
			name: "a destroyed unit's record stays while a machine that is down may have it",
			given: `machine m1 dead
				machine m2
				machine m3
				unit a.service gone g2
				observed m1 a.service active`,
		},
		{
			name: "it goes when that machine is removed",
			given: `machine m1 dead unregistered
				machine m2
				unit a.service gone g2
				observed m1 a.service active`,
			want: `delete observed/m1/a.service`,
		},
		{
			name: "a machine that was removed loses its units",
			given: `machine m1 dead unregistered
				machine m2
				unit a.service launched
				assigned m1 a.service launched`,
			want: `put assignments/m2/a.service launched g1 + delete assignments/m1/a.service`,
		},
		{
			name: "unplaceable is pending, with the reasons",
			given: `machine m1
				unit a.service launched MachineMetadata=region=eu`,
			want: `put pending/a.service no machine fits: lacks region=eu (m1)`,
		},
		{
			name:  "without machines",
			given: `unit a.service launched`,
			want:  `put pending/a.service no machine is registered`,
		},
		{
			name: "a template is not placed",
			given: `machine m1
				unit a@.service inactive`,
		},
		{
			name: "observations of the past are collected",
			given: `machine m1
				unit a.service inactive
				observed m1 a.service active past`,
			want: `delete observed/m1/a.service`,
		},
		{
			name: "a name taken on one machine sends the unit to another",
			given: `machine m1
				machine m2
				unit a.service launched
				assigned m1 a.service launched
				observed m1 a.service inactive reason=name-taken(/etc/systemd/system/a.service)`,
			want: `put assignments/m2/a.service launched g1 + put assignments/m1/a.service gone g1`,
		},
		{
			name: "what one machine's systemd would misread goes to a machine with another",
			given: `machine m1 runs:249.1
				machine m2 runs:249.1
				machine m3 runs:255.2
				unit a.service launched
				assigned m1 a.service launched
				observed m1 a.service inactive reason=unfit(runs)`,
			want: `put assignments/m3/a.service launched g1 + put assignments/m1/a.service gone g1`,
		},
		{
			name: "and stays when there is none: an older file of its may be running there",
			given: `machine m1 runs:249.1
				machine m2 runs:249.1
				unit a.service launched
				assigned m1 a.service launched
				observed m1 a.service active reason=unfit(runs)`,
			want: `put pending/a.service no machine fits: runs (m1, m2)`,
		},
		{
			name: "an older systemd than it needs keeps a unit off",
			given: `machine m1 runs:249.1
				machine m2 runs:255.2
				unit a.service launched needs:250
				unit b.service launched needs:256`,
			want: `put assignments/m2/a.service launched g1
				put pending/b.service no machine fits: runs systemd 249, and the unit needs 256 (m1); runs systemd 255, and the unit needs 256 (m2)`,
		},
		{
			name: "a global unit isn't stopped where its new file is unfit",
			given: `machine m1 runs:249.1
				machine m2 runs:255.2
				unit g.service launched Global=yes g2
				assigned m1 g.service launched global g2
				assigned m2 g.service launched global g2
				observed m1 g.service active g2 reason=unfit(runs)
				observed m2 g.service active g2`,
		},
		{
			name: "A-22: globals go everywhere",
			given: `machine m1
				machine m2
				unit g.service launched Global=yes`,
			want: `put assignments/m1/g.service launched g1
				put assignments/m2/g.service launched g1`,
		},
		{
			name: "A-22: a second global in conflict is pending",
			given: `machine m1
				machine m2
				unit g.service launched Global=yes
				assigned m1 g.service launched global
				assigned m2 g.service launched global
				unit h.service launched Global=yes Conflicts=g.service`,
			want: `put pending/h.service no machine fits: runs the conflicting g.service (m1, m2)`,
		},
		{
			name: "A-21: a pin by host name",
			given: `machine m1
				machine m2
				unit a.service launched MachineID=m2`,
			want: `put assignments/m2/a.service launched g1`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			story(t, nil, step{given: tt.given, want: tt.want})
		})
	}
}

func TestC03_NothingKnownStopsNothing(t *testing.T) {
	running := `machine m1
		machine m2
		observed m1 a.service active unclaimed
		`
	tests := []struct{ name, given, want string }{
		{name: "a unit the registry doesn't know is left alone", given: running},
		{
			name:  "a unit that is wanted is adopted where it runs",
			given: running + `unit a.service launched`,
			want:  `put assignments/m1/a.service launched g1`,
		},
		{
			name:  "a unit that is known not to be wanted is taken off",
			given: running + `unit a.service inactive g4`,
			want:  `put assignments/m1/a.service gone g4`,
		},
		{
			name: "a copy stays until the one that is to stay is confirmed",
			given: running + `unit a.service launched
				assigned m2 a.service launched
				observed m2 a.service activating`,
		},
		{
			name: "a copy goes once the one that is to stay is confirmed",
			given: running + `unit a.service launched
				assigned m2 a.service launched
				observed m2 a.service active`,
			want: `put assignments/m1/a.service gone g1`,
		},
		{
			name: "a unit record that is garbage",
			given: `machine m1
				unit a.service launched
				assigned m1 a.service launched
				observed m1 a.service active
				garbage units/a.service`,
		},
		{
			name: "an assignment that is garbage is written again in place",
			given: `machine m1
				machine m2
				unit a.service launched
				garbage assignments/m2/a.service
				unit b.service launched`,
			want: `put assignments/m2/a.service launched g1
				put assignments/m1/b.service launched g1`,
		},
		{
			name: "a machine record that is garbage keeps its units and gets none",
			given: `machine m1
				machine m2
				garbage machines/m1
				unit a.service launched
				assigned m1 a.service launched
				unit b.service launched
				assigned m2 b.service launched
				unit c.service launched`,
			want: `put assignments/m2/c.service launched g1`,
		},
		{
			name: "a file that doesn't parse is named, and its unit left where it is",
			given: `machine m1
				unit a.service launched g2 Conflict5=b
				assigned m1 a.service launched old`,
			want: `put pending/a.service a.service:4: [X-Cluster] has no setting Conflict5=; use Conflicts=`,
		},
		{
			name: "a file that isn't there is named",
			given: `machine m1
				unit a.service launched file=1234567890`,
			want: `put pending/a.service its file 1234567 is not in the registry; submit it again`,
		},
		{
			name: "an assignment of a unit that has no record is left alone",
			given: `machine m1
				assigned m1 a.service launched
				observed m1 a.service active`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			story(t, nil, step{given: tt.given, want: tt.want})
		})
	}
}

func TestC03_WithoutTheClusterRecordNothingIsDecided(t *testing.T) {
	for _, tt := range []struct {
		name   string
		happen func(w *world)
	}{
		{"it is gone", func(w *world) { w.remove(registry.ClusterKey) }},
		{"it is another cluster's", func(w *world) { w.put(registry.ClusterKey, &registry.Cluster{Id: "c2", Epoch: 1}) }},
		{"its epoch went back", func(w *world) { w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 0}) }},
		{"it is of a newer schema", func(w *world) { w.put(registry.ClusterKey, &registry.Cluster{Version: 2, Id: "c1", Epoch: 1}) }},
		{"it is garbage", func(w *world) { w.say("garbage " + registry.ClusterKey) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "machine m1\nunit a.service launched")
			x := w.index(nil)
			w.feed(x, start)
			w.carryOut(x.decide(start))
			tt.happen(w)
			w.say("unit a.service inactive g2\nunit b.service launched")
			w.feed(x, start)
			if got := w.carryOut(x.decide(start)); got != "" {
				t.Fatalf("decided %s", got)
			}
			w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 2})
			w.feed(x, start)
			want := "put assignments/m1/a.service gone g2\nput assignments/m1/b.service launched g1"
			if got := w.carryOut(x.decide(start)); got != want {
				t.Fatalf("once it is back: got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

const threeMachines = `machine m1
	machine m2
	machine m3
	unit a.service launched
	assigned m1 a.service launched
	observed m1 a.service active`

func TestWhoIsDead(t *testing.T) {
	const moved = `put assignments/m2/a.service launched g1 + delete assignments/m1/a.service`
	begin := step{given: threeMachines}
	t.Run("gossip agrees: after a moment", func(t *testing.T) {
		story(t, says{"m1": Dead}, begin,
			step{after: 10 * time.Second, given: "dies m1"},
			step{after: 11 * time.Second},
			step{after: 12 * time.Second, want: moved})
	})
	t.Run("gossip knows nothing: after the grace", func(t *testing.T) {
		story(t, nil, begin,
			step{after: 10 * time.Second, given: "dies m1"},
			step{after: 39 * time.Second},
			step{after: 40 * time.Second, want: moved})
	})
	t.Run("gossip disagrees: it only delays", func(t *testing.T) {
		story(t, says{"m1": Alive}, begin,
			step{given: "dies m1"},
			step{after: 29 * time.Second},
			step{after: 30 * time.Second, want: moved})
	})
	t.Run("gossip alone causes nothing", func(t *testing.T) {
		story(t, says{"m1": Dead}, begin, step{after: time.Hour})
	})
	t.Run("back in time nothing moved", func(t *testing.T) {
		story(t, nil, begin,
			step{given: "dies m1"},
			step{after: 20 * time.Second, given: "returns m1 boot1"},
			step{after: time.Hour})
	})
	t.Run("missing already when this engine began to lead: from then on", func(t *testing.T) {
		story(t, nil,
			step{given: threeMachines + "\ndies m1"},
			step{after: 29 * time.Second},
			step{after: 30 * time.Second, want: moved})
	})
	t.Run("A-16: away keeps its units until the limit", func(t *testing.T) {
		story(t, says{"m1": Dead}, begin,
			step{given: "away m1"},
			step{after: 14 * time.Minute},
			step{after: 15 * time.Minute, want: moved})
	})
	t.Run("A-16: a shutdown hands over at once", func(t *testing.T) {
		story(t, says{"m1": Alive}, begin, step{given: "shutdown m1", want: moved})
	})
	t.Run("nobody gets units while they are silent or away", func(t *testing.T) {
		story(t, nil, begin,
			step{given: "dies m1\naway m2\nunit b.service launched", want: `put assignments/m3/b.service launched g1`})
	})
	t.Run("a globals' assignment outlives its machine", func(t *testing.T) {
		story(t, says{"m1": Dead},
			step{given: "machine m1\nmachine m2\nmachine m3\nunit g.service launched Global=yes", want: `
				put assignments/m1/g.service launched g1
				put assignments/m2/g.service launched g1
				put assignments/m3/g.service launched g1`},
			step{given: "shutdown m1"},
			step{after: time.Hour})
	})
}

func TestA11_OnlyTheLostUnitMoves(t *testing.T) {
	const c = ` launched Conflicts=c.*.service`
	story(t, says{"m2": Dead},
		step{given: "machine m1\nmachine m2\nmachine m3\nmachine m4\nunit c.1.service" + c + "\nunit c.2.service" + c + "\nunit c.3.service" + c, want: `
			put assignments/m1/c.1.service launched g1
			put assignments/m2/c.2.service launched g1
			put assignments/m3/c.3.service launched g1`},
		step{given: "dies m2"},
		step{after: 2 * time.Second, want: `put assignments/m4/c.2.service launched g1 + delete assignments/m2/c.2.service`})
}

func TestA12_TheUnitOfALostMachineWaitsForANewOne(t *testing.T) {
	const c = ` launched Conflicts=c.*.service`
	story(t, says{"m2": Dead},
		step{given: "machine m1\nmachine m2\nmachine m3\nunit c.1.service" + c + "\nunit c.2.service" + c + "\nunit c.3.service" + c, want: `
			put assignments/m1/c.1.service launched g1
			put assignments/m2/c.2.service launched g1
			put assignments/m3/c.3.service launched g1`},
		step{given: "dies m2"},
		step{after: 2 * time.Second, want: `put pending/c.2.service it should leave m2, but no machine fits: runs the conflicting c.1.service (m1); runs the conflicting c.3.service (m3); is dead (m2)`},
		step{given: "machine m9", after: 9 * time.Second, want: `put assignments/m9/c.2.service launched g1 + delete assignments/m2/c.2.service + delete pending/c.2.service`})
}

func TestA16_AMachineThatReturns(t *testing.T) {
	moved := []step{
		{given: threeMachines},
		{given: "shutdown m1", want: `put assignments/m2/a.service launched g1 + delete assignments/m1/a.service`},
	}
	t.Run("after a partition: its copy goes once the new one is confirmed", func(t *testing.T) {
		story(t, nil, append(moved,
			step{given: "returns m1 boot1\nobserved m1 a.service active unclaimed"},
			step{given: "observed m2 a.service active", want: `put assignments/m1/a.service gone g1`},
			step{given: "observed m1 a.service inactive gone", want: `delete assignments/m1/a.service + delete observed/m1/a.service`})...)
	})
	t.Run("after a boot: nothing of the past counts", func(t *testing.T) {
		story(t, nil, append(moved,
			step{given: "returns m1 boot2", want: `delete observed/m1/a.service`})...)
	})
}

func TestA19_TheBlockedStartsByItself(t *testing.T) {
	story(t, nil,
		step{given: "machine m1\nunit a.service launched Conflicts=hello.service", want: `put assignments/m1/a.service launched g1`},
		step{given: "observed m1 a.service active\nunit hello.service launched",
			want: `put pending/hello.service no machine fits: runs the conflicting a.service (m1)`},
		step{given: "unit a.service gone g2 Conflicts=hello.service", want: `
			put assignments/m1/a.service gone g2
			put pending/hello.service no machine fits: is still stopping the conflicting a.service (m1)`},
		step{given: "observed m1 a.service inactive gone g2", want: `delete assignments/m1/a.service + delete observed/m1/a.service`},
		step{want: `
			delete units/a.service
			put assignments/m1/hello.service launched g1 + delete pending/hello.service`})
}

func TestA20_Replaces(t *testing.T) {
	story(t, nil,
		step{given: `machine m1
				machine m2
				unit old.service launched`,
			want: `put assignments/m1/old.service launched g1`},
		step{given: `observed m1 old.service active
				unit new.service launched Replaces=old.service`,
			want: `put assignments/m1/new.service launched g1
				put assignments/m2/old.service launched g1 + put assignments/m1/old.service gone g1`},
		step{given: `observed m1 old.service inactive gone
				observed m1 new.service active
				observed m2 old.service active`,
			want: `delete assignments/m1/old.service + delete observed/m1/old.service`},
		step{given: ``, want: ``},
	)
}

func TestMemoryIsCounted(t *testing.T) {
	story(t, nil,
		step{given: `machine m1 GiB:4
				unit a.service launched Requests=memory=3G
				unit b.service launched Requests=memory=2G`,
			want: `put assignments/m1/a.service launched g1
				put pending/b.service no machine fits: has 1 GiB of memory free, and the unit needs 2 GiB (m1)`},
		step{given: `observed m1 a.service inactive gone
				unit a.service inactive g2`,
			want: `put assignments/m1/a.service gone g2`},
		step{given: `observed m1 a.service inactive gone g2`,
			want: `delete assignments/m1/a.service + delete observed/m1/a.service`},
		step{want: `put assignments/m1/b.service launched g1 + delete pending/b.service`},
	)
}

func TestTasksAndFactsAreCounted(t *testing.T) {
	story(t, nil,
		step{given: `machine m1 tasks:100
				machine m2 arch:arm64
				unit a.service launched Requests=tasks=60 MachineID=m1
				unit b.service launched Requests=tasks=60 MachineID=m1
				unit c.service launched MachineMetadata=arch=arm64
				unit d.service launched MachineMetadata=arch=riscv64`,
			want: `put assignments/m1/a.service launched g1
				put pending/b.service no machine fits: is not MachineID=m1 (m2); has 40 tasks free, and the unit needs 60 tasks (m1)
				put assignments/m2/c.service launched g1
				put pending/d.service no machine fits: lacks arch=riscv64 (m1, m2)`})
}

func TestA18_PairsMoveTogether(t *testing.T) {
	story(t, nil,
		step{given: "machine m1\nmachine m2\nmachine m3\nunit ping.service launched MachineOf=pong.service",
			want: `put pending/ping.service no machine fits: pong.service is not placed (m1, m2, m3)`},
		step{given: "unit pong.service launched", want: `
			put assignments/m1/ping.service launched g1 + delete pending/ping.service
			put assignments/m1/pong.service launched g1`},
		step{given: "shutdown m1", want: `
			put assignments/m2/ping.service launched g1 + delete assignments/m1/ping.service
			put assignments/m2/pong.service launched g1 + delete assignments/m1/pong.service`})
}

func TestC05_Brake(t *testing.T) {
	given := `machine m1
		machine m2
		machine m3
		machine m4
		machine m5
		unit a.service launched
		assigned m1 a.service launched`
	const held = `put pending/a.service m1 is dead, as are too many others: nothing moves until machines return, or are said to be dead with clusterctl machine confirm-dead`
	const moved = `put assignments/m2/a.service launched g1 + delete assignments/m1/a.service + delete pending/a.service`
	t.Run("until machines return", func(t *testing.T) {
		story(t, nil, step{given: given},
			step{given: "dies m1\ndies m2\ndies m3"},
			step{after: time.Minute, want: held},
			step{after: time.Hour},
			step{after: time.Hour, given: "returns m2 boot1", want: moved})
	})
	t.Run("until machines are removed", func(t *testing.T) {
		story(t, nil, step{given: given},
			step{given: "dies m1\ndies m3\ndies m4"},
			step{after: time.Minute, want: held},
			step{after: time.Hour, given: "removed m3", want: moved})
	})
	t.Run("doubted machines count, as leases don't end together", func(t *testing.T) {
		story(t, says{"m1": Dead, "m3": Suspect, "m4": Suspect}, step{given: given},
			step{given: "dies m1"},
			step{after: 2 * time.Second, want: held},
			step{after: 29 * time.Second},
			step{after: 30 * time.Second, want: moved})
	})
	t.Run("new units are still placed", func(t *testing.T) {
		story(t, nil, step{given: given},
			step{given: "dies m1\ndies m2\ndies m3\nunit b.service launched", want: `put assignments/m4/b.service launched g1`})
	})
}

func TestUnitFilesNobodyUsesAreCollected(t *testing.T) {
	w := newWorld(t, "machine m1\nunit a.service inactive")
	w.commit(registry.Op{Key: registry.FileKey("unused"), Value: []byte("x")})
	x := w.index(nil)
	for _, s := range []struct {
		after time.Duration
		want  string
	}{{0, ""}, {59 * time.Second, ""}, {time.Minute, "delete files/unused"}, {time.Hour, ""}} {
		w.feed(x, start.Add(s.after))
		if got := w.carryOut(x.decide(start.Add(s.after))); got != s.want {
			t.Fatalf("after %v: got %q, want %q", s.after, got, s.want)
		}
	}
}

func TestEvictionsAreLimited(t *testing.T) {
	w := newWorld(t, "machine m1\nmachine m2\nmachine m3")
	for i := range 1000 {
		name := fmt.Sprintf("u@%d.service", i)
		w.unit(name, "launched", nil)
		w.assigned("m1", unit.Name(name), "launched", nil)
	}
	x := w.index(nil)
	w.feed(x, start)
	x.decide(start)
	w.say("shutdown m1")
	for _, s := range []struct {
		after time.Duration
		want  int
	}{{0, 500}, {time.Second, 100}, {1010 * time.Millisecond, 1}, {10 * time.Second, 399}, {time.Minute, 0}} {
		now := start.Add(s.after)
		w.feed(x, now)
		changes := x.decide(now)
		w.carryOut(changes)
		if len(changes) != s.want {
			t.Fatalf("after %v %d units moved, want %d", s.after, len(changes), s.want)
		}
		if next := x.deadline(now); s.want > 0 && s.after < 10*time.Second && !next.Equal(now.Add(100*time.Millisecond)) {
			t.Fatalf("after %v the next look is at %v", s.after, next)
		}
	}
}

// TestRefusalsAreRemembered has a unit leave a machine that refuses it, slowly:
// what the machine says of it meanwhile is no word of another mind.
func TestRefusalsAreRemembered(t *testing.T) {
	story(t, nil,
		step{
			given: `machine m1 runs:249.1
				machine m2 runs:255.2
				unit a.service launched g2
				assigned m1 a.service launched g2
				observed m1 a.service active g2 reason=unfit(old)`,
			want: `put assignments/m2/a.service launched g2 + put assignments/m1/a.service gone g2`,
		},
		step{given: `observed m1 a.service active g1`},
		step{
			given: `observed m2 a.service inactive g2 reason=unfit(new)`,
			want:  `put pending/a.service no machine fits: new (m2); old (m1)`,
		},
		step{given: `observed m1 a.service active g1`},
		step{given: `unit a.service launched g3`, want: `put assignments/m2/a.service launched g3 + delete pending/a.service`},
	)
}
