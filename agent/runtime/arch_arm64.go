package runtime

import "encoding/binary"

const elfMachine = 183

// sigaction is the kernel's struct, which has its own way to end a handler.
type sigaction struct {
	handler uintptr
	flags   uint64
	mask    uint64
}

func newAction(handler uintptr, flags uint64) sigaction {
	return sigaction{handler, flags, ^uint64(0)}
}

// carrierEntry is code that points the loop, which follows it, to its table.
func carrierEntry(table uint64) []byte {
	const r19 = 19
	code := binary.LittleEndian.AppendUint32(nil, 0xd2800000|uint32(table&0xffff)<<5|r19)     // MOVZ
	return binary.LittleEndian.AppendUint32(code, 0xf2a00000|uint32(table>>16&0xffff)<<5|r19) // MOVK, LSL 16
}
