// Package startlimit remembers the limit of open files a process was started
// with.
//
// Package syscall raises the soft limit to the hard one while it is initialised,
// and keeps the old value to itself. A program that execs by a raw system call
// would hand the raised limit on. Packages are initialised in the order of
// their import paths once what they import is ready; this one imports nothing,
// hence the assembly, and so it looks before syscall does. A test holds that fast.
package startlimit

// limit is struct rlimit.
type limit struct{ soft, hard uint64 }

var atStart = read()

func read() limit {
	var l limit
	if !openFiles(&l) {
		return limit{}
	}
	return l
}

// openFiles is prlimit(0, RLIMIT_NOFILE, nil, l).
//
//go:noescape
func openFiles(l *limit) bool

// Files returns the limit of open files this process was started with; zeros
// when it could not be read.
func Files() (soft, hard uint64) { return atStart.soft, atStart.hard }
