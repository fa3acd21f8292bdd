#include "textflag.h"

// As init_amd64.s: R19 is the stack as the kernel left it, R20 the room below,
// R21 envp, R22 the program's pid.
TEXT ·initProgram(SB), NOSPLIT|NOFRAME, $0
	MOVD RSP, R19
	MOVD 0(R19), R21
	LSL $3, R21, R21
	ADD R19, R21, R21
	ADD $16, R21, R21 // envp
	SUB $512, R19, R20

	MOVD $15, R0 // PR_SET_NAME
	MOVD 8(R19), R1
	MOVD $167, R8 // prctl
	SVC

	MOVD $-1, R0
	MOVD R0, 8(R20)
	MOVD $2, R0 // SIG_SETMASK
	ADD $8, R20, R1
	MOVD R20, R2
	MOVD $8, R3
	MOVD $135, R8 // rt_sigprocmask
	SVC

	MOVD $17, R0 // SIGCHLD
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $220, R8 // clone
	SVC
	CBZ R0, child
	MOVD R0, R22
	MOVD $125, R0
	CMP $0, R22
	BLT exit

loop:
	ADD $8, R20, R0
	ADD $16, R20, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $137, R8 // rt_sigtimedwait
	SVC
	CMP $0, R0
	BLE loop
	CMP $17, R0 // SIGCHLD
	BEQ reap
	CMP $21, R0 // SIGTTIN: of our own reading, not meant for the program
	BEQ loop
	CMP $22, R0 // SIGTTOU
	BEQ loop
	MOVD R0, R1
	MOVD R22, R0
	MOVD $129, R8 // kill
	SVC
	JMP loop

reap:
	MOVD $-1, R0
	ADD $144, R20, R1
	MOVD $1, R2 // WNOHANG
	MOVD ZR, R3
	MOVD $260, R8 // wait4
	SVC
	CMP $0, R0
	BLE loop
	CMP R22, R0
	BNE reap

	MOVWU 144(R20), R3
	LSR $8, R3, R0
	AND $0xff, R0, R0
	AND $0x7f, R3, R3
	CBZ R3, exit
	MOVD 8(R19), R4
	MOVBU (R4), R4
	CMP $117, R4 // u: under systemd
	BNE signalled
	MOVD ZR, R0
	MOVD $0xa006, R4 // HUP, INT, PIPE, TERM: clean ends to systemd
	LSR R3, R4, R4
	TBNZ $0, R4, exit
signalled:
	ADD $128, R3, R0
exit:
	MOVD $94, R8 // exit_group
	SVC
	JMP exit

child:
	// A group of its own, in front on the terminal if there is one: what is typed
	// there goes to the program alone.
	MOVD ZR, R0
	MOVD ZR, R1
	MOVD $154, R8 // setpgid
	SVC
	MOVD $172, R8 // getpid
	SVC
	MOVW R0, 144(R20)
	MOVD ZR, R0
	MOVD $0x5410, R1 // TIOCSPGRP
	ADD $144, R20, R2
	MOVD $29, R8 // ioctl
	SVC
	MOVD $2, R0
	MOVD R20, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $135, R8 // rt_sigprocmask
	SVC
	MOVD 16(R19), R0 // argv[1]
	ADD $24, R19, R1 // argv from [2] on
	MOVD R21, R2
	MOVD $221, R8 // execve
	SVC
	CMN $2, R0 // ENOENT
	MOVD $127, R0
	BEQ exit
	MOVD $126, R0
	JMP exit

	WORD $0x7c0de0ed // the end; see initCodeEnd
	WORD $0x7c0de0ed

DATA ·initCode+0(SB)/8, $·initProgram(SB)
GLOBL ·initCode(SB), NOPTR, $8
