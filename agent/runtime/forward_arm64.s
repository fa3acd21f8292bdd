#include "textflag.h"

// Signal handlers: nothing of Go's may be used, for the thread may be anywhere.

// void onSignal(int number)
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0
	SUB $16, RSP
	MOVB R0, (RSP)
	MOVD RSP, R1
	MOVW ·signalPipe(SB), R0
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD $16, RSP
	RET // to where the kernel ends handlers

DATA ·signalCode+0(SB)/8, $·onSignal(SB)
DATA ·signalCode+8(SB)/8, $0
GLOBL ·signalCode(SB), NOPTR, $16
