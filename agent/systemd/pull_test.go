package systemd

import (
	"slices"
	"strings"
	"testing"
)

func TestLastLine(t *testing.T) {
	var told []string
	out := &lastLine{each: func(line string) { told = append(told, line) }}
	for _, piece := range []string{"layer 1", " of 2\nlay", "er 2 of 2\r\n\n", "done\n", strings.Repeat("x", 3000)} {
		if n, err := out.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	want := []string{"layer 1 of 2", "layer 2 of 2", "done", strings.Repeat("x", 3000)}
	if !slices.Equal(told, want) || out.last != want[3] {
		t.Errorf("told %q, last %q", told, out.last)
	}
}
