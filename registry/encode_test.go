package registry_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry"
)

func TestDecode(t *testing.T) {
	encoded := registry.Encode(&registry.Unit{File: "abc", Target: registry.Target_LAUNCHED})
	unit, err := registry.Decode[registry.Unit](registry.Record{Key: "units/a.service", Value: encoded})
	if err != nil || unit.Version != 1 || unit.File != "abc" || unit.Target != registry.Target_LAUNCHED {
		t.Errorf("got %v, %v, want what was encoded", unit, err)
	}
	for name, value := range map[string][]byte{
		"garbage":         []byte("\xffgarbage"),
		"no version":      nil,
		"unknown version": registry.Encode(&registry.Unit{Version: 2}),
	} {
		_, err := registry.Decode[registry.Unit](registry.Record{Key: "units/a.service", Value: value})
		if !errors.Is(err, registry.ErrUnreadable) || !strings.Contains(err.Error(), "units/a.service") {
			t.Errorf("%s: got %v, want ErrUnreadable naming the key", name, err)
		}
	}
}

func TestEncode_TakesAnyBytesForText(t *testing.T) {
	o := &registry.Observed{Reason: "exec: \xff\xfe", Result: "success"}
	got, err := registry.Decode[registry.Observed](registry.Record{Key: "k", Value: registry.Encode(o)})
	if err != nil || !strings.HasPrefix(got.Reason, "exec: ") || got.Result != "success" {
		t.Errorf("got %v, %v", got, err)
	}
	p := &registry.Pending{Refusals: []*registry.Refusal{{Machines: []string{"\xff"}}}}
	if _, err := registry.Decode[registry.Pending](registry.Record{Key: "k", Value: registry.Encode(p)}); err != nil {
		t.Error(err)
	}
	m := &registry.Machine{Metadata: map[string]string{"a": "\xff"}}
	if _, err := registry.Decode[registry.Machine](registry.Record{Key: "k", Value: registry.Encode(m)}); err != nil {
		t.Error(err)
	}
}
