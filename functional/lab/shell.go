package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shellCgroup is where commands run inside a machine live; systemd there
// neither made it nor minds it.
const shellCgroup = "lab-shell.scope"

// notFound and notExecutable are what a shell answers for such a command.
const (
	notFound      = 127
	notExecutable = 126
)

// shell runs argv in a running machine and returns its exit code, 128+n when
// signal n ended it. err is set only when it could not be run at all.
func (p places) shell(ctx context.Context, r record, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	if !r.running() {
		return -1, fmt.Errorf("enter machine %s: it is off; start it: clusterctl lab start %s", r.Name, r.Name)
	}
	hs, err := hierarchies()
	if err != nil {
		return -1, err
	}
	leaf := p.machineCgroup(r.Name) + "/" + shellCgroup
	cmd := &exec.Cmd{
		Args: argv, Stdin: stdin, Stdout: stdout, Stderr: stderr, Dir: "/root",
		Env:       []string{"PATH=" + machinePath, "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash"},
		WaitDelay: waitDelay,
	}
	for _, keep := range []string{"TERM", "LANG", "COLORTERM"} {
		if v, ok := os.LookupEnv(keep); ok {
			cmd.Env = append(cmd.Env, keep+"="+v)
		}
	}
	cmd.SysProcAttr = &unix.SysProcAttr{}
	err = startIn(hs, leaf, cmd, func() error { return enter(r, cmd) })
	for tries := 0; errors.Is(err, errCgroup) && tries < 10; tries++ {
		// Not made yet, or a systemd that has just come up has tidied it away.
		if err := makeCgroup(hs, leaf); err != nil {
			return -1, err
		}
		err = startIn(hs, leaf, cmd, func() error { return enter(r, cmd) })
	}
	if err != nil {
		switch {
		case errors.Is(err, exec.ErrNotFound), errors.Is(err, unix.ENOENT):
			fmt.Fprintf(stderr, "%s: not found on machine %s\n", argv[0], r.Name)
			return notFound, nil
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC):
			fmt.Fprintf(stderr, "%s: not executable on machine %s\n", argv[0], r.Name)
			return notExecutable, nil
		}
		return -1, fmt.Errorf("run %s on machine %s: %w", argv[0], r.Name, err)
	}
	return wait(ctx, cmd)
}

// enter moves the present thread into every namespace of the machine, and
// finds the command's program there.
func enter(r record, cmd *exec.Cmd) error {
	pidfd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if !r.running() {
		return errors.New("it has just gone off")
	}
	// A thread that shares its root with others may not change it.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	if err := unix.Setns(pidfd, all); err != nil {
		return fmt.Errorf("enter its namespaces: %w", err)
	}
	cmd.Path, err = lookPath(cmd.Args[0])
	return err
}

// lookPath finds a program in the machine's usual places, whatever PATH the
// caller has.
func lookPath(name string) (string, error) {
	if filepath.Base(name) != name {
		return name, nil
	}
	for _, dir := range filepath.SplitList(machinePath) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// wait waits for a command that was started elsewhere than in this goroutine,
// and kills it when ctx ends first.
func wait(ctx context.Context, cmd *exec.Cmd) (int, error) {
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			_ = cmd.Process.Kill()
		case <-done:
		}
	}()
	err := cmd.Wait()
	close(done)
	<-stopped
	if ctx.Err() != nil {
		return -1, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// waitDelay is how long a command's output may stay open behind it, held by
// something it left running.
const waitDelay = 500 * time.Millisecond
