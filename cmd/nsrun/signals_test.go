package main

import (
	"testing"
)

// TestIgnoredSignalsAreNotHandedOn: what a shell or nohup has nsrun ignore is not
// what the program ignores: it is to end on Ctrl-C, and to reload on HUP.
func TestIgnoredSignalsAreNotHandedOn(t *testing.T) {
	m := newManager(t)
	const ignoring = "trap '' HUP INT QUIT USR1 TSTP TTIN TTOU PIPE; exec "
	for name, args := range map[string][]string{
		"run":       m.run("--rm", "--name", "web", "grep", "SigIgn", "/proc/self/status"),
		"run, init": m.run("--rm", "--init", "--name", "web", "grep", "SigIgn", "/proc/self/status"),
	} {
		cmd := m.command(nil, args...)
		cmd.Args[2] = ignoring + `"$0" "$@"`
		cmd.Stdout = nil
		if out, err := cmd.Output(); err != nil || string(out) != "SigIgn:\t0000000000000000\n" {
			t.Errorf("%s: %q, %v; want none ignored", name, out, err)
		}
	}
	pid, ready := m.handOver(m.run("--rm", "--name", "web", "sleep", "100")...)
	if !ready {
		t.Fatalf("not ready: %s", m.output)
	}
	cmd := m.command(nil, "exec", "web", "grep", "SigIgn", "/proc/self/status")
	cmd.Args[2] = ignoring + `"$0" "$@"`
	cmd.Stdout = nil
	if out, err := cmd.Output(); err != nil || string(out) != "SigIgn:\t0000000000000000\n" {
		t.Errorf("exec: %q, %v; want none ignored", out, err)
	}
	m.nsrun("stop", "web")
	reap(t, pid)
}
