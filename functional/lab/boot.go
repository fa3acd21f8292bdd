package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HelperCommand is the hidden command of clusterctl (below its command lab) that
// starts machines; its arguments go to [Helper].
const HelperCommand = "helper"

// spec is all that the first process of a machine is told.
type spec struct {
	Record      record      `json:"record"`
	Root        string      `json:"root"`  // empty directory on which the machine's root is built
	State       string      `json:"state"` // real directories and overlay uppers
	Layer       string      `json:"layer"`
	Run         string      `json:"run"`   // becomes /run/clusterd
	Hosts       string      `json:"hosts"` // becomes /etc/hosts
	LabDir      string      `json:"labDir"`
	Hierarchies []hierarchy `json:"hierarchies"`
}

// Helper runs the hidden command: "boot LAB MACHINE" starts a machine and
// prints its process 1, "init" is that process until systemd takes its place,
// "registry LAB" serves the lab's images.
func Helper(args []string, stdout io.Writer) error {
	switch {
	case len(args) == 3 && args[0] == "boot":
		p, err := placesOf(args[1])
		if err != nil {
			return err
		}
		r, err := p.readRecord(args[2])
		if err != nil {
			return err
		}
		pid, err := p.spawn(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, pid)
		return err
	case len(args) == 2 && args[0] == "registry":
		p, err := placesOf(args[1])
		if err != nil {
			return err
		}
		return p.serveRegistry(stdout)
	case len(args) == 1 && args[0] == "init":
		return becomeMachine(os.NewFile(3, "spec"), os.NewFile(4, "status"))
	}
	return errors.New("lab helper: this command is the lab's own; use clusterctl lab")
}

// boot starts a machine that is off and waits until its systemd has come up.
// A helper process does the start and ends, so that the machine is nobody's
// child and outlives us.
func (p places) boot(ctx context.Context, r record) (record, error) {
	if err := p.prepare(r); err != nil {
		return r, fmt.Errorf("boot machine %s: %w", r.Name, err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, p.program("clusterctl"), "lab", HelperCommand, "boot", p.name, r.Name)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return r, fmt.Errorf("boot machine %s: %w: %s", r.Name, err, strings.TrimSpace(errs.String()))
	}
	if _, err := fmt.Sscan(out.String(), &r.PID); err != nil {
		return r, fmt.Errorf("boot machine %s: unexpected answer %q", r.Name, out.String())
	}
	r.StartTime, r.HostBoot = startTime(r.PID), hostBoot()
	r.Boots++
	r.Paused = false
	if err := p.writeRecord(r); err != nil {
		return r, fmt.Errorf("record machine %s: %w", r.Name, err)
	}
	if err := p.awaitSystemd(ctx, r); err != nil {
		return r, fmt.Errorf("boot machine %s: %w; its console is in %s", r.Name, err, p.console(r.Name))
	}
	return r, nil
}

func (p places) console(machine string) string {
	return filepath.Join(p.machineDir(machine), "console.log")
}

// prepare makes the machine's directories; what is volatile is emptied.
func (p places) prepare(r record) error {
	dir := p.machineDir(r.Name)
	for _, d := range []string{"root", "var", "home", "srv", "roothome", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "roothome"), 0o700); err != nil {
		return err
	}
	return p.emptyRun(r.Name)
}

// emptyRun makes a machine's /run/clusterd an empty directory, as a boot does.
func (p places) emptyRun(machine string) error {
	run := p.machineRun(machine)
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(run)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(run, e.Name())))
	}
	return err
}

// spawn clones the machine's first process, gives it its cgroups and its
// network, and returns its PID once systemd has taken it over.
func (p places) spawn(r record) (pid int, err error) {
	hs, err := hierarchies()
	if err != nil {
		return 0, err
	}
	if err := makeCgroup(hs, p.machineCgroup(r.Name)); err != nil {
		return 0, err
	}
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	console, err := os.OpenFile(p.console(r.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", "lab", HelperCommand, "init")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + machinePath, "container=clusterd-lab", "container_uuid=" + r.MachineID}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{specRead, statusWrite}
	cmd.SysProcAttr = &unix.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
	}
	if err := startIn(hs, p.machineCgroup(r.Name), cmd, func() error { return nil }); err != nil {
		return 0, fmt.Errorf("make namespaces: %w", err)
	}
	specRead.Close()
	statusWrite.Close()
	defer func() {
		if err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	if err := p.connect(r, cmd.Process.Pid); err != nil {
		return 0, err
	}
	if err := json.NewEncoder(specWrite).Encode(p.specOf(r, hs)); err != nil {
		return 0, err
	}
	specWrite.Close()
	// The other end closes by itself when systemd is executed.
	failure, err := io.ReadAll(statusRead)
	if err != nil {
		return 0, err
	}
	if len(failure) > 0 {
		return 0, errors.New(string(failure))
	}
	return cmd.Process.Pid, nil
}

func (p places) specOf(r record, hs []hierarchy) spec {
	dir := p.machineDir(r.Name)
	return spec{
		Record:      r,
		Root:        filepath.Join(dir, "root"),
		State:       dir,
		Layer:       p.layer(),
		Run:         p.machineRun(r.Name),
		Hosts:       p.hosts(),
		LabDir:      p.dir,
		Hierarchies: hs,
	}
}

// bootLimit bounds how long a machine may take to come up.
const bootLimit = 60 * time.Second

// awaitSystemd waits until the machine has booted. A unit that failed on the
// way does not make the machine useless, so "degraded" is booted too.
func (p places) awaitSystemd(ctx context.Context, r record) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	socket := fmt.Sprintf("/proc/%d/root/run/systemd/private", r.PID)
	last := "systemd has not opened its socket"
	for {
		if !r.running() {
			return errors.New("systemd ended")
		}
		if _, err := os.Stat(socket); err == nil {
			var out bytes.Buffer
			_, err := p.shell(ctx, r, []string{"systemctl", "is-system-running", "--wait"}, nil, &out, &out)
			if last = strings.TrimSpace(out.String()); last == "running" || last == "degraded" {
				return nil
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not up after %v, last seen: %s", bootLimit, last)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
