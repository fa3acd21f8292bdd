package lab

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f on a thread that ends with it, so that the namespaces and
// cgroups f enters are nobody else's. It is never the process's first thread:
// that one can't end, and would stay in them for good.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While we hold the first thread, the next goroutine gets another.
			done <- onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // never unlocked, the thread ends with the goroutine
	}()
	return <-done
}
