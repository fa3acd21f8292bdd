package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A carrier is a table of system calls as a program of its own: an ELF file in
// memory, sealed, with nothing in it but the table, what it points to, and the
// loop that works through it. Whoever joins a container's processes goes there
// by one. Seen from the container such a process has no memory of nsrun's, no
// variable of its environment and no link to its file (/proc/PID/exe), which a
// process that is nsrun has until its execve (CVE-2019-5736); and it takes a
// fifth of the time that a second start of Go would.
type carrier struct {
	data []byte                    // begins with the table itself
	seen map[unsafe.Pointer]uint64 // where a copy of what is at an address is
}

// Where a carrier's parts lie, in the file and in memory. Pages have 64 KiB at
// most.
const (
	carrierCode     = 0x400000
	carrierDataFile = 0x10000
	carrierData     = carrierCode + carrierDataFile
	carrierHead     = 0x100 // the ELF header and three program headers
)

var loopCode uintptr // address of childLoop, in assembly

// newCarrier returns a builder whose table is for a carrier.
func newCarrier(prefix string) *builder {
	b := newBuilder(prefix)
	b.carrier = &carrier{data: make([]byte, unsafe.Sizeof(*b.t), 32<<10), seen: map[unsafe.Pointer]uint64{}}
	return b
}

// put adds data and returns its address in the carrier.
func (c *carrier) put(data []byte) uint64 {
	for len(c.data)%8 != 0 {
		c.data = append(c.data, 0)
	}
	at := uint64(carrierData + len(c.data))
	c.data = append(c.data, data...)
	return at
}

// copyOf adds what is at p, once, and returns its address in the carrier.
func (c *carrier) copyOf(p unsafe.Pointer, size uintptr) uint64 {
	at, ok := c.seen[p]
	if !ok {
		at = c.put(unsafe.Slice((*byte)(p), size))
		c.seen[p] = at
	}
	return at
}

// raw is the memory of a list.
func raw[T any](list []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), uintptr(len(list))*unsafe.Sizeof(one))
}

// finishCarrier lays the table out at the beginning of the carrier's data.
func (b *builder) finishCarrier() {
	c := b.carrier
	causes := make([]uint64, 0, 2*errnoMax)
	for i := range errnoMax {
		cause := causeOf(i)
		causes = append(causes, b.str(cause), uint64(len(cause)))
	}
	fields := map[uintptr]uint64{
		unsafe.Offsetof(b.t.oldMask): b.t.oldMask,
		unsafe.Offsetof(b.t.ops):     c.put(raw(b.ops)),
		unsafe.Offsetof(b.t.count):   uint64(len(b.ops)),
		unsafe.Offsetof(b.t.errors):  b.words(causes),
	}
	for i, part := range map[uintptr]string{0: b.prefix, 2: ": ", 4: "\n"} {
		at := unsafe.Offsetof(b.t.iov) + i*unsafe.Sizeof(b.t.iov[0])
		fields[at], fields[at+8] = b.str(part), uint64(len(part))
	}
	for at, value := range fields {
		binary.NativeEndian.PutUint64(c.data[at:], value)
	}
}

// loop returns the code of childLoop.
func loop() []byte {
	const max = 1024
	end := []byte{0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b}
	if elfMachine != 62 {
		end = make([]byte, 8)
	}
	code := unsafe.Slice(*(**byte)(unsafe.Pointer(&loopCode)), max)
	n := bytes.Index(code, end)
	if n < 0 {
		panic("the end of childLoop is not where it should be")
	}
	return code[:n]
}

// elf is the carrier's file up to its data.
func (c *carrier) elf() []byte {
	const (
		executable, load, stack     = 2, 1, 0x6474e551
		exec, write, read           = 1, 2, 4
		headerSize, programHeadSize = 64, 56
	)
	code := append(carrierEntry(carrierData), loop()...)
	le := binary.LittleEndian
	f := append(make([]byte, 0, 2048), "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...) // 64 bits, little endian
	half := func(list ...uint16) {
		for _, v := range list {
			f = le.AppendUint16(f, v)
		}
	}
	long := func(list ...uint64) {
		for _, v := range list {
			f = le.AppendUint64(f, v)
		}
	}
	segment := func(kind, flags uint32, offset, address, size, align uint64) {
		f = le.AppendUint32(le.AppendUint32(f, kind), flags)
		long(offset, address, address, size, size, align)
	}
	half(executable, elfMachine)
	f = le.AppendUint32(f, 1)
	long(carrierCode+carrierHead, headerSize, 0)
	f = le.AppendUint32(f, 0)
	half(headerSize, programHeadSize, 3, 0, 0, 0)
	segment(load, read|exec, 0, carrierCode, uint64(carrierHead+len(code)), carrierDataFile)
	segment(load, read|write, carrierDataFile, carrierData, uint64(len(c.data)), carrierDataFile)
	segment(stack, read|write, 0, 0, 0, 16)
	return append(append(f, make([]byte, carrierHead-len(f))...), code...)
}

// file writes the carrier into a file in memory and seals it.
func (b *builder) file() (fd int, err error) {
	b.finishCarrier()
	const execAllowed = 0x10 // MFD_EXEC, since Linux 6.3
	fd, err = unix.MemfdCreate("container-exec", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|execAllowed)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("container-exec", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if errors.Is(err, unix.EACCES) {
		return -1, fmt.Errorf("make a program in memory: %w; vm.memfd_noexec=2 forbids it: set it to 1", err)
	}
	if err != nil {
		return -1, fmt.Errorf("make a program in memory: %w", err)
	}
	_, err = unix.Pwrite(fd, b.carrier.elf(), 0)
	if err == nil {
		_, err = unix.Pwrite(fd, b.carrier.data, carrierDataFile)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("write a program into memory: %w", err)
	}
	return fd, nil
}
