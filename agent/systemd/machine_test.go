//go:build machine

package systemd

// These tests need systemd as process 1 of a machine that may be spoiled.
// functional/ runs them on a lab machine.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/registry/mem"
	"github.com/clusterd/clusterd/unit"
)

// rig is a driver with what its Watch told last.
type rig struct {
	*Driver
	t    *testing.T
	mu   sync.Mutex
	seen map[unit.Name]agent.Status
}

func newRig(t *testing.T) *rig {
	r := &rig{Driver: New(Config{Log: slog.New(slog.DiscardHandler)}), t: t, seen: map[unit.Name]agent.Status{}}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			err := r.Watch(ctx, func(u unit.Name, s agent.Status) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.seen[u] = s
			})
			if ctx.Err() == nil {
				t.Logf("watch: %v", err)
				<-time.After(50 * time.Millisecond)
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait(); r.Close() })
	return r
}

// file makes u known and returns its file's text.
func (r *rig) track(u unit.Name) {
	r.t.Helper()
	if _, err := r.Observe(r.t.Context(), []unit.Name{u}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		ctx := context.Background()
		for _, v := range []agent.Verb{agent.Stop, agent.ResetFailed, agent.Remove, agent.Gone} {
			if err := r.Do(ctx, agent.Action{Verb: v, Unit: u}); err != nil {
				r.t.Errorf("clean up: %v", err)
			}
		}
	})
}

func (r *rig) do(u unit.Name, verbs ...agent.Verb) {
	r.t.Helper()
	for _, v := range verbs {
		if err := r.Do(r.t.Context(), agent.Action{Verb: v, Unit: u}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) put(u unit.Name, text string) {
	r.t.Helper()
	if err := r.Do(r.t.Context(), agent.Action{Verb: agent.Write, Unit: u, File: []byte(text)}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) await(u unit.Name, what string, ok func(agent.Status) bool) agent.Status {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		r.mu.Lock()
		s := r.seen[u]
		r.mu.Unlock()
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited for %s to be %s, last seen %+v", u, what, s)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func show(t *testing.T, u unit.Name, property string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--value", "-p", property, "--", string(u)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func service(command string, more ...string) string {
	return "[Service]\n" + strings.Join(more, "\n") + "\nExecStart=" + command + "\n"
}

func TestLifeOfAUnit(t *testing.T) {
	for _, u := range []unit.Name{"drv-life.service", `drv\x2dlife@a\x2db:1.service`} {
		t.Run(string(u), func(t *testing.T) {
			r := newRig(t)
			r.track(u)
			r.put(u, service("/bin/sleep 1001"))
			r.do(u, agent.Start)
			s := r.await(u, "active", func(s agent.Status) bool { return s.Active == "active" && s.MainPID != 0 })
			if s.Load != "loaded" || s.Sub != "running" || s.MainStart.IsZero() || s.Since.IsZero() || s.Result != "success" {
				t.Errorf("status %+v", s)
			}
			if got := show(t, u, "MainPID"); got != fmt.Sprint(s.MainPID) {
				t.Errorf("MainPID %s, seen %d", got, s.MainPID)
			}
			r.do(u, agent.Stop, agent.ResetFailed, agent.AwaitUnloaded)
			r.put(u, service("/bin/sleep 1002"))
			r.do(u, agent.Check, agent.Start)
			if got := show(t, u, "ExecStart"); !strings.Contains(got, "1002") {
				t.Errorf("old text runs: %s", got)
			}
			if got := show(t, u, "NeedDaemonReload"); got != "no" {
				t.Errorf("NeedDaemonReload=%s", got)
			}
			pid := show(t, u, "MainPID")
			r.do(u, agent.Restart)
			if show(t, u, "MainPID") == pid {
				t.Error("restart kept the PID")
			}
			r.do(u, agent.Stop, agent.Remove)
			r.await(u, "unloaded", func(s agent.Status) bool { return !s.Loaded() })
			if r.begun != 0 {
				t.Errorf("%d reloads", r.begun)
			}
		})
	}
}

func TestC15_NewTextRunsThoughAnotherUnitNamesIt(t *testing.T) {
	r := newRig(t)
	r.track("drv-main.service")
	r.track("drv-side.service")
	r.put("drv-main.service", service("/bin/sleep 1001"))
	r.put("drv-side.service", "[Unit]\nWants=drv-main.service\nAfter=drv-main.service\n"+service("/bin/sleep 1003"))
	r.do("drv-side.service", agent.Start)
	r.await("drv-main.service", "active", func(s agent.Status) bool { return s.Active == "active" })
	r.do("drv-main.service", agent.Stop, agent.ResetFailed, agent.AwaitUnloaded)
	r.put("drv-main.service", service("/bin/sleep 1002"))
	r.do("drv-main.service", agent.Check, agent.Start)
	if got := show(t, "drv-main.service", "ExecStart"); !strings.Contains(got, "1002") {
		t.Errorf("old text runs: %s", got)
	}
	if r.begun != 1 {
		t.Errorf("%d reloads, want 1", r.begun)
	}
}

func TestC15_StopTellsWhatItTakesAlong(t *testing.T) {
	r := newRig(t)
	r.track("drv-base.service")
	r.put("drv-base.service", service("/bin/sleep 1001"))
	units := map[unit.Name]string{
		"drv-bound.service":  "BindsTo=drv-base.service",
		"drv-needs.service":  "Requires=drv-bound.service",
		"drv-part.service":   "PartOf=drv-base.service",
		"drv-wants.service":  "Wants=drv-base.service",
		"drv-ended.service":  "Requires=drv-base.service",
		"drv-idle@1.service": "BindsTo=drv-base.service",
	}
	for u, how := range units {
		r.track(u)
		r.put(u, "[Unit]\n"+how+"\nAfter=drv-base.service\n"+service("/bin/sleep 1002"))
	}
	delete(units, "drv-idle@1.service")
	for u := range units {
		r.do(u, agent.Start)
	}
	r.do("drv-ended.service", agent.Stop)
	var along []unit.Name
	err := r.Do(t.Context(), agent.Action{Verb: agent.Stop, Unit: "drv-base.service", Along: func(units []unit.Name) error { along = units; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(along)
	if got, want := fmt.Sprint(along), "[drv-bound.service drv-needs.service drv-part.service]"; got != want {
		t.Errorf("it takes along %s, want %s", got, want)
	}
}

func TestA14_SidekickFollowsItsUnit(t *testing.T) {
	r := newRig(t)
	main, side := unit.Name("drv-lead.service"), unit.Name("drv-kick.service")
	r.track(main)
	r.track(side)
	r.put(main, service("/bin/sleep 1001"))
	err := r.Do(t.Context(), agent.Action{Verb: agent.Write, Unit: side, WantedBy: []unit.Name{main, "multi-user.target"},
		File: []byte("[Unit]\nBindsTo=drv-lead.service\nAfter=drv-lead.service\n" + service("/bin/sleep 1002"))})
	if err != nil {
		t.Fatal(err)
	}
	active := func(s agent.Status) bool { return s.Active == "active" }
	inactive := func(s agent.Status) bool { return s.Active == "" || s.Active == "inactive" }
	for range 2 {
		r.do(main, agent.Start)
		r.await(side, "started with its unit", active)
		r.do(main, agent.Stop)
		r.await(side, "stopped with its unit", inactive)
	}
	if _, err := os.Lstat("/run/systemd/system/multi-user.target.wants/drv-kick.service"); err == nil {
		t.Error("the machine's own target pulls it in")
	}
	r.do(side, agent.Remove)
	if _, err := os.Lstat("/run/systemd/system/drv-lead.service.wants"); err == nil {
		t.Error("its link is left behind")
	}
}

// TestA14_LinksAreSeenByUnitsInMemory: what leads is in systemd's memory before
// its sidekick comes, and stays there after that has gone.
func TestA14_LinksAreSeenByUnitsInMemory(t *testing.T) {
	r := newRig(t)
	main, other, side := unit.Name("drv-led.service"), unit.Name("drv-names.service"), unit.Name("drv-late.service")
	for _, u := range []unit.Name{main, other, side} {
		r.track(u)
	}
	r.put(main, service("/bin/sleep 1001"))
	r.put(other, "[Unit]\nAfter=drv-led.service\n"+service("/bin/sleep 1002"))
	r.do(main, agent.Start)
	r.do(other, agent.Start)
	text := []byte("[Unit]\nPartOf=drv-led.service\n" + service("/bin/sleep 1003"))
	active := func(s agent.Status) bool { return s.Active == "active" }
	for _, late := range []agent.Action{
		{Verb: agent.Write, Unit: side, File: text, WantedBy: []unit.Name{main}},
		{Verb: agent.Write, Unit: side, File: text, RequiredBy: []unit.Name{main}},
	} {
		if err := r.Do(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		r.do(main, agent.Stop, agent.Start)
		r.await(side, "started with its unit", active)
	}
	before := r.begun
	if err := r.Do(t.Context(), agent.Action{Verb: agent.Write, Unit: side, File: text, RequiredBy: []unit.Name{main}}); err != nil || r.begun != before {
		t.Errorf("nothing new: %v, %d reloads", err, r.begun-before)
	}
	r.do(main, agent.Stop)
	r.do(side, agent.Remove)
	r.do(main, agent.Start)
	if before += 1; r.begun != before {
		t.Errorf("%d reloads, want %d", r.begun, before)
	}
}

// TestA14_LinksAreSeenAfterNoAnswer: systemd does not answer when a sidekick was
// written or removed. The file is not written again, but its links are seen.
func TestA14_LinksAreSeenAfterNoAnswer(t *testing.T) {
	r := newRig(t)
	main, side := unit.Name("drv-mute.service"), unit.Name("drv-kept.service")
	r.track(main)
	r.track(side)
	r.put(main, service("/bin/sleep 1001"))
	r.put("drv-holds.service", "[Unit]\nAfter=drv-mute.service\n"+service("/bin/sleep 1002"))
	r.track("drv-holds.service")
	r.do(main, agent.Start)
	r.do("drv-holds.service", agent.Start)
	unanswered, cancel := context.WithCancel(t.Context())
	cancel()
	text := []byte("[Unit]\nPartOf=drv-mute.service\n" + service("/bin/sleep 1003"))
	active := func(s agent.Status) bool { return s.Active == "active" }
	inactive := func(s agent.Status) bool { return s.Active == "" || s.Active == "inactive" }
	another := func() *Driver {
		d := New(Config{Log: slog.New(slog.DiscardHandler)})
		t.Cleanup(d.Close)
		return d
	}
	for _, tt := range []struct {
		name string
		next agent.Verb
		by   *Driver
		link agent.Action
	}{
		{"then checked", agent.Check, r.Driver, agent.Action{WantedBy: []unit.Name{main}}},
		{"then started", agent.Start, r.Driver, agent.Action{RequiredBy: []unit.Name{main}}},
		{"then checked by another clusterd", agent.Check, another(), agent.Action{WantedBy: []unit.Name{main}}},
		{"then started by another clusterd", agent.Start, another(), agent.Action{RequiredBy: []unit.Name{main}}},
	} {
		write := tt.link
		write.Verb, write.Unit, write.File = agent.Write, side, text
		if err := r.Do(unanswered, write); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if s := r.files(side); string(s.File) != string(text) {
			t.Fatalf("%s: not written", tt.name)
		}
		if err := tt.by.Do(t.Context(), agent.Action{Verb: tt.next, Unit: side}); err != nil {
			t.Fatal(err)
		}
		r.do(side, agent.Stop)
		r.do(main, agent.Stop)
		r.await(side, "stopped", inactive)
		r.do(main, agent.Start)
		r.await(side, "started with its unit, "+tt.name, active)
		r.do(main, agent.Stop)
		r.await(side, "stopped", inactive)
		if err := r.Do(unanswered, agent.Action{Verb: agent.Remove, Unit: side}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r.do(side, agent.Remove)
		before := r.begun
		r.do(main, agent.Start) // it required the other one
		r.do(side, agent.Remove)
		if r.begun != before {
			t.Errorf("%s: %d reloads for nothing", tt.name, r.begun-before)
		}
	}
}

func TestFailuresSayWhy(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct{ name, text, want string }{
		{"drv-exit.service", service("/bin/sh -c 'exit 3'", "Type=oneshot"), "drv-exit.service failed: exit-code 3"},
		{"drv-pre.service", service("/bin/sleep 9", "ExecStartPre=/bin/false"), "drv-pre.service failed: exit-code"},
		{"drv-time.service", service("/bin/sleep 9", "Type=oneshot", "TimeoutStartSec=200ms"), "drv-time.service failed: timeout"},
		{"drv-none.service", service("/no/such/program", "Type=exec"), "drv-none.service failed: exit-code 203"},
		{"drv-need.service", "[Unit]\nRequires=drv-missing.service\nAfter=drv-missing.service\n" + service("/bin/sleep 9"), "drv-need.service failed: Unit drv-missing.service not found."},
		{"drv-bad.service", "[Service]\nType=simple\n", "drv-bad.service failed: Unit drv-bad.service has a bad unit file setting; see systemd-analyze verify"},
	} {
		u := unit.Name(tt.name)
		r.track(u)
		r.put(u, tt.text)
		err := r.Do(t.Context(), agent.Action{Verb: agent.Start, Unit: u})
		var failure *agent.Failure
		if !errors.As(err, &failure) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", u, err, tt.want)
		}
	}
	err := r.Do(t.Context(), agent.Action{Verb: agent.Check, Unit: "drv-bad.service"})
	var failure *agent.Failure
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "systemd-analyze verify") {
		t.Errorf("check: %v", err)
	}
}

func TestC04_HangingStartIsGivenUpAndStopped(t *testing.T) {
	r := newRig(t)
	u := unit.Name("drv-hang.service")
	r.track(u)
	r.put(u, service("/bin/sleep 9", "ExecStartPre=/bin/sleep 1000", "TimeoutStartSec=0"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Do(ctx, agent.Action{Verb: agent.Start, Unit: u}) }()
	r.await(u, "starting", func(s agent.Status) bool { return s.Active == "activating" })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v", err)
	}
	r.do(u, agent.Stop)
	r.await(u, "stopped", func(s agent.Status) bool { return s.Active == "" || s.Active == "inactive" || s.Active == "failed" })
}

func TestC14_NameTaken(t *testing.T) {
	r := newRig(t)
	for path, u := range map[string]unit.Name{
		"/etc/systemd/system/drv-mine.service":  "drv-mine.service",
		"/etc/systemd/system/drv-tmpl@.service": "drv-tmpl@1.service",
	} {
		if err := os.WriteFile(path, []byte(service("/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(path) }()
		states, err := r.Observe(t.Context(), []unit.Name{u})
		if err != nil || states[u].Taken != path {
			t.Errorf("%s: taken by %q, %v", u, states[u].Taken, err)
		}
		if err := r.Do(t.Context(), agent.Action{Verb: agent.Write, Unit: u, File: []byte("x")}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: written: %v", u, err)
		}
	}
}

func TestC02_SystemdAndBusRestart(t *testing.T) {
	r := newRig(t)
	u := unit.Name("drv-calm.service")
	r.track(u)
	r.put(u, service("/bin/sleep 1001"))
	r.do(u, agent.Start)
	pid := r.await(u, "active", func(s agent.Status) bool { return s.MainPID != 0 }).MainPID
	if out, err := exec.Command("systemctl", "daemon-reexec").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		states, err := r.Observe(t.Context(), []unit.Name{u})
		if err == nil && states[u].MainPID == pid && states[u].Active == "active" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after daemon-reexec: %+v, %v", states[u].Status, err)
		}
		<-time.After(20 * time.Millisecond)
	}
	if out, err := exec.Command("systemctl", "kill", "-s", "KILL", string(u)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := r.await(u, "killed", func(s agent.Status) bool { return s.Active == "failed" })
	if s.Result != "signal" || s.ExitStatus != 9 {
		t.Errorf("status %+v", s)
	}
}

// TestC02_ReloadOfSystemd: systemd forgets all its units for a moment then, and
// tells so. What runs is not seen as stopped, and what ended is seen as ended.
func TestC02_ReloadOfSystemd(t *testing.T) {
	r := newRig(t)
	const running = 150 // more than systemd tells of in one go
	units := make([]unit.Name, running)
	for i := range units {
		units[i] = unit.Name(fmt.Sprintf("drv-reload@%d.service", i))
		r.track(units[i])
		r.put(units[i], service("/bin/sleep 1001"))
	}
	for _, u := range units {
		r.do(u, agent.Start)
	}
	failed := unit.Name("drv-reload-failed.service")
	r.track(failed)
	r.put(failed, service("/bin/false", "Type=oneshot"))
	if err := r.Do(t.Context(), agent.Action{Verb: agent.Start, Unit: failed}); err == nil {
		t.Fatal("it did not fail")
	}
	before := map[unit.Name]agent.Status{}
	for _, u := range units {
		before[u] = r.await(u, "active", func(s agent.Status) bool { return s.Active == "active" && s.MainPID != 0 && s.Sub == "running" })
	}
	for range 3 {
		if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
			states, err := r.Observe(t.Context(), units)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range units {
				if s := states[u].Status; s != before[u] {
					t.Fatalf("%s was %+v, is seen as %+v", u, before[u], s)
				}
			}
		}
		r.await(failed, "failed still", func(s agent.Status) bool { return s.Active == "failed" && s.Result == "exit-code" })
	}
	if err := exec.Command("systemctl", "kill", "-s", "KILL", string(units[running-1])).Run(); err != nil {
		t.Fatal(err)
	}
	r.await(units[running-1], "killed", func(s agent.Status) bool { return s.Active == "failed" && s.MainPID == 0 })
}

func TestTools(t *testing.T) {
	r := newRig(t)
	u := unit.Name("drv-tools.service")
	r.track(u)
	r.put(u, "[Unit]\nDescription=Says hello\n"+service("/bin/sh -c 'echo hello from inside; exec sleep 1000'"))
	r.do(u, agent.Start)
	var out bytes.Buffer
	if exit, err := r.Status(t.Context(), u, &out); exit != 0 || err != nil || !strings.Contains(out.String(), "Active: active") {
		t.Errorf("status: %d, %v\n%s", exit, err, out.String())
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(out.String(), "hello from inside") && time.Now().Before(deadline) {
		out.Reset()
		if err := r.Journal(t.Context(), u, api.JournalOptions{Lines: 10, Output: "cat"}, &out); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(out.String(), "hello from inside") {
		t.Errorf("journal: %s", out.String())
	}
	r.do(u, agent.Stop)
	out.Reset()
	if exit, _ := r.Status(t.Context(), u, &out); exit != 3 {
		t.Errorf("status of a stopped unit: %d\n%s", exit, out.String())
	}
	if r.Stopping(t.Context()) {
		t.Error("the machine is said to go down")
	}
	if v, err := r.Version(t.Context()); err != nil || v == "" {
		t.Errorf("version %q, %v", v, err)
	}
}

// TestAgentOnSystemd runs the whole agent over a registry in memory.
func TestAgentOnSystemd(t *testing.T) {
	const units = 100
	const me = registry.MachineID("11111111111111111111111111111111")
	store, dir := mem.New(mem.Options{}), t.TempDir()
	text := []byte(service("/bin/sleep 10%i"))
	ops := []registry.Op{
		{Key: registry.ClusterKey, Value: registry.Encode(&registry.Cluster{Id: "c1", Epoch: 1})},
		{Key: registry.FileKey(unit.HashOf(text)), Value: text},
	}
	for i := range units {
		a := &registry.Assignment{File: string(unit.HashOf(text)), Target: registry.Target_LAUNCHED, Generation: 1}
		ops = append(ops, registry.Op{Key: registry.AssignmentKey(me, name(i)), Value: registry.Encode(a)})
	}
	if _, err := store.Commit(t.Context(), nil, ops); err != nil {
		t.Fatal(err)
	}
	run := func() (stop func()) {
		d := New(Config{Log: slog.New(slog.DiscardHandler)})
		a, err := agent.New(agent.Config{Store: store, Manager: d, ID: me, Machine: &registry.Machine{Hostname: "m1"},
			Incarnation: "boot1", RunDir: dir, Stopping: d.Stopping, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			d.Close()
		}
	}
	begin := time.Now()
	stop := run()
	first := awaitAll(t, store, me, units, func(o *registry.Observed) bool { return o.Active == "active" && o.MainPid != 0 && o.Generation == 1 })
	t.Logf("%d units active and told after %v", units, time.Since(begin))
	stop()
	stop = run()
	second := awaitAll(t, store, me, units, func(o *registry.Observed) bool { return o.Active == "active" })
	for u, pid := range first {
		if second[u] != pid {
			t.Errorf("C-02: %s had PID %d, has %d", u, pid, second[u])
		}
	}
	begin = time.Now()
	ops = nil
	for i := range units {
		a := &registry.Assignment{Target: registry.Target_GONE, Generation: 2}
		ops = append(ops, registry.Op{Key: registry.AssignmentKey(me, name(i)), Value: registry.Encode(a)})
	}
	if _, err := store.Commit(t.Context(), nil, ops); err != nil {
		t.Fatal(err)
	}
	awaitAll(t, store, me, units, func(o *registry.Observed) bool { return o.Gone })
	t.Logf("%d units gone and told after %v", units, time.Since(begin))
	stop()
	if left, err := os.ReadDir("/run/systemd/system"); err != nil || strings.Contains(fmt.Sprint(left), "drv-many") {
		t.Errorf("C-09: left behind: %v, %v", left, err)
	}
}

func name(i int) unit.Name { return unit.Name(fmt.Sprintf("drv-many@%d.service", i)) }

func awaitAll(t *testing.T, store *mem.Store, me registry.MachineID, units int, ok func(*registry.Observed) bool) map[string]uint32 {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		s, err := store.Range(t.Context(), registry.Prefix(registry.ObservedOf(me)))
		if err != nil {
			t.Fatal(err)
		}
		pids, last := map[string]uint32{}, ""
		for _, rec := range s.Records {
			o, err := registry.Decode[registry.Observed](rec)
			if err != nil {
				t.Fatal(err)
			}
			if ok(o) {
				pids[rec.Key] = o.MainPid
			} else {
				last = fmt.Sprintf("%s: %v", rec.Key, o)
			}
		}
		if len(pids) == units {
			return pids
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d units are as awaited; one that is not: %s", len(pids), units, last)
		}
		<-time.After(20 * time.Millisecond)
	}
}
