package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The instructions of a filter. The kernel's bitmap of calls that are always
// allowed is made by following these only: loads, returns, jumps and one "and".
const (
	opLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opMore    = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opJump    = unix.BPF_JMP | unix.BPF_JA
	opReturn  = unix.BPF_RET | unix.BPF_K

	dataNumber, dataArch, dataArgs = 0, 4, 16 // offsets in struct seccomp_data
)

// jumpMax is how far a conditional jump reaches.
const jumpMax = 255

// result is what a filter returns for a call. With any of the capabilities in
// caps, bit n for number n, it is ALLOW.
type result struct {
	action uint32
	caps   uint64
}

// patch is an instruction whose result is to be filled in.
type patch struct {
	at   int
	caps uint64
}

// assembler writes a program from its end to its beginning: jumps go forward
// only, so where a jump leads to is always written before it. A place is the
// number of instructions that were written before the one that is meant.
type assembler struct {
	code    []unix.SockFilter
	results map[result]int // the last place each was written at
	patches []patch
}

func newAssembler() *assembler { return &assembler{results: map[result]int{}} }

func (a *assembler) write(code uint16, k uint32, yes, no uint8) int {
	a.code = append(a.code, unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no})
	return len(a.code) - 1
}

// distance is how many instructions a jump written next leaves out to get to a place.
func (a *assembler) distance(place int) int { return len(a.code) - 1 - place }

// near returns a place within reach from which the program goes on as from the
// one given. room is how many more instructions may come between.
func (a *assembler) near(place, room int) int {
	if a.distance(place)+room <= jumpMax {
		return place
	}
	target := a.code[place]
	if target.Code == opReturn {
		for _, p := range a.patches {
			if p.at == place {
				return a.ret(result{target.K, p.caps}, room)
			}
		}
		return a.ret(result{target.K, 0}, room)
	}
	return a.write(opJump, uint32(a.distance(place)), 0, 0)
}

// ret returns a place within reach that ends the program with a result.
func (a *assembler) ret(r result, room int) int {
	if at, ok := a.results[r]; ok && a.distance(at)+room <= jumpMax {
		return at
	}
	at := a.write(opReturn, r.action, 0, 0)
	a.results[r] = at
	if r.caps != 0 {
		a.patches = append(a.patches, patch{at, r.caps})
	}
	return at
}

// branch compares the accumulator with k.
func (a *assembler) branch(code uint16, k uint32, yes, no int) int {
	if yes == no {
		return yes
	}
	yes = a.near(yes, 1)
	no = a.near(no, 0)
	return a.write(code, k, uint8(a.distance(yes)), uint8(a.distance(no)))
}

// before writes an instruction after which the program goes on at a place.
func (a *assembler) before(code uint16, k uint32, next int) int {
	if a.distance(next) != 0 {
		a.write(opJump, uint32(a.distance(next)), 0, 0)
	}
	return a.write(code, k, 0, 0)
}

// span is a range of numbers, from its first to the next span's.
type span struct {
	from  uint32
	place int
}

// tree leads the accumulator to the place of the span it is in. The spans are in
// order, and the first begins with 0.
func (a *assembler) tree(spans []span) int {
	spans = slices.CompactFunc(spans, func(x, y span) bool { return x.place == y.place })
	if len(spans) == 1 {
		return spans[0].place
	}
	half := len(spans) / 2
	upper := a.tree(spans[half:])
	lower := a.tree(spans[:half])
	return a.branch(opAtLeast, spans[half].from, upper, lower)
}

// finish returns the program, its first instruction first.
func (a *assembler) finish() ([]unix.SockFilter, []patch) {
	last := len(a.code) - 1
	slices.Reverse(a.code)
	for i := range a.patches {
		a.patches[i].at = last - a.patches[i].at
	}
	slices.SortFunc(a.patches, func(x, y patch) int { return x.at - y.at })
	return a.code, a.patches
}

// compare goes on at yes when an argument is as a says, at no when it isn't.
// Arguments have 64 bits, of which a filter sees one half at a time.
func (a *assembler) compare(test arg, yes, no int) int {
	low, high := dataArgs+8*uint32(test.Index), dataArgs+8*uint32(test.Index)+4
	v := test.Value
	switch test.Op {
	case "SCMP_CMP_NE":
		return a.equal(low, high, ^uint64(0), v, no, yes)
	case "SCMP_CMP_EQ":
		return a.equal(low, high, ^uint64(0), v, yes, no)
	case "SCMP_CMP_MASKED_EQ":
		return a.equal(low, high, v, test.ValueTwo, yes, no)
	case "SCMP_CMP_GE":
		return a.atLeast(opAtLeast, low, high, v, yes, no)
	case "SCMP_CMP_LT":
		return a.atLeast(opAtLeast, low, high, v, no, yes)
	case "SCMP_CMP_GT":
		return a.atLeast(opMore, low, high, v, yes, no)
	case "SCMP_CMP_LE":
		return a.atLeast(opMore, low, high, v, no, yes)
	}
	panic("an operator that Parse lets by: " + test.Op)
}

func (a *assembler) equal(low, high uint32, mask, want uint64, yes, no int) int {
	half := func(offset, mask, want uint32, yes int) int {
		switch {
		case want&^mask != 0:
			return no // never
		case mask == 0:
			return yes // always
		}
		at := a.branch(opEqual, want, yes, no)
		if mask != ^uint32(0) {
			at = a.before(opAnd, mask, at)
		}
		return a.before(opLoad, offset, at)
	}
	return half(high, uint32(mask>>32), uint32(want>>32), half(low, uint32(mask), uint32(want), yes))
}

// atLeast compares with >= or >, which differ in the lower half only.
func (a *assembler) atLeast(code uint16, low, high uint32, v uint64, yes, no int) int {
	lower := a.before(opLoad, low, a.branch(code, uint32(v), yes, no))
	upper := a.branch(opMore, uint32(v>>32), yes, a.branch(opEqual, uint32(v>>32), lower, no))
	return a.before(opLoad, high, upper)
}
