package functional

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// dir is a directory with files in it.
func (c *cluster) dir(files map[string]string) string {
	c.Helper()
	dir := c.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			c.Fatal(err)
		}
	}
	return dir
}

// machineOf returns the machine of each unit that matches, which must be active.
func (c *cluster) machineOf(patterns ...string) map[string]string {
	c.Helper()
	where := map[string]string{}
	for name, s := range c.active(patterns...) {
		where[name] = s.Hostname
	}
	return where
}

// from is a unit that says where its text came from.
func from(what string) string { return sleeper("# from the " + what + "\n") }

// TestA10_LookupOrder: the registry, a local file, a template in the registry, a
// local template, in this order, for every verb that takes files.
func TestA10_LookupOrder(t *testing.T) {
	c := sharedLab.cluster(t)
	empty := c.dir(nil)
	for _, verb := range []string{"submit", "load", "start"} {
		name := func(instance string) string { return "a10-" + verb + "@" + instance }
		template, other := name(".service"), name("local.service")
		c.destroyed(template, name("1.service"), name("2.service"), name("3.service"), name("4.service"), other)
		ask := func(dir, instance, want string) {
			t.Helper()
			c.in(dir, verb, name(instance))
			if got := c.ctl("cat", name(instance)); got != from(want) {
				t.Errorf("%s %s: want the text of the %s, got %s", verb, name(instance), want, got)
			}
		}
		differs := func(dir, instance string, words ...string) {
			t.Helper()
			before := c.ctl("list-unit-files", "--full", "a10-"+verb+"@*")
			r := c.tryIn(dir, verb, name(instance))
			for _, w := range append(words, "-# from the ", "+# from the ", verb+" --replace "+name(instance)) {
				if r.code != 1 || !strings.Contains(r.stderr, w) {
					t.Errorf("%s %s: want exit code 1 and %q, got %v", verb, name(instance), w, r)
				}
			}
			if after := c.ctl("list-unit-files", "--full", "a10-"+verb+"@*"); after != before {
				t.Errorf("%s %s changed the registry from\n%sto\n%s", verb, name(instance), before, after)
			}
		}
		if r := c.tryIn(empty, verb, name("1")); r.code != 4 {
			t.Errorf("%s of what is nowhere: want exit code 4, got %v", verb, r)
		}
		localTemplate := c.dir(map[string]string{template: from("local template")})
		ask(localTemplate, "4", "local template")
		if r := c.tryIn(empty, "cat", template); r.code != 4 {
			t.Errorf("%s of an instance submitted its template, too: %v", verb, r)
		}
		c.ctl("submit", c.file(template, from("registry's template")))
		ask(empty, "3", "registry's template")
		differs(localTemplate, "2", template, "-# from the registry's template", "+# from the local template")
		files := c.dir(map[string]string{template: from("local template"), name("2.service"): from("local file")})
		ask(files, "2", "local file")
		c.ctl("submit", c.file(name("1.service"), from("registry")))
		ask(empty, "1", "registry")
		ask(c.dir(map[string]string{name("1.service"): from("registry"), template: from("local template")}), "1", "registry")
		files = c.dir(map[string]string{name("1.service"): from("changed file")})
		differs(files, "1", name("1.service"), "-# from the registry", "+# from the changed file")
		c.in(files, verb, "--replace", name("1"))
		ask(files, "1", "changed file")
		c.in(localTemplate, verb, "--replace", name("3"))
		ask(empty, "3", "local template")
		if got := c.ctl("cat", template); got != from("registry's template") {
			t.Errorf("%s --replace of an instance changed the template: %s", verb, got)
		}
	}
}

// TestA21_MachineID pins units by each form of a machine's identity.
func TestA21_MachineID(t *testing.T) {
	c := sharedLab.cluster(t)
	pinned := func(id string) string { return sleeper("[X-Cluster]\nMachineID=" + id + "\n") }
	args, want := []string{"start"}, map[string]string{}
	ids := map[string]bool{}
	for _, m := range c.machines() {
		short := 1
		for unique := false; !unique; short++ {
			unique = true
			for _, other := range c.machines() {
				unique = unique && (other.ID == m.ID || !strings.HasPrefix(other.ID, m.ID[:short]))
			}
			if unique {
				break
			}
		}
		ids[m.ID[:1]] = true
		for i, id := range []string{m.ID, m.ID[:short], m.ID[:8], m.Hostname} {
			name := fmt.Sprintf("a21-%s-%d.service", m.Hostname, i)
			args = append(args, c.file(name, pinned(id)))
			want[name] = m.Hostname
			c.destroyed(name)
		}
	}
	c.ctl(args...)
	if got := c.machineOf("a21-*"); !maps.Equal(got, want) {
		t.Errorf("units are on %v, want %v", got, want)
	}

	if len(ids) != 1 {
		t.Fatalf("the ids of the lab's machines have no beginning in common: %v", ids)
	}
	for id := range ids {
		c.pending("a21-many.service", pinned(id), "MachineID="+id+" fits other machines, too")
	}
	c.pending("a21-none.service", pinned("ffffffff"), "is not MachineID=ffffffff")
	c.pending("a21-nobody.service", pinned("nobody"), "is not MachineID=nobody")

	before := c.ctl("list-unit-files", "--full")
	for other, line := range map[string]string{
		"Global": "Global=yes", "MachineOf": "MachineOf=a21-m1-0.service", "Conflicts": "Conflicts=x.service", "Replaces": "Replaces=x.service", "Spread": "Spread=rack",
	} {
		for _, lines := range []string{"MachineID=m1\n" + line, line + "\nMachineID=m1"} {
			text := sleeper("[X-Cluster]\n" + lines + "\n")
			for _, verb := range []string{"submit", "start"} {
				c.refused(2, []string{"a21-odd.service:", "MachineID= in line ", other + "= in line ", "can't hold together"}, verb, c.file("a21-odd.service", text))
			}
		}
	}
	c.refused(2, []string{"Global= in line 7", "MachineOf= in line 6"}, "submit", c.file("a21-odd.service", sleeper("[X-Cluster]\nMachineOf=x.service\nGlobal=yes\n")))
	c.refused(2, []string{"MachineID=m2 contradicts MachineID=m1 in line 6"}, "submit", c.file("a21-odd.service", sleeper("[X-Cluster]\nMachineID=m1\nMachineID=m2\n")))
	if after := c.ctl("list-unit-files", "--full"); after != before {
		t.Errorf("what was refused changed the registry from\n%sto\n%s", before, after)
	}
}

// pending fails unless starting a unit says at once, for every machine, why it
// can't be there.
func (c *cluster) pending(name, text, why string) {
	c.Helper()
	c.destroyed(name)
	begun := time.Now()
	machines := c.machines()
	words := []string{"not placed", why}
	for _, m := range machines {
		words = append(words, m.ID[:8])
	}
	c.refused(6, words, "start", c.file(name, text))
	if d := time.Since(begun); d > 5*time.Second {
		c.Errorf("%s: that took %v, want it said at once", name, d)
	}
	units := c.units(name)
	if len(units) != 1 || units[0].Pending == nil || !strings.Contains(units[0].Pending.Text, why) {
		c.Errorf("list-units: want the reason %q, got\n%s", why, summary(units))
	}
}

// TestA24_SpecifiersAndOldNames: what the cluster is asked for may depend on
// the unit's name, and be written as it was for fleet.
func TestA24_SpecifiersAndOldNames(t *testing.T) {
	c := sharedLab.cluster(t)
	machines := []string{"m1", "m2", "m3"}
	files := map[string]string{
		"a24-db@.service": "[X-Cluster]\nMachineMetadata=hostname=%i\n",
		"a24@.service":    "[X-Cluster]\nMachineOf=%p-db@%i.service\n",
		"a24c@.service":   "[X-Cluster]\nConflicts=%p@*.service\n",
		"old-db@.service": "[X-Fleet]\nX-ConditionMachineMetadata=hostname=%i\n",
		"old@.service":    "[X-Fleet]\nX-ConditionMachineOf=%p-db@%i.service\n",
		"oldc@.service":   "[X-Fleet]\nX-Conflicts=%p@*.service\n",
		"oldid@.service":  "[X-Fleet]\nX-ConditionMachineID=%i\n",
		"newid@.service":  "[X-Fleet]\nMachineID=%i\n",
	}
	for _, m := range machines {
		files["a24-"+m+"@.service"] = "[X-Cluster]\nMachineMetadata=hostname=%j\n"
		files[m+".service"] = "[X-Cluster]\nMachineID=%N\n"
	}
	for name, text := range files {
		files[name] = sleeper(text)
	}
	want := map[string]string{}
	args := []string{"start"}
	start := func(name, machine string) {
		args = append(args, strings.TrimSuffix(name, ".service"))
		want[name] = machine
		c.destroyed(name)
	}
	for _, m := range machines {
		for _, template := range []string{"a24-db@", "a24@", "old-db@", "old@", "oldid@", "newid@"} {
			start(template+m+".service", m)
		}
		start("a24-"+m+"@1.service", m)
		start(m+".service", m)
		start("a24c@"+m+".service", "")
		start("oldc@"+m+".service", "")
	}
	c.in(c.dir(files), args...)
	patterns := []string{"a24*@?*.service", "old*@?*.service", "newid@?*.service", "m?.service"}
	got := c.machineOf(patterns...)
	for _, template := range []string{"a24c@", "oldc@"} {
		apart := map[string]bool{}
		for _, m := range machines {
			apart[got[template+m+".service"]] = true
			got[template+m+".service"] = ""
		}
		if len(apart) != len(machines) {
			t.Errorf("instances of %s that conflict are on %v", template, apart)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("units are on\n%v, want\n%v", got, want)
	}
	c.pending("a24c@4.service", files["a24c@.service"], "runs the conflicting a24c@")
	c.pending("a24-db@nowhere.service", files["a24-db@.service"], "hostname=nowhere")

	// %n: the unit that is called as this one is, after with-.
	const follower, leader = "a24n.service", "with-a24n.service"
	c.destroyed(follower, leader)
	c.ctl("start", c.file(leader, sleeper("[X-Cluster]\nMachineID=m2\n")), c.file(follower, sleeper("[X-Cluster]\nMachineOf=with-%n\n")))
	if where := c.machineOf(follower, leader); where[follower] != "m2" || where[leader] != "m2" {
		t.Errorf("MachineOf=with-%%n: units are on %v, want m2", where)
	}
	c.refused(2, []string{"%m is known on the unit's machine only"}, "submit", c.file("a24-odd.service", sleeper("[X-Cluster]\nMachineID=%m\n")))
}
