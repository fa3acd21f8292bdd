package runtime

import (
	"os"

	"golang.org/x/sys/unix"
)

// Displaced reports whether this process is the first of a container and its
// program not a file of the container's.
//
// Until its execve a container's first process is the machine's nsrun. An image
// whose program is a link to /proc/self/exe, or a script for it, has just that
// run once more, now inside: there root, where it is root outside, could write to
// the program that the machine runs (CVE-2019-5736). So nsrun asks this before
// anything else, and ends; nobody else is in there yet who could get hold of it.
// Looking at the program before it is run would cost each start a system call
// and a descriptor, and not see what a script is for.
func Displaced() bool {
	if os.Getpid() != 1 {
		return false
	}
	const exe = "/proc/self/exe"
	path, err := os.Readlink(exe)
	if err != nil {
		return false // without /proc nobody gets at it either
	}
	var own, there unix.Stat_t
	if unix.Stat(exe, &own) != nil {
		return false
	}
	return unix.Lstat(path, &there) != nil || own.Dev != there.Dev || own.Ino != there.Ino
}
