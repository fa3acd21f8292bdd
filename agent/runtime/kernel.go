package runtime

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// What this kernel can do is found out by trying, never from its version: others
// put calls into old kernels, and filters take them out of new ones.

// tooOld goes behind "function not implemented".
const tooOld = ": Linux 5.12 or newer is needed, or a filter of system calls hides what is there; nsrun info says what is missing"

// closesAtOnce reports whether one call closes all descriptors at execve.
func closesAtOnce() bool {
	return unix.CloseRange(1<<31-1, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) == nil // the last there could be
}

// openFiles lists the descriptors a plan has to close one by one, if any. Those
// that we opened ourselves are closed at execve anyway.
func openFiles(p *Plan) ([]int, error) {
	for _, step := range p.Child {
		if s, ok := step.(closeFiles); !ok || !s.OneByOne {
			continue
		}
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return nil, fmt.Errorf("list open descriptors: %w", err)
		}
		var list []int
		for _, e := range entries {
			fd, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
				list = append(list, fd)
			}
		}
		return list, nil
	}
	return nil, nil
}
