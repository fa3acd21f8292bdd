package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// call32 makes a call by i386's numbers.
func call32(nr, a, b, c, d, e uintptr) uintptr

func skipHere(n int) bool {
	return n == unix.SYS_FORK || n == unix.SYS_VFORK || n == unix.SYS_PAUSE
}

// skip32 leaves out the same of i386's.
func skip32(n int) bool {
	switch n {
	case 1, 2, 29, 36, 72, 119, 173, 179, 190, 252: // exit fork pause sync sigsuspend sigreturn rt_sigreturn rt_sigsuspend vfork exit_group
		return true
	}
	return n > 470
}

// mapLow asks for memory that i386's calls can address.
const mapLow = unix.MAP_32BIT

// inRange says whether this machine has a second and a third numbering.
func inRange() bool { return true }

func lock() { runtime.LockOSThread() }
