package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// waitChild waits for our child to end.
func waitChild(pid int) syscall.WaitStatus {
	var status syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			return status
		}
	}
}

// deaf reports whether a signal does nothing to the first process of a
// container: the kernel drops what such a process neither catches nor has
// blocked, to take it up by sigwait. One that ignores the signal does so on
// purpose, to finish something, and isn't deaf.
func deaf(pid int, sig unix.Signal) bool {
	return !waitsForSignals(pid) && drops(pid, sig) && !waitsForSignals(pid)
}

// waitsForSignals reports whether a process is in sigwait or one of its kin, as
// an init is. For that time the kernel shows what it waits for as not blocked.
func waitsForSignals(pid int) bool {
	data, err := sheet.ReadFile("/proc/" + strconv.Itoa(pid) + "/syscall")
	number, _, _ := strings.Cut(string(data), " ")
	return err == nil && number == strconv.Itoa(unix.SYS_RT_SIGTIMEDWAIT)
}

func drops(pid int, sig unix.Signal) bool {
	bit := uint64(1) << (sig - 1)
	for _, key := range []string{"SigCgt", "SigBlk", "SigIgn"} {
		value, err := statusLine(strconv.Itoa(pid), key)
		if err != nil {
			return false
		}
		if mask, err := strconv.ParseUint(value, 16, 64); err != nil || mask&bit != 0 {
			return false
		}
	}
	return true
}

// settled waits until the process is the container's program and no longer
// nsrun setting it up, with signals blocked; at most 5 s.
func settled(pid int) {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return
	}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		its, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
		if err != nil || !os.SameFile(own, its) {
			return
		}
	}
}

// open returns a pidfd of the container's process, made sure of.
func (l *Live) open() (int, error) {
	fd, err := unix.PidfdOpen(l.PID, 0)
	if err != nil {
		return -1, err
	}
	if !l.alive() { // the pid was somebody else's by the time we opened it
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// Kill sends a container's first process a signal. When that is KILL it returns
// once the process is gone.
func (d *Dir) Kill(name string, sig unix.Signal) error {
	c, err := d.Get(name)
	if err != nil {
		return err
	}
	if c.Live == nil {
		return fmt.Errorf("%s: not running", name)
	}
	for first := true; c != nil; c, first = d.after(c), false {
		fd, err := c.Live.open()
		if errors.Is(err, unix.ESRCH) {
			if first && c.Running() {
				return fmt.Errorf("%s: not running", name)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		err = kill(fd, name, sig)
		unix.Close(fd)
		if err != nil || sig != unix.SIGKILL {
			return err
		}
	}
	return nil
}

func kill(pidfd int, name string, sig unix.Signal) error {
	if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s signal %d: %w", name, sig, err)
	}
	if sig != unix.SIGKILL {
		return nil
	}
	return gone(pidfd, name)
}

// after is asked when a process of c's is gone. If that was the nsrun that set c
// up, it may have opened the gate first, and c runs: then it returns c anew.
func (d *Dir) after(c *Container) *Container {
	if c.Running() {
		return nil
	}
	now, err := d.read(c.Name)
	if err != nil || now.ID != c.ID || now.Live == nil {
		return nil
	}
	return now
}

// killMax is how long the kernel may take to take a killed container apart.
const killMax = 20 * time.Second

// powerOffMax is how long it may take to power a container off.
const powerOffMax = 5 * time.Second

// dyingMax is how long a start waits for the container that has its name, in case
// that was killed a moment ago: the kernel takes some time to take it apart.
const dyingMax = 50 * time.Millisecond

// dies waits for the end of a container that has been killed, and reports whether
// it has ended.
func (d *Dir) dies(name string) bool {
	live, err := d.readLive(name)
	if err != nil {
		return false
	}
	fd, err := live.open()
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	if waitReadable(fd, dyingMax) == nil {
		return true
	}
	// Set up without its nsrun it ends by itself, but only at the last step: to
	// become root of its user name-space is to forget about death with the parent.
	if !live.Setting {
		settled(live.PID)
	}
	return exiting(live.PID) && waitReadable(fd, killMax) == nil || waitReadable(fd, 0) == nil
}

// exiting reports whether a process is on its way out, or was killed.
func exiting(pid int) bool {
	const pfExiting = 0x4
	if f, err := statFields(pid); err == nil {
		if flags, err := strconv.ParseUint(f[6], 10, 64); err == nil && flags&pfExiting != 0 {
			return true
		}
	}
	value, err := statusLine(strconv.Itoa(pid), "SigPnd")
	mask, parseErr := strconv.ParseUint(value, 16, 64)
	return err == nil && parseErr == nil && mask>>(unix.SIGKILL-1)&1 == 1
}

func gone(pidfd int, name string) error {
	if err := waitReadable(pidfd, killMax); err != nil {
		return fmt.Errorf("%s: killed, but its process stays: %w; look at what it waits for in /proc/PID/stack", name, err)
	}
	return nil
}

// Stop asks a container to end by a signal, its stop signal if that is empty,
// and, when limit has passed, kills it. Negative limit: the container's own. One
// that is deaf to the signal isn't waited for. One that has ended is no error.
func (d *Dir) Stop(name, signal string, limit time.Duration) error {
	c, err := d.Get(name)
	if err != nil {
		return err
	}
	if signal == "" {
		signal = c.StopSignal
	}
	sig := unix.SIGTERM
	if signal != "" {
		if sig, err = ParseSignal(signal); err != nil {
			return err
		}
	}
	if limit < 0 {
		if limit = c.StopTimeout; limit == 0 {
			limit = 10 * time.Second
		}
	}
	if c.Live == nil {
		return nil
	}
	for ; c != nil; c = d.after(c) {
		fd, err := c.Live.open()
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		err = c.stop(fd, sig, limit)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// stop ends the process behind pidfd, which is c's.
func (c *Container) stop(pidfd int, sig unix.Signal, limit time.Duration) error {
	if c.Running() {
		settled(c.Live.PID)
		if deaf(c.Live.PID, sig) {
			// The container may have killed who was to do it: then KILL below.
			if powerOff(c.Live.PID, pidfd) == nil && waitReadable(pidfd, powerOffMax) == nil {
				return nil
			}
		}
	}
	if err := kill(pidfd, c.Name, sig); err != nil {
		return err
	}
	if waitReadable(pidfd, limit) == nil {
		return nil
	}
	return kill(pidfd, c.Name, unix.SIGKILL)
}

// powerOff ends a pid name-space as its own poweroff would: all its processes
// are killed, and the first ends with a status that systemd counts as clean.
func powerOff(pid, pidfd int) error {
	proc := "/proc/" + strconv.Itoa(pid) + "/ns/"
	if same(proc+"pid", "/proc/self/ns/pid") {
		return errors.New("not a container") // reboot would be the machine's
	}
	errs := make(chan error)
	go func() {
		// This thread's children are born in the container. It is never
		// unlocked, so it ends with this goroutine.
		runtime.LockOSThread()
		errs <- powerOffFrom(proc, pidfd)
	}()
	return <-errs
}

func powerOffFrom(proc string, pidfd int) error {
	// Nobody inside may look into, or trace, what comes from outside.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set not dumpable: %w", err)
	}
	if os.Geteuid() != 0 {
		return powerOffInside(proc, pidfd)
	}
	if err := unix.Setns(pidfd, unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter pid name-space: %w", err)
	}
	children := fmt.Sprintf("/proc/self/task/%d/ns/pid_for_children", unix.Gettid())
	if !same(children, proc+"pid") || same(children, "/proc/1/ns/pid") {
		return errors.New("enter pid name-space: it is another")
	}
	b := newBuilder("nsrun: stop: ")
	if !same(proc+"user", "/proc/self/ns/user") {
		b.call("enter user name-space", unix.SYS_SETNS, pidfd, unix.CLONE_NEWUSER)
	}
	b.call("power off", unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_POWER_OFF, 0)
	pid, err := b.start(&cloneArgs{flags: cloneClearSighand, exitSignal: uint64(unix.SIGCHLD)})
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	if status := waitChild(pid); status.Exited() && status.ExitStatus() == ExitFailed {
		return errors.New("power off: refused")
	}
	return nil
}

// same reports whether two name-space links lead to the same name-space.
func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// Remove deletes what is left of a container. One that runs is an error.
func (d *Dir) Remove(name string) error { return d.removeWith(name, false) }

func (d *Dir) removeWith(name string, volumes bool) error {
	if err := d.remove(name, volumes, func(c *Container) bool { return true }); err != nil {
		return err
	}
	return d.emptyTrash()
}

// remove discards a container if it has ended, or is being set up by us, and if
// wanted says so once the lock is held. With volumes all that were made for it go.
func (d *Dir) remove(name string, volumes bool, wanted func(*Container) bool) error {
	unlock, err := d.prepare()
	if err != nil {
		return err
	}
	defer unlock()
	c, err := d.read(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Lstat(d.container(name)); err != nil {
			return fmt.Errorf("%s: %w", name, ErrUnknown)
		}
	case err != nil: // never finished
	case !wanted(c):
		return nil
	case c.Live != nil && !(c.Live.Setting && c.Live.PID == os.Getpid()):
		return fmt.Errorf("%s: still running; stop it first: nsrun stop %s, or use rm -f", name, name)
	}
	_, err = d.discard(name, c, volumes)
	return err
}

// ended notes how our container ended, or removes it when it was to be removed.
// It touches no other container that has taken the name meanwhile.
func (d *Dir) ended(s Spec, code int) error {
	mine := func(c *Container) bool { return c.ID == s.ID }
	if !s.Remove {
		return d.note(s.Name, mine, code)
	}
	if err := d.remove(s.Name, false, mine); err != nil {
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		return err
	}
	return d.emptyTrash()
}

// note writes a container's end into its record.
func (d *Dir) note(name string, mine func(*Container) bool, code int) error {
	unlock, err := d.prepare()
	if err != nil {
		return err
	}
	defer unlock()
	c, err := d.read(name)
	if err != nil || !mine(c) || c.Live != nil {
		return nil
	}
	c.Ended, c.Code = time.Now().UTC(), code
	return writeFile(filepath.Join(d.container(name), "record"), c.Record.encode())
}

// Reap removes the containers that have ended and were to be removed then, for
// nobody was there when they did.
func (d *Dir) Reap() error {
	all, err := d.List()
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Remove && c.Live == nil {
			dead := func(now *Container) bool { return now.ID == c.ID && now.Live == nil }
			if e := d.remove(c.Name, false, dead); e != nil && !errors.Is(e, ErrUnknown) {
				err = errors.Join(err, e)
			}
		}
	}
	return errors.Join(err, d.sweep())
}

// CleanUp puts a unit's containers in order after it has stopped: those that
// were to be removed go, of the others the end is noted. code is the unit's
// exit code as nsrun run would give it back; negative is unknown.
func (d *Dir) CleanUp(unit string, code int) error {
	all, err := d.List()
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Unit != unit || c.Live != nil {
			continue
		}
		mine := func(now *Container) bool { return now.ID == c.ID && now.Live == nil }
		var e error
		switch {
		case c.Remove:
			e = d.remove(c.Name, false, mine)
		case c.Ended.IsZero() && code >= 0:
			e = d.note(c.Name, mine, code)
		}
		if e != nil && !errors.Is(e, ErrUnknown) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, d.sweep())
}

// sweep deletes what starts and removals that were killed, or lost their power,
// have left, and empties the trash.
func (d *Dir) sweep() error {
	unlock, err := d.prepare()
	if err != nil {
		return err
	}
	making := filepath.Join(d.data, "making")
	entries, err := os.ReadDir(making)
	for _, e := range entries {
		if !stocking(e.Name()) {
			err = errors.Join(err, removeAll(filepath.Join(making, e.Name())))
		}
	}
	err = errors.Join(err, d.sweepMarks(), d.sweepLeases())
	unlock()
	return errors.Join(err, d.emptyTrash())
}

// sweepMarks removes the marks of ids that no container has any more: who marked
// them was killed, or has ended and nobody has removed it yet. The lock is held, so
// none is about to be recorded.
func (d *Dir) sweepMarks() error {
	entries, err := os.ReadDir(filepath.Join(d.run, "ids"))
	for _, e := range entries {
		mark := filepath.Join(d.run, "ids", e.Name())
		owner, linkErr := os.Readlink(mark)
		if linkErr != nil {
			err = errors.Join(err, linkErr)
			continue
		}
		if live, liveErr := d.readLive(owner); liveErr == nil && live.alive() && d.mark(live.IDs) == mark {
			continue
		}
		err = errors.Join(err, os.Remove(mark))
	}
	return err
}

// sweepLeases ends the leases of containers that are no more. A container takes
// its lease when it has its record, so one without is nobody's. The lock is held.
func (d *Dir) sweepLeases() error {
	if d.leases == nil {
		return nil
	}
	holders, err := d.leases.Holders()
	if err != nil || len(holders) == 0 {
		return err
	}
	all, err := d.List()
	if err != nil {
		return err
	}
	for _, holder := range holders {
		there := slices.ContainsFunc(all, func(c *Container) bool { return c.ID == holder })
		if !there && len(holder) == idLength { // others may hold images under other names
			err = errors.Join(err, d.leases.Release(holder))
		}
	}
	return err
}
