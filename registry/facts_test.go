package registry

import (
	"fmt"
	"testing"
)

func TestSystemdNumber(t *testing.T) {
	for text, want := range map[string]int{"252": 252, "252.38-1~deb12u1": 252, "": 0, "v252": 0, "256~rc1": 256} {
		if got := SystemdNumber(text); got != want {
			t.Errorf("systemd %q is %d, want %d", text, got, want)
		}
	}
}

func TestSelectable(t *testing.T) {
	m := &Machine{Hostname: "m1", Metadata: map[string]string{"rack": "7", "os": "ours"},
		Facts: map[string]string{FactArch: "arm64", FactKernel: "6.1.0-18", FactSystemd: "252.38-1~deb12u1", FactOS: "debian-12", "other": "x"}}
	s := &Settings{Metadata: map[string]string{"rack": "8"}}
	if got, want := fmt.Sprint(Selectable(m, s)), "map[arch:arm64 hostname:m1 kernel:6.1.0-18 os:ours rack:8 systemd:252]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := fmt.Sprint(Selectable(nil, nil)); got != "map[hostname:]" {
		t.Errorf("of nothing: %s", got)
	}
}
