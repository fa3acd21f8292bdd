package runtime

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal of a container's, and ours beside it. A nil one
// does nothing.
type terminal struct {
	master int
	slave  int           // for the program, or -1
	input  bool          // standard input goes to it
	saved  *unix.Termios // of our terminal, to be put back
	rest   []byte        // read from standard input, not taken yet
	ended  bool          // nothing will come out of it any more
}

// ErrNoTerminal says that a terminal was asked for and standard input is none.
var ErrNoTerminal = errors.New("the input device is not a TTY")

// CheckTerminal returns [ErrNoTerminal] unless standard input can be passed on
// to a terminal.
func CheckTerminal() error {
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err != nil {
		return fmt.Errorf("%w; leave -t out: -i alone passes standard input on", ErrNoTerminal)
	}
	return nil
}

// begin has keys go to the container's terminal as they come, signs for
// interrupts and all, if there is to be input.
func (t *terminal) begin(input bool) error {
	if t == nil || !input {
		return nil
	}
	saved, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return CheckTerminal()
	}
	raw := *saved
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(0, unix.TCSETS, &raw); err != nil {
		return fmt.Errorf("set up the terminal: %w", err)
	}
	t.input, t.saved = true, saved
	t.resize() // it may have changed since
	return nil
}

// end puts our terminal back and lets go of the container's.
func (t *terminal) end() {
	if t == nil {
		return
	}
	if t.saved != nil {
		unix.IoctlSetTermios(0, unix.TCSETS, t.saved) // it may be gone
		t.saved = nil
	}
	t.closeSlave()
	if t.master >= 0 {
		unix.Close(t.master)
		t.master = -1
	}
}

func (t *terminal) closeSlave() {
	if t != nil && t.slave >= 0 {
		unix.Close(t.slave)
		t.slave = -1
	}
}

// ownSize is that of the terminal we are on, by any of the standard descriptors.
func ownSize() (*unix.Winsize, bool) {
	for fd := range 3 {
		if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			return size, true
		}
	}
	return nil, false
}

// resize makes the container's terminal as large as ours. The kernel tells the
// programs on it.
func (t *terminal) resize() {
	if size, ok := ownSize(); ok {
		unix.IoctlSetWinsize(t.master, unix.TIOCSWINSZ, size)
	}
}

// watch adds to a poll what may move: the terminal, then standard input.
func (t *terminal) watch(poll []unix.PollFd) []unix.PollFd {
	if t == nil {
		return poll
	}
	out := unix.PollFd{Fd: int32(t.master), Events: unix.POLLIN}
	if len(t.rest) > 0 {
		out.Events |= unix.POLLOUT
	}
	if t.ended {
		out.Fd = -1
	}
	in := unix.PollFd{Fd: -1, Events: unix.POLLIN}
	if t.input && len(t.rest) == 0 { // a program that reads nothing stops the keys, not what it prints
		in.Fd = 0
	}
	return append(poll, out, in)
}

// move passes on what a poll of watch has found.
func (t *terminal) move(found []unix.PollFd) {
	if t == nil {
		return
	}
	if found[0].Revents&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) != 0 {
		t.print()
	}
	if found[1].Revents != 0 {
		keys := make([]byte, 4096)
		n, err := unix.Read(0, keys)
		if n <= 0 && err != unix.EINTR && err != unix.EAGAIN {
			t.input = false
		}
		t.rest = keys[:max(n, 0)]
	}
	if len(t.rest) > 0 {
		n, err := unix.Write(t.master, t.rest)
		if n > 0 {
			t.rest = t.rest[n:]
		} else if err != unix.EAGAIN && err != unix.EINTR {
			t.rest = nil
		}
	}
}

// print copies what the terminal has for now and says whether there was any.
func (t *terminal) print() bool {
	data := make([]byte, 16<<10)
	n, err := unix.Read(t.master, data)
	if n <= 0 {
		// EIO is: no program has it open, and none will.
		t.ended = err != unix.EAGAIN && err != unix.EINTR
		return err == unix.EINTR
	}
	for data = data[:n]; len(data) > 0; {
		n, err := unix.Write(1, data)
		switch {
		case n > 0:
			data = data[n:]
		case err == unix.EAGAIN: // somebody has made ours non-blocking
			unix.Poll([]unix.PollFd{{Fd: 1, Events: unix.POLLOUT}}, -1)
		case err != unix.EINTR:
			return true // nobody reads it; the program should go on all the same
		}
	}
	return true
}

// drain prints what is left when the program has ended.
func (t *terminal) drain() {
	if t == nil {
		return
	}
	t.closeSlave()
	for !t.ended && t.print() {
	}
}

const devptsMagic = 0x1cd1

// openTerminal opens a terminal of the container's. Its root may have put
// anything in that place, so what is there is looked at before it is opened.
func (t *Target) openTerminal(m *mail, userNS bool) (*terminal, error) {
	at, err := unix.Openat2(t.root, "dev/pts/ptmx", &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open the container's /dev/pts/ptmx: %w", err)
	}
	defer unix.Close(at)
	var (
		st unix.Stat_t
		fs unix.Statfs_t
	)
	if unix.Fstat(at, &st) != nil || unix.Fstatfs(at, &fs) != nil || int64(fs.Type) != devptsMagic || st.Rdev != unix.Mkdev(5, 2) {
		return nil, errors.New("the container's /dev/pts/ptmx is no terminal's; something there has replaced it: restart the container")
	}
	master, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", at), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	term := &terminal{master: master, slave: -1}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		term.end()
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	slave, _, errno := syscall.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		term.end()
		return nil, fmt.Errorf("open a terminal: %w", errno)
	}
	term.slave = int(slave)
	term.resize()
	if t.Root {
		uid := int(m.uid)
		if userNS {
			uid += int(t.live.IDs)
		}
		if err := unix.Fchown(term.slave, uid, -1); err != nil {
			term.end()
			return nil, fmt.Errorf("give the terminal to its user: %w", err)
		}
	}
	return term, nil
}

// A container that is started makes its terminal itself, as soon as it has a
// /dev/pts, and sends it through the gate.
type (
	ownTerminal  struct{}
	takeTerminal struct{}
)

func (ownTerminal) String() string {
	return "open a terminal of its own /dev/pts, send nsrun the other end, work on it"
}
func (takeTerminal) String() string { return "take the other end of the container's terminal" }

func (s ownTerminal) compile(b *builder, in *inputs) {
	const what = "open a terminal"
	rights := unix.UnixRights(-1)
	master, slave := (*int32)(unsafe.Pointer(&rights[unix.CmsgLen(0)])), b.cell("slave")
	b.call(what, unix.SYS_OPENAT, b.cell("devpts"), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0).into(b, master)
	unlock := new(int32)
	b.call(what, unix.SYS_IOCTL, master, unix.TIOCSPTLCK, pin(b, unlock))
	if size, ok := ownSize(); ok {
		b.call(what, unix.SYS_IOCTL, master, unix.TIOCSWINSZ, pin(b, size))
	}
	b.call(what, unix.SYS_IOCTL, master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC).into(b, slave)
	b.call("give the terminal to its user", unix.SYS_FCHOWN, slave, &in.mail.uid, -1)
	letter := &unix.Iovec{Base: new(byte), Len: 1}
	msg := &unix.Msghdr{Iov: letter, Iovlen: 1, Control: &rights[0]}
	msg.SetControllen(len(rights))
	b.pins = append(b.pins, rights, letter)
	b.call("send the terminal", unix.SYS_SENDMSG, in.gate, pin(b, msg), unix.MSG_NOSIGNAL)
	b.call("work on the terminal", unix.SYS_IOCTL, slave, unix.TIOCSCTTY, 0)
	for fd := range 3 {
		b.call("work on the terminal", unix.SYS_DUP3, slave, fd, 0)
	}
}

// takeTerminal receives what ownTerminal sends. When nothing comes the container
// has failed and said why.
func (l *launch) takeTerminal() error {
	err := l.receiveTerminal()
	if err != nil {
		l.end() // it runs by now
	}
	return err
}

func (l *launch) receiveTerminal() error {
	letter, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, err := 0, 0, error(unix.EINTR)
	for err == unix.EINTR {
		n, oobn, _, _, err = unix.Recvmsg(l.gate, letter, rights, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	if n == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("take the terminal: nothing came: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	l.terminal = &terminal{master: fds[0], slave: -1}
	return nil
}
