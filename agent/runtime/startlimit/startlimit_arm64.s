#include "textflag.h"

// func openFiles(l *limit) bool
TEXT ·openFiles(SB), NOSPLIT, $0-9
	MOVD ZR, R0
	MOVD $7, R1 // RLIMIT_NOFILE
	MOVD ZR, R2
	MOVD l+0(FP), R3
	MOVD $261, R8 // prlimit64
	SVC
	CMP $0, R0
	CSET EQ, R0
	MOVB R0, ret+8(FP)
	RET
