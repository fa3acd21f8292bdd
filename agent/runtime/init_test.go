package runtime

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInitFile runs init as an ordinary program, and as what the kernel says it is.
func TestInitFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "init")
	data := initFile()
	if err := os.WriteFile(file, data, 0o700); err != nil {
		t.Fatal(err)
	}
	if len(data) > 1024 {
		t.Errorf("it has %d bytes", len(data))
	}
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, row := range []struct {
		name, argv string
		want       int
	}{
		{"init", "/bin/sh -c exit\\ 3", 3},
		{"init", "/nosuch", 127},
		{"init", "/etc/passwd", 126},
		{"init", "/bin/sh -c kill\\ -9\\ $$", 137},
		{"init", "/bin/sh -c kill\\ -15\\ $$", 143},
		{"unit-init", "/bin/sh -c kill\\ -15\\ $$", 0},
		{"unit-init", "/bin/sh -c kill\\ -2\\ $$", 0},
		{"unit-init", "/bin/sh -c kill\\ -9\\ $$", 137},
		{"unit-init", "/bin/sh -c kill\\ -14\\ $$", 142},
		{"unit-init", "/bin/sh -c exit\\ 143", 143},
	} {
		argv := strings.Split(strings.ReplaceAll(row.argv, "\\ ", "\x00"), " ")
		for i := range argv {
			argv[i] = strings.ReplaceAll(argv[i], "\x00", " ")
		}
		cmd := exec.Command(file)
		cmd.Args = append([]string{row.name, argv[0]}, argv...)
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != row.want {
			t.Errorf("%s %s: exit code %d, want %d", row.name, row.argv, got, row.want)
		}
	}
}

// TestDeaf: whoever waits for a signal, by a handler or by sigwait, is not deaf,
// and neither is who ignores it on purpose.
func TestDeaf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(file, initFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		argv []string
		want bool
	}{
		{"sigwait", []string{file, "init", "/bin/sleep", "sleep", "30"}, false},
		{"a handler", []string{"/bin/sh", "sh", "-c", "trap : TERM; while :; do sleep 0.05; done"}, false},
		{"ignored", []string{"/bin/sh", "sh", "-c", `trap "" TERM; while :; do sleep 0.05; done`}, false},
		{"neither", []string{"/bin/sleep", "sleep", "30"}, true},
	} {
		cmd := &exec.Cmd{Path: row.argv[0], Args: row.argv[1:]}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		got := !row.want
		for until := time.Now().Add(5 * time.Second); got != row.want && time.Now().Before(until); {
			got = deaf(cmd.Process.Pid, unix.SIGTERM)
		}
		if got != row.want {
			t.Errorf("%s: deaf is %v", row.name, got)
		}
		for range 1000 {
			if deaf(cmd.Process.Pid, unix.SIGTERM) != row.want {
				t.Errorf("%s: not always", row.name)
				break
			}
		}
		cmd.Process.Signal(unix.SIGTERM) // init passes it on, and ends as its program does
		if row.name == "a handler" || row.name == "ignored" {
			cmd.Process.Kill()
		}
		cmd.Wait()
	}
}
