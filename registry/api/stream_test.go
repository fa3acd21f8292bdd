package api

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/pki"
	"github.com/clusterd/clusterd/unit"
)

// withB adds a machine B that isn't a control machine. Its operator
// certificate, once there, is in dir.
func (r *rig) withB() (client *Client, dir string) {
	r.t.Helper()
	dir = r.t.TempDir()
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(r.ctx)
	r.t.Cleanup(func() { cancel(); running.Wait() })
	_, socket, tcp := serve(r.t, ctx, &running, Config{
		Version: "test", Cluster: testCluster, Machine: machineB, Credentials: r.credentials(pki.Machine, string(machineB)), Local: fakeLocal{"B"},
		Forward: Forward{
			Endpoints: func() []string { return []string{"127.0.0.1:1", r.tcp} },
			CA:        filepath.Join(dir, "ca.crt"), Certificate: filepath.Join(dir, "operator.crt"), Key: filepath.Join(dir, "operator.key"),
		},
	})
	r.machine(machineB, "beta", tcp)
	r.alive(machineB)
	return r.dial(socket, nil), dir
}

func TestA08_JournalAndStatusComeFromTheUnitsMachine(t *testing.T) {
	r := newRig(t)
	r.withB()
	r.mustSubmit(web, TargetLaunched, "here.service", "there.service", "both.service", "broken.service", "nowhere.service")
	r.assign(machineA, "here.service", registry.Target_LAUNCHED)
	r.assign(machineB, "there.service", registry.Target_LAUNCHED)
	r.assign(machineB, "broken.service", registry.Target_LAUNCHED)
	r.assign(machineA, "both.service", registry.Target_LAUNCHED)
	r.assign(machineB, "both.service", registry.Target_LAUNCHED)
	var out bytes.Buffer
	journal := func(name, machine string) (string, error) {
		out.Reset()
		err := r.client.Journal(r.ctx, unit.Name(name), registry.MachineID(machine), JournalOptions{Lines: 7, Output: "cat"}, &out)
		return out.String(), err
	}
	status := func(name, machine string) (string, int, error) {
		out.Reset()
		exit, err := r.client.Status(r.ctx, unit.Name(name), registry.MachineID(machine), &out)
		return out.String(), exit, err
	}
	for _, test := range []struct{ name, machine, want string }{
		{"here.service", "", "journal of here.service on A, lines 7 output \"cat\"\n"},
		{"there.service", "", "journal of there.service on B, lines 7 output \"cat\"\n"},
		{"both.service", "beta", "journal of both.service on B, lines 7 output \"cat\"\n"},
	} {
		if got, err := journal(test.name, test.machine); err != nil || got != test.want {
			t.Errorf("journal of %s: %q, %v", test.name, got, err)
		}
	}
	for _, test := range []struct {
		name, machine string
		exit          int
		want          string
	}{
		{"both.service", "", ExitUsage, "it is on aaaaaaaa... alpha, bbbbbbbb... beta; choose one"},
		{"here.service", "beta", ExitUnknown, "it is not on machine bbbbbbbb...; it is on aaaaaaaa... alpha"},
		{"here.service", "nobody", ExitUnknown, "no such machine"},
		{"nowhere.service", "", ExitFailed, "it is on no machine, its target is launched"},
		{"nobody.service", "", ExitUnknown, "not in the registry"},
		{"broken.service", "", ExitFailed, "machine bbbbbbbb... beta: journal of broken.service: it is\nbroken"},
	} {
		if _, err := journal(test.name, test.machine); ExitCode(err) != test.exit || !strings.Contains(err.Error(), test.want) {
			t.Errorf("journal of %s: exit %d, %v, want %s", test.name, ExitCode(err), err, test.want)
		}
	}
	if got, exit, err := status("there.service", ""); err != nil || exit != ExitInactive || got != "status of there.service on B\n" {
		t.Errorf("status: %q, exit %d, %v", got, exit, err)
	}
	if got, exit, err := status("both.service", ""); err != nil || exit != ExitInactive ||
		!strings.Contains(got, "alpha (alive)\nstatus of both.service on A\n") || !strings.Contains(got, "beta (alive)\nstatus of both.service on B\n") {
		t.Errorf("status of both: %q, exit %d, %v", got, exit, err)
	}
	if got, exit, err := status("nowhere.service", ""); err != nil || exit != ExitInactive || !strings.Contains(got, "Loaded: not loaded") {
		t.Errorf("status of what is nowhere: %q, exit %d, %v", got, exit, err)
	}
}

func TestJournalFollowsUntilTheReaderLeaves(t *testing.T) {
	r := newRig(t)
	r.withB()
	r.mustSubmit(web, TargetLaunched, "web.service")
	r.assign(machineB, "web.service", registry.Target_LAUNCHED)
	ctx, cancel := context.WithCancel(r.ctx)
	got := writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	if err := r.client.Journal(ctx, "web.service", "", JournalOptions{Follow: true}, got); ExitCode(err) != ExitCanceled {
		t.Errorf("it ended with %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestMachineThatCantBeAsked(t *testing.T) {
	r := newRig(t)
	r.machine(machineC, "gamma", "127.0.0.1:1")
	r.mustSubmit(web, TargetLaunched, "web.service")
	r.assign(machineC, "web.service", registry.Target_LAUNCHED)
	err := r.client.Journal(r.ctx, "web.service", "", JournalOptions{}, &bytes.Buffer{})
	if ExitCode(err) != ExitNoAnswer || !strings.Contains(err.Error(), "gamma, which is silent: no answer from https://127.0.0.1:1") {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
}

// Another machine at a machine's address must not pass for it.
func TestPeersKnowWhomTheyTalkTo(t *testing.T) {
	r := newRig(t)
	peers := NewPeers(r.credentials(pki.Control, string(machineA)))
	defer peers.Close()
	right, err := peers.Client(machineA, r.tcp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := right.Version(r.ctx); err != nil {
		t.Error(err)
	}
	wrong, err := peers.Client(machineB, r.tcp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Version(r.ctx); ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), "it is machine "+string(machineA)) {
		t.Errorf("another machine: %v", err)
	}
}

func TestForwarding(t *testing.T) {
	r := newRig(t)
	onB, dir := r.withB()
	r.mustSubmit(web, TargetLaunched, "web.service")
	_, err := onB.Units(r.ctx)
	if ExitCode(err) != ExitRefused || !strings.Contains(err.Error(), dir+"/operator.crt") || !strings.Contains(err.Error(), "https://"+r.tcp) {
		t.Fatalf("without a certificate: exit %d, %v", ExitCode(err), err)
	}
	if v, err := onB.Version(r.ctx); err != nil || v.Control || v.Machine != machineB {
		t.Errorf("version of B: %+v, %v", v, err)
	}
	cert, key, err := r.authority.NewCertificate(pki.Identity{Cluster: testCluster, Role: pki.Admin, Name: "ann"}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"ca.crt": r.authority.CertificatePEM(), "operator.crt": cert, "operator.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	units, err := onB.Units(r.ctx)
	if err != nil || show(units.Units...) != "web.service launched\n" {
		t.Fatalf("with a certificate: %+v, %v", units, err)
	}
	if _, err := onB.Unit(r.ctx, "nobody.service"); ExitCode(err) != ExitUnknown {
		t.Errorf("errors come through: %v", err)
	}
	r.assign(machineB, "web.service", registry.Target_LAUNCHED)
	var out bytes.Buffer
	if exit, err := onB.Status(r.ctx, "web.service", "", &out); err != nil || exit != ExitInactive || out.String() != "status of web.service on B\n" {
		t.Errorf("status: %q, exit %d, %v", out.String(), exit, err)
	}
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	for u, err := range onB.Watch(ctx, "web.service") {
		if err != nil {
			t.Fatal(err)
		}
		if u.Target == TargetInactive {
			break
		}
		if _, err := onB.Apply(ctx, Apply{Changes: []Change{{Name: "web.service", Target: TargetInactive}}}); err != nil {
			t.Fatal(err)
		}
	}
	u, err := r.client.Unit(r.ctx, "web.service")
	if err != nil || u.Who != "ann" {
		t.Errorf("changed by %q, %v", u.Who, err)
	}
}

// Callers from afar are sent to a control machine; they are not lent the
// operator's certificate.
func TestRemoteCallersAreNotForwarded(t *testing.T) {
	r := newRig(t)
	r.withB()
	rec, err := r.store.Range(r.ctx, registry.Single(registry.MachineKey(machineB)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := registry.Decode[registry.Machine](rec.Records[0])
	if err != nil {
		t.Fatal(err)
	}
	config := r.credentials(pki.Admin, "ann").ClientTLS(pki.Machine, pki.Control)
	if status, e := rawCall(t, config, http.MethodGet, "https://"+b.GetApi()+pathPrefix+"/units"); status != http.StatusMisdirectedRequest || e.Exit != ExitRefused {
		t.Errorf("%d %+v", status, e)
	}
	// A client with several endpoints finds the control machine by itself.
	client := r.dial("https://"+b.GetApi()+",https://"+r.tcp, config)
	if _, err := client.Units(r.ctx); err != nil {
		t.Error(err)
	}
}
