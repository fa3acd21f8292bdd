#include "textflag.h"

// Layout of table and op: table.go. The child's code uses registers only, no
// stack, and never returns. It stands where it is put: carrier.go copies it.

// func spawnTable(t *table) (pid, errno uintptr)
TEXT ·spawnTable(SB), NOSPLIT, $0-24
	MOVQ t+0(FP), R12

	// No signal may find the child while it still has Go's handlers.
	MOVQ $2, DI // SIG_SETMASK
	LEAQ 16(R12), SI
	LEAQ 24(R12), DX
	MOVQ $8, R10
	MOVQ $14, AX // rt_sigprocmask
	SYSCALL

	MOVQ 0(R12), DI
	MOVQ 8(R12), SI
	MOVQ 144(R12), DX
	MOVQ 136(R12), AX // clone3, or clone
	SYSCALL
	TESTQ AX, AX
	JNZ parent
	JMP ·childLoop(SB)

parent:
	MOVQ AX, R13
	MOVQ $2, DI
	LEAQ 24(R12), SI
	XORQ DX, DX
	MOVQ $8, R10
	MOVQ $14, AX
	SYSCALL
	CMPQ R13, $-4095
	JCC failed
	MOVQ R13, pid+8(FP)
	MOVQ $0, errno+16(FP)
	RET
failed:
	NEGQ R13
	MOVQ $-1, pid+8(FP)
	MOVQ R13, errno+16(FP)
	RET

// childLoop works through the table in R12.
TEXT ·childLoop(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ 32(R12), R13 // op
	MOVQ 40(R12), R14 // ops left
loop:
	CMPQ R14, $0
	JLE ended
	MOVQ 56(R13), R15 // indirect
	MOVQ 8(R13), DI
	BTQ $0, R15
	JCC arg1
	MOVLQSX (DI), DI
arg1:
	MOVQ 16(R13), SI
	BTQ $1, R15
	JCC arg2
	MOVLQSX (SI), SI
arg2:
	MOVQ 24(R13), DX
	BTQ $2, R15
	JCC arg3
	MOVLQSX (DX), DX
arg3:
	MOVQ 32(R13), R10
	BTQ $3, R15
	JCC arg4
	MOVLQSX (R10), R10
arg4:
	MOVQ 40(R13), R8
	BTQ $4, R15
	JCC arg5
	MOVLQSX (R8), R8
arg5:
	MOVQ 48(R13), R9
	BTQ $5, R15
	JCC args
	MOVLQSX (R9), R9
args:
	MOVQ 0(R13), AX
	SYSCALL

	MOVQ 64(R13), BX // flags
	CMPQ AX, $-4095
	JCC broken
	TESTQ $2, BX
	JZ mayBeZero
	TESTQ AX, AX
	JZ broken
mayBeZero:
	TESTQ $4, BX
	JZ fine
	TESTQ AX, AX
	JZ fine
	XORQ AX, AX
	JMP broken
fine:
	MOVQ 72(R13), CX // store
	TESTQ CX, CX
	JZ advance
	MOVL AX, (CX)
advance:
	MOVQ 80(R13), CX // skip
	TESTQ $32, BX // fork: the one that got a pid leaves nothing out
	JZ leaveOut
	TESTQ AX, AX
	JZ leaveOut
	XORQ CX, CX
leaveOut:
	INCQ CX
	SUBQ CX, R14
	SHLQ $7, CX
	ADDQ CX, R13
	JMP loop

broken:
	TESTQ $1, BX // ignore
	JNZ ignored
	TESTQ $16, BX // unknown
	JZ fatal
	CMPQ AX, $-22 // EINVAL
	JEQ ignored
	CMPQ AX, $-38 // ENOSYS
	JNE fatal
ignored:
	ADDQ $128, R13
	DECQ R14
	JMP loop
fatal:
	NEGQ AX
	MOVQ AX, R15 // errno
	TESTQ $8, BX // quiet
	JNZ exit
	MOVQ 88(R13), CX
	MOVQ CX, 72(R12)
	MOVQ 96(R13), CX
	MOVQ CX, 80(R12)
	MOVQ $0, 112(R12)
	CMPQ R15, $134
	JCC print
	MOVQ 48(R12), CX
	MOVQ R15, DX
	SHLQ $4, DX
	ADDQ DX, CX
	MOVQ 0(CX), DX
	MOVQ DX, 104(R12)
	MOVQ 8(CX), DX
	MOVQ DX, 112(R12)
print:
	MOVQ $2, DI
	LEAQ 56(R12), SI
	MOVQ $5, DX
	MOVQ $20, AX // writev
	SYSCALL
exit:
	MOVQ 104(R13), DI
	CMPQ R15, $2 // ENOENT
	JEQ missing
	CMPQ R15, $20 // ENOTDIR
	JNE leave
missing:
	MOVQ 112(R13), DI
leave:
	MOVQ $231, AX // exit_group
	SYSCALL
	JMP leave
ended:
	MOVQ $125, DI
	JMP leave
	// Its end, for who copies it.
	BYTE $0x0f; BYTE $0x0b; BYTE $0x0f; BYTE $0x0b
	BYTE $0x0f; BYTE $0x0b; BYTE $0x0f; BYTE $0x0b

DATA ·loopCode+0(SB)/8, $·childLoop(SB)
GLOBL ·loopCode(SB), NOPTR, $8
