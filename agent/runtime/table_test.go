package runtime

import (
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestLayout holds table and op to what the assembly knows.
func TestLayout(t *testing.T) {
	var o op
	var tab table
	for _, row := range []struct {
		name      string
		got, want uintptr
	}{
		{"op", unsafe.Sizeof(o), 128}, {"op.args", unsafe.Offsetof(o.args), 8}, {"op.indirect", unsafe.Offsetof(o.indirect), 56},
		{"op.flags", unsafe.Offsetof(o.flags), 64}, {"op.store", unsafe.Offsetof(o.store), 72}, {"op.skip", unsafe.Offsetof(o.skip), 80},
		{"op.msg", unsafe.Offsetof(o.msg), 88}, {"op.exit", unsafe.Offsetof(o.exit), 104}, {"op.missing", unsafe.Offsetof(o.missing), 112},
		{"table.cloneNr", unsafe.Offsetof(tab.cloneNr), 136}, {"table.cloneArg2", unsafe.Offsetof(tab.cloneArg2), 144},
		{"table.allMask", unsafe.Offsetof(tab.allMask), 16}, {"table.oldMask", unsafe.Offsetof(tab.oldMask), 24},
		{"table.ops", unsafe.Offsetof(tab.ops), 32}, {"table.errors", unsafe.Offsetof(tab.errors), 48}, {"table.iov", unsafe.Offsetof(tab.iov), 56},
		{"flagIgnore", uintptr(flagIgnore), 1}, {"flagNonZero", uintptr(flagNonZero), 2}, {"flagZero", uintptr(flagZero), 4},
		{"flagQuiet", uintptr(flagQuiet), 8}, {"flagUnknown", uintptr(flagUnknown), 16}, {"flagFork", uintptr(flagFork), 32},
	} {
		if row.got != row.want {
			t.Errorf("%s is %d, the assembly thinks %d", row.name, row.got, row.want)
		}
	}
}

// TestTable runs small tables in a child and looks at how it ends.
func TestTable(t *testing.T) {
	for _, row := range []struct {
		name  string
		build func(b *builder, out int)
		exit  int
		says  string
	}{
		{"an end without execve", func(b *builder, out int) {}, 125, ""},
		{"exit", func(b *builder, out int) { b.call("exit", unix.SYS_EXIT_GROUP, 7) }, 7, ""},
		{"a failure names its step and cause", func(b *builder, out int) {
			b.call("open nothing", unix.SYS_OPENAT, unix.AT_FDCWD, "/nosuch", 0, 0)
		}, 125, "test: open nothing: no such file or directory\n"},
		{"a missing program", func(b *builder, out int) {
			o := b.call("run it", unix.SYS_EXECVE, "/nosuch", b.vector([]string{"x"}), b.vector(nil))
			o.exit, o.missing = 126, 127
		}, 127, "test: run it: no such file or directory\n"},
		{"a forbidden program", func(b *builder, out int) {
			o := b.call("run it", unix.SYS_EXECVE, "/", b.vector([]string{"x"}), b.vector(nil))
			o.exit, o.missing = 126, 127
		}, 126, "test: run it: permission denied\n"},
		{"an ignored failure", func(b *builder, out int) {
			b.call("close nothing", unix.SYS_CLOSE, -1).flags = flagIgnore
			b.call("exit", unix.SYS_EXIT_GROUP, 8)
		}, 8, ""},
		{"a cell carries a result on", func(b *builder, out int) {
			c := b.cell("fd")
			b.call("dup", unix.SYS_DUP, out).into(b, c)
			b.call("write", unix.SYS_WRITE, c, "hello", 5)
			b.call("exit", unix.SYS_EXIT_GROUP, 9)
		}, 9, "hello"},
		{"a question answered yes", func(b *builder, out int) {
			b.unless(func() { b.call("exit", unix.SYS_EXIT_GROUP, 10) }, "ask", unix.SYS_FACCESSAT, unix.AT_FDCWD, "/", 0, 0)
			b.call("exit", unix.SYS_EXIT_GROUP, 11)
		}, 10, ""},
		{"a question answered no", func(b *builder, out int) {
			b.unless(func() {
				b.call("exit", unix.SYS_EXIT_GROUP, 10)
				b.call("exit", unix.SYS_EXIT_GROUP, 10)
			}, "ask", unix.SYS_FACCESSAT, unix.AT_FDCWD, "/nosuch", 0, 0)
			b.call("exit", unix.SYS_EXIT_GROUP, 11)
		}, 11, ""},
		{"end of file where something must come", func(b *builder, out int) {
			b.call("read", unix.SYS_READ, out, b.bytes(make([]byte, 8)), 0).flags = flagNonZero
		}, 125, "test: read: nothing came\n"},
		{"the same without a word", func(b *builder, out int) {
			b.call("read", unix.SYS_READ, out, b.bytes(make([]byte, 8)), 0).flags = flagNonZero | flagQuiet
		}, 125, ""},
		{"a flag the kernel doesn't know", func(b *builder, out int) {
			b.call("ask", unix.SYS_DUP3, 1, 1, 0).flags = flagUnknown // EINVAL
			b.call("ask", unix.SYS_CLOSE, -1).flags = flagUnknown     // EBADF
		}, 125, "test: ask: bad file descriptor\n"},
	} {
		file, err := os.OpenFile(t.TempDir()+"/out", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		b := newBuilder("test: ")
		b.call("take standard error", unix.SYS_DUP3, int(file.Fd()), 2, 0)
		row.build(b, int(file.Fd()))
		pid, err := b.start(&cloneArgs{flags: cloneClearSighand, exitSignal: uint64(unix.SIGCHLD)})
		if err != nil {
			t.Fatal(err)
		}
		status := waitChild(pid)
		said, _ := os.ReadFile(file.Name())
		file.Close()
		if !status.Exited() || status.ExitStatus() != row.exit || string(said) != row.says {
			t.Errorf("%s: status %v, says %q; want exit %d, %q", row.name, status, said, row.exit, row.says)
		}
	}
}

// TestTableWhileBusy clones amid running goroutines and garbage, where a child
// that ran any Go code would hang now and then.
func TestTableWhileBusy(t *testing.T) {
	stop := make(chan struct{})
	done := make(chan int)
	for range 4 {
		go func() {
			n := 0
			for {
				select {
				case <-stop:
					done <- n
					return
				default:
					n += len(strings.Repeat("x", 1000))
				}
			}
		}()
	}
	for i := range 200 {
		b := newBuilder("test: ")
		for range 20 {
			b.call("nothing", unix.SYS_GETPID)
		}
		b.call("exit", unix.SYS_EXIT_GROUP, i%100)
		pid, err := b.start(&cloneArgs{flags: cloneClearSighand, exitSignal: uint64(unix.SIGCHLD)})
		if err != nil {
			t.Fatal(err)
		}
		if status := waitChild(pid); status.ExitStatus() != i%100 {
			t.Fatalf("child %d: %v", i, status)
		}
	}
	close(stop)
	for range 4 {
		<-done
	}
}
