#include "textflag.h"

// The first process of a container that was asked for with --init: a program of
// its own, copied from here behind an ELF header; see init.go. So it may use
// neither Go's stack nor anything of its data, and its end is marked.
//
// R12 is the stack as the kernel left it: argc, argv, NULL, envp. Below it, at
// R15, is room: the mask before, a mask of all, a siginfo, a status. Signals are
// blocked, so nobody else writes there.
TEXT ·initProgram(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, R12
	MOVQ 0(R12), R13
	LEAQ 16(R12)(R13*8), R14 // envp
	LEAQ -512(R12), R15

	MOVQ $15, DI // PR_SET_NAME
	MOVQ 8(R12), SI
	MOVQ $157, AX // prctl
	SYSCALL

	MOVQ $-1, 8(R15)
	MOVQ $2, DI // SIG_SETMASK
	LEAQ 8(R15), SI
	LEAQ 0(R15), DX
	MOVQ $8, R10
	MOVQ $14, AX // rt_sigprocmask
	SYSCALL

	MOVQ $17, DI // SIGCHLD
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVQ $56, AX // clone
	SYSCALL
	CMPQ AX, $0
	JEQ child
	MOVQ $125, DI
	JLT exit
	MOVQ AX, R13

loop:
	LEAQ 8(R15), DI
	LEAQ 16(R15), SI
	XORL DX, DX
	MOVQ $8, R10
	MOVQ $128, AX // rt_sigtimedwait
	SYSCALL
	CMPQ AX, $0
	JLE loop
	CMPQ AX, $17 // SIGCHLD
	JEQ reap
	CMPQ AX, $21 // SIGTTIN: of our own reading, not meant for the program
	JEQ loop
	CMPQ AX, $22 // SIGTTOU
	JEQ loop
	MOVQ R13, DI
	MOVQ AX, SI
	MOVQ $62, AX // kill
	SYSCALL
	JMP loop

reap:
	MOVQ $-1, DI
	LEAQ 144(R15), SI
	MOVQ $1, DX // WNOHANG
	XORL R10, R10
	MOVQ $61, AX // wait4
	SYSCALL
	CMPQ AX, $0
	JLE loop
	CMPQ AX, R13
	JNE reap

	MOVL 144(R15), BX
	MOVL BX, DI
	SHRL $8, DI
	ANDL $0xff, DI
	ANDL $0x7f, BX
	JZ exit
	MOVQ 8(R12), AX
	MOVBLZX (AX), AX
	CMPB AX, $117 // u: under systemd
	JNE signalled
	XORL DI, DI
	MOVL $0xa006, AX // HUP, INT, PIPE, TERM: clean ends to systemd
	BTL BX, AX
	JCS exit
signalled:
	LEAL 128(BX), DI
exit:
	MOVQ $231, AX // exit_group
	SYSCALL
	JMP exit

child:
	// A group of its own, in front on the terminal if there is one: what is typed
	// there goes to the program alone.
	XORL DI, DI
	XORL SI, SI
	MOVQ $109, AX // setpgid
	SYSCALL
	MOVQ $39, AX // getpid
	SYSCALL
	MOVL AX, 144(R15)
	XORL DI, DI
	MOVQ $0x5410, SI // TIOCSPGRP
	LEAQ 144(R15), DX
	MOVQ $16, AX // ioctl
	SYSCALL
	MOVQ $2, DI
	LEAQ 0(R15), SI
	XORL DX, DX
	MOVQ $8, R10
	MOVQ $14, AX // rt_sigprocmask
	SYSCALL
	MOVQ 16(R12), DI // argv[1]
	LEAQ 24(R12), SI // argv from [2] on
	MOVQ R14, DX
	MOVQ $59, AX // execve
	SYSCALL
	MOVQ $127, DI
	CMPQ AX, $-2 // ENOENT
	JEQ exit
	MOVQ $126, DI
	JMP exit

	LONG $0x7c0de0ed // the end; see initCodeEnd
	LONG $0x7c0de0ed

DATA ·initCode+0(SB)/8, $·initProgram(SB)
GLOBL ·initCode(SB), NOPTR, $8
