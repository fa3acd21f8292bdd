package runtime

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// initCode is the address of the first process's program, which is written in
// assembly and uses nothing of ours. initCodeEnd follows it.
var initCode uintptr

const (
	initCodeEnd = 0x7c0de0ed // twice
	initCodeMax = 2048       // bytes; it has about 400
)

// What a container's first process is called: systemd takes some signals for a
// clean end, and one that is asked by systemd to end its program says so.
const (
	initAlone = "init"
	initUnit  = "unit-init"
)

// initFile returns an executable file with the program: it runs what its first
// argument names, with the others for arguments, passes signals on to that, waits
// for every process that ends, and ends as the one it ran. It is a few hundred
// bytes, so that no second Go program stays in each container.
func initFile() []byte {
	code := unsafe.Slice((*byte)(unsafe.Pointer(*(**byte)(unsafe.Pointer(&initCode)))), initCodeMax)
	end := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, initCodeEnd), initCodeEnd)
	n := bytes.Index(code, end)
	if n < 0 {
		panic("the end of init's code is not where it should be")
	}
	const (
		address = 0x400000
		headers = 64 + 2*56
	)
	file := make([]byte, 0, headers+n)
	file = append(file, "\x7fELF\x02\x01\x01"...) // 64 bit, little-endian
	file = append(file, make([]byte, 9)...)
	u16 := func(v uint16) { file = binary.LittleEndian.AppendUint16(file, v) }
	u32 := func(v uint32) { file = binary.LittleEndian.AppendUint32(file, v) }
	u64 := func(v uint64) { file = binary.LittleEndian.AppendUint64(file, v) }
	u16(2) // an executable
	u16(elfMachine)
	u32(1)
	u64(address + headers) // where it begins
	u64(64)                // program headers, and no sections
	u64(0)
	u32(0)
	for _, v := range []uint16{64, 56, 2, 64, 0, 0} {
		u16(v)
	}
	u32(1) // PT_LOAD: all of it, to read and execute
	u32(4 | 1)
	for _, v := range []uint64{0, address, address, uint64(headers + n), uint64(headers + n), 4096} {
		u64(v)
	}
	u32(0x6474e551) // PT_GNU_STACK: to read and write, no more
	u32(4 | 2)
	for _, v := range []uint64{0, 0, 0, 0, 0, 16} {
		u64(v)
	}
	return append(file, code[:n]...)
}

// makeInit makes that file, in memory, which nobody can change from then on.
type makeInit struct{}

func (makeInit) String() string { return "make init, a program of our own, in sealed memory" }

func (makeInit) compile(b *builder, in *inputs) {
	const (
		sealable = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
		seals    = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	)
	file, c := initFile(), b.cell("init")
	ask := b.call("make init", unix.SYS_MEMFD_CREATE, "init", sealable|unix.MFD_EXEC)
	ask.flags, ask.skip = flagIgnore, 1 // before Linux 6.3 there is no such flag, nor need of it
	ask.into(b, c)
	b.call("make init", unix.SYS_MEMFD_CREATE, "init", sealable).into(b, c)
	b.call("write init", unix.SYS_WRITE, c, b.bytes(file), len(file))
	b.call("seal init", unix.SYS_FCNTL, c, unix.F_ADD_SEALS, seals)
}

// initName is what the first process is called, when it is init.
func (p *Plan) initName() string {
	switch {
	case !p.Spec.Init:
		return ""
	case p.HandOver:
		return initUnit
	}
	return initAlone
}
