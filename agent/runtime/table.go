package runtime

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// opFlags say how the child judges what a system call returned.
type opFlags uint64

const (
	flagIgnore  opFlags = 1 << iota // a failure is no failure: go on with the next op
	flagNonZero                     // zero is a failure (end of file at the gate)
	flagZero                        // anything but zero is a failure (a poll that must find nothing)
	flagQuiet                       // fail without a message: the parent has said it already
	flagUnknown                     // EINVAL and ENOSYS are no failure: the kernel doesn't know the call, or its flag
	flagFork                        // skip applies to who got zero only: the new process
)

// op is one system call of the child. The assembly loop knows this layout.
type op struct {
	nr       uint64
	args     [6]uint64
	indirect uint64 // bit k: args[k] is the address of an int32 to load
	flags    opFlags
	store    uint64 // address of an int32 that takes the result, or 0
	skip     uint64 // ops to leave out when the call succeeds
	msg      uint64 // what to print before the cause, when it fails: "mount proc on /proc"
	msgLen   uint64
	exit     uint64 // the child's exit code when it fails ...
	missing  uint64 // ... and when it fails with ENOENT or ENOTDIR
	_        uint64
}

// table is the child's whole life. The assembly loop knows this layout, too.
type table struct {
	clone     [2]uint64 // the first arguments of the call cloneNr
	allMask   uint64
	oldMask   uint64
	ops       unsafe.Pointer
	count     uint64
	errors    unsafe.Pointer // text of each errno
	iov       [5]text        // prefix, message, ": ", text of the errno, newline
	cloneNr   uint64
	cloneArg2 uint64
}

// text is a string as writev wants it.
type text struct {
	ptr unsafe.Pointer
	len uint64
}

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidfd uint64
	_, _         uint64 // where to put the child's thread id
	exitSignal   uint64
	_, _, _      uint64 // stack, its size, tls
	_, _         uint64 // thread ids to give; since Linux 5.5
	cgroup       uint64 // since Linux 5.7; zero is nothing
}

const (
	cloneClearSighand = unix.CLONE_CLEAR_SIGHAND
	errnoMax          = 134
)

// builder collects ops and keeps alive what they point to: the table holds
// addresses as numbers, which the garbage collector does not follow.
type builder struct {
	prefix string // of every message: "nsrun: run web: "
	ops    []op
	pins   []any
	texts  []string
	room   []byte // for strings, so that not each is an allocation
	cells  map[string]*int32
	exit   uint64 // the exit code of a child whose op fails
	t      *table

	masking bool   // an empty directory is mounted already
	seal    func() // compiles what must come right before the program

	carrier *carrier // what the table is to lie in, if not in our memory
}

func newBuilder(prefix string) *builder {
	b := &builder{
		prefix: prefix, exit: ExitFailed, t: new(table),
		ops: make([]op, 0, 288), pins: make([]any, 0, 384), texts: make([]string, 0, 288), cells: make(map[string]*int32, 64),
	}
	pin(b, b.t)
	return b
}

// cell returns the int32 that holds a result, a descriptor as a rule, by name.
// It starts as -1, which is no descriptor.
func (b *builder) cell(name string) *int32 {
	c, ok := b.cells[name]
	if !ok {
		c = new(int32)
		*c = -1
		b.cells[name] = c
	}
	return c
}

// bytes pins data and returns its address.
func (b *builder) bytes(data []byte) uint64 {
	if b.carrier != nil {
		return b.carrier.put(data)
	}
	b.pins = append(b.pins, data)
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
}

// str pins s with a NUL behind it.
func (b *builder) str(s string) uint64 {
	if b.carrier != nil {
		return b.carrier.put(append([]byte(s), 0))
	}
	if len(s) >= cap(b.room)-len(b.room) {
		b.room = make([]byte, 0, max(8192, len(s)+1))
		b.pins = append(b.pins, b.room)
	}
	start := len(b.room)
	b.room = append(append(b.room, s...), 0)
	return uint64(uintptr(unsafe.Pointer(&b.room[start])))
}

// vector pins a list of strings as execve wants it.
func (b *builder) vector(list []string) uint64 {
	v := make([]uint64, len(list)+1)
	for i, s := range list {
		v[i] = b.str(s)
	}
	return b.words(v)
}

// words pins a list of numbers and returns its address.
func (b *builder) words(v []uint64) uint64 {
	if b.carrier != nil {
		return b.carrier.put(raw(v))
	}
	b.pins = append(b.pins, v)
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(v))))
}

// pin keeps p alive and returns its address.
func pin[T any](b *builder, p *T) uint64 {
	if b.carrier != nil {
		return b.carrier.copyOf(unsafe.Pointer(p), unsafe.Sizeof(*p))
	}
	b.pins = append(b.pins, p)
	return uint64(uintptr(unsafe.Pointer(p)))
}

// call adds one system call. what says what it is for, should it fail. An
// argument is a number, a string, or a cell, which is read when the call is made.
func (b *builder) call(what string, nr uintptr, args ...any) *op {
	o := op{nr: uint64(nr), exit: b.exit, missing: b.exit}
	for i, arg := range args {
		switch a := arg.(type) {
		case int:
			o.args[i] = uint64(a)
		case uint64:
			o.args[i] = a
		case string:
			o.args[i] = b.str(a)
		case *int32:
			o.args[i] = pin(b, a)
			o.indirect |= 1 << i
		default:
			panic("argument of a kind the table has no room for: " + what)
		}
	}
	o.msgLen = uint64(len(what))
	if b.carrier != nil {
		o.msg = b.str(what)
	} else {
		b.texts = append(b.texts, what)
		o.msg = uint64(uintptr(unsafe.Pointer(unsafe.StringData(what))))
	}
	b.ops = append(b.ops, o)
	return &b.ops[len(b.ops)-1]
}

// into stores the call's result in a cell.
func (o *op) into(b *builder, c *int32) { o.store = pin(b, c) }

// finish lays the collected ops out for the assembly loop.
func (b *builder) finish() {
	list := make([]text, errnoMax)
	for i := range list {
		list[i] = textOf(causeOf(i))
	}
	b.t.allMask = ^uint64(0)
	b.t.ops = unsafe.Pointer(unsafe.SliceData(b.ops))
	b.t.count = uint64(len(b.ops))
	b.t.errors = unsafe.Pointer(unsafe.SliceData(list))
	b.t.iov[0], b.t.iov[2], b.t.iov[4] = textOf(b.prefix), textOf(": "), textOf("\n")
}

// causeOf is what a table prints of an errno.
func causeOf(errno int) string {
	if errno == 0 {
		return "nothing came"
	}
	cause := syscall.Errno(errno).Error()
	if errno == int(unix.ENOSYS) {
		cause += tooOld
	}
	return cause
}

func textOf(s string) text { return text{unsafe.Pointer(unsafe.StringData(s)), uint64(len(s))} }

// spawnTable clones a child that runs t. It returns the child's pid or an errno.
// It is written in assembly: between clone and execve the child has but one
// thread of a Go program, and no Go code may run there.
//
//go:noescape
func spawnTable(t *table) (pid, errno uintptr)

// start clones the child. The calling goroutine should be locked to its thread
// and stay so: a parent-death signal follows the thread that cloned.
func (b *builder) start(clone *cloneArgs) (int, error) {
	// A shell has what runs in its background ignore INT, nohup HUP: that is meant
	// for us, and no clone takes it away.
	b.standardSignals(func(handler uint64) bool { return handler == ignored })
	b.t.cloneNr, b.t.clone = unix.SYS_CLONE3, [2]uint64{pin(b, clone), uint64(unsafe.Sizeof(*clone))}
	pid, err := b.spawn()
	if err == unix.ENOSYS && clone.cgroup == 0 {
		// Filters hide it more often than kernels lack it, for its flags are out of
		// their sight.
		b.asClone(clone)
		pid, err = b.spawn()
	}
	runtime.KeepAlive(b)
	return pid, err
}

func (b *builder) spawn() (int, error) {
	b.finish()
	syscall.ForkLock.Lock()
	pid, errno := spawnTable(b.t)
	syscall.ForkLock.Unlock()
	if errno != 0 {
		return 0, syscall.Errno(errno)
	}
	return int(pid), nil
}

// asClone has the child made by clone(2), which can't take the signal handlers
// away: the child does so itself, before all else. No signal may find it with
// Go's, and it takes signals again before execve would do that.
func (b *builder) asClone(clone *cloneArgs) {
	b.t.cloneNr = unix.SYS_CLONE
	b.t.clone = [2]uint64{clone.flags&^cloneClearSighand | clone.exitSignal, 0}
	b.t.cloneArg2 = clone.pidfd
	b.standardSignals(func(handler uint64) bool { return handler > ignored })
}

// standardSignals has the child begin with a signal's standard action where ours
// is one that which picks.
func (b *builder) standardSignals(which func(handler uint64) bool) {
	rest := b.ops
	b.ops = nil
	for sig := unix.Signal(1); sig <= sigRTMax; sig++ {
		if old, err := disposition(sig); err == nil && which(old) {
			standard := newAction(0, 0)
			b.call("take up signals", unix.SYS_RT_SIGACTION, int(sig), pin(b, &standard), 0, 8)
		}
	}
	if b.ops == nil {
		b.ops = rest
		return
	}
	b.ops = append(b.ops, rest...)
}
