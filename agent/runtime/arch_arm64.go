package runtime

import "golang.org/x/sys/unix"

const elfMachine = 183

const auditArch = unix.AUDIT_ARCH_AARCH64

// sigaction is the kernel's struct, which has its own way to end a handler.
type sigaction struct {
	handler uintptr
	flags   uint64
	mask    uint64
}

func newAction(handler uintptr, flags uint64) sigaction {
	return sigaction{handler, flags, ^uint64(0)}
}
