package unit

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "bring testdata and tables up to what the tests find")

// TestKeysAreThoseOfSystemd compares the table with what this machine's
// systemd says it knows.
func TestKeysAreThoseOfSystemd(t *testing.T) {
	program := systemd()
	if program == "" {
		t.Fatal("needs systemd; install it, as make deps does")
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := strconv.Atoi(strings.Fields(string(out))[1])
	if err != nil {
		t.Fatalf("version of systemd: %v in %s", err, out)
	}
	dump, err := exec.Command(program, "--dump-configuration-items").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	missing := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(dump)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, _, ok := strings.Cut(line, "=")
		if !ok || section == "Scope" { // scopes have no files
			continue
		}
		known[section+"."+key] = true
		if s, _, ok := lookUp(section, key); !ok || s.since > version || s.gone {
			missing[key] = append(missing[key], section)
		}
	}
	for key, all := range settings() {
		for _, s := range all {
			for _, section := range s.sections {
				if s.since <= version && !s.gone && !known[section+"."+key] {
					t.Errorf("systemd %d has no %s= in [%s]", version, key, section)
				}
			}
		}
	}
	if len(missing) > 0 && *update {
		addKeys(t, missing, version)
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("systemd %d has %s= in %v, and keys.txt doesn't say so", version, key, missing[key])
	}
}

func systemd() string {
	for _, path := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// addKeys puts keys into the table whose kind nobody has thought about.
func addKeys(t *testing.T, missing map[string][]string, version int) {
	var head, rows []string
	for line := range strings.Lines(keysText) {
		if strings.HasPrefix(line, "#") {
			head = append(head, line)
		} else {
			rows = append(rows, line)
		}
	}
	for key, sections := range missing {
		rows = append(rows, fmt.Sprintf("%s %s %d any\n", key, strings.Join(sections, ","), version))
	}
	slices.Sort(rows)
	text := strings.Join(slices.Concat(head, rows), "")
	if err := os.WriteFile("keys.txt", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The table itself is well-formed: known kinds, known sections, in order.
func TestKeysTable(t *testing.T) {
	kinds := strings.Fields("account busname namespaces networks set statuses syscalls any bool calendar condbool condpath dirs documentation enum envfile environ exec int listen memory mode netlink nspan path paths quota text " +
		"rlimit-int rlimit-nice rlimit-size rlimit-span rlimit-uspan signal size slice span tasks unit units workdir")
	before := []byte(nil)
	for _, line := range bytes.Split([]byte(keysText), []byte("\n")) {
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if bytes.Compare(before, line) >= 0 {
			t.Errorf("%q doesn't follow %q", line, before)
		}
		before = line
	}
	for key, all := range settings() {
		for i, s := range all {
			if !slices.Contains(kinds, s.kind) {
				t.Errorf("%s has the unknown kind %q", key, s.kind)
			}
			if s.since > Newest+1 {
				t.Errorf("%s came with systemd %d, after %d, the newest known", key, s.since, Newest)
			}
			for _, section := range s.sections {
				if !slices.Contains(types, strings.ToLower(section)) && section != "Unit" && section != "Install" {
					t.Errorf("%s is in the unknown section %q", key, section)
				}
				for _, other := range all[:i] {
					if other.in(section) {
						t.Errorf("%s is in [%s] twice", key, section)
					}
				}
			}
		}
	}
}
