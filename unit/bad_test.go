package unit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// badFile is a file of testdata/bad and what is to be said about it.
type badFile struct{ name, src, want string }

// badFiles reads an archive of testdata/bad: each file's header and text,
// followed by a want header and the problems, one a line.
func badFiles(t *testing.T, path string) []badFile {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return splitBadFiles(string(text))
}

func splitBadFiles(archive string) []badFile {
	var files []badFile
	var to *string
	for line := range strings.Lines(archive) {
		name, found := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- ")
		switch {
		case found && name == "want":
			to = &files[len(files)-1].want
		case found:
			files = append(files, badFile{name: name})
			to = &files[len(files)-1].src
		default:
			*to += line
		}
	}
	return files
}

// problemsOf is what is wrong with a file, as a user reads it. The version of
// systemd is the one that most of the table's machines have.
func problemsOf(t *testing.T, b badFile) string {
	name, err := ParseName(b.name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(b.name, []byte(b.src))
	if err != nil {
		return err.Error() + "\n"
	}
	var lines strings.Builder
	for _, p := range f.Check(name, CheckOptions{Systemd: 252}) {
		fmt.Fprintln(&lines, p)
	}
	return lines.String()
}

// TestBadFiles holds what is said about each of some hundred bad files.
func TestBadFiles(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("testdata/bad: %d archives, %v", len(archives), err)
	}
	total := 0
	for _, path := range archives {
		var updated bytes.Buffer
		for _, b := range badFiles(t, path) {
			total++
			got := problemsOf(t, b)
			fmt.Fprintf(&updated, "-- %s --\n%s-- want --\n%s", b.name, b.src, got)
			if got == "" {
				t.Errorf("%s: nothing is wrong with %s:\n%s", path, b.name, b.src)
			}
			if got != b.want && !*update {
				t.Errorf("%s: of %s:\n%sis said\n%swant\n%s", path, b.name, b.src, got, b.want)
			}
		}
		if *update {
			if err := os.WriteFile(path, updated.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if total < 300 {
		t.Errorf("%d bad files, want 300", total)
	}
}
