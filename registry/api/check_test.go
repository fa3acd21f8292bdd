package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

const sh = "[Service]\nExecStart=/bin/sh -c 'sleep 1'\n"

// file applies one file and tells how it went: the error, or the notes.
func (r *rig) file(name unit.Name, src string, a Apply) string {
	hash := unit.HashOf([]byte(src))
	a.Files, a.Changes = map[unit.Hash][]byte{hash: []byte(src)}, []Change{{Name: name, File: hash, Replace: true}}
	applied, err := r.client.Apply(r.ctx, a)
	if err != nil {
		return fmt.Sprintf("exit %d: %v", ExitCode(err), err)
	}
	return strings.Join(applied.Notes, "\n")
}

func TestFilesAreChecked(t *testing.T) {
	r := newRig(t)
	const wayOn = "\nif systemd is to ignore that: --allow-unknown"
	unknown := "web.service:3: [Service] has no setting ExecStrat=; write ExecStart="
	for _, tt := range []struct{ name, src, want, allowed string }{
		{"a good one", sh, "", ""},
		{"a misspelt key", sh + "ExecStrat=/bin/false\n", "exit 2: " + unknown + wayOn, unknown},
		{"a bad value", sh + "Nice=100\nFoo=bar\n",
			"exit 2: web.service:3: Nice=100 is out of range or no number; give a whole number from -20 to 19\n" +
				"web.service:4: [Service] has no setting Foo=; take it out, or begin its name with X- to have systemd skip it",
			"exit 2: web.service:3: Nice=100 is out of range or no number; give a whole number from -20 to 19"},
		{"the cluster's own keys can't be allowed", sh + "[X-Cluster]\nGlobl=yes\n",
			"exit 2: web.service:4: [X-Cluster] has no setting Globl=; use Global=",
			"exit 2: web.service:4: [X-Cluster] has no setting Globl=; use Global="},
		{"a container's", "[Container]\nImage=a\nPorts=80\n",
			"exit 2: web.service:3: [Container] has no key Ports=; did you mean PublishPort=?",
			"exit 2: web.service:3: [Container] has no key Ports=; did you mean PublishPort=?"},
		{"each thing is said once", sh + "[X-Fleet]\nPrio=5\n[Install]\nWantedBy=multi-user.target\n",
			"web.service:4: [X-Fleet] has no setting Prio=, which is ignored; use Priority=\n" +
				"web.service: [Install] is not enabled on machines; only a unit of the cluster that it names, on the same machine, starts it", "="},
	} {
		if got := r.file("web.service", tt.src, Apply{}); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if tt.allowed == "=" {
			continue
		}
		if got := r.file("web.service", tt.src, Apply{AllowUnknown: true}); got != tt.allowed {
			t.Errorf("%s, unknown allowed: got\n%s\nwant\n%s", tt.name, got, tt.allowed)
		}
	}
}

// What was accepted once is never in the way, however it was (C-03).
func TestC03_KnownFilesAreNotCheckedAgain(t *testing.T) {
	r := newRig(t)
	odd := sh + "Foo=bar\n"
	for _, name := range []unit.Name{"odd.service", "odd@.service"} {
		if got := r.file(name, odd, Apply{AllowUnknown: true}); strings.HasPrefix(got, "exit") {
			t.Fatal(got)
		}
	}
	if got := r.file("odd.service", odd, Apply{}); got != "" {
		t.Errorf("the same file once more: %s", got)
	}
	for _, c := range []Change{
		{Name: "odd.service", Target: TargetLaunched}, {Name: "odd.service", Target: TargetLaunched, Restart: true},
		{Name: "odd.service", Target: TargetLoaded}, {Name: "odd@1.service", Target: TargetLaunched}, {Name: "odd.service", Target: TargetGone},
	} {
		if got := r.change(c); strings.HasPrefix(got, "exit") {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if got := r.file("odd.service", odd, Apply{}); !strings.HasPrefix(got, "exit 2: ") {
		t.Errorf("the same file after the unit was destroyed: %s", got)
	}
}

// TestFilesAreCheckedForTheMachinesTheyMayComeTo has machines of two systemds.
func TestFilesAreCheckedForTheMachinesTheyMayComeTo(t *testing.T) {
	r := newRig(t)
	newer := sh + "ProtectProc=default\n"
	r.runs(machineA, "alpha", "252 (252.38-1~deb12u1)")
	r.runs(machineB, "beta", "245.4-4ubuntu3")
	r.write(registry.Op{Delete: registry.Single(registry.AliveKey(machineB))})
	if got := r.file("web.service", newer, Apply{}); got != "" {
		t.Errorf("a dead machine doesn't count: %s", got)
	}
	r.alive(machineB)
	const came = "ProtectProc= came with systemd 247, and 245 ignores it; "
	for _, tt := range []struct {
		name, more, want string
		allow            bool
	}{
		{"one of two is too old", "", "two.service:3: beta runs systemd 245: " + came + "it will not be placed there; to have it ignored there: --allow-unknown", false},
		{"and may ignore it", "", "two.service:3: beta runs systemd 245: " + came + "take it out, or run the unit where systemd is newer", true},
		{"it may come to the old one only", "[X-Cluster]\nMachineID=beta\n", "exit 2: two.service:3: beta runs systemd 245: " + came +
			"take it out, or run the unit where systemd is newer\nif systemd is to ignore that: --allow-unknown", false},
		{"it may come to the new one only", "[X-Cluster]\nMachineMetadata=systemd=252\n", "", false},
	} {
		if got := r.file("two.service", newer+"# "+tt.name+"\n"+tt.more, Apply{AllowUnknown: tt.allow}); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	// The way on that it names is one.
	file := newer + "# once more\n"
	if r.file("two.service", file, Apply{}); r.unit("two.service").NeedsSystemd != 247 {
		t.Errorf("it needs systemd %d, want 247", r.unit("two.service").NeedsSystemd)
	}
	r.file("two.service", file, Apply{AllowUnknown: true})
	if u := r.unit("two.service"); u.NeedsSystemd != 0 || !u.AllowUnknown || u.Generation != 5 {
		t.Errorf("the same file with what it has allowed: %v", u)
	}
	r.file("two.service", file, Apply{})
	if u := r.unit("two.service"); !u.AllowUnknown || u.Generation != 5 {
		t.Errorf("the same file once more: %v", u)
	}
}

func TestInstancesShareNotes(t *testing.T) {
	r := newRig(t)
	applied := r.mustSubmit(sh+"[X-Fleet]\nPrio=5\n[Install]\nWantedBy=multi-user.target\n", "", "a@1.service", "a@2.service", "a@3.service")
	if got := strings.Join(applied.Notes, "\n"); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "a@1.service:4: [X-Fleet] has no setting Prio=") {
		t.Errorf("notes\n%s", got)
	}
}

func TestContainersAreChecked(t *testing.T) {
	r := newRig(t)
	if got := r.file("web.service", "[Container]\nImage=a\nRetry=3\n", Apply{}); !strings.HasPrefix(got, "web.service:3: Retry= is left out") || strings.Contains(got, "\n") {
		t.Errorf("notes %q", got)
	}
}
