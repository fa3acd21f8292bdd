#include "textflag.h"

// Layout of table and op: table.go. The child's code uses registers only, no
// stack, and never returns. It stands where it is put: carrier.go copies it.

// func spawnTable(t *table) (pid, errno uintptr)
TEXT ·spawnTable(SB), NOSPLIT, $0-24
	MOVD t+0(FP), R19

	// No signal may find the child while it still has Go's handlers.
	MOVD $2, R0 // SIG_SETMASK
	ADD $16, R19, R1
	ADD $24, R19, R2
	MOVD $8, R3
	MOVD $135, R8 // rt_sigprocmask
	SVC

	MOVD 0(R19), R0
	MOVD 8(R19), R1
	MOVD 144(R19), R2
	MOVD 136(R19), R8 // clone3, or clone
	SVC
	CBNZ R0, parent
	JMP ·childLoop(SB)

parent:
	MOVD R0, R20
	MOVD $2, R0
	ADD $24, R19, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	CMN $4095, R20
	BHS failed
	MOVD R20, pid+8(FP)
	MOVD ZR, errno+16(FP)
	RET
failed:
	NEG R20, R20
	MOVD $-1, R0
	MOVD R0, pid+8(FP)
	MOVD R20, errno+16(FP)
	RET

// childLoop works through the table in R19.
TEXT ·childLoop(SB), NOSPLIT|NOFRAME, $0-0
	MOVD 32(R19), R20 // op
	MOVD 40(R19), R21 // ops left
loop:
	CMP $0, R21
	BLE ended
	MOVD 56(R20), R22 // indirect
	MOVD 8(R20), R0
	TBZ $0, R22, arg1
	MOVW (R0), R0
arg1:
	MOVD 16(R20), R1
	TBZ $1, R22, arg2
	MOVW (R1), R1
arg2:
	MOVD 24(R20), R2
	TBZ $2, R22, arg3
	MOVW (R2), R2
arg3:
	MOVD 32(R20), R3
	TBZ $3, R22, arg4
	MOVW (R3), R3
arg4:
	MOVD 40(R20), R4
	TBZ $4, R22, arg5
	MOVW (R4), R4
arg5:
	MOVD 48(R20), R5
	TBZ $5, R22, args
	MOVW (R5), R5
args:
	MOVD 0(R20), R8
	SVC

	MOVD 64(R20), R23 // flags
	CMN $4095, R0
	BHS broken
	TBZ $1, R23, mayBeZero
	CBZ R0, broken
mayBeZero:
	TBZ $2, R23, fine
	CBZ R0, fine
	MOVD ZR, R0
	B broken
fine:
	MOVD 72(R20), R1 // store
	CBZ R1, advance
	MOVW R0, (R1)
advance:
	MOVD 80(R20), R1 // skip
	TBZ $5, R23, leaveOut // fork: the one that got a pid leaves nothing out
	CBZ R0, leaveOut
	MOVD ZR, R1
leaveOut:
	ADD $1, R1, R1
	SUB R1, R21, R21
	LSL $7, R1, R1
	ADD R1, R20, R20
	B loop

broken:
	TBNZ $0, R23, ignored // ignore
	TBZ $4, R23, fatal // unknown
	CMN $22, R0 // EINVAL
	BEQ ignored
	CMN $38, R0 // ENOSYS
	BNE fatal
ignored:
	ADD $128, R20, R20
	SUB $1, R21, R21
	B loop
fatal:
	NEG R0, R22 // errno
	TBNZ $3, R23, exit // quiet
	MOVD 88(R20), R1
	MOVD R1, 72(R19)
	MOVD 96(R20), R1
	MOVD R1, 80(R19)
	MOVD ZR, 112(R19)
	CMP $134, R22
	BHS print
	MOVD 48(R19), R1
	LSL $4, R22, R2
	ADD R2, R1, R1
	MOVD 0(R1), R2
	MOVD R2, 104(R19)
	MOVD 8(R1), R2
	MOVD R2, 112(R19)
print:
	MOVD $2, R0
	ADD $56, R19, R1
	MOVD $5, R2
	MOVD $66, R8 // writev
	SVC
exit:
	MOVD 104(R20), R0
	CMP $2, R22 // ENOENT
	BEQ missing
	CMP $20, R22 // ENOTDIR
	BNE leave
missing:
	MOVD 112(R20), R0
leave:
	MOVD $94, R8 // exit_group
	SVC
	B leave
ended:
	MOVD $125, R0
	B leave
	// Its end, for who copies it.
	WORD $0
	WORD $0

DATA ·loopCode+0(SB)/8, $·childLoop(SB)
GLOBL ·loopCode(SB), NOPTR, $8
