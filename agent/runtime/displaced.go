package runtime

import (
	"os"

	"golang.org/x/sys/unix"
)

// Until its execve a container's first process is the machine's nsrun. An image
// whose program is a link to /proc/self/exe, or a script for it, would have just
// that run once more, now inside: there root, where it is root outside, could
// write to the program that the machine runs (CVE-2019-5736). The link is seen
// before execve, the script's interpreter by who was run so.

// noMagicLink lets nothing be run that one of the kernel's own links leads to.
func (b *builder) noMagicLink(file string) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	look := b.call("run "+file+": no link of /proc's may lead there", unix.SYS_OPENAT2, unix.AT_FDCWD, file, pin(b, how), unix.SizeofOpenHow)
	look.exit, look.missing = ExitNotExecutable, ExitNotFound
}

// Displaced reports whether this process is the first of a container and its
// program not a file of the container's.
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
