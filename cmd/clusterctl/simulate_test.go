package main

import (
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

func TestRepeated(t *testing.T) {
	lists := []string{"--lose", "--add"}
	for give, want := range map[string]string{
		"--add a b c --lose m2 -o json":      "--add a --add b --add c --lose m2 -o json",
		"--add=a b --lose m1 m2":             "--add=a --add b --lose m1 --lose m2",
		"--endpoint x stray":                 "--endpoint x stray",
		"--lose":                             "--lose",
		"--lose m1 --output json stray -o x": "--lose m1 --output json stray -o x",
	} {
		if got := strings.Join(repeated(lists, strings.Fields(give)), " "); got != want {
			t.Errorf("%s: got %s, want %s", give, got, want)
		}
	}
}

func TestBraces(t *testing.T) {
	for give, want := range map[string]string{
		"web.service":          "web.service",
		"web@{1..3}.service":   "web@1.service web@2.service web@3.service",
		"{a,b}@{9..10}":        "a@9 a@10 b@9 b@10",
		"a{b":                  "a{b",
		"m{1}":                 "m{1}: braces hold a range or a list; write them as {1..50} or {a,b}",
		"m{3..1}":              "m{3..1}: a range goes from a number to a higher one, with at most 100000 in it",
		"m{1..99999999}":       "m{1..99999999}: a range goes from a number to a higher one, with at most 100000 in it",
		"m{1..1000}{1..1000}x": "m{1..1000}{1..1000}x: that is more than 100000 words",
	} {
		words, err := braces(give)
		got := strings.Join(words, " ")
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", give, got, want)
		}
	}
}

func TestPlanned(t *testing.T) {
	is := api.Unit{Name: "a.service", Known: true, Target: "launched", Hash: unit.HashOf([]byte("a\nb\n"))}
	loaded := is
	loaded.Target = "loaded"
	gone := is
	gone.Target = "gone"
	text := "a\nc\n"
	other := unit.HashOf([]byte(text))
	for _, tt := range []struct {
		unit   api.Unit
		change api.Change
		want   string
	}{
		{api.Unit{}, api.Change{Target: "launched", File: other}, "is new, and would be launched"},
		{api.Unit{}, api.Change{File: other}, "is new, and would be inactive"},
		{gone, api.Change{Target: "loaded"}, "is new, and would be loaded"},
		{is, api.Change{Target: "launched"}, "is launched already"},
		{loaded, api.Change{Target: "launched"}, "would be launched; it is loaded"},
		{is, api.Change{File: other}, "would have another text, and stay launched\n  -b\n  +c"},
		{loaded, api.Change{Target: "launched", File: other}, "would have another text, and be launched; it is loaded\n  -b\n  +c"},
		{is, api.Change{Target: "gone"}, "would be destroyed"},
		{is, api.Change{Target: "inactive"}, "would be inactive; it is launched"},
	} {
		tt.change.Name = "a.service"
		if got := planned(tt.unit, tt.change, "a\nb\n", text); got != "Unit a.service "+tt.want+"\n" {
			t.Errorf("%+v: got %q, want %q", tt.change, got, tt.want)
		}
	}
}

func TestNewTrouble(t *testing.T) {
	p := api.Prospect{Pending: []api.WouldDefer{{Unit: "a.service", Before: true}}}
	if err := newTrouble(p); err != nil {
		t.Errorf("what waits already: %v", err)
	}
	if err := newTrouble(p, "a.service"); exitCode(err) != api.ExitUnplaced {
		t.Errorf("the one that is asked for: %v", err)
	}
	p.Pending[0].Before = false
	if err := newTrouble(p); exitCode(err) != api.ExitUnplaced {
		t.Errorf("what would wait: %v", err)
	}
}
