package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/agent/runtime"
)

// TestAppArmorOption: a profile is taken where the kernel has AppArmor, which
// this machine may have or not.
func TestAppArmorOption(t *testing.T) {
	on := filepath.Join(t.TempDir(), "enabled")
	for _, row := range []struct{ text, value, want, err string }{
		{"Y\n", "docker-default", "docker-default", ""},
		{"Y\n", "unconfined", "", ""},
		{"N\n", "docker-default", "", "this kernel runs without AppArmor"},
		{"N\n", "unconfined", "", ""},
	} {
		if err := os.WriteFile(on, []byte(row.text), 0o644); err != nil {
			t.Fatal(err)
		}
		var s runtime.Spec
		err := appArmorOpt(&s, row.value, on)
		if s.AppArmor != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%q, %s: %q, %v; want %q, %s", row.text, row.value, s.AppArmor, err, row.want, row.err)
		}
	}
	if err := appArmorOpt(&runtime.Spec{}, "x", on+"/none"); err == nil {
		t.Error("taken where there is no AppArmor at all")
	}
}
