#include "textflag.h"

// Signal handlers: nothing of Go's may be used, for the thread may be anywhere.

// void onSignal(int number)
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0
	MOVB DI, -8(SP) // all signals are blocked: nobody else uses this stack
	LEAQ -8(SP), SI
	MOVLQSX ·signalPipe(SB), DI
	MOVQ $1, DX
	MOVQ $1, AX // write
	SYSCALL
	RET

TEXT ·signalEnd(SB), NOSPLIT|NOFRAME, $0
	MOVQ $15, AX // rt_sigreturn
	SYSCALL
	INT $3

DATA ·signalCode+0(SB)/8, $·onSignal(SB)
DATA ·signalCode+8(SB)/8, $·signalEnd(SB)
GLOBL ·signalCode(SB), NOPTR, $16
