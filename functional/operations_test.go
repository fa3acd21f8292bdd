package functional

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// TestOperations does to machines what operators do.
func TestOperations(t *testing.T) {
	t.Parallel()
	c := ownCluster(t, lab.Options{Name: "ops"})
	run := func(name string, do func(c *cluster)) {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, c.lab)
			do(c)
			c.ctl("machine", "restore", "m1", "m2", "m3")
			if r := c.try("destroy", "ops-*"); r.code != 0 && r.code != 4 {
				t.Errorf("clean up: %v", r)
			}
		})
	}
	run("DrainLeavesEnoughActive", (*cluster).drainLeavesEnoughActive)
	run("DrainNamesWhatCantLeave", (*cluster).drainNamesWhatCantLeave)
	run("MoveIsAWish", (*cluster).moveIsAWish)
	run("Scale", (*cluster).scales)
	run("C08_ExplainSaysWhatHelps", (*cluster).explainSaysWhatHelps)
	run("SimulateSaysWhatHappensThen", (*cluster).simulateForetells)
	run("A23_ChangedMetadataMovesWhatNoLongerFits", (*cluster).changedMetadataMoves)
	run("A26_MetadataOutlivesAReboot", (*cluster).metadataOutlivesAReboot)
}

// explainSaysWhatHelps: a unit that fits nowhere shows so within 2 s, is
// explained by leader and standbys alike, and runs after the change that
// explain named.
func (c *cluster) explainSaysWhatHelps() {
	file := c.file("ops-picky.service", sleeper("[X-Cluster]\nMachineMetadata=gpu=yes\n"))
	if r := c.try("explain", file); r.code != 6 || !strings.Contains(r.stdout, "ops-picky.service would be without a place: it fits 0 of 3 machines") {
		c.Errorf("explain of a file: %v", r)
	}
	c.ctl("start", "--no-block", file)
	c.eventually("pending with its reason in list-units and status", 2*time.Second, func() (string, bool) {
		list, status := c.ctl("list-units", "ops-picky"), c.try("status", "ops-picky").stdout
		return list + status, strings.Contains(list, "lacks gpu=yes") && strings.Contains(status, "lacks gpu=yes")
	})
	for _, m := range []string{"m1", "m2", "m3"} {
		c.eventually("explain by "+m, soon, func() (string, bool) { // it may have become a control machine just now
			r := c.try("--endpoint", "unix://"+c.lab.Socket(m), "explain", "ops-picky")
			return fmt.Sprint(r), r.code == 6 && strings.Contains(r.stdout, "is without a place") && strings.Contains(r.stdout, "What would help: set gpu=yes")
		})
	}
	c.ctl("machine", "set", "m2", "gpu=yes")
	c.eventually("it runs", 10*time.Second, func() (string, bool) {
		r := c.try("explain", "ops-picky")
		return r.stdout, r.code == 0 && strings.Contains(r.stdout, "ops-picky.service is on m2")
	})
	c.ctl("machine", "unset", "m2", "gpu")
}

// simulateForetells: what simulate and plan say comes true, and saying it
// changes nothing.
func (c *cluster) simulateForetells() {
	web := c.file("ops-web@.service", sleeper("[X-Cluster]\nConflicts=ops-web@*\n"))
	c.ctl("submit", web)
	if r := c.try("plan", "start", "ops-web@1", "ops-web@2"); r.code != 0 || strings.Count(r.stdout, "is new, and would be launched\n") != 2 || strings.Count(r.stdout, "would be placed on ") != 2 {
		c.Errorf("plan start: %v", r)
	}
	if units := c.units("ops-web@?.service"); len(units) > 0 {
		c.Errorf("a plan left %s", summary(units))
	}
	r := c.try("simulate", "--add", "ops-web@{1..2}", "ops-web@3", "--cordon", "m3")
	if r.code != 6 || strings.Count(r.stdout, "would be placed on m") != 2 || !strings.Contains(r.stdout, "Unit ops-web@3.service would not find a place: no machine fits: ") {
		c.Errorf("simulate --add: %v", r)
	}
	c.ctl("start", "ops-web@1", "ops-web@2")
	before := c.active("ops-web@*")
	r = c.try("simulate", "--drain", before["ops-web@1.service"].Hostname)
	from, to, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(r.stdout, "Unit ops-web@1.service would move from ")), " to ")
	if r.code != 0 || !ok || from != before["ops-web@1.service"].Hostname {
		c.Fatalf("simulate --drain: %v", r)
	}
	c.ctl("machine", "drain", from)
	if on := c.active("ops-web@*")["ops-web@1.service"].Hostname; on != to {
		c.Errorf("it moved to %s, and simulate said %s", on, to)
	}
	changed := c.file("ops-web@1.service", sleeper("[X-Cluster]\nMachineMetadata=gpu=yes\n"))
	r = c.try("start", "--replace", "--dry-run", changed)
	if r.code != 6 || !strings.Contains(r.stdout, "would have another text, and stay launched\n") || !strings.Contains(r.stdout, "  +MachineMetadata=gpu=yes\n") {
		c.Errorf("start --dry-run: %v", r)
	}
	if text := c.ctl("cat", "ops-web@1"); strings.Contains(text, "gpu") {
		c.Errorf("a dry run changed it:\n%s", text)
	}
}

// drainLeavesEnoughActive: of three instances two stay active while all leave.
func (c *cluster) drainLeavesEnoughActive() {
	c.ctl("machine", "cordon", "m2", "m3")
	c.ctl("submit", c.file("ops-web@.service", sleeper("ExecStartPre=/bin/sleep 1\n[X-Cluster]\nMinAvailable=2\n")))
	c.ctl("scale", "ops-web@", "3")
	c.ctl("machine", "uncordon", "m2", "m3")
	drained := make(chan result, 1)
	go func() { drained <- c.try("machine", "drain", "m1", "--deadline", "1m") }()
	for {
		units, active := c.units("ops-web@*"), 0
		for _, u := range units {
			for _, s := range u.States {
				if s.Active == "active" {
					active++
					break
				}
			}
		}
		if active < 2 {
			c.Errorf("only %d active:\n%s", active, summary(units))
		}
		select {
		case r := <-drained:
			if r.code != 0 || strings.Count(r.stdout, " moved to ") != 3 || !strings.Contains(r.stdout, " drained\n") {
				c.Errorf("drain: %v", r)
			}
			for name, s := range c.active("ops-web@*") {
				if s.Hostname == "m1" {
					c.Errorf("%s is on m1 still", name)
				}
			}
			return
		default:
			pause(c, soon/300)
		}
	}
}

// drainNamesWhatCantLeave: it says so, and gives up, unless it has a deadline.
func (c *cluster) drainNamesWhatCantLeave() {
	c.ctl("start", c.file("ops-pinned.service", sleeper("[X-Cluster]\nMachineID=m1\n")), c.file("ops-global.service", sleeper("[X-Cluster]\nGlobal=yes\n")))
	before := c.identity("m1", "ops-pinned.service")
	words := []string{"ops-pinned.service can't leave: it is pinned by MachineID=m1", "stays: ops-global.service", "clusterctl machine restore m1"}
	c.refused(6, words, "machine", "drain", "m1")
	c.refused(124, append(words, "not done after 1s"), "machine", "drain", "m1", "--deadline", "1s")
	c.ctl("machine", "restore", "m1")
	if after := c.identity("m1", "ops-pinned.service"); after != before {
		c.Errorf("what can't leave was touched: %s, before %s", after, before)
	}
}

// moveIsAWish: it is honoured once, where rules allow, and ties nothing.
func (c *cluster) moveIsAWish() {
	c.ctl("start", c.file("ops-a.service", sleeper("")), c.file("ops-b.service", sleeper("[X-Cluster]\nConflicts=ops-a.service\n")))
	at := c.active("ops-a.service", "ops-b.service")
	from, rival := at["ops-a.service"].Hostname, at["ops-b.service"].Hostname
	free := strings.Trim(strings.NewReplacer(from, "", rival, "").Replace("m1 m2 m3"), " ")
	c.refused(6, []string{rival + " can't take it", "runs the conflicting ops-b.service"}, "move", "ops-a", rival)
	c.ctl("move", "ops-a", free)
	if now := c.active("ops-a.service")["ops-a.service"].Hostname; now != free {
		c.Errorf("it is on %s, want %s", now, free)
	}
	c.ctl("machine", "drain", free)
	c.ctl("machine", "restore", free)
	if now := c.active("ops-a.service")["ops-a.service"].Hostname; now != from {
		c.Errorf("it is on %s, want %s: the wish must not pull it back", now, from)
	}
	c.refused(4, []string{"no machine m9"}, "move", "ops-a", "m9")
}

// scales: the instances 1 to n run, higher ones are gone.
func (c *cluster) scales() {
	c.ctl("submit", c.file("ops-s@.service", sleeper("")))
	for _, step := range []struct{ to, line string }{{"4", "Unit ops-s@4.service launched on "}, {"2", "Destroyed ops-s@3.service\n"}, {"3", "Unit ops-s@3.service launched on "}} {
		if out := c.ctl("scale", "ops-s@", step.to); !strings.Contains(out, step.line) {
			c.Errorf("scale to %s printed\n%s", step.to, out)
		}
		if out := c.ctl("scale", "ops-s@"); out != step.to+"\n" {
			c.Errorf("after scaling to %s it says %s", step.to, out)
		}
		if n := len(c.active("ops-s@?*")); fmt.Sprint(n) != step.to {
			c.Errorf("%d are active, want %s", n, step.to)
		}
	}
}

// changedMetadataMoves: a unit follows the metadata that it asks for.
func (c *cluster) changedMetadataMoves() {
	c.ctl("machine", "set", "m2", "rack=7")
	c.ctl("start", c.file("ops-rack.service", sleeper("[X-Cluster]\nMachineMetadata=rack=7\n")))
	if on := c.active("ops-rack.service")["ops-rack.service"].Hostname; on != "m2" {
		c.Fatalf("it is on %s, want m2", on)
	}
	c.ctl("machine", "set", "m3", "rack=7")
	if on := c.active("ops-rack.service")["ops-rack.service"].Hostname; on != "m2" {
		c.Errorf("it left m2 for %s, where it fits no better", on)
	}
	const says = "Unit ops-rack.service would move from m2 to m3\n"
	for _, change := range [][]string{{"set", "m2", "rack=8"}, {"unset", "m2", "rack"}, {"reset", "m2", "rack"}, {"drain", "m2"}, {"remove", "m2"}} {
		if out := c.ctl(append(append([]string{"machine"}, change...), "--dry-run")...); out != says {
			c.Errorf("machine %v --dry-run: got %q, want %q", change, out, says)
		}
	}
	if out := c.ctl("machine", "set", "m1", "rack=9", "--dry-run"); out != "No unit would move\n" {
		c.Errorf("a change that moves nothing: %q", out)
	}
	if out := c.ctl("machine", "unset", "rack=7", "rack", "--dry-run"); !strings.HasPrefix(out, "Unit ops-rack.service would be stopped on m2: no machine fits: lacks rack=7") {
		c.Errorf("a change that leaves no place: %q", out)
	}
	if on := c.active("ops-rack.service")["ops-rack.service"].Hostname; on != "m2" {
		c.Errorf("a dry run moved it to %s", on)
	}
	c.ctl("machine", "set", "m2", "rack=8")
	c.eventually("it is active on m3 alone", soon, func() (string, bool) {
		units := c.units("ops-rack.service")
		s := units[0].States
		return summary(units), len(s) == 1 && s[0].Hostname == "m3" && s[0].Active == "active"
	})
	c.ctl("machine", "unset", "rack in 7,8", "rack")
}

// metadataOutlivesAReboot: what operators say stays, over what the machine says.
func (c *cluster) metadataOutlivesAReboot() {
	c.must("m3", "sh", "-c", `mkdir -p /etc/clusterd/clusterd.conf.d && printf '[Clusterd]\nMetadata=disk=ssd zone=a\n' >/etc/clusterd/clusterd.conf.d/50-test.conf && systemctl restart clusterd`)
	shown := func(what string, lines ...string) {
		c.Helper()
		c.eventually(what, soon, func() (string, bool) {
			r := c.try("machine", "show", "m3")
			for _, line := range lines {
				if !strings.Contains(r.stdout, "  "+line+"\n") {
					return r.String(), false
				}
			}
			return r.stdout, r.code == 0
		})
	}
	shown("its own metadata is there", "disk=ssd (the machine's own)", "zone=a (the machine's own)")
	c.ctl("machine", "set", "m3", "disk=hdd", "gpu=yes")
	c.ctl("machine", "unset", "m3", "zone")
	now := []string{"disk=hdd (set by an operator; the machine says ssd)", "gpu=yes (set by an operator)", "zone (taken away by an operator; the machine says a)"}
	shown("operators' metadata is over it", now...)
	if err := c.lab.Kill("m3"); err != nil {
		c.Fatal(err)
	}
	if err := c.lab.Start(c.Context(), "m3"); err != nil {
		c.Fatal(err)
	}
	c.back()
	shown("it is so after a reboot", now...)
	c.ctl("machine", "reset", "m3", "disk", "gpu", "zone")
	shown("its own is in force again", "disk=ssd (the machine's own)", "zone=a (the machine's own)")
	if out := c.must("m3", "cat", "/etc/clusterd/clusterd.conf.d/50-test.conf"); !strings.Contains(out, "Metadata=disk=ssd zone=a") {
		c.Errorf("its configuration is now %s", out)
	}
}
