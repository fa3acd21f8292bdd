package agent

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

const web = unit.Name("web.service")

func text(steps []Action) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.String())
	}
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	launched := func(file unit.Hash, generation uint64) Desired {
		return Desired{File: file, Target: registry.Target_LAUNCHED, Generation: generation}
	}
	loaded := func(file unit.Hash, generation uint64) Desired {
		return Desired{File: file, Target: registry.Target_LOADED, Generation: generation}
	}
	restart := func(file unit.Hash, generation uint64) Desired {
		return Desired{File: file, Target: registry.Target_LAUNCHED, Generation: generation, Restart: generation}
	}
	gone := Desired{Target: registry.Target_GONE, Generation: 9}
	running := Observed{File: "v1", Ours: true, Loaded: true, Active: "active", Done: 1}
	with := func(o Observed, change func(*Observed)) Observed { change(&o); return o }
	failed := with(running, func(o *Observed) { o.Active = "failed" })
	unloaded := with(running, func(o *Observed) { o.Active, o.Loaded = "", false })

	for _, tt := range []struct {
		name string
		want Desired
		has  Observed
		plan string
	}{
		{"new unit is written and started", launched("v1", 1), Observed{},
			"write web.service@v1; start web.service; done web.service generation 1"},
		{"new unit is only loaded", loaded("v1", 1), Observed{},
			"write web.service@v1; check web.service; done web.service generation 1"},
		{"running as wanted", launched("v1", 1), running, ""},
		{"adopted: a new generation asks for what already runs", launched("v1", 2), running,
			"done web.service generation 2"},
		{"adopted though nothing is known of it but its file", launched("v1", 2), with(running, func(o *Observed) { o.Ours, o.Done = false, 0 }),
			"done web.service generation 2"},
		{"stopped by an operator", loaded("v1", 2), running,
			"stop web.service; check web.service; done web.service generation 2"},
		{"started again", launched("v1", 2), unloaded,
			"start web.service; done web.service generation 2"},
		{"started after a failure", launched("v1", 2), failed,
			"reset-failed web.service; start web.service; done web.service generation 2"},
		{"still starting when the agent came back", launched("v1", 2), with(running, func(o *Observed) { o.Active = "activating" }),
			"start web.service; done web.service generation 2"},
		{"ended while no agent ran", launched("v1", 2), with(unloaded, func(o *Observed) { o.Begun = 2 }),
			"done web.service generation 2"},
		{"failed while no agent ran", launched("v1", 2), with(failed, func(o *Observed) { o.Begun = 2 }),
			"done web.service generation 2"},
		{"restarted while no agent ran", restart("v1", 2), with(running, func(o *Observed) { o.Begun = 2 }),
			"done web.service generation 2"},
		{"begun with another file", launched("v2", 2), with(unloaded, func(o *Observed) { o.Begun = 2 }),
			"write web.service@v2; check web.service; start web.service; done web.service generation 2"},
		{"changed file unloads first", launched("v2", 2), running,
			"stop web.service; reset-failed web.service; await-unloaded web.service; write web.service@v2; check web.service; start web.service; done web.service generation 2"},
		{"changed file after a failure", launched("v2", 2), failed,
			"reset-failed web.service; await-unloaded web.service; write web.service@v2; check web.service; start web.service; done web.service generation 2"},
		{"changed file of a unit that isn't in memory", launched("v2", 2), unloaded,
			"write web.service@v2; check web.service; start web.service; done web.service generation 2"},
		{"changed file, only loaded", loaded("v2", 2), running,
			"stop web.service; reset-failed web.service; await-unloaded web.service; write web.service@v2; check web.service; done web.service generation 2"},
		{"restart", restart("v1", 2), running,
			"restart web.service; done web.service generation 2"},
		{"restart of a unit that isn't running", restart("v1", 2), unloaded,
			"start web.service; done web.service generation 2"},
		{"restart done already", restart("v1", 2), with(running, func(o *Observed) { o.Done, o.Restarted = 2, 2 }), ""},
		{"restart asked for earlier, only started now", Desired{File: "v1", Target: registry.Target_LAUNCHED, Generation: 3, Restart: 2},
			with(running, func(o *Observed) { o.Done, o.Restarted = 2, 2 }),
			"done web.service generation 3"},
		{"old drop-in alone changes nothing", launched("v1", 1), with(running, func(o *Observed) { o.StaleDropIn = true }), ""},
		{"old drop-in is rewritten at the next start", launched("v1", 2), with(unloaded, func(o *Observed) { o.StaleDropIn = true }),
			"write web.service@v1; check web.service; start web.service; done web.service generation 2"},
		{"old drop-in is rewritten at a restart", restart("v1", 2), with(running, func(o *Observed) { o.StaleDropIn = true }),
			"stop web.service; reset-failed web.service; await-unloaded web.service; write web.service@v1; check web.service; start web.service; done web.service generation 2"},
		{"finished job is not run again", launched("v1", 1), unloaded, ""},
		{"failed job is not run again", launched("v1", 1), failed, ""},
		{"started again after another one's stop", launched("v1", 1), with(unloaded, func(o *Observed) { o.Again = "why" }),
			"start web.service; done web.service generation 1"},
		{"started again, still stopping", launched("v1", 1), with(running, func(o *Observed) { o.Active, o.Again = "deactivating", "why" }),
			"start web.service; done web.service generation 1"},
		{"started again by somebody else", launched("v1", 1), with(running, func(o *Observed) { o.Again = "why" }),
			"done web.service generation 1"},
		{"started again, stopped on the way to its generation", launched("v1", 2), with(unloaded, func(o *Observed) { o.Begun, o.Again = 2, "why" }),
			"start web.service; done web.service generation 2"},
		{"stopped by an operator before it was started again", loaded("v1", 1), with(unloaded, func(o *Observed) { o.Again = "why" }),
			"done web.service generation 1"},
		{"lost file of a running unit stops nothing", launched("v1", 1), with(running, func(o *Observed) { o.File = "" }), ""},
		{"lost file of a stopped unit is written again", loaded("v1", 1), with(unloaded, func(o *Observed) { o.File = "" }),
			"write web.service@v1"},
		{"generation went back with the same file", launched("v1", 1), with(unloaded, func(o *Observed) { o.Done = 7 }), ""},
		{"generation went back with another file: made anew", launched("v2", 1), with(running, func(o *Observed) { o.Done = 7 }),
			"stop web.service; reset-failed web.service; await-unloaded web.service; write web.service@v2; check web.service; start web.service; done web.service generation 1"},
		{"gone while running", gone, running,
			"stop web.service; reset-failed web.service; remove web.service; gone web.service"},
		{"gone while failed", gone, failed,
			"reset-failed web.service; remove web.service; gone web.service"},
		{"gone, stopped before", gone, unloaded,
			"remove web.service; gone web.service"},
		{"gone, never here", gone, Observed{}, "gone web.service"},
		{"gone leaves the machine's own unit alone", gone, Observed{Taken: "/etc/systemd/system/web.service", Loaded: true, Active: "active"},
			"gone web.service"},
		{"name taken in /usr", launched("v1", 1), Observed{Taken: "/usr/lib/systemd/system/web.service", Loaded: true, Active: "active"}, ""},
		{"name taken in /run by somebody else", launched("v1", 1), Observed{File: "other"}, ""},
		{"a target of newer software", Desired{File: "v1", Target: 77, Generation: 5}, running, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := text(Plan(Wanted{Units: map[unit.Name]Desired{web: tt.want}}, map[unit.Name]Observed{web: tt.has}))
			if got != tt.plan {
				t.Errorf("plan:\n got %s\nwant %s", got, tt.plan)
			}
		})
	}
}

func TestC03_PlanLeavesUnclaimedAndFrozenAlone(t *testing.T) {
	has := map[unit.Name]Observed{web: {File: "v1", Ours: true, Loaded: true, Active: "active"}}
	if got := Plan(Wanted{}, has); len(got) != 0 {
		t.Errorf("unclaimed: %v", got)
	}
	wanted := Wanted{Frozen: "another cluster's registry", Units: map[unit.Name]Desired{web: {Target: registry.Target_GONE, Generation: 2}}}
	if got := Plan(wanted, has); len(got) != 0 {
		t.Errorf("frozen: %v", got)
	}
}

func TestTakenBy(t *testing.T) {
	want := Desired{File: "v1"}
	for _, tt := range []struct {
		name string
		has  Observed
		path string
	}{
		{"free", Observed{}, ""},
		{"ours", Observed{File: "v0", Ours: true}, ""},
		{"ours, and later one in /etc", Observed{File: "v1", Ours: true, Taken: "/etc/systemd/system/web.service"}, ""},
		{"the wanted file without a record of it", Observed{File: "v1"}, ""},
		{"somebody else's in /run", Observed{File: "v0"}, "/run/systemd/system/web.service"},
		{"in /etc", Observed{Taken: "/etc/systemd/system/web.service"}, "/etc/systemd/system/web.service"},
	} {
		if got := TakenBy(want, tt.has, web, "/run/systemd/system"); got != tt.path {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.path)
		}
	}
}

// model carries a plan out as a service manager would that never fails.
func model(t *testing.T, has map[unit.Name]Observed, steps []Action) {
	for _, s := range steps {
		o := has[s.Unit]
		switch s.Verb {
		case Stop:
			o.Active = "inactive"
		case ResetFailed:
			if o.Active == "failed" {
				o.Active = "inactive"
			}
		case AwaitUnloaded:
			o.Loaded, o.Active = false, ""
		case Write:
			if o.running() {
				t.Fatalf("%s is written while it is %s", s.Unit, o.Active)
			}
			if o.Taken != "" && !o.Ours {
				t.Fatalf("%s is written over the machine's own %s", s.Unit, o.Taken)
			}
			o.File, o.Ours, o.StaleDropIn = s.Desired.File, true, false
		case Check:
			o.Loaded, o.Active = true, "inactive"
		case Start, Restart:
			if o.File != s.Desired.File {
				t.Fatalf("%s is started with file %q, want %q", s.Unit, o.File, s.Desired.File)
			}
			o.Loaded, o.Active = true, "active"
		case Remove:
			if !o.Ours || o.running() {
				t.Fatalf("%s is removed: %+v", s.Unit, o)
			}
			o.File, o.Ours, o.Loaded, o.Active = "", false, false, ""
		case Done:
			o.Done, o.Restarted, o.Again = s.Desired.Generation, s.Desired.Restart, ""
		case Gone:
			o.Done, o.Restarted = 0, 0
		}
		has[s.Unit] = o
	}
}

func TestPlanReachesItsGoal(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		wanted := Wanted{Units: map[unit.Name]Desired{}}
		has := map[unit.Name]Observed{}
		for i := range 1 + r.IntN(5) {
			name := unit.Name(fmt.Sprintf("u%d.service", i))
			has[name] = randomObserved(r)
			if r.IntN(5) > 0 {
				wanted.Units[name] = randomDesired(r)
			}
		}
		before := maps.Clone(has)
		steps := Plan(wanted, has)
		if again := Plan(wanted, has); text(again) != text(steps) {
			t.Fatalf("seed %d: two plans of the same: %v and %v", seed, steps, again)
		}
		model(t, has, steps)
		for name, o := range has {
			want, ok := wanted.Units[name]
			if err := atGoal(want, ok, before[name], o, name); err != nil {
				t.Fatalf("seed %d: %s: %v\nwant   %+v\nbefore %+v\nafter  %+v\nplan %v", seed, name, err, want, before[name], o, steps)
			}
		}
		rest := slices.DeleteFunc(Plan(wanted, has), func(a Action) bool { return a.Verb == Gone })
		if len(rest) != 0 {
			t.Fatalf("seed %d: a second pass still wants %v", seed, rest)
		}
	}
}

func atGoal(want Desired, wanted bool, before, after Observed, name unit.Name) error {
	switch {
	case !wanted:
		if before != after {
			return fmt.Errorf("it changed though nobody asked")
		}
	case want.Target == registry.Target_GONE:
		if after.Ours {
			return fmt.Errorf("it is still here")
		}
	case TakenBy(want, before, name, "/run/systemd/system") != "":
		if before != after {
			return fmt.Errorf("the machine's own unit was touched")
		}
	case !Fresh(want, before) && before.Again != "" && want.Target == registry.Target_LAUNCHED && before.File == want.File:
		if !after.running() {
			return fmt.Errorf("it was not started again: %q", after.Active)
		}
	case !Fresh(want, before):
		if before.Active != after.Active {
			return fmt.Errorf("a generation already carried out changed it")
		}
	case after.File != want.File:
		return fmt.Errorf("file %q", after.File)
	case after.running() != (want.Target == registry.Target_LAUNCHED):
		return fmt.Errorf("it is %q", after.Active)
	}
	return nil
}

func randomObserved(r *rand.Rand) Observed {
	o := Observed{File: pick[unit.Hash](r, "", "v1", "v2"), StaleDropIn: r.IntN(3) == 0, Done: uint64(r.IntN(4))}
	o.Ours = o.File != "" && r.IntN(4) > 0
	if !o.Ours && r.IntN(2) == 0 {
		o.Taken = "/etc/systemd/system/x"
	}
	if o.Active = pick(r, "", "active", "inactive", "failed", "activating", "deactivating"); o.Active != "" {
		o.Loaded = true
	}
	if o.File == "" && o.Taken == "" {
		o.Loaded, o.Active = false, ""
	}
	o.Restarted = uint64(r.IntN(int(o.Done) + 1))
	if o.Ours && r.IntN(4) == 0 {
		o.Again = "why"
	}
	return o
}

func randomDesired(r *rand.Rand) Desired {
	d := Desired{
		File:       pick[unit.Hash](r, "v1", "v2"),
		Target:     pick(r, registry.Target_LOADED, registry.Target_LAUNCHED, registry.Target_LAUNCHED, registry.Target_GONE),
		Generation: uint64(1 + r.IntN(5)),
	}
	d.Restart = uint64(r.IntN(int(d.Generation) + 1))
	return d
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
