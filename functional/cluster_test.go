package functional

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterd/clusterd/functional/lab"
)

// soon is how long anything may take that needs no timeout to pass first: on
// two busy cores even a second can be long.
const soon = 30 * time.Second

// cluster is a lab's cluster as a test or benchmark sees it: through clusterctl.
type cluster struct {
	testing.TB
	lab *lab.Lab
}

func newCluster(t testing.TB, l *lab.Lab) *cluster { return &cluster{TB: t, lab: l} }

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
}

// try runs clusterctl on the host and returns what came of it.
func (c *cluster) try(args ...string) result {
	c.Helper()
	return c.tryIn("", args...)
}

// tryIn runs clusterctl in a directory of the host, where it may find files.
func (c *cluster) tryIn(dir string, args ...string) result {
	c.Helper()
	program, err := filepath.Abs(filepath.Join(bin, "clusterctl"))
	if err != nil {
		c.Fatal(err)
	}
	cmd := exec.CommandContext(c.Context(), program, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), "CLUSTERD_LAB="+c.lab.Name())
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.Fatalf("run clusterctl: %v", err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// ctl runs clusterctl, which must succeed, and returns what it printed.
func (c *cluster) ctl(args ...string) string {
	c.Helper()
	r := c.try(args...)
	if r.code != 0 {
		c.Fatalf("clusterctl %s: %v", strings.Join(args, " "), r)
	}
	return r.stdout
}

// in runs clusterctl in a directory; it must succeed.
func (c *cluster) in(dir string, args ...string) string {
	c.Helper()
	r := c.tryIn(dir, args...)
	if r.code != 0 {
		c.Fatalf("clusterctl %s: %v", strings.Join(args, " "), r)
	}
	return r.stdout
}

// refused runs clusterctl, which must fail with the code and say all of words.
func (c *cluster) refused(code int, words []string, args ...string) {
	c.Helper()
	r := c.try(args...)
	if r.code != code {
		c.Errorf("clusterctl %s: want exit code %d, got %v", strings.Join(args, " "), code, r)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			c.Errorf("clusterctl %s: want it to say %q, got %v", strings.Join(args, " "), w, r)
		}
	}
}

// on runs a command on a machine and returns what it printed and its exit code.
func (c *cluster) on(machine string, argv ...string) (string, int) {
	c.Helper()
	var out bytes.Buffer
	code, err := c.lab.Shell(c.Context(), machine, argv, nil, &out, &out)
	if err != nil {
		c.Fatalf("on %s: %s: %v", machine, strings.Join(argv, " "), err)
	}
	return strings.TrimRight(out.String(), "\n"), code
}

// must runs a command on a machine that must succeed.
func (c *cluster) must(machine string, argv ...string) string {
	c.Helper()
	out, code := c.on(machine, argv...)
	if code != 0 {
		c.Fatalf("on %s: %s: exit code %d: %s", machine, strings.Join(argv, " "), code, out)
	}
	return out
}

// unit is a unit as list-units --output=json shows it, as far as tests look.
type unit struct {
	Name    string `json:"name"`
	Known   bool   `json:"known"`
	Target  string `json:"target"`
	Pending *struct {
		Text string `json:"text"`
	} `json:"pending"`
	States []state `json:"states"`
}

type state struct {
	Machine   string `json:"machine"`
	Hostname  string `json:"hostname"`
	MachineIs string `json:"machineIs"`
	Assigned  string `json:"assigned"`
	Load      string `json:"load"`
	Active    string `json:"active"`
	Sub       string `json:"sub"`
	MainPID   int    `json:"mainPID"`
	Result    string `json:"result"`
	Reason    string `json:"reason"`
	Unclaimed bool   `json:"unclaimed"`
}

// units lists units; without patterns all.
func (c *cluster) units(patterns ...string) []unit {
	c.Helper()
	var all []unit
	c.read(&all, append([]string{"list-units", "--output=json"}, patterns...)...)
	return all
}

// read decodes what a list command prints. An answer from a copy (exit code 7)
// is one, too: the registry may be what the test has broken.
func (c *cluster) read(into any, args ...string) {
	c.Helper()
	r := c.try(args...)
	if r.code != 0 && r.code != 7 {
		c.Fatalf("clusterctl %s: %v", strings.Join(args, " "), r)
	}
	if r.stdout == "" {
		return
	}
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		c.Fatalf("clusterctl %s: %v: %v", strings.Join(args, " "), err, r)
	}
}

// summary is units on one line each, for comparing and for telling what was
// seen: "web.service m1 active/running".
func summary(units []unit) string {
	var lines []string
	for _, u := range units {
		if len(u.States) == 0 {
			line := u.Name + " nowhere " + u.Target
			if u.Pending != nil {
				line += " pending: " + u.Pending.Text
			}
			lines = append(lines, line)
		}
		for _, s := range u.States {
			line := fmt.Sprintf("%s %s %s/%s", u.Name, s.Hostname, s.Active, s.Sub)
			if s.Unclaimed {
				line += " unclaimed"
			}
			if s.Reason != "" {
				line += " (" + s.Reason + ")"
			}
			if s.MachineIs != "alive" {
				line += " machine " + s.MachineIs
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// active returns where each unit that matches is active, and fails unless
// each is active in exactly one place.
func (c *cluster) active(patterns ...string) map[string]state {
	c.Helper()
	where := map[string]state{}
	all := c.units(patterns...)
	for _, u := range all {
		if len(u.States) != 1 || u.States[0].Active != "active" {
			c.Fatalf("want each of %v active in one place; seen:\n%s", patterns, summary(all))
		}
		where[u.Name] = u.States[0]
	}
	return where
}

// eventually waits until look is content; it says what it sees meanwhile.
func (c *cluster) eventually(what string, within time.Duration, look func() (seen string, ok bool)) {
	c.Helper()
	begun := time.Now()
	for {
		seen, ok := look()
		if ok {
			return
		}
		if time.Since(begun) > within {
			c.Fatalf("not within %v: %s; last seen:\n%s", within, what, seen)
		}
		pause(c, 100*time.Millisecond)
	}
}

// steadily fails as soon as look isn't content, for as long as said.
func (c *cluster) steadily(what string, during time.Duration, look func() (seen string, ok bool)) {
	c.Helper()
	for begun := time.Now(); time.Since(begun) < during; pause(c, 250*time.Millisecond) {
		if seen, ok := look(); !ok {
			c.Fatalf("%s: no more after %v; seen:\n%s", what, time.Since(begun).Round(time.Second/10), seen)
		}
	}
}

func pause(c *cluster, d time.Duration) {
	select {
	case <-c.Context().Done():
		c.Fatal("interrupted")
	case <-time.After(d):
	}
}

// file writes a unit file and returns its path; the unit is destroyed at the
// test's end.
func (c *cluster) file(name, text string) string {
	c.Helper()
	path := filepath.Join(c.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.Fatal(err)
	}
	return path
}

// destroyed sees to it that units are gone at the test's end, and waits for it.
func (c *cluster) destroyed(names ...string) {
	c.Cleanup(func() {
		cmd := exec.Command(filepath.Join(bin, "clusterctl"), append([]string{"destroy"}, names...)...)
		cmd.Env = append(os.Environ(), "CLUSTERD_LAB="+c.lab.Name())
		if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 4 {
			c.Logf("destroy %v: %v: %s", names, err, out)
		}
	})
}

// show reads properties of a unit from a machine's own systemd.
func (c *cluster) show(machine, unit string, properties ...string) map[string]string {
	c.Helper()
	out := c.must(machine, "systemctl", "show", "-p", strings.Join(properties, ","), unit)
	values := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	return values
}

// identity tells one run of a unit from another: its main PID and start.
func (c *cluster) identity(machine, unit string) string {
	c.Helper()
	p := c.show(machine, unit, "MainPID", "ExecMainStartTimestampMonotonic")
	return p["MainPID"] + " since " + p["ExecMainStartTimestampMonotonic"]
}

// sleeper is the simplest unit that stays.
func sleeper(more string) string {
	return "[Unit]\nDescription=Sleeps\n[Service]\nExecStart=/bin/sleep infinity\n" + more
}
