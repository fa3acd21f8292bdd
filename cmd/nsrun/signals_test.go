package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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

// TestReloadDuringSetUp: ExecReload=kill -HUP $MAINPID may come before there is a
// program. It ends no start.
func TestReloadDuringSetUp(t *testing.T) {
	m := newManager(t)
	if out, code := m.nsrun(m.run("--rm", "true")...); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	lock, err := os.Open(filepath.Join(m.dir, "state/lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for _, handedOver := range []bool{false, true} {
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		env := []string{}
		if handedOver {
			env = append(env, "NOTIFY_SOCKET="+filepath.Join(m.dir, "notify"))
		}
		cmd := m.command(env, m.run("--rm", "--name", "web", "sh", "-c", "exit 7")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitsForLock(t, cmd.Process.Pid)
		for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2} {
			if err := unix.Kill(cmd.Process.Pid, sig); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		if !handedOver {
			if cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
				t.Errorf("by hand: %v, want the program's exit 7\n%s", cmd.ProcessState, m.output)
			}
			continue
		}
		pid, ready := m.takeOver(cmd)
		if status := reap(t, pid); !ready || status.ExitStatus() != 7 {
			t.Errorf("handed over: ready %v, %v; want the program's exit 7\n%s", ready, status, m.output)
		}
	}
}

// TestStopOfSimpleUnitIsClean: by Type=simple nsrun stays the main process. When
// systemd stops it and the program is deaf to that, or dies of it below init, the
// unit must not have failed: no drop-in says what 143 means.
func TestStopOfSimpleUnitIsClean(t *testing.T) {
	m := newManager(t)
	for _, row := range []struct {
		name  string
		flags []string
		unit  bool
	}{
		{"deaf", nil, true},
		{"below init", []string{"--init"}, true},
		{"in a shell", nil, false},
	} {
		cmd := m.command(nil, m.run(append(row.flags, "--rm", "--name", "web", "sh", "-c", "echo up; exec sleep 100")...)...)
		if !row.unit {
			cmd.Args[2] = `exec "$0" "$@"`
		}
		cmd.Stdout = nil
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 3)); err != nil {
			t.Fatalf("%s: %v\n%s", row.name, err, m.output)
		}
		if err := unix.Kill(cmd.Process.Pid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case row.unit && (!status.Signaled() || status.Signal() != syscall.SIGTERM):
			t.Errorf("%s: %v, want an end by TERM, which is clean", row.name, cmd.ProcessState)
		case !row.unit && status.ExitStatus() != 143:
			t.Errorf("%s: %v, want exit 143", row.name, cmd.ProcessState)
		}
		if out, code := m.nsrun("ps", "-aq"); out != "" || code != 0 {
			t.Errorf("%s: left: %s", row.name, out)
		}
	}
}
