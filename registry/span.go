package registry

import (
	"context"
	"iter"

	"github.com/clusterd/clusterd/registry/packed"
)

// newsMax is how many changes are gathered before they are packed: together
// that is less work.
const newsMax = 4096

// span is a range that is followed, with what is needed to tell what changed
// unseen.
type span struct {
	Range
	revision Revision // up to which all was told
	watches  int      // made so far; the last one counts
	endWatch context.CancelFunc

	theirs func(Range) iter.Seq2[string, Revision] // what the caller knows; nil: it is kept here
	ours   *packed.Map
	news   []packed.Change // not in ours yet
	told   int             // records of the first list
}

func newSpan(r Range, known func(Range) iter.Seq2[string, Revision]) *span {
	return &span{Range: r, theirs: known, ours: packed.New(), endWatch: func() {}}
}

// known goes through the keys of a part of the span that were told.
func (s *span) known(r Range) iter.Seq2[string, Revision] {
	if s.theirs != nil {
		return s.theirs(r)
	}
	s.pack()
	to := r.To
	if to == "" {
		to = r.From + "\x00"
	}
	return func(yield func(string, Revision) bool) {
		for e := range s.ours.Range(r.From, to) {
			if !yield(e.Key, Revision(e.Modified)) {
				return
			}
		}
	}
}

func (s *span) learn(p Part) {
	s.told += len(p.Records)
	for _, rec := range p.Records {
		s.note(Event{Record: rec})
	}
}

func (s *span) apply(c Changes) {
	for _, e := range c.Events {
		s.note(e)
	}
	s.revision = c.Revision
}

func (s *span) note(e Event) {
	if s.theirs != nil {
		return
	}
	s.news = append(s.news, packed.Change{Entry: packed.Entry{Key: e.Key, Modified: int64(e.Modified)}, Delete: e.Deleted})
	if len(s.news) >= newsMax {
		s.pack()
	}
}

func (s *span) pack() {
	s.ours.Apply(s.news)
	s.news = s.news[:0]
}

// diff returns as events what a part has otherwise than it is known.
func (s *span) diff(p Part) []Event {
	var events []Event
	gone := func(key string) {
		events = append(events, Event{Record: Record{Key: key, Modified: p.Revision}, Deleted: true})
	}
	next, stop := iter.Pull2(s.known(p.Range))
	defer stop()
	key, modified, more := next()
	for _, rec := range p.Records {
		for ; more && key < rec.Key; key, modified, more = next() {
			gone(key)
		}
		if same := more && key == rec.Key; !same || modified != rec.Modified {
			events = append(events, Event{Record: rec})
		}
		if more && key == rec.Key {
			key, modified, more = next()
		}
	}
	for ; more; key, _, more = next() {
		gone(key)
	}
	return events
}
