package registry

import "testing"

func TestSystemdNumber(t *testing.T) {
	for text, want := range map[string]int{"252": 252, "252.38-1~deb12u1": 252, "": 0, "v252": 0, "256~rc1": 256} {
		if got := SystemdNumber(text); got != want {
			t.Errorf("systemd %q is %d, want %d", text, got, want)
		}
	}
}
