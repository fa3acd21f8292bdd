#include "textflag.h"

// func openFiles(l *limit) bool
TEXT ·openFiles(SB), NOSPLIT, $0-9
	XORQ DI, DI
	MOVQ $7, SI // RLIMIT_NOFILE
	XORQ DX, DX
	MOVQ l+0(FP), R10
	MOVQ $302, AX // prlimit64
	SYSCALL
	TESTQ AX, AX
	SETEQ ret+8(FP)
	RET
