package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// forwarded are the signals a container in a shell gets through us. What is
// ignored already, HUP under nohup say, stays so.
var forwarded = []unix.Signal{
	unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT,
}

// Written in assembly: a handler that writes the signal's number, one byte, to
// signalPipe, and what ends a handler. Package os/signal would have two more
// threads and twenty switches between them do this, at every start.
var signalCode [2]uintptr // addresses of the handler and of what ends it

//lint:ignore U1000 the handler reads it
var signalPipe int32 = -1 // set once; before, what the handler writes goes nowhere

// PassOver has this process take no notice of the signals by which programs are
// told to read their settings again, HUP, USR1 and USR2, until there is a program
// to pass them on to: one that is yet to begin reads them anyway. HUP from the
// terminal that standard input is ends us: it is gone.
func PassOver() error {
	signals := []unix.Signal{unix.SIGUSR1, unix.SIGUSR2}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err != nil {
		signals = append(signals, unix.SIGHUP)
	}
	for _, sig := range signals {
		if err := handle(sig); err != nil {
			return fmt.Errorf("catch signal %d: %w", sig, err)
		}
	}
	return nil
}

// catchSignals has the signals written to a pipe and returns its reading end.
func catchSignals() (fd int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, fmt.Errorf("catch signals: %w", err)
	}
	signalPipe = int32(pipe[1])
	for _, sig := range forwarded {
		if err := handle(sig); err != nil {
			return -1, fmt.Errorf("catch signal %d: %w", sig, err)
		}
	}
	return pipe[0], nil
}

func handle(sig unix.Signal) error {
	const onStack, restart = 0x08000000, 0x10000000 // SA_
	if old, err := disposition(sig); err != nil || old == ignored {
		return err
	}
	action := newAction(signalCode[0], onStack|restart)
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

const ignored = 1 // SIG_IGN; zero is SIG_DFL

// disposition returns what a signal does to this process: ignored, zero, or the
// address of a handler.
func disposition(sig unix.Signal) (uint64, error) {
	var old [4]uint64 // large enough for either layout, which begin alike
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return old[0], nil
}

// wait passes signals on until the container ends and returns its exit code.
func (l *launch) wait(signals int) int {
	return attend(l.pid, l.pidfd, signals, l.terminal, l.forward)
}

// attend passes on signals, and what goes in and out of a terminal if there is
// one, until our child ends; it returns the exit code. forward passes on one
// signal and says whether it has killed the child for it.
func attend(pid, pidfd, signals int, term *terminal, forward func(sig unix.Signal, kill bool) bool) int {
	asked, killedFor := 0, unix.Signal(0)
	limit := int(settledIn / time.Millisecond)
	for {
		poll := term.watch([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(signals), Events: unix.POLLIN}})
		n, err := unix.Poll(poll, limit)
		if err != nil && err != unix.EINTR {
			break // it is to be waited for in any case
		}
		if n == 0 && err == nil {
			dropCode()
			limit = -1
			continue
		}
		if poll[0].Revents != 0 {
			break
		}
		term.move(poll[2:])
		var number [1]byte
		if n, err := unix.Read(signals, number[:]); n != 1 || err != nil {
			continue
		}
		sig := unix.Signal(number[0])
		if sig == unix.SIGWINCH && term != nil {
			term.resize()
			continue
		}
		if sig == unix.SIGTERM || sig == unix.SIGINT {
			asked++
		}
		if forward(sig, asked >= insistence) {
			killedFor = sig
			break
		}
	}
	status := waitChild(pid)
	term.drain()
	if killedFor != 0 {
		return ExitSignal + int(killedFor)
	}
	return exitOf(status)
}

// exitOf is the exit code that stands for how a process ended.
func exitOf(status syscall.WaitStatus) int {
	if status.Signaled() {
		return ExitSignal + int(status.Signal())
	}
	return status.ExitStatus()
}

// EndLike ends this process by the signal that code stands for, if it is one that
// systemd takes for a clean end and this the main process of a unit whose program
// wasn't handed over, by Type=simple say. With exit code 143 the unit would have
// failed whenever it is stopped and its program is deaf to TERM. Else it returns.
func EndLike(code int) {
	sig := unix.Signal(code - ExitSignal)
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGTERM:
	default:
		return
	}
	if !mainOfUnit() {
		return
	}
	action := newAction(0, 0)
	if _, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno == 0 {
		unix.Kill(os.Getpid(), sig)
	}
}

// settledIn is how long a container has run when we take it for one that stays.
const settledIn = time.Second

// dropCode gives back the memory that holds our own code, of which the wait for a
// container needs a few pages: those come back by themselves.
func dropCode() {
	maps, err := sheet.ReadFile("/proc/self/maps")
	self, linkErr := os.Readlink("/proc/self/exe")
	if err != nil || linkErr != nil {
		return // it is for comfort only
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		// What can be written to would be lost.
		if len(f) < 6 || f[len(f)-1] != self || f[1][:2] != "r-" {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			syscall.RawSyscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
		}
	}
}

// insistence is the number of times INT or TERM is said to a container before
// it is killed: a shell that waits for a child hears them, and goes on waiting.
const insistence = 3

// forward passes one signal on. A first process that is deaf to a signal that
// should end it would live on for ever; it is killed, and the answer is true.
func (l *launch) forward(sig unix.Signal, kill bool) bool {
	switch sig {
	case unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT:
		settled(l.pid)
		if kill || deaf(l.pid, sig) {
			unix.PidfdSendSignal(l.pidfd, unix.SIGKILL, nil, 0)
			return true
		}
	}
	unix.PidfdSendSignal(l.pidfd, sig, nil, 0)
	return false
}
