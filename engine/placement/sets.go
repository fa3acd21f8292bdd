package placement

import (
	"iter"
	"math/bits"
	"slices"
)

// set is a set of machines, by slot. A few are kept as a sorted list, more as
// a bitmap; sum has a bit for each word of it that isn't zero, so that looking
// for a common member of two sets skips 4,096 machines at a time. Once a
// bitmap, it stays one. The zero value is empty.
type set struct {
	long  bool // the list may be long
	few   []int32
	words []uint64
	sum   []uint64
	n     int
}

// How many members are kept as a list. Where a machine is looked for in the
// list, rather than each of the list's looked at, it may be long.
const (
	fewMax  = 16
	longMax = 128
)

func (s *set) dense() bool { return s.words != nil }

func (s *set) word(i int) uint64 {
	if i < len(s.words) {
		return s.words[i]
	}
	return 0
}

func (s *set) summary(i int) uint64 {
	if i < len(s.sum) {
		return s.sum[i]
	}
	return 0
}

func (s *set) has(slot int32) bool {
	if s.words == nil {
		i := s.find(slot)
		return i < len(s.few) && s.few[i] == slot
	}
	return s.word(int(slot>>6))>>(slot&63)&1 == 1
}

// find is where in the list a slot is, or would be. Most often it would be the
// last, since machines are filled in their order.
func (s *set) find(slot int32) int {
	low, high := 0, len(s.few)
	if high == 0 || s.few[high-1] < slot {
		return high
	}
	for low < high {
		if at := (low + high) / 2; s.few[at] < slot {
			low = at + 1
		} else {
			high = at
		}
	}
	return low
}

// set puts a machine in or takes it out.
func (s *set) set(slot int32, in bool) {
	if in {
		s.add(slot)
	} else {
		s.remove(slot)
	}
}

func (s *set) add(slot int32) {
	if s.words == nil {
		i := s.find(slot)
		if i < len(s.few) && s.few[i] == slot {
			return
		}
		if len(s.few) < fewMax || s.long && len(s.few) < longMax {
			s.few = slices.Insert(s.few, i, slot)
			s.n++
			return
		}
		s.widen()
	}
	i := int(slot >> 6)
	if i >= len(s.words) {
		s.words = append(s.words, make([]uint64, i+1-len(s.words))...)
	}
	for i>>6 >= len(s.sum) {
		s.sum = append(s.sum, 0)
	}
	if bit := uint64(1) << (slot & 63); s.words[i]&bit == 0 {
		s.words[i] |= bit
		s.sum[i>>6] |= 1 << (i & 63)
		s.n++
	}
}

func (s *set) remove(slot int32) {
	if s.words == nil {
		if i := s.find(slot); i < len(s.few) && s.few[i] == slot {
			s.few = slices.Delete(s.few, i, i+1)
			s.n--
		}
		return
	}
	i := int(slot >> 6)
	if bit := uint64(1) << (slot & 63); s.word(i)&bit != 0 {
		if s.words[i] &^= bit; s.words[i] == 0 {
			s.sum[i>>6] &^= 1 << (i & 63)
		}
		s.n--
	}
}

// widen makes a bitmap of the list.
func (s *set) widen() {
	if s.words != nil {
		return
	}
	few := s.few
	*s = set{words: []uint64{}, long: s.long}
	for _, slot := range few {
		s.add(slot)
	}
}

// all yields the members in order.
func (s *set) all() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for _, slot := range s.few {
			if !yield(slot) {
				return
			}
		}
		for i, w := range s.words {
			for ; w != 0; w &= w - 1 {
				if !yield(int32(i<<6 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

// union adds the members of another set.
func (s *set) union(t *set) {
	if t.dense() {
		s.widen()
		s.words = append(s.words, make([]uint64, max(0, len(t.words)-len(s.words)))...)
		for i, w := range t.words {
			s.words[i] |= w
		}
		s.recount()
		return
	}
	for slot := range t.all() {
		s.add(slot)
	}
}

// within takes those out that aren't in another set.
func (s *set) within(t *set) {
	if s.dense() && t.dense() {
		for i := range s.words {
			s.words[i] &= t.word(i)
		}
		s.recount()
		return
	}
	few := slices.Collect(s.all())
	for _, slot := range few {
		if !t.has(slot) {
			s.remove(slot)
		}
	}
}

// recount brings the summary and the number up to the words.
func (s *set) recount() {
	s.n = 0
	s.sum = make([]uint64, (len(s.words)+63)/64)
	for i, w := range s.words {
		if w != 0 {
			s.sum[i>>6] |= 1 << (i & 63)
			s.n += bits.OnesCount64(w)
		}
	}
}

// first is the smallest member; -1 when there is none.
func (s *set) first() int32 {
	for slot := range s.all() {
		return slot
	}
	return -1
}

// minus takes the members of another set out.
func (s *set) minus(t *set) {
	if s.dense() && t.dense() {
		for i := range s.words {
			s.words[i] &^= t.word(i)
		}
		s.recount()
		return
	}
	for slot := range t.all() {
		s.remove(slot)
	}
}

func (s *set) clone() set {
	return set{long: s.long, few: slices.Clone(s.few), words: slices.Clone(s.words), sum: slices.Clone(s.sum), n: s.n}
}

// equal says whether two sets have the same members.
func (s *set) equal(t *set) bool {
	if s.n != t.n {
		return false
	}
	if s.dense() && t.dense() {
		for i := range max(len(s.words), len(t.words)) {
			if s.word(i) != t.word(i) {
				return false
			}
		}
		return true
	}
	for slot := range s.all() {
		if !t.has(slot) {
			return false
		}
	}
	return true
}

// move gives the members new slots; one whose new slot is -1 is taken out.
func (s *set) move(to []int32) {
	if s.n == 0 {
		return
	}
	old, wide := *s, s.dense()
	*s = set{long: s.long}
	if wide {
		s.widen()
	}
	for slot := range old.all() {
		if new := to[slot]; new >= 0 {
			s.add(new)
		}
	}
}

// levels keeps each machine at a level, from 0 up, and knows for each level
// who is there.
type levels struct {
	of  []int32 // by slot; -1: at none
	at  []*set  // bitmaps all
	low int     // no one is lower
}

// put moves a machine to a level; -1 takes it out.
func (l *levels) put(slot, level int32) {
	for int(slot) >= len(l.of) {
		l.of = append(l.of, -1)
	}
	was := l.of[slot]
	if was == level {
		return
	}
	if was >= 0 {
		l.at[was].remove(slot)
	}
	l.of[slot] = level
	if level < 0 {
		return
	}
	for int(level) >= len(l.at) {
		s := &set{}
		s.widen()
		l.at = append(l.at, s)
	}
	l.at[level].add(slot)
	l.low = min(l.low, int(level))
}

// lowest is the lowest level that someone is at, or one past the last.
func (l *levels) lowest() int {
	for l.low < len(l.at) && l.at[l.low].n == 0 {
		l.low++
	}
	return l.low
}
