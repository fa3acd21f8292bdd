package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
	"github.com/clusterd/clusterd/unit"
)

const me = registry.MachineID("11111111111111111111111111111111")

// world is one machine with its registry.
type world struct {
	t       *testing.T
	store   *mem.Store
	slow    map[string]time.Duration // keys that take their time to be read alone
	manager *fakeManager
	boot    string // boot1 if empty
	dir     string
	machine registry.Machine
	cluster string
	stop    func() error
	down    bool // the machine shuts down
	pull    Puller
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: mem.New(mem.Options{}), manager: newFakeManager(), dir: t.TempDir(), cluster: "c1"}
	w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 1})
	return w
}

func (w *world) put(key string, m registry.Message) {
	w.t.Helper()
	w.commit(registry.Op{Key: key, Value: registry.Encode(m)})
}

func (w *world) commit(ops ...registry.Op) {
	w.t.Helper()
	if _, err := w.store.Commit(w.t.Context(), nil, ops); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) file(text string) unit.Hash {
	b := []byte("[Service]\nExecStart=/bin/true " + text + "\n")
	h := unit.HashOf(b)
	w.commit(registry.Op{Key: registry.FileKey(h), Value: b})
	return h
}

func (w *world) assign(u unit.Name, text string, target registry.Target, generation uint64) {
	w.put(registry.AssignmentKey(me, u), &registry.Assignment{File: string(w.file(text)), Target: target, Generation: generation})
}

func (w *world) agent() *Agent {
	w.t.Helper()
	w.machine.Hostname, w.machine.Address = "m1", "10.0.0.1"
	boot := w.boot
	if boot == "" {
		boot = "boot1"
	}
	a, err := New(Config{
		Store: slowStore{w.store, w.slow}, Manager: w.manager, ID: me, Machine: &w.machine, Incarnation: boot, ClusterID: w.cluster,
		RunDir: w.dir, Log: slog.New(slog.DiscardHandler), Stopping: func(context.Context) bool { return w.down }, Pull: w.pull,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// slowStore takes its time to read some keys.
type slowStore struct {
	registry.Store
	takes map[string]time.Duration
}

func (s slowStore) Range(ctx context.Context, r registry.Range) (registry.Snapshot, error) {
	if d := s.takes[r.From]; d > 0 && r == registry.Single(r.From) && !wait(ctx, d) {
		return registry.Snapshot{}, ctx.Err()
	}
	return s.Store.Range(ctx, r)
}

// start runs an agent until w.stop.
func (w *world) start() {
	w.t.Helper()
	a := w.agent()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.stop = func() error { cancel(); return <-ended }
	w.settle()
}

// settle lets everything happen that takes less than a second.
func (w *world) settle() {
	time.Sleep(time.Second) // the bubble's clock
	synctest.Wait()
}

func (w *world) observed(u unit.Name) string {
	w.t.Helper()
	o, _, err := readRecord[registry.Observed](w.t.Context(), w.store, registry.ObservedKey(me, u))
	if err != nil {
		w.t.Fatal(err)
	}
	if o == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%s/%s/%s generation %d", o.Load, o.Active, o.Sub, o.Generation)
	if o.Gone {
		text = fmt.Sprintf("gone generation %d", o.Generation)
	}
	if o.Unclaimed {
		text += " unclaimed"
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func hashOf(text string) string {
	return unit.HashOf([]byte("[Service]\nExecStart=/bin/true " + text + "\n")).Short()
}

func TestAgentLifeOfAUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() { _ = w.stop() }()
		w.assign(web, "v1", registry.Target_LOADED, 1)
		w.settle()
		w.want("load", w.manager.took(), "write web.service@"+hashOf("v1"))
		w.want("load", w.observed(web), "loaded/inactive/dead generation 1")
		w.assign(web, "v1", registry.Target_LAUNCHED, 2)
		w.settle()
		w.want("start", w.manager.took(), "start web.service")
		w.want("start", w.observed(web), "loaded/active/running generation 2")
		w.assign(web, "v2", registry.Target_LAUNCHED, 3)
		w.settle()
		w.want("replace", w.manager.took(), "stop web.service; write web.service@"+hashOf("v2")+"; start web.service")
		w.want("replace", w.observed(web), "loaded/active/running generation 3")
		w.put(registry.AssignmentKey(me, web), &registry.Assignment{File: string(w.file("v2")), Target: registry.Target_LAUNCHED, Generation: 4, RestartGeneration: 4})
		w.settle()
		w.want("restart", w.manager.took(), "restart web.service")
		w.assign(web, "v2", registry.Target_GONE, 5)
		w.settle()
		w.want("gone", w.manager.took(), "stop web.service; remove web.service")
		w.want("gone", w.observed(web), "gone generation 5")
		if left, err := openLedger(filepath.Join(w.dir, "units")); err != nil || len(left.entries) != 0 {
			t.Errorf("records left: %v, %v", left, err)
		}
		w.commit(registry.Op{Delete: registry.Prefix(registry.AssignmentsOf(me))}, registry.Op{Delete: registry.Prefix(registry.ObservedOf(me))})
		w.settle()
		w.want("forgotten", w.observed(web), "nothing")
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("made anew", w.observed(web), "loaded/active/running generation 1")
	})
}

// TestC15_ReplaceStartsAgainWhatItTookAlong: what is bound to a unit stops with
// it, and runs again once that has its new text; unless it isn't to run.
func TestC15_ReplaceStartsAgainWhatItTookAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() { _ = w.stop() }()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.assign("bound.service", "b", registry.Target_LAUNCHED, 1)
		w.assign("loaded.service", "l", registry.Target_LOADED, 1)
		w.settle()
		w.manager.bound = map[unit.Name][]unit.Name{web: {"bound.service", "loaded.service", "host.service"}}
		w.manager.units["host.service"] = &fakeUnit{State: State{Status: Status{Load: "loaded", Active: "active"}}}
		w.manager.took()
		w.assign(web, "v2", registry.Target_LAUNCHED, 2)
		w.settle()
		w.want("replace", w.manager.took(), "stop web.service; write web.service@"+hashOf("v2")+"; start web.service; start bound.service")
		w.want("bound", w.observed("bound.service"), "loaded/active/running generation 1")
		w.assign(web, "v2", registry.Target_LOADED, 3)
		w.settle()
		w.want("stop", w.manager.took(), "stop web.service")
		w.want("bound", w.observed("bound.service"), "loaded/inactive/dead generation 1")
	})
}

// alongWorld is a world in which what is bound to web runs with it.
func alongWorld(t *testing.T) *world {
	w := newWorld(t)
	w.start()
	w.assign(web, "v1", registry.Target_LAUNCHED, 1)
	w.assign("bound.service", "b", registry.Target_LAUNCHED, 1)
	w.settle()
	w.manager.bound = map[unit.Name][]unit.Name{web: {"bound.service"}}
	w.manager.took()
	return w
}

// TestC15_WhatWasTakenAlongIsNotForgotten: steps that do not run to their end
// leave it to later ones to start again what stopped with the unit.
func TestC15_WhatWasTakenAlongIsNotForgotten(t *testing.T) {
	v := func(w *world, text string, generation uint64) {
		w.assign(web, text, registry.Target_LAUNCHED, generation)
		w.settle()
	}
	again := func(w *world) { _ = w.stop(); w.start() }
	refuse := func(w *world, step string) {
		w.manager.mu.Lock()
		defer w.manager.mu.Unlock()
		w.manager.refuses = step
	}
	epoch := func(w *world, epoch uint64) {
		w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: epoch})
		w.settle()
	}
	for _, tt := range []struct {
		name string
		do   func(w *world)
	}{
		{"a newer text while one hangs", func(w *world) { v(w, "hang", 2); v(w, "v3", 3) }},
		{"a newer text after one that fails", func(w *world) { v(w, "fail", 2); v(w, "v3", 3) }},
		{"clusterd ends while one hangs", func(w *world) { v(w, "hang", 2); again(w); v(w, "v3", 3); again(w) }},
		{"clusterd ends between stop and write", func(w *world) { refuse(w, "write web"); v(w, "v2", 2); _ = w.stop(); refuse(w, ""); w.start() }},
		{"clusterd ends between start and start", func(w *world) { refuse(w, "start bound"); v(w, "v2", 2); _ = w.stop(); refuse(w, ""); w.start() }},
		{"no answer to the write", func(w *world) { refuse(w, "write web"); v(w, "v2", 2); refuse(w, "") }},
		{"no answer to the check", func(w *world) { refuse(w, "check web"); v(w, "v2", 2); refuse(w, "") }},
		{"no answer to the stop", func(w *world) { refuse(w, "stop web"); v(w, "v2", 2); refuse(w, "") }},
		{"no answer to the other one's start", func(w *world) { refuse(w, "start bound"); v(w, "v2", 2); refuse(w, "") }},
		{"frozen on the way", func(w *world) { refuse(w, "start bound"); v(w, "v2", 2); epoch(w, 0); refuse(w, ""); epoch(w, 1) }},
		{"it comes up by itself", func(w *world) {
			v(w, "fail", 2)
			w.manager.mu.Lock()
			defer w.manager.mu.Unlock()
			w.manager.set(web, "active", "running")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := alongWorld(t)
				tt.do(w)
				time.Sleep(time.Minute)
				w.want("bound", w.observed("bound.service"), "loaded/active/running generation 1")
				if seen := w.manager.took(); strings.Count(seen, "start bound") != 1 {
					t.Errorf("steps: %s", seen)
				}
				_ = w.stop()
				for u, e := range w.agent().ledger.entries {
					if len(e.Along) > 0 || e.Again != "" {
						t.Errorf("%s: left in its record: %v, %q", u, e.Along, e.Again)
					}
				}
			})
		})
	}
}

// TestC15_NotEverythingTakenAlongIsStartedAgain: what was stopped, or started
// and ended, in its own right since then stays as it is.
func TestC15_NotEverythingTakenAlongIsStartedAgain(t *testing.T) {
	const bound = "bound.service"
	set := func(w *world, states ...string) {
		for _, s := range states {
			w.manager.mu.Lock()
			w.manager.set(bound, s, s)
			w.manager.mu.Unlock()
			w.settle()
		}
	}
	for _, tt := range []struct {
		name, bound string
		meanwhile   func(w *world)
	}{
		{"stopped by an operator", "inactive/dead generation 2", func(w *world) { w.assign(bound, "b", registry.Target_LOADED, 2) }},
		{"destroyed", "", func(w *world) { w.assign(bound, "b", registry.Target_GONE, 2) }},
		{"stopped by an operator, with its unit", "inactive/dead generation 1", func(w *world) { w.assign(web, "hang", registry.Target_LOADED, 3); w.settle() }},
		{"given a job that ended", "inactive/dead generation 2", func(w *world) { w.assign(bound, "job", registry.Target_LAUNCHED, 2) }},
		{"given a text that fails", "failed/failed generation 2: exit-code 3", func(w *world) { w.assign(bound, "fail", registry.Target_LAUNCHED, 2) }},
		{"started by hand, and failed", "failed/failed generation 1", func(w *world) { set(w, "active", "failed") }},
		{"started by hand, and stopped", "inactive/inactive generation 1", func(w *world) { set(w, "active", "inactive") }},
		{"started by hand, and failed while no clusterd ran", "failed/failed generation 1", func(w *world) {
			_ = w.stop()
			w.manager.mu.Lock()
			w.manager.set(bound, "active", "active")
			w.manager.set(bound, "failed", "failed")
			w.manager.mu.Unlock()
			w.start()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := alongWorld(t)
				w.assign(web, "hang", registry.Target_LAUNCHED, 2)
				w.settle()
				tt.meanwhile(w)
				w.settle()
				w.assign(web, "v4", registry.Target_LAUNCHED, 4)
				time.Sleep(time.Minute)
				w.want("web", w.observed(web), "loaded/active/running generation 4")
				want := "loaded/" + tt.bound
				if tt.bound == "" {
					want = "gone generation 2"
				}
				w.want("bound", w.observed(bound), want)
				_ = w.stop()
			})
		})
	}
}

// TestC15_TakenAlongWhileAtWork: what can't be said yet of a unit is said once
// its own steps are done.
func TestC15_TakenAlongWhileAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := alongWorld(t)
		defer func() { _ = w.stop() }()
		w.manager.bound[web] = append(w.manager.bound[web], "busy.service")
		w.assign("busy.service", "hang", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.mu.Lock()
		w.manager.set("busy.service", "active", "running") // no word of its start's end
		w.manager.mu.Unlock()
		w.settle()
		w.manager.took()
		w.assign(web, "v2", registry.Target_LAUNCHED, 2)
		w.settle()
		w.want("steps", w.manager.took(), "stop web.service; write web.service@"+hashOf("v2")+"; start web.service; start bound.service")
		w.put(registry.AssignmentKey(me, "busy.service"), &registry.Assignment{File: string(w.file("hang")), Target: registry.Target_LAUNCHED, Generation: 1, AllowUnknown: true})
		w.settle()
		w.want("steps, later", w.manager.took(), "start busy.service")
	})
}

func TestC02_RestartOfTheAgentTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign("run.service", "v1", registry.Target_LAUNCHED, 1)
		w.assign("once.service", "job", registry.Target_LAUNCHED, 1)
		w.assign("bad.service", "fail", registry.Target_LAUNCHED, 1)
		w.settle()
		pid := w.manager.pidOf("run.service")
		w.manager.took()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		before, err := w.store.Range(t.Context(), registry.Prefix(registry.ObservedOf(me)))
		if err != nil {
			t.Fatal(err)
		}
		w.start()
		w.settle()
		w.want("C-10: steps", w.manager.took(), "")
		if got := w.manager.pidOf("run.service"); got != pid || pid == 0 {
			t.Errorf("PID was %d, is %d", pid, got)
		}
		w.want("failed", w.observed("bad.service"), "loaded/failed/failed generation 1: exit-code 3")
		after, err := w.store.Range(t.Context(), registry.Prefix(registry.ObservedOf(me)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range before.Records {
			if before.Records[i].Modified != after.Records[i].Modified {
				t.Errorf("%s was written again", before.Records[i].Key)
			}
		}
		_ = w.stop()
	})
}

func TestC10_JobThatEndsWhileClusterdIsDownRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign(web, "hang", registry.Target_LAUNCHED, 1)
		w.settle()
		_ = w.stop()
		w.want("begun", w.manager.took(), "write web.service@"+hashOf("hang")+"; start web.service")
		w.manager.mu.Lock()
		w.manager.set(web, "inactive", "dead")
		w.manager.mu.Unlock()
		w.start()
		w.want("afterwards", w.manager.took(), "")
		w.want("reported", w.observed(web), "loaded/inactive/dead generation 1")
		_ = w.stop()
	})
}

func TestC03_EmptiedRegistryStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.took()
		w.commit(registry.Op{Delete: registry.Everything()})
		w.settle()
		w.want("steps", w.manager.took(), "")
		if got := w.observed(web); !strings.HasPrefix(got, "loaded/active/running generation 1 unclaimed: frozen: the registry has no cluster record") {
			t.Error(got)
		}
		_ = w.stop()
		w.start() // a restart in between
		w.settle()
		w.want("steps after a restart", w.manager.took(), "")
		w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 1})
		w.settle()
		w.want("unclaimed", w.observed(web), "loaded/active/running generation 1 unclaimed")
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("adopted", w.observed(web), "loaded/active/running generation 1")
		w.want("steps when adopted", w.manager.took(), "")
		_ = w.stop()
	})
}

func TestC03_GarbageKeepsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.took()
		w.commit(registry.Op{Key: registry.AssignmentKey(me, web), Value: []byte{0xff, 0xff}})
		w.settle()
		w.want("steps", w.manager.took(), "")
		if got := w.observed(web); !strings.Contains(got, "unclaimed: read record assignments/"+string(me)+"/web.service: unreadable record") {
			t.Error(got)
		}
		// A file that isn't the one its key says, and one that is not there.
		w.commit(registry.Op{Key: registry.FileKey("abc"), Value: []byte("forged")})
		w.put(registry.AssignmentKey(me, web), &registry.Assignment{File: "abc", Target: registry.Target_LAUNCHED, Generation: 2})
		w.put(registry.AssignmentKey(me, "x.service"), &registry.Assignment{File: "0123456789", Target: registry.Target_LAUNCHED, Generation: 2})
		w.settle()
		w.want("steps", w.manager.took(), "")
		if got := w.observed(web); !strings.HasPrefix(got, "loaded/active/running generation 2: fetch unit file abc: unreadable record") {
			t.Error(got)
		}
		if got := w.observed("x.service"); !strings.Contains(got, "generation 2: fetch unit file 0123456: not in the registry; submit the unit again") {
			t.Error(got)
		}
		_ = w.stop()
	})
}

func TestFreezesOnAnotherCluster(t *testing.T) {
	for _, tt := range []struct {
		name string
		now  *registry.Cluster
		says string
	}{
		{"another id", &registry.Cluster{Id: "c2", Epoch: 1}, ""},
		{"a lower epoch", &registry.Cluster{Id: "c1", Epoch: 0}, "generation 1: frozen: the registry is at epoch 0, this machine has seen 1"},
		{"a newer schema", &registry.Cluster{Version: 2, Id: "c1", Epoch: 1}, "generation 1: frozen: read record cluster/id: unreadable record: its version is 2, this software knows 1; upgrade this machine's clusterd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				w.assign(web, "v1", registry.Target_LAUNCHED, 1)
				w.settle()
				w.manager.took()
				w.put(registry.ClusterKey, tt.now)
				w.settle()
				w.assign(web, "v1", registry.Target_GONE, 2)
				w.settle()
				w.want("steps", w.manager.took(), "")
				if got := w.observed(web); !strings.Contains(got, tt.says) {
					t.Errorf("%s, want %s", got, tt.says)
				}
				w.put(registry.ClusterKey, &registry.Cluster{Id: "c1", Epoch: 2})
				w.settle()
				w.want("steps when thawed", w.manager.took(), "stop web.service; remove web.service")
				_ = w.stop()
			})
		})
	}
}

func TestC04_OneBadUnitHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign("a-hangs.service", "hang", registry.Target_LAUNCHED, 1)
		w.assign("b-fails.service", "fail", registry.Target_LAUNCHED, 1)
		w.assign("c-garbage.service", "v1\nno section here", registry.Target_LAUNCHED, 1)
		w.manager.take("d-taken.service", "/etc/systemd/system/d-taken.service")
		w.assign("d-taken.service", "v1", registry.Target_LAUNCHED, 1)
		w.assign("e-good.service", "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("hangs", w.observed("a-hangs.service"), "loaded/activating/start generation 0")
		w.want("fails", w.observed("b-fails.service"), "loaded/failed/failed generation 1: exit-code 3")
		if got := w.observed("c-garbage.service"); !strings.Contains(got, "generation 1: c-garbage.service:3:") {
			t.Errorf("garbage: %s", got)
		}
		w.want("taken", w.observed("d-taken.service"), "// generation 1: name-taken(/etc/systemd/system/d-taken.service)")
		w.want("good", w.observed("e-good.service"), "loaded/active/running generation 1")
		w.assign("f-later.service", "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("later", w.observed("f-later.service"), "loaded/active/running generation 1")
		w.assign("a-hangs.service", "hang", registry.Target_LOADED, 2)
		w.settle()
		w.want("stopped while it hangs", w.observed("a-hangs.service"), "loaded/inactive/dead generation 2")
		w.manager.take("d-taken.service", "")
		time.Sleep(recheckAfter)
		w.settle()
		w.want("name became free", w.observed("d-taken.service"), "loaded/active/running generation 1")
		_ = w.stop()
	})
}

// TestFilesOfOneStartAreWrittenBeforeAnyUnitStarts: one unit may require
// another one, whose file comes last; but not for long.
func TestFilesOfOneStartAreWrittenBeforeAnyUnitStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow = map[string]time.Duration{registry.FileKey(w.file("late")): 200 * time.Millisecond, registry.FileKey(w.file("later")): 3 * time.Second}
		w.start()
		defer func() { _ = w.stop() }()
		start := func(u unit.Name, text string) registry.Op {
			return registry.Op{Key: registry.AssignmentKey(me, u), Value: registry.Encode(&registry.Assignment{File: string(w.file(text)), Target: registry.Target_LAUNCHED, Generation: 1})}
		}
		w.commit(start("a.service", "soon"), start("b.service", "late"))
		w.settle()
		got := strings.Split(w.manager.took(), "; ")
		if len(got) != 4 || !strings.HasPrefix(got[0], "write ") || !strings.HasPrefix(got[1], "write ") {
			t.Errorf("steps %v; want both files written before a start", got)
		}
		w.commit(start("c.service", "prompt"), start("d.service", "later"))
		w.settle()
		w.want("the others while one file is awaited", w.manager.took(), "write c.service@"+hashOf("prompt")+"; start c.service")
		time.Sleep(3 * time.Second)
		w.want("the one", w.manager.took(), "write d.service@"+hashOf("later")+"; start d.service")
	})
}

// TestFilesOnTheirWayHoldUpStartsAlone: while the registry is slow, what needs
// no file of it is done at once, and other files are asked for.
func TestFilesOnTheirWayHoldUpStartsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.slow = map[string]time.Duration{registry.FileKey(w.file("slow")): time.Minute}
		w.start()
		defer func() { _ = w.stop() }()
		w.assign("stop.service", "v1", registry.Target_LAUNCHED, 1)
		w.assign("gone.service", "v1", registry.Target_LAUNCHED, 1)
		w.assign("start.service", "v1", registry.Target_LOADED, 1)
		w.settle()
		w.assign("slow.service", "slow", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.took()
		soon := func() string { time.Sleep(2 * gather); synctest.Wait(); return w.manager.took() }
		w.assign("start.service", "v1", registry.Target_LAUNCHED, 2)
		w.want("start", soon(), "")
		w.assign("stop.service", "v1", registry.Target_LOADED, 2)
		w.want("stop", soon(), "stop stop.service")
		w.assign("gone.service", "v1", registry.Target_GONE, 2)
		w.want("gone", soon(), "stop gone.service; remove gone.service")
		w.assign("new.service", "new", registry.Target_LOADED, 1)
		w.want("load", soon(), "write new.service@"+hashOf("new"))
		time.Sleep(writeMax)
		w.want("start after a while", soon(), "start start.service")
		w.assign("start.service", "v1", registry.Target_LOADED, 3)
		w.want("stop again", soon(), "stop start.service")
		w.assign("start.service", "v1", registry.Target_LAUNCHED, 4)
		w.want("start again", soon(), "")
		time.Sleep(writeMax)
		w.want("start again after a while", soon(), "start start.service")
	})
}

func TestA13_RegistryGoneAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.took()
		w.store.Cut()
		time.Sleep(10 * time.Minute)
		w.want("steps while it is gone", w.manager.took(), "")
		w.manager.mu.Lock()
		w.manager.set(web, "failed", "failed")
		w.manager.mu.Unlock()
		time.Sleep(time.Minute)
		w.manager.mu.Lock()
		w.manager.set(web, "active", "running")
		w.manager.mu.Unlock()
		time.Sleep(time.Minute)
		w.store.Heal()
		time.Sleep(10 * time.Second)
		w.settle()
		w.want("told afterwards", w.observed(web), "loaded/active/running generation 1")
		w.want("alive", w.alive(), "boot1")
		w.assign(web, "v1", registry.Target_LOADED, 2)
		w.settle()
		w.want("works again", w.manager.took(), "stop web.service")
		_ = w.stop()
	})
}

func (w *world) alive() string {
	w.t.Helper()
	r, rec, err := readRecord[registry.Alive](w.t.Context(), w.store, registry.AliveKey(me))
	if err != nil || r == nil || rec.Lease == 0 {
		return fmt.Sprintf("not alive (%v)", err)
	}
	return r.Incarnation
}

func TestA16_AwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.want("alive", w.alive(), "boot1")
		lease, err := os.ReadFile(filepath.Join(w.dir, "lease"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.want("alive later", w.alive(), "boot1")
		_ = w.stop()
		away, _, err := readRecord[registry.Away](t.Context(), w.store, registry.AwayKey(me))
		if err != nil || away == nil || away.Shutdown || away.Incarnation != "boot1" {
			t.Fatalf("away %v, %v", away, err)
		}
		w.start()
		away, _, err = readRecord[registry.Away](t.Context(), w.store, registry.AwayKey(me))
		if err != nil || away != nil {
			t.Errorf("still away: %v, %v", away, err)
		}
		if again, err := os.ReadFile(filepath.Join(w.dir, "lease")); err != nil || string(again) != string(lease) {
			t.Errorf("lease %q after a restart, %q before (%v)", again, lease, err)
		}
		w.down = true
		_ = w.stop()
		away, _, err = readRecord[registry.Away](t.Context(), w.store, registry.AwayKey(me))
		if err != nil || away == nil || !away.Shutdown {
			t.Errorf("away %v, %v", away, err)
		}
		w.want("lease ends with the machine", w.alive(), "not alive (<nil>)")
		w.down = false
		w.start()
		w.want("alive after a boot", w.alive(), "boot1")
		_ = w.stop()
		time.Sleep(time.Minute)
		w.want("stopped for long", w.alive(), "not alive (<nil>)")
		w.start()
		w.want("alive again", w.alive(), "boot1")
		_ = w.stop()
	})
}

func TestHandoverIsNoAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		first := w.agent()
		go func() { ended <- first.Run(ctx) }()
		w.settle()
		changes := w.store.Watch(t.Context(), registry.Single(registry.AwayKey(me)), 0)
		cancel(ErrHandover)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.start()
		w.want("alive", w.alive(), "boot1")
		select {
		case c := <-changes:
			t.Errorf("away mark: %+v", c)
		default:
		}
		_ = w.stop()
	})
}

func TestA17_SecondHostWithAMachineIDInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.machine.CertificateSha256 = "aaaa"
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		second := &world{t: t, store: w.store, manager: newFakeManager(), dir: t.TempDir(), cluster: "c1"}
		second.machine.CertificateSha256 = "bbbb"
		err := second.agent().Run(t.Context())
		if !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), "m1 at 10.0.0.1") {
			t.Errorf("second host: %v", err)
		}
		w.want("second host's steps", second.manager.took(), "")
		w.want("first host", w.observed(web), "loaded/active/running generation 1")
		_ = w.stop()
		// The first one set up anew, with a new certificate, is let in.
		time.Sleep(time.Minute)
		w.machine.CertificateSha256 = "cccc"
		w.start()
		w.settle()
		w.want("set up anew", w.alive(), "boot1")
		_ = w.stop()
	})
}

func TestC13_IdleWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		before, err := w.store.Range(t.Context(), registry.Everything())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		after, err := w.store.Range(t.Context(), registry.Everything())
		if err != nil || after.Revision != before.Revision {
			t.Errorf("revision %d, ten idle minutes later %d (%v)", before.Revision, after.Revision, err)
		}
		_ = w.stop()
	})
}

func TestServiceManagerGoneAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.manager.gone = true
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("nothing is told", w.observed(web), "nothing")
		w.manager.mu.Lock()
		w.manager.gone = false
		w.manager.mu.Unlock()
		time.Sleep(time.Minute)
		w.want("started then", w.observed(web), "loaded/active/running generation 1")
		_ = w.stop()
	})
}

// TestFileThatDoesNotFitStopsNothing submits an update that this machine's
// systemd would misread. What runs goes on, and the cluster is told.
func TestFileThatDoesNotFitStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() { _ = w.stop() }()
		give := func(text, verifiedBy string, generation uint64) {
			w.put(registry.AssignmentKey(me, web), &registry.Assignment{
				File: string(w.file(text)), Target: registry.Target_LAUNCHED, Generation: generation, VerifiedBy: verifiedBy,
			})
			w.settle()
		}
		give("v1", "249", 1)
		w.want("verified by the same systemd before", strings.Join(w.manager.looked, "; "), "")
		w.want("steps", w.manager.took(), "write web.service@"+hashOf("v1")+"; start web.service")
		pid := w.manager.pidOf(web)

		give("unfit", "255", 2)
		w.want("verified by another", w.manager.looked[0], "verify web.service")
		w.want("steps for what doesn't fit", w.manager.took(), "")
		w.want("observed", w.observed(web), "loaded/active/running generation 2: unfit(runs systemd 249)")
		if now := w.manager.pidOf(web); now != pid {
			t.Errorf("PID was %d, is %d", pid, now)
		}
		give("v3", "", 3)
		w.want("verified by none", strings.Join(w.manager.looked[len(w.manager.looked)-1:], "; "), "verify web.service")
		w.want("steps for what fits", w.manager.took(), "stop web.service; write web.service@"+hashOf("v3")+"; start web.service")
		w.want("observed at last", w.observed(web), "loaded/active/running generation 3")
	})
}

// TestRestartThatFailsIsTold has a unit run on though it was to be restarted.
func TestRestartThatFailsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() { _ = w.stop() }()
		give := func(generation, restart uint64) {
			w.put(registry.AssignmentKey(me, web), &registry.Assignment{
				File: string(w.file("stubborn")), Target: registry.Target_LAUNCHED, Generation: generation, RestartGeneration: restart,
			})
			w.settle()
		}
		give(1, 0)
		w.want("started", w.observed(web), "loaded/active/running generation 1")
		give(2, 2)
		w.want("not restarted", w.observed(web), "loaded/active/running generation 2: refused")
		w.manager.mu.Lock()
		w.manager.set(web, "active", "running")
		w.manager.mu.Unlock()
		w.settle()
		w.want("going since then", w.observed(web), "loaded/active/running generation 2")
	})
}

// TestNameTakenMeanwhileStopsNothing has the machine take the name of a unit that
// runs, before that gets a new file.
func TestNameTakenMeanwhileStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer func() { _ = w.stop() }()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.took()
		w.manager.take(web, "/etc/x")
		_ = w.stop()
		w.start() // it looks at the files again
		w.assign(web, "v2", registry.Target_LAUNCHED, 2)
		w.settle()
		w.want("steps", w.manager.took(), "")
		w.want("observed", w.observed(web), "loaded/active/running generation 2: write web.service: the machine has a unit of that name, /etc/x; rename one of them")
		w.manager.take(web, "") // nobody tells of that
		time.Sleep(recheckAfter)
		w.settle()
		w.want("steps once it is free", w.manager.took(), "stop web.service; write web.service@"+hashOf("v2")+"; start web.service")
		w.want("observed then", w.observed(web), "loaded/active/running generation 2")
	})
}
