// Package startlimit remembers the limit of open files a process was started
// with.
//
// Package os raises the soft limit to the hard one while it is initialised, and
// keeps the old value to itself. A program that execs by a raw system call
// would hand the raised limit on. Packages are initialised in the order of
// their import paths once what they import is ready, and this one needs nothing
// but syscall: it looks before os does. A test holds that fast.
package startlimit

import "syscall"

var atStart = read()

func read() syscall.Rlimit {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return syscall.Rlimit{}
	}
	return limit
}

// Files returns the limit of open files this process was started with. It is
// zero when the limit could not be read.
func Files() syscall.Rlimit { return atStart }
