package api

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

func TestVerify(t *testing.T) {
	r := newRig(t)
	r.withB()
	for _, tt := range []struct {
		name, src string
		machine   registry.MachineID
		want      string
	}{
		{"content", sh, "", "exit 0: "},
		{"not content", sh + "# Objectionable\n", "", "exit 1: web.service:1: A objects"},
		{"another machine, by its host name", sh + "# Objectionable\n", "beta", "exit 1: web.service:1: B objects"},
		{"one that isn't", sh, "gamma", "exit 4: machine gamma: no such machine; see clusterctl list-machines"},
		{"what is refused at submit gets nowhere", sh + "Nice=100\n", "", "exit 2: web.service:3: Nice=100 is out of range or no number; give a whole number from -20 to 19"},
		{"what doesn't parse", "ExecStart=/bin/sh\n", "", "exit 2: web.service:1: "},
	} {
		var out bytes.Buffer
		exit, err := r.client.Verify(r.ctx, VerifyRequest{Files: []VerifyFile{{"web.service", []byte(tt.src)}}, Machine: tt.machine}, &out)
		got := fmt.Sprintf("exit %d: %s", exit, strings.TrimSpace(out.String()))
		if err != nil {
			got = fmt.Sprintf("exit %d: %v", ExitCode(err), err)
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	twice := []VerifyFile{{"web.service", []byte(sh)}, {"web", []byte(sh)}}
	if _, err := r.client.Verify(r.ctx, VerifyRequest{Files: twice}, io.Discard); ExitCode(err) != ExitUsage || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("one unit twice: %v", err)
	}
	if units := r.list(); units != "" {
		t.Errorf("after looking at files, the cluster knows %s", units)
	}
}

// TestSystemdLooksAtNewFiles submits files that this package's own checks are
// content with. A machine's systemd has the last word.
func TestSystemdLooksAtNewFiles(t *testing.T) {
	r := newRig(t)
	r.withB()
	r.runs(machineA, "alpha", "252.38-1~deb12u1")
	r.runs(machineB, "beta", "255.4-1ubuntu8")
	pinned := "[X-Cluster]\nMachineID=alpha\n"
	for _, tt := range []struct{ name, src, want string }{
		{"the newest looks", sh + "# Objectionable\n", "exit 2: a.service:1: systemd 255 on beta: B objects"},
		{"or one that the unit may come to", sh + "# Objectionable\n" + pinned, "exit 2: a.service:1: systemd 252 on alpha: A objects"},
		{"what it has doubts about is noted", sh + "# Doubtful\n" + pinned, "a.service: systemd 252 on alpha: A doubts"},
	} {
		if got := r.file("a.service", tt.src, Apply{}); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	var out bytes.Buffer
	for _, file := range []VerifyFile{{"a.service", []byte(sh + "# Objectionable\n")}, {"b.service", []byte(sh + "# Objectionable\n" + pinned)}} {
		if _, err := r.client.Verify(r.ctx, VerifyRequest{Files: []VerifyFile{file}}, &out); err != nil {
			t.Error(err)
		}
	}
	if got := out.String(); got != "a.service:1: B objects\nb.service:1: A objects\n" {
		t.Errorf("without a machine named, verify says\n%s", got)
	}
	if got := r.file("a.service", sh+pinned, Apply{AllowUnknown: true}); got != "" {
		t.Fatal(got)
	}
	u := r.unit("a.service")
	if u.VerifiedBy != "252.38-1~deb12u1" || !u.AllowUnknown {
		t.Errorf("kept with the unit: verified by %q, unknown allowed %v", u.VerifiedBy, u.AllowUnknown)
	}
}

// TestInstancesAreLookedAtOnce also sees that an instance of a template in the
// registry has what was found about that.
func TestInstancesAreLookedAtOnce(t *testing.T) {
	r := newRig(t)
	r.runs(machineA, "alpha", "252.38-1~deb12u1")
	notes := r.mustSubmit(sh+"# Doubtful\n", "", "a@.service", "a@1.service", "a@2.service").Notes
	if got := strings.Join(notes, "\n"); got != "a@.service: systemd 252 on alpha: A doubts" {
		t.Errorf("notes: %s", got)
	}
	if got := r.change(Change{Name: "a@3.service", Target: TargetLaunched}); strings.HasPrefix(got, "exit") {
		t.Fatal(got)
	}
	for _, name := range []unit.Name{"a@1.service", "a@3.service"} {
		if got := r.unit(name).VerifiedBy; got != "252.38-1~deb12u1" {
			t.Errorf("%s is verified by %q", name, got)
		}
	}
}

// TestMachineThatCannotLook refuses nothing: machines look before units start.
func TestMachineThatCannotLook(t *testing.T) {
	r := newRig(t)
	r.runs(machineB, "beta", "255.4-1ubuntu8") // nothing answers there
	got := r.file("a.service", sh+"# Objectionable\n", Apply{})
	if !strings.HasPrefix(got, "systemd has not looked at the files yet, and will before the units start: machine ") {
		t.Errorf("got %s", got)
	}
	if u := r.unit("a.service"); u.VerifiedBy != "" {
		t.Errorf("it is verified by %q", u.VerifiedBy)
	}
}
