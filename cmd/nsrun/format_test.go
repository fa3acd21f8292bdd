package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTemplates(t *testing.T) {
	v := object{
		{"Name", "/web"},
		{"State", object{{"Running", true}, {"Pid", 4711}}},
		{"Args", []string{"a", "b"}},
		{"Labels", map[string]string{"x": "1", "a": "<&>"}},
		{"None", nil},
	}
	for format, want := range map[string]string{
		"plain":                                 "plain",
		"{{.Name}} {{ .State.Pid }}":            "/web 4711",
		`{{.Name}}\t{{.State.Running}}!`:        "/web\ttrue!",
		"{{json .State}}":                       `{"Running":true,"Pid":4711}`,
		"{{json .Labels.x}}":                    `"1"`,
		"{{.Args}} {{.Labels}}":                 "[a b] map[a:<&> x:1]",
		"{{.None}}":                             "<no value>",
		"{{.Nam}}":                              "there is no .Nam",
		"{{.Name.x}}":                           "there is no .Name.x",
		"{{.State.Pid.x}}":                      "there is no .State.Pid.x",
		`{{index .Labels "x"}}`:                 "not simple",
		"{{range .Args}}{{.}}{{end}}":           "not simple",
		"{{.Name":                               "not simple",
		"{{- .Name}}":                           "not simple",
		"{{}}":                                  "not simple",
		"{{..}}":                                "not simple",
		"{{json .Name | lower}}":                "not simple",
		"{{.State.Running}}{{/* a comment */}}": "not simple",
	} {
		parts, simple := split(format)
		got := ""
		for _, p := range parts {
			text, err := p.print(v)
			if err != nil {
				got = err.Error()
				break
			}
			got += text
		}
		if !simple {
			got = "not simple"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("{{.A.B}} {{json .}}\\t{{")
	f.Add("{{ . }}{{json}}{{-}}")
	f.Fuzz(func(t *testing.T, format string) {
		parts, simple := split(format)
		if !simple {
			return
		}
		for _, p := range parts {
			if _, err := p.print(object{{"A", object{{"B", 1}}}}); err != nil && !strings.HasPrefix(err.Error(), "there is no .") {
				t.Fatalf("%q: %v", format, err)
			}
		}
	})
}

func TestSuggestions(t *testing.T) {
	known := []string{"volume", "volumes-from", "name", "network", "memory", "env", "rm"}
	for word, want := range map[string]string{
		"volme": "volume", "volumne": "volume", "naem": "name", "netwrok": "network", "mem": "", "memo": "memory", "frob": "", "r": "", "evn": "env", "x": "",
	} {
		got := didYouMean(word, "--", known)
		if want != "" {
			want = "; did you mean --" + want + "?"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// TestGroupedVerbs: docker's long way to write a verb leads to the short one, and
// the flags that come with it are known there.
func TestGroupedVerbs(t *testing.T) {
	for line, want := range map[string]string{
		"container ls -a": "ps -a", "container rm x": "rm x", "container prune -f": "container prune -f", "container exec a b": "exec a b",
		"image ls": "images", "image rm -f x": "rmi -f x", "image prune": "prune", "image inspect x": "inspect --type=image x", "system info": "info",
		"system prune -f": "system prune -f", "container": "container", "container --help": "help container", "ps -a": "ps -a", "volume ls": "volume ls",
	} {
		words := strings.Fields(line)
		name, args := ungroup(words[0], words[1:])
		if got := strings.Join(append([]string{name}, args...), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestJournalTime(t *testing.T) {
	now := time.Unix(1_000_000, 500_000_000)
	for s, want := range map[string]string{
		"10m": "@999400.500000", "1h30m": "@994600.500000", "1970-01-01T00:01:40Z": "@100.000000", "1970-01-01T00:01:40.5+00:00": "@100.500000",
		"123.5": "@123.5", "yesterday": "yesterday", "-10min": "-10min",
	} {
		if got := journalTime(s, now); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
	if got, want := journalTime("2020-01-02T03:04:05", now), fmt.Sprintf("@%d.000000", time.Date(2020, 1, 2, 3, 4, 5, 0, time.Local).Unix()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestEveryVerbHasHelp: help knows each verb, by its short and its long name, and
// says what each flag that does something is for. Where nsrun-image isn't
// installed, its verbs' help says so.
func TestEveryVerbHasHelp(t *testing.T) {
	t.Run("without nsrun-image", func(t *testing.T) { everyVerbHasHelp(t, false) })
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../nsrun-image").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Run("with nsrun-image", func(t *testing.T) { everyVerbHasHelp(t, true) })
}

func everyVerbHasHelp(t *testing.T, imageProgram bool) {
	for _, v := range verbs() {
		var out, errs strings.Builder
		if slices.Contains(strings.Fields(imageVerbs), v.name) && !imageProgram {
			if code := run([]string{"docker", "help", v.name}, &out, &errs); code == 0 || !strings.Contains(errs.String(), "find nsrun-image: not beside nsrun") {
				t.Errorf("help %s: exit code %d: %s%s", v.name, code, out.String(), errs.String())
			}
			continue
		}
		if code := run(append([]string{"docker", "help"}, strings.Fields(v.name)...), &out, &errs); code != 0 || !strings.Contains(out.String(), v.name) && v.about != "" {
			t.Errorf("help %s: exit code %d: %s%s", v.name, code, out.String(), errs.String())
		}
	}
	for group := range groups {
		var out, errs strings.Builder
		if code := run([]string{"docker", group, "--help"}, &out, &errs); code != 0 || out.Len() == 0 {
			t.Errorf("%s --help: exit code %d: %s%s", group, code, out.String(), errs.String())
		}
	}
}

// TestFullOutputIsAFailure: what could not be printed was not said.
func TestFullOutputIsAFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"version"}} {
		var said strings.Builder
		if code := run(append([]string{"nsrun"}, args...), full, &said); code != 1 || !strings.Contains(said.String(), "no space left") {
			t.Errorf("nsrun %s: exit %d, %q", strings.Join(args, " "), code, said.String())
		}
	}
}
