package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLean tries nsrun as it is installed: built lean, with nsrun-full beside it
// for what it leaves out.
func TestLean(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	build := func(name string, args ...string) string {
		program := filepath.Join(dir, name)
		if out, err := exec.Command("go", append([]string{"build", "-o", program}, append(args, ".")...)...).CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		return program
	}
	lean := build("nsrun", "-tags", "lean")
	// What is in it lies in the memory of each start.
	symbols, err := exec.Command("go", "tool", "nm", lean).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"encoding/json.Unmarshal", "encoding/json.Marshal", "crypto/sha256.New", "text/tabwriter.NewWriter", "main.(*app).inspect"} {
		if strings.Contains(string(symbols), " "+s+"\n") {
			t.Errorf("%s is in nsrun; leave what needs it to nsrun-full", s)
		}
	}
	nsrun := func(args ...string) (string, int) {
		cmd := exec.Command(lean, args...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "NSRUN_DIR=" + filepath.Join(dir, "state")}
		out, err := cmd.CombinedOutput()
		if _, ended := err.(*exec.ExitError); err != nil && !ended {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := nsrun("ps"); code != 1 || !strings.Contains(out, "find nsrun-full: not beside nsrun and not in PATH") {
		t.Errorf("ps alone: exit %d, %s", code, out)
	}
	build("nsrun-full")
	busybox(t, filepath.Join(dir, "root"))
	profile := filepath.Join(dir, "profile.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"run --network=none --name kept --rootfs " + dir + "/root sh -c exit\t4", 4, ""},
		{"ps -a --format {{.Names}}", 0, "kept\n"},
		{"inspect -f {{.State.ExitCode}} kept", 0, "4\n"},
		{"container ls -aq --filter name=kept --no-trunc", 0, ""},
		{"rm kept", 0, "kept\n"},
		{"run --help", 0, "--volume"},
		{"rm --help", 0, "--force"},
		{"help", 0, "run a program in a new container"},
		{"", 0, "run a program in a new container"},
		{"--version", 0, "nsrun "},
		{"rnu", 1, "did you mean"},
		{"swarm", 1, "there is no daemon"},
		{"run --network=none --rm --security-opt seccomp=" + profile + " --rootfs " + dir + "/root hostname", 0, "\n"},
		{"run --network=none --rm --security-opt seccomp=" + profile + ".gone --rootfs " + dir + "/root hostname", 125, "no such file"},
	} {
		var args []string
		for _, a := range strings.Fields(strings.ReplaceAll(row.args, "\t", "\x00")) {
			args = append(args, strings.ReplaceAll(a, "\x00", " "))
		}
		if out, code := nsrun(args...); code != row.code || !strings.Contains(out, row.want) {
			t.Errorf("nsrun %s: exit %d, want %d\n%s", row.args, code, row.code, out)
		}
	}
}
