package runtime

import "encoding/binary"

const elfMachine = 62

// sigaction is the kernel's struct.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

func newAction(handler uintptr, flags uint64) sigaction {
	const restorer = 0x04000000 // SA_RESTORER
	return sigaction{handler, flags | restorer, signalCode[1], ^uint64(0)}
}

// carrierEntry is code that points the loop, which follows it, to its table.
func carrierEntry(table uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0x49, 0xbc}, table) // MOVQ $table, R12
}
