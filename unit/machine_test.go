//go:build machine

package unit

// These tests show files to a real systemd, process 1 of a machine that may be
// spoiled, and compare what it has of them with what this package says.
// functional/ runs them on a lab machine.

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

//go:embed testdata
var testdata embed.FS

// specimen is a unit file that systemd is shown.
type specimen struct {
	from string // for a failure's text: a path, or a seed
	file string // the file's name
	name Name   // the unit's: where the file is a template, one of its instances
	src  []byte

	f        *File
	problems []Problem
	load     string              // systemd's LoadState=
	has      map[string][]string // systemd's properties, each with its lines
	said     map[int][]string    // what systemd complains of, by the line the setting begins in

	executions map[string][]execution // its commands, by the setting
	variables  []string               // its Environment=, sorted
}

// unitsDir is where systemd finds new files without being told.
const unitsDir = "/run/systemd/system"

// newSpecimen makes a specimen of a text under a name that no other unit has.
// It is nil when the text can't be parsed, of which systemd needn't be asked.
func newSpecimen(from, name string, src []byte) *specimen {
	s := &specimen{from: from, file: name, name: Name(name), src: src}
	if s.name.IsTemplate() {
		s.name = s.name.InstanceOf(`in-st\x2dance:1`)
	}
	f, err := Parse(name, src)
	if err != nil {
		return nil
	}
	s.f = f
	s.problems = f.Check(s.name, CheckOptions{Systemd: 252})
	return s
}

func TestMachineCorpus(t *testing.T) {
	var all []*specimen
	err := fs.WalkDir(testdata, "testdata/corpus", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		src, err := testdata.ReadFile(path)
		if err != nil {
			return err
		}
		if s := newSpecimen(path, fmt.Sprintf("ddiff-c%d-%s", len(all), entry.Name()), src); s != nil {
			all = append(all, s)
		}
		return nil
	})
	if err != nil || len(all) < 300 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	compare(t, all)
}

func TestMachineBadFiles(t *testing.T) {
	var all []*specimen
	archives, err := fs.Glob(testdata, "testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		text, err := testdata.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range splitBadFiles(string(text)) {
			if s := newSpecimen(path, fmt.Sprintf("ddiff-b%d-%s", len(all), b.name), []byte(b.src)); s != nil {
				all = append(all, s)
			}
		}
	}
	compare(t, all)
}

func TestMachineGenerated(t *testing.T) {
	for _, typ := range types {
		t.Run(typ, func(t *testing.T) {
			var all []*specimen
			for seed := range uint64(60) {
				name, src := generate(typ, seed)
				s := newSpecimen(fmt.Sprintf("seed %d", seed), name, src)
				if s == nil {
					t.Fatalf("seed %d can't be parsed:\n%s", seed, src)
				}
				all = append(all, s)
			}
			compare(t, all)
		})
	}
}

// compare shows the specimens to systemd and reports all that it has otherwise.
func compare(t *testing.T, all []*specimen) {
	show(t, all)
	loaded, properties := 0, 0
	for _, s := range all {
		if s.load == "loaded" {
			loaded++
		}
		before := t.Failed()
		properties += s.compare(t)
		if t.Failed() && !before {
			t.Logf("%s: the first that differs:\n%s", s.name, s.src)
		}
	}
	t.Logf("%d units, of which systemd loads %d; %d properties compared", len(all), loaded, properties)
}

// show has systemd load the specimens and takes down what it has of them.
func show(t *testing.T, all []*specimen) {
	t.Helper()
	byFile := map[string]*specimen{}
	_, cursor, _ := strings.Cut(run(t, "journalctl", "-q", "-n", "1", "-o", "cat", "--show-cursor"), "-- cursor: ")
	for _, s := range all {
		path := filepath.Join(unitsDir, s.file)
		byFile[path] = s
		s.said = map[int][]string{}
		if err := os.WriteFile(path, s.src, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path) })
	}
	for part := range slices.Chunk(all, 200) {
		args := []string{"show", "--all", "--"}
		for _, s := range part {
			args = append(args, string(s.name))
		}
		blocks := strings.Split(strings.TrimSuffix(run(t, "systemctl", args...), "\n"), "\n\n")
		if len(blocks) != len(part) {
			t.Fatalf("systemctl show has %d units, want %d", len(blocks), len(part))
		}
		for i, s := range part {
			s.has = map[string][]string{}
			for line := range strings.SplitSeq(blocks[i], "\n") {
				if key, value, ok := strings.Cut(line, "="); ok {
					s.has[key] = append(s.has[key], value)
				}
			}
			s.load = strings.Join(s.has["LoadState"], " ")
		}
	}
	sameText(t, all)
	var asking sync.WaitGroup
	for part := range slices.Chunk(all, 1+len(all)/4) {
		asking.Go(func() {
			for _, s := range part {
				if err := s.ask(); err != nil {
					t.Errorf("%s: %v", s.name, err)
				}
			}
		})
	}
	asking.Wait()
	complaints(t, byFile, strings.TrimSpace(cursor))
}

// sameText compares the bytes of some of the files. systemctl cat prints all
// line ends as LF, and nothing of a file with an error.
func sameText(t *testing.T, all []*specimen) {
	t.Helper()
	args := []string{"cat", "--"}
	for i := 0; i < len(all); i += 5 {
		if all[i].load != "error" {
			args = append(args, string(all[i].name))
		}
	}
	printed := run(t, "systemctl", args...)
	for i := 0; i < len(all); i += 5 {
		s := all[i]
		text := strings.ReplaceAll(string(s.f.Bytes()), "\r\n", "\n")
		if s.load != "error" && !strings.Contains(printed, "# "+filepath.Join(unitsDir, s.file)+"\n"+text) {
			t.Errorf("%s (%s): systemctl cat shows another text", s.name, s.from)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := output(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %q: %w\n%s", name, args[:min(len(args), 5)], err, stderr.String())
	}
	return string(out), nil
}

// complaints takes what systemd said of the files from the journal.
func complaints(t *testing.T, byFile map[string]*specimen, after string) {
	t.Helper()
	run(t, "journalctl", "--sync")
	for line := range strings.Lines(run(t, "journalctl", "-q", "--after-cursor="+after, "-o", "json", "--output-fields=CONFIG_FILE,CONFIG_LINE,MESSAGE", "_PID=1")) {
		var entry struct {
			File    string `json:"CONFIG_FILE"`
			Line    string `json:"CONFIG_LINE"`
			Message any    `json:"MESSAGE"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("journal: %v in %s", err, line)
		}
		s := byFile[entry.File]
		if s == nil {
			continue
		}
		message := fmt.Sprint(entry.Message)
		if bytes, ok := entry.Message.([]any); ok { // not UTF-8
			message = ""
			for _, b := range bytes {
				message += string(rune(b.(float64)))
			}
		}
		if advice.MatchString(message) {
			continue
		}
		n, _ := strconv.Atoi(entry.Line)
		n = s.begin(n)
		if !slices.Contains(s.said[n], message) {
			s.said[n] = append(s.said[n], message)
		}
	}
}

// begin is the line in which the setting begins whose last one is line n:
// systemd counts lines that are continued by their end.
func (s *specimen) begin(n int) int {
	begin := n
	for _, a := range s.f.assignments {
		if a.Line <= n {
			begin = a.Line
		}
	}
	for _, h := range s.f.headers {
		if h.line <= n && h.line > begin {
			begin = h.line
		}
	}
	return begin
}

// advice is what systemd says of settings that it takes nonetheless.
var advice = regexp.MustCompile(`please use|please update|is obsolete|legacy directory|Unit uses KillMode=none|this is not safe`)
