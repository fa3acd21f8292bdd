package runtime

import (
	"time"

	"golang.org/x/sys/unix"
)

// asked are the signals by which systemd asks a unit to stop, bit n-1 for signal
// n; none where the container isn't handed over. From MAINPID= on they come to the
// container's first process, which works through its table with all signals
// blocked. The kernel drops what such a process hasn't got a handler for when it
// unblocks it, and systemd, with no ExecStop= before a unit has started, would wait
// its whole TimeoutStopSec=. So the child looks for itself.
type asked uint64

// asked returns those of p: what systemd may have for KillSignal= and, where a unit
// says it twice, the container's own.
func (p *Plan) asked() asked {
	if !p.HandOver {
		return 0
	}
	set := asked(0)
	signals := []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGQUIT}
	if sig, err := ParseSignal(p.Spec.StopSignal); err == nil {
		signals = append(signals, sig)
	}
	for _, sig := range signals {
		set |= 1 << (sig - 1)
	}
	return set
}

// askedOps is how many calls compile adds.
const askedOps = 2

// compile lets the child exit with 0, which is a clean stop, if one of the signals
// is there, or comes within limit.
func (set asked) compile(b *builder, limit time.Duration) {
	const what = "look whether we are asked to stop"
	mask, wait := uint64(set), unix.NsecToTimespec(limit.Nanoseconds())
	fd := &unix.PollFd{Fd: -1, Events: unix.POLLIN}
	b.pins = append(b.pins, fd)
	see := b.call(what, unix.SYS_SIGNALFD4, int(^uint32(0)), pin(b, &mask), 8, unix.SFD_CLOEXEC)
	see.flags = flagIgnore
	see.into(b, &fd.Fd)
	look := b.call(what, unix.SYS_PPOLL, pin(b, fd), 1, pin(b, &wait), 0, 0)
	look.flags, look.exit, look.missing = flagZero|flagQuiet, 0, 0
}
