package main

import (
	"testing"

	"github.com/clusterd/clusterd/engine"
	"github.com/clusterd/clusterd/engine/placement"
)

// TestExplanationOfAFile: a file that isn't submitted is explained as if it
// were started, and the cluster stays as it is.
func TestExplanationOfAFile(t *testing.T) {
	c := placement.New()
	c.SetMachine(placement.Machine{ID: "m1", Hostname: "m1", Cordoned: true})
	c.SetMachine(placement.Machine{ID: "m2", Hostname: "m2", Metadata: map[string]string{"disk": "hdd"}})
	would, err := engine.Prospective("new@3.service", []byte("[Service]\nExecStart=/bin/true\n[X-Cluster]\nMachineMetadata=disk=ssd\nConflicts=new@%i.socket\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.SetUnit(would)
	found, known := c.ExplainUnit("new@3.service")
	if !known {
		t.Fatal("not known")
	}
	e := explanation(found)
	if !e.Pending || len(e.Machines) != 2 || len(e.Machines[0].Reasons) != 2 || e.Machines[1].Reasons[0].Rule != placement.RuleMetadata {
		t.Fatalf("explanation: %+v", e)
	}
	if want := "set disk=ssd in the metadata of m2"; e.Change != want {
		t.Errorf("change %q, want %q", e.Change, want)
	}
}

func TestExplanationOfABadFile(t *testing.T) {
	if _, err := engine.Prospective("new.service", []byte("[X-Cluster]\nMachineID=m1\nMachineOf=\n[Service\n")); err == nil {
		t.Error("no error")
	}
}
