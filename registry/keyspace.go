package registry

import "slices"

// Cut takes r apart where one kind of records ends and the next one begins, so
// that no part is known to have all of them.
func (r Range) Cut() []Range {
	kinds := []string{
		AlivePrefix, AssignmentsPrefix, ClusterPrefix, FilesPrefix, MachinesPrefix, ObservedPrefix,
		PendingPrefix, SettingsPrefix, TokensPrefix, UnitsPrefix,
	}
	return r.cutAt(slices.Values(kinds))
}

// SplitAfter takes the rest of r apart, of which a first part was read that
// went from the key first to the key last. It guesses: keys go on as
// they began, so where those read had a letter or digit, others have the next.
// The parts are as small as those already read where they are near them, and larger
// further on; how large they are in truth is seen when they are read.
func (r Range) SplitAfter(first, last string) []Range {
	rest := Range{From: last + "\x00", To: r.To}
	shared := 0
	for shared < len(first) && shared < len(last) && first[shared] == last[shared] {
		shared++
	}
	return rest.cutAt(func(yield func(string) bool) {
		for at := min(shared, len(last)-1); at >= 0; at-- {
			for next := int(last[at]) + 1; next <= 0xff; next++ {
				if (next == int(last[at])+1 || begins(byte(next), last[at])) && !yield(last[:at]+string([]byte{byte(next)})) {
					return
				}
			}
		}
	})
}

// begins says whether names are likely to go on with next where others have b.
func begins(next, b byte) bool {
	switch {
	case '0' <= next && next <= '9', 'a' <= next && next <= 'g': // 0 to f are digits, too
		return true
	case 'A' <= next && next <= 'Z':
		return b >= 'A' || next == 'A'
	case 'g' < next && next <= 'z'+1:
		return b >= 'a'
	}
	return false
}

// cutAt takes r apart at keys, which ascend; those outside are passed over.
func (r Range) cutAt(keys func(func(string) bool)) []Range {
	var parts []Range
	for key := range keys {
		if r.To == "" || key >= r.To {
			break
		}
		if key > r.From {
			parts = append(parts, Range{From: r.From, To: key})
			r.From = key
		}
	}
	return append(parts, r)
}
