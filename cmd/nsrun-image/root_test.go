package main

import (
	"strings"
	"testing"
)

func TestRootOf(t *testing.T) {
	for _, row := range [][3]string{
		{"/data", "", "/data/nsrun/images"}, {"", "/home/bob", "/home/bob/.local/share/nsrun/images"},
		{"data", "/home/bob", "/home/bob/.local/share/nsrun/images"}, {"", "", ""}, {"", "bob", ""}, {"", "/", ""},
	} {
		if got := rootOf(row[0], row[1]); got != row[2] {
			t.Errorf("%q %q: %q, want %q", row[0], row[1], got, row[2])
		}
	}
	if _, err := new(tool).store(); err == nil || !strings.Contains(err.Error(), "no home directory is known") {
		t.Errorf("no root: %v", err)
	}
}
