package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
)

func TestMoveUnit(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.mustSubmit(web, TargetLaunched, "web.service")
	r.mustSubmit(web, TargetInactive, "idle.service")
	r.mustSubmit(web+"[X-Cluster]\nGlobal=yes\n", TargetLaunched, "global.service")
	r.assign(machineA, "web.service", registry.Target_LAUNCHED)
	before, err := r.client.Unit(r.ctx, "web.service")
	if err != nil {
		t.Fatal(err)
	}
	moved, err := r.client.Move(r.ctx, "web.service", "beta")
	if err != nil || moved.Generation != before.Generation || moved.Revision <= before.Revision {
		t.Fatalf("before %+v, after %+v, %v", before, moved, err)
	}
	u, err := r.client.Unit(r.ctx, "web.service")
	if err != nil || u.Revision != moved.Revision || u.Wish == nil || u.Wish.Machine != machineB || u.Wish.Hostname != "beta" || u.Wish.Who == "" {
		t.Errorf("it is %+v, %v", u, err)
	}
	// Any other change of the unit ends the wish.
	r.change(Change{Name: "web.service", Target: TargetLoaded})
	if w := r.unit("web.service").Wish; w != nil {
		t.Errorf("its wish outlives a change: %v", w)
	}
	for _, tt := range []struct {
		unit, machine string
		exit          int
		says          string
	}{
		{"web.service", "nobody", ExitUnknown, "no such machine"},
		{"none.service", "beta", ExitUnknown, "not in the registry"},
		{"idle.service", "beta", ExitFailed, "start it first: clusterctl start idle.service"},
		{"global.service", "beta", ExitUsage, "it is global"},
	} {
		_, err := call[Unit](r.ctx, r.client, "POST", "/units/"+tt.unit+"/move", MoveRequest{Machine: tt.machine})
		if ExitCode(err) != tt.exit || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("move %s to %s: exit %d, %v", tt.unit, tt.machine, ExitCode(err), err)
		}
	}
}

func TestConfirmDead(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	if err := r.client.ConfirmDead(r.ctx, "alpha"); ExitCode(err) != ExitFailed || !strings.Contains(err.Error(), "alpha keeps its lease") {
		t.Errorf("one that is alive: %v", err)
	}
	if err := r.client.ConfirmDead(r.ctx, "nobody"); ExitCode(err) != ExitUnknown {
		t.Errorf("an unknown one: %v", err)
	}
	for range 2 { // saying so twice is as good as once
		if err := r.client.ConfirmDead(r.ctx, "beta"); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.client.Machines(r.ctx)
	if err != nil || list.Machines[1].State != StateDead || !strings.HasSuffix(list.Machines[1].Why, " confirmed it") {
		t.Errorf("beta is %+v, %v", list.Machines[1], err)
	}
	// One that had said itself that it is away, since when.
	r.machine(machineC, "gamma", "127.0.0.1:1")
	since := time.Now().Add(-time.Minute).UnixMilli()
	r.put(registry.AwayKey(machineC), &registry.Away{SinceUnixMs: since, Incarnation: "boot7"})
	if err := r.client.ConfirmDead(r.ctx, "gamma"); err != nil {
		t.Fatal(err)
	}
	found, err := r.store.Range(r.ctx, registry.Single(registry.AwayKey(machineC)))
	if err != nil || len(found.Records) != 1 {
		t.Fatal(found, err)
	}
	away, err := registry.Decode[registry.Away](found.Records[0])
	if err != nil || away.SinceUnixMs != since || away.Incarnation != "boot7" || !away.Shutdown || away.ConfirmedBy == "" {
		t.Errorf("gamma's mark is %v, %v", away, err)
	}
}

func TestMachineUnits(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1")
	r.alive(machineB)
	r.mustSubmit(web, TargetLaunched, "a.service", "b.service")
	r.assign(machineA, "a.service", registry.Target_LAUNCHED)
	r.assign(machineB, "b.service", registry.Target_LAUNCHED)
	r.observe(machineA, "c.service", "active", "running") // unclaimed
	list, err := r.client.MachineUnits(r.ctx, "alpha")
	if got := show(list.Units...); err != nil || got != "a.service launched [alpha alive: assigned launched]\nc.service unknown [alpha alive: unclaimed loaded/active/running]\n" {
		t.Errorf("on alpha: %s%v", got, err)
	}
	if _, err := r.client.MachineUnits(r.ctx, "nobody"); ExitCode(err) != ExitUnknown {
		t.Errorf("on nobody: %v", err)
	}
}

// what operators set counts for more than what the machine says of
// itself, which stays as it is and comes back once they take theirs back.
func TestA26_Metadata(t *testing.T) {
	r := newRig(t) // alpha says disk=ssd
	for _, step := range []struct {
		change SettingsChange
		want   string
	}{
		{SettingsChange{Metadata: map[string]string{"rack": "7", "disk": "hdd"}}, "map[disk:hdd hostname:alpha rack:7] set map[disk:hdd rack:7] unset []"},
		{SettingsChange{Metadata: map[string]string{"rack": "8"}}, "map[disk:hdd hostname:alpha rack:8] set map[disk:hdd rack:8] unset []"},
		{SettingsChange{Unset: []string{"disk", "rack"}}, "map[hostname:alpha] set map[] unset [disk rack]"},
		{SettingsChange{Reset: []string{"disk", "rack", "none"}}, "map[disk:ssd hostname:alpha] set map[] unset []"},
		{SettingsChange{Metadata: map[string]string{"disk": "hdd"}, Reset: []string{"rack"}}, "map[disk:hdd hostname:alpha] set map[disk:hdd] unset []"},
		{SettingsChange{Reset: []string{"disk"}}, "map[disk:ssd hostname:alpha] set map[] unset []"},
	} {
		if err := r.client.SetMachine(r.ctx, "alpha", step.change); err != nil {
			t.Fatal(err)
		}
		list, err := r.client.Machines(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		m := list.Machines[0]
		if got := fmt.Sprintf("%v set %v unset %v", m.Metadata, m.Set, m.Unset); got != step.want {
			t.Errorf("after %+v: got %s, want %s", step.change, got, step.want)
		}
		if own := fmt.Sprint(m.Own); own != "map[disk:ssd hostname:alpha]" {
			t.Errorf("its own: %s", own)
		}
	}
	many := map[string]string{}
	for i := range metadataMax + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	for name, change := range map[string]SettingsChange{
		"no key":             {Metadata: map[string]string{"": "x"}},
		"a space in a key":   {Metadata: map[string]string{"a b": "x"}},
		"an operator in one": {Unset: []string{"a<b"}},
		"no value":           {Metadata: map[string]string{"a": ""}},
		"two lines":          {Metadata: map[string]string{"a": "b\nc"}},
		"a long value":       {Metadata: map[string]string{"a": strings.Repeat("x", metadataValueMax+1)}},
		"a long key":         {Metadata: map[string]string{strings.Repeat("x", metadataKeyMax+1): "a"}},
		"set and unset":      {Metadata: map[string]string{"a": "b"}, Unset: []string{"a"}},
		"the host name":      {Reset: []string{"hostname"}},
		"a fact":             {Metadata: map[string]string{"arch": "arm64"}},
		"too many":           {Metadata: many},
	} {
		if err := r.client.SetMachine(r.ctx, "alpha", change); ExitCode(err) != ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
