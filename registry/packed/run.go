package packed

import "encoding/binary"

// A run is read from its beginning, so it must be short; what a record shares
// with its neighbour is saved once less per run, so it must be long.
const (
	runEntries = 32
	runBytes   = 8 << 10
)

// run is some records side by side. It is immutable.
type run struct {
	first string // its first key, a part of data
	data  string
	n     int
}

// packer makes runs of entries that are added in order.
type packer struct {
	runs []run
	each int // entries of a run
	buf  []byte
	prev Entry // its value and key are the packer's own
	key  []byte
	n    int
}

// newPacker makes a packer for up to total entries, spread evenly.
func newPacker(total int) *packer {
	pieces := max((total+runEntries-1)/runEntries, 1)
	return &packer{each: (total + pieces - 1) / pieces}
}

func (p *packer) add(key, value []byte, created, modified, lease int64) {
	if p.n > 0 && (p.n >= p.each || len(p.buf)+len(value) > runBytes) {
		p.end()
	}
	shared := commonPrefix(p.key, key)
	p.buf = binary.AppendUvarint(p.buf, uint64(shared))
	p.buf = binary.AppendUvarint(p.buf, uint64(len(key)-shared))
	p.buf = append(p.buf, key[shared:]...)
	p.buf = binary.AppendVarint(p.buf, created-p.prev.Created)
	p.buf = binary.AppendVarint(p.buf, modified-p.prev.Modified)
	p.buf = binary.AppendVarint(p.buf, lease)
	head := commonPrefix(p.prev.Value, value)
	tail := commonSuffix(p.prev.Value[head:], value[head:])
	p.buf = binary.AppendUvarint(p.buf, uint64(head))
	p.buf = binary.AppendUvarint(p.buf, uint64(tail))
	p.buf = binary.AppendUvarint(p.buf, uint64(len(value)-head-tail))
	p.buf = append(p.buf, value[head:len(value)-tail]...)
	p.key, p.prev.Value = append(p.key[:0], key...), append(p.prev.Value[:0], value...)
	p.prev.Created, p.prev.Modified = created, modified
	p.n++
}

// end completes the run that is being made, if there is one.
func (p *packer) end() {
	if p.n == 0 {
		return
	}
	data := string(p.buf)
	_, a := binary.Uvarint(p.buf) // the first key shares nothing
	length, b := binary.Uvarint(p.buf[a:])
	p.runs = append(p.runs, run{first: data[a+b : a+b+int(length)], data: data, n: p.n})
	p.buf, p.key, p.n = p.buf[:0], p.key[:0], 0
	p.prev = Entry{Value: p.prev.Value[:0]}
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func commonSuffix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// find says how many entries are to be read to have that of key. Values cost it
// nothing.
func (r run) find(key string) (n int, found bool) {
	var room [128]byte
	s, own := scan{rest: r.data}, room[:0]
	for s.rest != "" {
		n++
		shared := s.uvarint()
		own = append(own[:shared], s.take(s.uvarint())...)
		if string(own) >= key {
			return n, string(own) == key
		}
		for range 5 { // created, modified, lease, and what the value shares
			s.uvarint()
		}
		s.take(s.uvarint())
	}
	return 0, false
}

// scan reads a run's entries one after the other.
func (r run) scan() *scan { return &scan{rest: r.data} }

type scan struct {
	rest                     string
	key, value, spare        []byte
	created, modified, lease int64
}

func (s *scan) next() bool {
	if s.rest == "" {
		return false
	}
	shared := s.uvarint()
	s.key = append(s.key[:shared], s.take(s.uvarint())...)
	s.created += s.varint()
	s.modified += s.varint()
	s.lease = s.varint()
	head, tail := s.uvarint(), s.uvarint()
	middle := s.take(s.uvarint())
	s.spare = append(s.spare[:0], s.value[:head]...)
	s.spare = append(s.spare, middle...)
	s.spare = append(s.spare, s.value[len(s.value)-tail:]...)
	s.value, s.spare = s.spare, s.value
	return true
}

// below says whether the key just read comes before another.
func (s *scan) below(key string) bool { return string(s.key) < key }

func (s *scan) entry() Entry {
	e := Entry{Key: string(s.key), Created: s.created, Modified: s.modified, Lease: s.lease}
	if len(s.value) > 0 {
		e.Value = append(make([]byte, 0, len(s.value)), s.value...)
	}
	return e
}

func (s *scan) take(n int) string {
	part := s.rest[:n]
	s.rest = s.rest[n:]
	return part
}

func (s *scan) uvarint() int {
	var v uint64
	for i := 0; ; i++ {
		b := s.rest[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			s.rest = s.rest[i+1:]
			return int(v)
		}
	}
}

func (s *scan) varint() int64 {
	u := uint64(s.uvarint())
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}
