package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

func TestUnitStates(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "waits.service")
	r.mustSubmit(web, TargetLaunched, "runs.service", "starts.service", "moves.service", "old.service", "held.service", "nowhere.service")
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.alive(machineB)
	r.machine(machineC, "gamma", "127.0.0.1:1") // not alive
	r.assign(machineA, "runs.service", registry.Target_LAUNCHED)
	r.observe(machineA, "runs.service", "active", "running")
	r.assign(machineB, "starts.service", registry.Target_LAUNCHED)
	// Being moved from A to B.
	r.assign(machineA, "moves.service", registry.Target_GONE)
	r.observe(machineA, "moves.service", "deactivating", "stop-sigterm")
	r.assign(machineB, "moves.service", registry.Target_LAUNCHED)
	// Seen in an earlier life of B only.
	r.assign(machineB, "old.service", registry.Target_LAUNCHED)
	r.put(registry.ObservedKey(machineB, "old.service"), &registry.Observed{Active: "active", Incarnation: "earlier"})
	// On a machine that is silent, not dead yet.
	r.assign(machineC, "held.service", registry.Target_LAUNCHED)
	r.observe(machineC, "held.service", "active", "running")
	r.put(registry.PendingKey("nowhere.service"), &registry.Pending{Text: "no machine fits", Refusals: []*registry.Refusal{{Rule: "metadata", Machines: []string{string(machineA)}}}})
	r.observe(machineA, "stray.service", "active", "running")
	r.put(registry.ObservedKey(machineA, "left.service"), &registry.Observed{Gone: true, Incarnation: "boot-" + string(machineA)})

	want := `held.service launched [gamma silent: assigned launched loaded/active/running]
moves.service launched [alpha alive: assigned gone loaded/deactivating/stop-sigterm] [beta alive: assigned launched]
nowhere.service launched pending(no machine fits)
old.service launched [beta alive: assigned launched]
runs.service launched [alpha alive: assigned launched loaded/active/running]
starts.service launched [beta alive: assigned launched]
stray.service unknown [alpha alive: unclaimed loaded/active/running]
waits.service inactive
`
	if got := r.list(); got != want {
		t.Fatalf("got\n%swant\n%s", got, want)
	}
	// Moved away from C: what was there is hearsay (A-12: single).
	r.observe(machineC, "waits.service", "active", "running")
	// Destroyed; only a machine that is gone may still have a copy.
	r.put(registry.UnitKey("destroyed.service"), &registry.Unit{Target: registry.Target_GONE, Generation: 2})
	r.observe(machineC, "destroyed.service", "active", "running")
	if got := r.list(); got != want {
		t.Fatalf("with the silent machine's hearsay: got\n%swant\n%s", got, want)
	}
	// One at a time gives the same as all at once.
	units, err := r.client.Units(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range units.Units {
		one, err := r.client.Unit(r.ctx, u.Name)
		if err != nil || show(one) != show(u) {
			t.Errorf("alone: %s (%v), in the list: %s", show(one), err, show(u))
		}
		if u.Known && u.Description != "Web" {
			t.Errorf("%s is described as %q", u.Name, u.Description)
		}
	}
	// The silent machine dies: what it last said no longer counts.
	r.clock.move(time.Minute)
	if got := r.list("held*"); got != "held.service launched [gamma dead: assigned launched]\n" {
		t.Errorf("after its machine's death: %s", got)
	}
	r.assign(machineC, "held.service", registry.Target_GONE)
	if got := r.list("held*"); got != "held.service launched\n" {
		t.Errorf("moved off the dead machine: %s", got)
	}
	if _, err := r.client.Unit(r.ctx, "nobody.service"); ExitCode(err) != ExitUnknown {
		t.Errorf("an unknown unit: %v", err)
	}
}

func TestC03_BrokenRecordsAreNamed(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, TargetLaunched, "web.service", "lost.service")
	r.write(registry.Op{Key: registry.UnitKey("garbage.service"), Value: []byte("\xff\xff")},
		registry.Op{Key: registry.AssignmentsPrefix + "junk", Value: []byte("x")},
		registry.Op{Key: registry.AssignmentsPrefix + "/junk", Value: []byte("x")},
		registry.Op{Key: registry.MachineKey(machineB), Value: []byte("\xff")})
	r.assign(machineA, "web.service", registry.Target_LAUNCHED)
	u, err := r.client.Unit(r.ctx, "garbage.service")
	if err != nil || !strings.Contains(u.Broken, "units/garbage.service") {
		t.Errorf("%+v, %v", u, err)
	}
	u, err = r.client.Unit(r.ctx, "web.service")
	if err != nil || len(u.States) != 1 || u.Broken != "" {
		t.Errorf("beside it: %+v, %v", u, err)
	}
	if got := r.change(Change{Name: "garbage.service", Target: TargetLaunched}); !strings.Contains(got, "units/garbage.service") {
		t.Errorf("starting it: %s", got)
	}
	if got := r.change(Change{Name: "garbage.service", Target: TargetGone}); !strings.Contains(got, "gone") {
		t.Errorf("destroying it: %s", got)
	}
	r.write(registry.Op{Delete: registry.Prefix(registry.FilesPrefix)})
	r.server.control.Load().files = newFileCache()
	u, err = r.client.Unit(r.ctx, "lost.service")
	if err != nil || !strings.Contains(u.Broken, "is not in the registry; submit it again") {
		t.Errorf("without its file: %+v, %v", u, err)
	}
	machines, err := r.client.Machines(r.ctx)
	if err != nil || len(machines.Machines) != 2 || !strings.Contains(machines.Machines[1].Why, "machines/"+string(machineB)) {
		t.Errorf("%+v, %v", machines, err)
	}
}

func TestMachines(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.put(registry.MemberKey(machineA), &registry.Member{})
	r.put(registry.LeaderKey, &registry.Leader{Machine: string(machineA)})
	r.assign(machineA, "a.service", registry.Target_LAUNCHED)
	r.assign(machineA, "b.service", registry.Target_GONE)
	states := func() string {
		t.Helper()
		list, err := r.client.Machines(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, m := range list.Machines {
			words = append(words, m.Hostname+" "+m.State)
		}
		return strings.Join(words, ", ")
	}
	list, err := r.client.Machines(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if a := list.Machines[0]; !a.Leader || !a.Member || a.Units != 1 || a.Metadata["disk"] != "ssd" || a.Gate == "" {
		t.Errorf("alpha is %+v", a)
	}
	if got := states(); got != "alpha alive, beta silent" {
		t.Errorf("at first %s", got)
	}
	r.clock.move(deadAfterDefault)
	if got := states(); got != "alpha alive, beta dead" {
		t.Errorf("later %s", got)
	}
	r.put(registry.AwayKey(machineB), &registry.Away{SinceUnixMs: r.clock.now().UnixMilli()})
	if got := states(); got != "alpha alive, beta away" {
		t.Errorf("with its away mark %s", got)
	}
	r.clock.move(awayLimitDefault)
	if got := states(); got != "alpha alive, beta dead" {
		t.Errorf("away too long %s", got)
	}
	r.alive(machineB)
	r.write(registry.Op{Delete: registry.Single(registry.AwayKey(machineB))})
	if got := states(); got != "alpha alive, beta alive" {
		t.Errorf("back %s", got)
	}
}

func TestA16_MachineIsAwayWhileItsLeaseLasts(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.alive(machineB)
	r.put(registry.AwayKey(machineB), &registry.Away{SinceUnixMs: r.clock.now().UnixMilli()})
	r.assign(machineB, "web.service", registry.Target_LAUNCHED)
	r.observe(machineB, "web.service", "active", "running")
	if got, want := r.list(), "web.service unknown [beta away: assigned launched loaded/active/running]\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// So it can be removed at once, too.
	if err := r.client.RemoveMachine(r.ctx, "beta", false); err != nil {
		t.Fatal(err)
	}
	if rest, err := r.store.Range(r.ctx, registry.Single(registry.AliveKey(machineB))); err != nil || len(rest.Records) != 0 {
		t.Errorf("left behind: %v, %v", rest, err)
	}
}

func TestSuspectedMachine(t *testing.T) {
	r := newRig(t)
	p := newPicture(r.copy.View(), newFileCache(), health{suspected: func(registry.MachineID) bool { return true }}, r.clock.now())
	if _, err := r.client.Machines(r.ctx); err != nil { // so that the copy has A
		t.Fatal(err)
	}
	p = newPicture(r.copy.View(), newFileCache(), p.health, r.clock.now())
	if got := p.allMachines(); len(got) != 1 || got[0].State != StateSuspect {
		t.Errorf("got %+v", got)
	}
}

// The list calls a machine dead when the engine does: once its lease is gone
// and gossip agrees.
func TestMachineWithoutALeaseIsDeadWhenGossipAgrees(t *testing.T) {
	for _, agrees := range []bool{false, true} {
		c := &Control{DeadAfter: time.Minute, Lost: func(registry.MachineID) bool { return agrees }}
		c.missing = map[registry.MachineID]time.Time{}
		start := time.Unix(1700000000, 0)
		_ = c.health(start).dead(machineB)
		if got := c.health(start.Add(3 * time.Second)).dead(machineB); got != agrees {
			t.Errorf("gossip agrees: %v; after 3s dead: %v", agrees, got)
		}
		if !c.health(start.Add(time.Minute)).dead(machineB) {
			t.Errorf("gossip agrees: %v; not dead after a minute", agrees)
		}
	}
}

func TestMachineSettings(t *testing.T) {
	r := newRig(t)
	yes := true
	if err := r.client.SetMachine(r.ctx, "alpha", SettingsChange{Cordon: &yes, Metadata: map[string]string{"region": "eu", "disk": "hdd"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.client.SetMachine(r.ctx, "aaaa", SettingsChange{Unset: []string{"disk"}}); err != nil {
		t.Fatal(err)
	}
	list, err := r.client.Machines(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	a := list.Machines[0]
	if _, has := a.Metadata["disk"]; has || a.Metadata["region"] != "eu" || !a.Cordon || a.Drain {
		t.Errorf("alpha is %+v", a)
	}
	if err := r.client.SetMachine(r.ctx, "alpha", SettingsChange{Unset: []string{"hostname"}}); ExitCode(err) != ExitUsage {
		t.Errorf("its host name: %v", err)
	}
	if err := r.client.SetMachine(r.ctx, "nobody", SettingsChange{}); ExitCode(err) != ExitUnknown {
		t.Errorf("an unknown machine: %v", err)
	}
}

func TestRemoveMachine(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.put(registry.SettingsKey(machineB), &registry.Settings{Cordon: true})
	if err := r.client.RemoveMachine(r.ctx, machineA, false); ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "alpha is alive") {
		t.Errorf("one that is alive: %v", err)
	}
	if err := r.client.RemoveMachine(r.ctx, "beta", false); err != nil {
		t.Fatal(err)
	}
	rest, err := r.store.Range(r.ctx, registry.Prefix(registry.SettingsPrefix))
	if err != nil || len(rest.Records) != 1 || rest.Records[0].Key != registry.RemovedKey(machineB) || rest.Records[0].Lease == 0 {
		t.Errorf("left behind: %v, %v", rest, err)
	}
	if err := r.client.RemoveMachine(r.ctx, "beta", false); ExitCode(err) != ExitUnknown {
		t.Errorf("once more: %v", err)
	}
	if err := r.client.RemoveMachine(r.ctx, machineA, true); err != nil {
		t.Errorf("by force: %v", err)
	}
}

// A registry that is away for a moment, as while etcd's leader changes, delays
// a list and does not fail it.
func TestListWaitsForARegistryThatComesBack(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "web.service")
	r.store.Cut()
	heal := time.AfterFunc(3*freshAgain, r.store.Heal)
	defer heal.Stop()
	units, err := r.client.Units(r.ctx)
	if err != nil || units.Stale != 0 || len(units.Units) != 1 {
		t.Errorf("%d units, %v old, %v", len(units.Units), units.Stale, err)
	}
}

func TestStaleListWhenTheRegistryIsSilent(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "web.service")
	r.store.Cut()
	units, err := r.client.Units(r.ctx)
	if err != nil || units.Stale <= 0 || show(units.Units...) != "web.service inactive\n" {
		t.Errorf("units %+v, %v", units, err)
	}
	if machines, err := r.client.Machines(r.ctx); err != nil || machines.Stale <= 0 || len(machines.Machines) != 1 {
		t.Errorf("machines %+v, %v", machines, err)
	}
	if u, err := r.client.Unit(r.ctx, "web.service"); err != nil || u.Stale <= 0 {
		t.Errorf("unit %+v, %v", u, err)
	}
	if src, err := r.client.File(r.ctx, unit.HashOf([]byte(web))); err != nil || string(src) != web {
		t.Errorf("file %q, %v", src, err)
	}
	_, err = r.client.Apply(r.ctx, Apply{Changes: []Change{{Name: "web.service", Target: TargetLaunched}}})
	if ExitCode(err) != ExitNoAnswer {
		t.Errorf("a change: exit %d, %v", ExitCode(err), err)
	}
	r.store.Heal()
	if units, err := r.client.Units(r.ctx); err != nil || units.Stale != 0 {
		t.Errorf("healed: %+v, %v", units, err)
	}
}

// A copy that never was complete is an error, never an empty list.
func TestNoListBeforeTheRegistryWasRead(t *testing.T) {
	r := newRig(t)
	r.store.Cut()
	if err := r.server.SetControl(&Control{Store: r.store, Copy: registry.NewCopy(r.store, CopyRanges(), r.server.Log)}); err != nil {
		t.Fatal(err)
	}
	if units, err := r.client.Units(r.ctx); ExitCode(err) != ExitNoAnswer {
		t.Errorf("got %+v, %v", units, err)
	}
}

func TestWatch(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "web.service")
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	steps := []struct {
		see  string
		then func()
	}{
		{"nobody.service unknown\n", func() {}},
		{"web.service inactive\n", func() { r.change(Change{Name: "web.service", Target: TargetLaunched}) }},
		{"web.service launched\n", func() { r.assign(machineA, "web.service", registry.Target_LAUNCHED) }},
		{"web.service launched [alpha alive: assigned launched]\n", func() { r.observe(machineA, "web.service", "active", "running") }},
		{"web.service launched [alpha alive: assigned launched loaded/active/running]\n", func() {
			r.write(registry.Op{Delete: registry.Prefix(registry.UnitsPrefix)}, registry.Op{Delete: registry.Prefix(registry.AssignmentsPrefix)},
				registry.Op{Delete: registry.Prefix(registry.ObservedPrefix)})
		}},
		{"web.service unknown\n", func() { r.mustSubmit(web, "", "nobody.service") }},
		{"nobody.service inactive\n", nil},
	}
	for u, err := range r.client.Watch(ctx, "web.service", "nobody.service") {
		if err != nil {
			t.Fatalf("waiting for %s: %v", steps[0].see, err)
		}
		if got := show(u); got != steps[0].see {
			t.Fatalf("saw %swant %s", got, steps[0].see)
		}
		if steps[0].then == nil {
			return
		}
		steps[0].then()
		steps = steps[1:]
	}
	t.Fatalf("the watch ended, still waiting for %s", steps[0].see)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	var last error
	for _, err := range r.client.Watch(ctx, "web.service") {
		last = err
		cancel()
	}
	if ExitCode(last) != ExitCanceled {
		t.Errorf("it ended with %v", last)
	}
}

// While its registry starts, a control machine asks nobody else.
func TestControlMachineThatIsStarting(t *testing.T) {
	r := newRig(t)
	if err := r.server.SetControl(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Units(r.ctx); ExitCode(err) != ExitNoAnswer || !strings.Contains(err.Error(), "still starting") {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
	if err := r.server.SetControl(r.control); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Units(r.ctx); err != nil {
		t.Error(err)
	}
}
