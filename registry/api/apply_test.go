package api

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

func TestA03_SubmitListDestroy(t *testing.T) {
	r := newRig(t)
	var names []unit.Name
	for i := 9; i >= 1; i-- {
		names = append(names, unit.Name(fmt.Sprintf("web@%d.service", i)))
	}
	for round := range 2 {
		r.mustSubmit(web, "", names...)
		var want strings.Builder
		for i := 1; i <= 9; i++ {
			fmt.Fprintf(&want, "web@%d.service inactive\n", i)
		}
		if got := r.list(); got != want.String() {
			t.Fatalf("round %d lists\n%swant\n%s", round, got, want.String())
		}
		if got := r.list("web@[12].service"); got != "web@1.service inactive\nweb@2.service inactive\n" {
			t.Fatalf("glob lists\n%s", got)
		}
		var gone Apply
		for _, name := range names {
			gone.Changes = append(gone.Changes, Change{Name: name, Target: TargetGone})
		}
		if _, err := r.client.Apply(r.ctx, gone); err != nil {
			t.Fatal(err)
		}
		// What the engine's leader does once nothing is left anywhere.
		r.write(registry.Op{Delete: registry.Prefix(registry.UnitsPrefix)}, registry.Op{Delete: registry.Prefix(registry.FilesPrefix)})
		if got := r.list(); got != "" {
			t.Fatalf("round %d: after destroy\n%s", round, got)
		}
	}
}

func TestA07_FileComesBackByteForByte(t *testing.T) {
	r := newRig(t)
	for name, src := range map[unit.Name]string{
		"plain.service":   web,
		"crlf.service":    "# héllo\r\n\r\n[Service]\r\nExecStart=/bin/a \\\r\n  b\r\n",
		"long.service":    "[Service]\nEnvironment=X=" + strings.Repeat("x", 200_000) + "\nExecStart=/bin/a",
		"largest.service": web + "#" + strings.Repeat("y", unit.FileMax-len(web)-1),
	} {
		applied := r.mustSubmit(src, "", name)
		got, err := r.client.File(r.ctx, applied.Units[0].Hash)
		if err != nil || !bytes.Equal(got, []byte(src)) {
			t.Errorf("%s: %d bytes come back of %d: %v", name, len(got), len(src), err)
		}
	}
	src := "[Service]\n#" + strings.Repeat("y", unit.FileMax)
	if _, err := r.submit(src, "", "toolarge.service"); ExitCode(err) != ExitUsage {
		t.Errorf("a file that is too large: %v", err)
	}
	if got := r.list("toolarge*"); got != "" {
		t.Errorf("it was kept: %s", got)
	}
}

func TestApplyChanges(t *testing.T) {
	r := newRig(t)
	other := strings.Replace(web, "Web", "Other", 1)
	r.mustSubmit(web, "", "web.service", "tmpl@.service")
	r.mustSubmit(other, "", "other.service")
	h, o := unit.HashOf([]byte(web)), unit.HashOf([]byte(other))
	at := func(name string, hash unit.Hash) string { return name + "@" + hash.Short() }
	for _, step := range []struct {
		name   string
		change Change
		want   string
	}{
		{"submitting the same again changes nothing", Change{Name: "web.service", File: h}, at("web.service", h) + " inactive generation 1"},
		{"starting", Change{Name: "web.service", Target: TargetLaunched}, at("web.service", h) + " launched generation 2"},
		{"starting once more counts", Change{Name: "web.service", Target: TargetLaunched}, at("web.service", h) + " launched generation 3"},
		{"another file without leave", Change{Name: "web.service", File: o}, "exit 1: web.service: the cluster has it with another file"},
		{"another file with leave", Change{Name: "web.service", File: o, Replace: true}, at("web.service", o) + " launched generation 4"},
		{"restart", Change{Name: "web.service", Restart: true}, at("web.service", o) + " launched generation 5"},
		{"stop", Change{Name: "web.service", Target: TargetLoaded}, at("web.service", o) + " loaded generation 6"},
		{"restart of what is not to run", Change{Name: "web.service", Restart: true}, "exit 1: restart web.service: it is not to run"},
		{"unload", Change{Name: "web.service", Target: TargetInactive}, at("web.service", o) + " inactive generation 7"},
		{"unload once more changes nothing", Change{Name: "web.service", Target: TargetInactive}, at("web.service", o) + " inactive generation 7"},
		{"destroy", Change{Name: "web.service", Target: TargetGone}, at("web.service", o) + " gone generation 8"},
		{"destroy once more changes nothing", Change{Name: "web.service", Target: TargetGone}, at("web.service", o) + " gone generation 8"},
		{"starting what is being destroyed", Change{Name: "web.service", Target: TargetLaunched}, "exit 4: web.service: not in the registry; submit it first"},
		{"submitting it again revives it", Change{Name: "web.service", File: h, Target: TargetLaunched}, at("web.service", h) + " launched generation 9"},
		{"an instance takes its template's file", Change{Name: "tmpl@1.service", Target: TargetLaunched}, at("tmpl@1.service", h) + " launched generation 1"},
		{"but not when it has to exist", Change{Name: "tmpl@2.service", Target: TargetLoaded, Existing: true}, "exit 4: tmpl@2.service: not in the registry"},
		{"nor to be restarted", Change{Name: "tmpl@2.service", Restart: true}, "exit 4: tmpl@2.service: not in the registry"},
		{"nor to be destroyed", Change{Name: "tmpl@2.service", Target: TargetGone}, "exit 4: tmpl@2.service: not in the registry"},
		{"a template doesn't run", Change{Name: "tmpl@.service", Target: TargetLaunched}, "exit 2: tmpl@.service: a template can't run; use an instance of it, such as tmpl@1.service"},
		{"an unknown unit", Change{Name: "nobody.service", Target: TargetLaunched}, "exit 4: nobody.service: not in the registry; submit it first: clusterctl submit nobody.service"},
		{"an unknown file", Change{Name: "new.service", File: unit.HashOf(nil)}, "exit 2: new.service: file e3b0c44 is not in the registry"},
		{"a path for a name", Change{Name: "a/b.service", Target: TargetGone}, "exit 2: unit name \"a/b.service\": it contains a /"},
		{"a short name", Change{Name: "web", Target: TargetGone}, "exit 2: unit name web: give it in full: web.service"},
		{"no such target", Change{Name: "web.service", Target: "running"}, "exit 2: web.service: there is no target"},
	} {
		t.Run(step.name, func(t *testing.T) {
			if got := r.change(step.change); !strings.HasPrefix(got, step.want) {
				t.Fatalf("got  %s\nwant %s", got, step.want)
			}
		})
	}
	rec, err := r.store.Range(r.ctx, registry.Single(registry.UnitKey("web.service")))
	if err != nil {
		t.Fatal(err)
	}
	u, err := registry.Decode[registry.Unit](rec.Records[0])
	if err != nil {
		t.Fatal(err)
	}
	if u.GetRestartGeneration() != 5 || len(u.GetHistory()) != 3 || u.GetHistory()[0].GetFile() != string(h) || u.GetWho() == "" {
		t.Errorf("record of web.service: %v", u)
	}
}

func TestApplyChecksFiles(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct{ name, src, want string }{
		{"not a unit file", "ExecStart=/bin/a\n", "bad.service:1"},
		{"an option that contradicts another", "[Service]\nExecStart=/bin/a\n[X-Cluster]\nGlobal=yes\nMachineID=abc\n", "can't hold together"},
	} {
		_, err := r.submit(test.src, "", "good.service", "bad.service")
		if test.name == "not a unit file" {
			_, err = r.submit(test.src, "", "bad.service")
		}
		if ExitCode(err) != ExitUsage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: exit %d, %v", test.name, ExitCode(err), err)
		}
	}
	wrong := Apply{Files: map[unit.Hash][]byte{unit.HashOf(nil): []byte(web)}, Changes: []Change{{Name: "a.service", File: unit.HashOf(nil)}}}
	if _, err := r.client.Apply(r.ctx, wrong); ExitCode(err) != ExitUsage {
		t.Errorf("a wrong hash: %v", err)
	}
	if got := r.list(); got != "" {
		t.Errorf("left behind:\n%s", got)
	}
	applied := r.mustSubmit(web+"[Install]\nWantedBy=multi-user.target\n", "", "a.service")
	if len(applied.Notes) != 1 || !strings.Contains(applied.Notes[0], "[Install]") {
		t.Errorf("notes are %q", applied.Notes)
	}
}

// Many units need several transactions, all of which refer to one file.
func TestApplyManyUnits(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "web@.service")
	var names []unit.Name
	for i := range 1000 {
		names = append(names, unit.Name(fmt.Sprintf("web@%d.service", i)))
	}
	src := web + "# new\n"
	applied := r.mustSubmit(src, TargetLaunched, names...)
	if len(applied.Units) != 1000 || applied.Units[999].Name != "web@999.service" || applied.Units[999].Generation != 1 {
		t.Fatalf("%d units answered", len(applied.Units))
	}
	units, err := r.client.Units(r.ctx)
	if err != nil || len(units.Units) != 1001 {
		t.Fatalf("%d units listed, %v", len(units.Units), err)
	}
	var a Apply
	for _, name := range names {
		a.Changes = append(a.Changes, Change{Name: name, Restart: true})
	}
	if _, err := r.client.Apply(r.ctx, a); err != nil {
		t.Fatal(err)
	}
}

// Large files don't fit into one transaction together.
func TestApplyLargeFiles(t *testing.T) {
	r := newRig(t)
	a := Apply{Files: map[unit.Hash][]byte{}}
	for i := range 4 {
		src := []byte(fmt.Sprintf("[Service]\nExecStart=/bin/a\n# %d\n#%s\n", i, strings.Repeat("z", 700_000)))
		a.Files[unit.HashOf(src)] = src
		a.Changes = append(a.Changes, Change{Name: unit.Name(fmt.Sprintf("u%d.service", i)), File: unit.HashOf(src)})
	}
	want, err := checkApply(a)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := want.plan(r.copy.View(), "me", r.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(want.batches(r.copy.View(), steps)); n != 4 {
		t.Errorf("%d transactions, want one for each file", n)
	}
	if _, err := r.client.Apply(r.ctx, a); err != nil {
		t.Fatal(err)
	}
}

// Two who change the same units at once both succeed, one after the other.
func TestApplyAtOnce(t *testing.T) {
	r := newRig(t)
	r.mustSubmit(web, "", "web.service")
	done := make(chan string)
	for range 4 {
		go func() { done <- r.change(Change{Name: "web.service", Target: TargetLaunched}) }()
	}
	for range 4 {
		if got := <-done; !strings.Contains(got, "launched") {
			t.Errorf("got %s", got)
		}
	}
	if got := r.change(Change{Name: "web.service", Target: TargetLaunched}); !strings.HasSuffix(got, "generation 6") {
		t.Errorf("at last %s", got)
	}
}

func TestApply_ManyChangeOneUnitAtOnce(t *testing.T) {
	r := newRig(t)
	const callers = 20
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if _, err := r.submit(web, TargetLaunched, "web.service"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	u, err := r.client.Unit(r.ctx, "web.service")
	if err != nil || u.Generation != callers {
		t.Errorf("generation %d (%v), want %d: each change counts once", u.Generation, err, callers)
	}
}

func TestC03_SubmitAgainKeepsWhatRuns(t *testing.T) {
	r := newRig(t)
	r.machine(machineB, "beta", "127.0.0.1:1") // not alive
	r.write(registry.Op{Key: registry.UnitKey("garbage.service"), Value: []byte("\xff\xff")})
	for _, name := range []unit.Name{"lost.service", "garbage.service"} {
		r.put(registry.AssignmentKey(machineA, name), &registry.Assignment{Target: registry.Target_LAUNCHED, Generation: 7})
	}
	observe := func(m registry.MachineID, name unit.Name, o *registry.Observed) {
		o.Incarnation, o.Unclaimed, o.Load = "boot-"+string(m), true, "loaded"
		r.put(registry.ObservedKey(m, name), o)
	}
	observe(machineA, "unclaimed.service", &registry.Observed{Active: "active", Generation: 9})
	observe(machineA, "stopped.service", &registry.Observed{Active: "inactive", Generation: 2})
	observe(machineA, "gone.service", &registry.Observed{Gone: true, Generation: 5})
	observe(machineB, "hearsay.service", &registry.Observed{Active: "active", Generation: 5})
	want := map[unit.Name]string{
		"lost.service": "launched 8", "unclaimed.service": "launched 10", "stopped.service": "loaded 3",
		"gone.service": "inactive 1", "hearsay.service": "inactive 1", "new.service": "inactive 1",
	}
	for name, want := range want {
		u := r.mustSubmit(web, "", name).Units[0]
		if got := fmt.Sprint(u.Target, " ", u.Generation); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if u := r.mustSubmit(web, "", "garbage.service").Units[0]; u.Target != TargetLaunched || u.Generation <= 7 {
		t.Errorf("the unreadable one is %s, generation %d", u.Target, u.Generation)
	}
	// Many at once are found another way; what is asked for counts for more.
	var many []unit.Name
	for i := range 20 {
		name := unit.Name(fmt.Sprintf("many%d.service", i))
		observe(machineA, name, &registry.Observed{Active: "active", Generation: 4})
		many = append(many, name)
	}
	for _, u := range r.mustSubmit(web, TargetLoaded, many[0]).Units {
		if u.Target != TargetLoaded || u.Generation != 5 {
			t.Errorf("asked for: %s, generation %d", u.Target, u.Generation)
		}
	}
	for _, u := range r.mustSubmit(web, "", many[1:]...).Units {
		if u.Target != TargetLaunched || u.Generation != 5 {
			t.Errorf("%s is %s, generation %d", u.Name, u.Target, u.Generation)
		}
	}
}
