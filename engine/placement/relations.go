package placement

import (
	"path"
	"strings"

	"github.com/clusterd/clusterd/unit"
)

// relation is one of the ways in which a unit names others by patterns:
// Conflicts=, MachineOf= or Replaces=. Of each pattern it knows the machines
// with a unit that matches it, and those with a unit that has it in its file,
// so that a decision looks at no unit but its own.
type relation struct {
	index   int  // in family.globs
	leaving bool // units that are leaving count, too: they may still be running

	named map[string]*pattern   // patterns that are just a name
	globs map[string][]*pattern // the others, by what they begin with; see opening
	sizes []int                 // of those keys, in bytes, with how many have it
	n     int                   // how many patterns there are
	// version changes with globs: what families remember of them is then old.
	version int
	// fresh patterns don't know yet which units match them; see compile.
	fresh []*pattern
}

// pattern is one pattern of a relation.
type pattern struct {
	text           string
	prefix, suffix string // around the only special character, a *
	simple         bool   // there is no other
	refs           int    // by classes
	fresh          bool
	matching       tally            // units that match it, by machine
	carrying       tally            // units that have it in their file, by machine
	followers      map[*member]bool // those, placed or not; of MachineOf= only
}

// tally counts units by machine.
type tally struct {
	set
	more  map[int32]int32 // how many beyond the first
	total int
}

func (t *tally) count(slot int32) int32 {
	if !t.has(slot) {
		return 0
	}
	return 1 + t.more[slot]
}

// change adds one unit, or takes one away.
func (t *tally) change(slot int32, by int) {
	t.total += by
	switch {
	case by > 0 && !t.has(slot):
		t.add(slot)
	case by > 0:
		if t.more == nil {
			t.more = map[int32]int32{}
		}
		t.more[slot]++
	case t.more[slot] > 1:
		t.more[slot]--
	case t.more[slot] == 1:
		delete(t.more, slot)
	default:
		t.remove(slot)
	}
}

func (t *tally) move(to []int32) {
	t.set.move(to)
	more := t.more
	t.more = nil
	for slot, n := range more {
		if new := to[slot]; new >= 0 {
			if t.more == nil {
				t.more = map[int32]int32{}
			}
			t.more[new] = n
		}
	}
}

// family is the instances of a template, or all units that aren't instances.
type family struct {
	key      string // what their names begin with, up to the @
	members  []*member
	globs    [relations][]*pattern
	versions [relations]int
	spreads  map[string]*spread
	stocks   map[string]*stock // by type, once MinAvailable= asked for it
}

func (r *relation) empty() bool { return r.n == 0 }

// opening is the part of a name or pattern that globs are found by: up to the
// first special character, and no further than the @.
func opening(text string) string {
	if i := strings.IndexAny(text, `*?[\`); i >= 0 {
		text = text[:i]
	}
	return text[:strings.IndexByte(text, '@')+1]
}

func (p *pattern) key() string {
	if at := opening(p.text); at != "" {
		return at
	}
	return p.text[:strings.IndexAny(p.text, `*?[\`)]
}

// acquire returns the pattern with this text, for one more class.
func (r *relation) acquire(text string) *pattern {
	var p *pattern
	if !isGlob(text) {
		p = r.named[text]
	} else {
		key := (&pattern{text: text}).key()
		for _, other := range r.globs[key] {
			if other.text == text {
				p = other
			}
		}
	}
	if p == nil {
		p = &pattern{text: text, fresh: true}
		p.matching.long, p.carrying.long = r.index != 1, r.index != 1 // peers are searched among
		r.insert(p)
		r.fresh = append(r.fresh, p)
	}
	p.refs++
	return p
}

func (r *relation) insert(p *pattern) {
	r.n++
	if !isGlob(p.text) {
		r.named[p.text] = p
		return
	}
	p.prefix, p.suffix, _ = strings.Cut(p.text, "*")
	p.simple = !isGlob(p.prefix) && !isGlob(p.suffix)
	key := p.key()
	for len(key) >= len(r.sizes) {
		r.sizes = append(r.sizes, 0)
	}
	r.sizes[len(key)]++
	r.globs[key] = append(r.globs[key], p)
	r.version++
}

// release gives a pattern back.
func (r *relation) release(p *pattern) {
	if p.refs--; p.refs > 0 {
		return
	}
	r.n--
	r.fresh = without(r.fresh, p)
	if !isGlob(p.text) {
		delete(r.named, p.text)
		return
	}
	key := p.key()
	r.sizes[len(key)]--
	if r.globs[key] = without(r.globs[key], p); len(r.globs[key]) == 0 {
		delete(r.globs, key)
	}
	r.version++
}

func without(list []*pattern, p *pattern) []*pattern {
	for i, other := range list {
		if other == p {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

// matches says whether a name matches. Names have no slash, so that a single *
// stands for anything.
func (p *pattern) matches(name unit.Name) bool {
	if p.simple {
		return len(name) >= len(p.prefix)+len(p.suffix) &&
			strings.HasPrefix(string(name), p.prefix) && strings.HasSuffix(string(name), p.suffix)
	}
	return matches(p.text, name)
}

// candidates appends the globs that something that begins like this may match.
func (r *relation) candidates(begin string, to []*pattern) []*pattern {
	for size, n := range r.sizes {
		if size > len(begin) {
			break
		}
		if n > 0 {
			to = append(to, r.globs[begin[:size]]...)
		}
	}
	return to
}

// of appends the patterns that a unit matches.
func (r *relation) of(u *member, to []*pattern) []*pattern {
	if len(r.named) > 0 {
		if p := r.named[string(u.name)]; p != nil {
			to = append(to, p)
		}
	}
	if len(r.globs) == 0 {
		return to
	}
	f := u.family
	var few [8]*pattern
	candidates := few[:0]
	if f.key == "" {
		candidates = r.candidates(string(u.name), candidates)
	} else {
		if f.versions[r.index] != r.version {
			f.globs[r.index], f.versions[r.index] = r.candidates(f.key, nil), r.version
		}
		candidates = f.globs[r.index]
	}
	for _, p := range candidates {
		if p.matches(u.name) {
			to = append(to, p)
		}
	}
	return to
}

func isGlob(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

func matches(pattern string, name unit.Name) bool {
	if !isGlob(pattern) {
		return pattern == string(name)
	}
	ok, err := path.Match(pattern, string(name))
	return ok && err == nil
}

// compile finds the units that fresh patterns match. Those of one template are
// found by its family; other globs look at all units, once for all that are fresh.
func (c *Cluster) compile(r *relation) {
	fresh := r.fresh
	r.fresh = nil
	wide := relation{named: map[string]*pattern{}, globs: map[string][]*pattern{}}
	for _, p := range fresh {
		p.fresh = false
		switch family := c.families[opening(p.text)]; {
		case !isGlob(p.text):
			if u := c.units.get(unit.Name(p.text)); u != nil {
				c.meet(r, p, u)
			}
		case opening(p.text) == "":
			wide.insert(p)
		case family != nil:
			for _, u := range family.members {
				c.meet(r, p, u)
			}
		}
	}
	if len(wide.globs) == 0 {
		return
	}
	var some []*pattern
	for _, f := range c.families {
		for _, u := range f.members {
			some = wide.candidates(string(u.name), some[:0])
			for _, p := range some {
				c.meet(r, p, u)
			}
		}
	}
}

// meet counts a unit where it is placed, should it match.
func (c *Cluster) meet(r *relation, p *pattern, u *member) {
	if !p.matches(u.name) {
		return
	}
	for s := range u.spots() {
		if r.leaving || !s.leaving {
			p.matching.change(s.m.slot, 1)
		}
	}
}
