package registry

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	lookKeys    = 2000             // known keys that are compared at once
	lookPause   = 20               // times as long as a look took is the least pause after it
	lookPatient = 30 * time.Second // for a watch to tell what a look has seen already
	lookNamed   = 10               // differences of one look that are logged one by one
)

// audit compares what a follower told with the registry, a little at a time.
// A watch that works leaves nothing to find; this is for the one that doesn't.
type audit struct {
	*follower
	timer   *time.Timer
	span    int    // which one is looked at
	from    string // from where on
	looks   int    // of this round
	round   int    // looks of the last round, at first by estimate
	now     *look  // nil while there is none
	touched map[string]bool
}

// look is one comparison. Keys told of since it began are left out: they are
// known to be changing.
type look struct {
	span      *span
	part      Range
	took      time.Duration
	records   []Record
	revision  Revision // 0 until the registry answered
	err       error
	confirmed bool // this is the second look, with values, after one that found something
}

func newAudit(f *follower) *audit {
	a := &audit{follower: f, timer: time.NewTimer(0), touched: map[string]bool{}}
	a.timer.Stop()
	for _, s := range f.spans {
		a.round += 1 + s.told/lookKeys
	}
	if len(f.spans) > 0 {
		a.from = f.spans[0].From
		a.wait(0)
	}
	return a
}

// wait sets when the next look is taken, so that a round of looks takes as
// long as it is to, at random, so that machines don't look all at once.
func (a *audit) wait(took time.Duration) {
	if a.to.Audit > 0 {
		even := a.to.Audit / time.Duration(max(a.round, 1))
		a.timer.Reset(max(even/2+rand.N(even+1), lookPause*took))
	}
}

// due is called when the timer ran out: look, or give up waiting for the watch.
func (a *audit) due(ctx context.Context) {
	if a.now != nil {
		a.late(ctx)
		return
	}
	s := a.spans[a.span]
	part, n := Range{From: a.from, To: s.To}, 0
	for key := range s.known(part) {
		if n++; n > lookKeys {
			part.To = key
			break
		}
	}
	a.look(ctx, &look{span: s, part: part})
}

// look asks the registry for a part; the answer arrives at take.
func (a *audit) look(ctx context.Context, l *look) {
	clear(a.touched)
	a.timer.Stop()
	a.now = l
	answer := *l
	a.others.Go(func() {
		began := time.Now()
		answer.err = a.store.List(ctx, answer.part, Listing{KeysOnly: !answer.confirmed}, func(p Part) {
			answer.records = append(answer.records, p.Records...)
			answer.revision = p.Revision
		})
		answer.took = time.Since(began)
		select {
		case a.arrived <- arrival{look: &answer}:
		case <-ctx.Done():
		}
	})
}

func (a *audit) touch(s *span, events []Event) {
	if a.now == nil || a.now.span != s {
		return
	}
	for _, e := range events {
		if a.now.part.Contains(e.Key) {
			a.touched[e.Key] = true
		}
	}
}

func (a *audit) take(ctx context.Context, l *look) {
	if l.err != nil {
		a.log.Debug("audit of the registry put off", "error", l.err)
		a.now = nil
		a.wait(l.took)
		return
	}
	a.now = l
	a.timer.Reset(lookPatient)
	if a.proceed(ctx); a.now == l {
		// What was told is behind what was seen, or nothing changed.
		a.others.Go(func() { _ = a.store.Progress(ctx) })
	}
}

// proceed compares once all was told that the registry had when it was looked at.
func (a *audit) proceed(ctx context.Context) {
	l := a.now
	if l == nil || l.revision == 0 || l.span.revision < l.revision {
		return
	}
	a.now = nil
	differ := l.span.diff(Part{Range: l.part, Records: l.records, Revision: l.revision})
	n := 0
	for _, e := range differ {
		if !a.touched[e.Key] {
			differ[n] = e
			n++
		}
	}
	if differ = differ[:n]; n > 0 && !l.confirmed {
		a.look(ctx, &look{span: l.span, part: l.part, confirmed: true})
		return
	}
	if n > 0 {
		a.mend(l, differ)
	}
	a.next(l)
	a.wait(l.took)
}

// mend tells what was not told, or not truly.
func (a *audit) mend(l *look, differ []Event) {
	known := map[string]Revision{}
	for key, modified := range l.span.known(l.part) {
		known[key] = modified
	}
	for i, e := range differ {
		if i == lookNamed {
			a.log.Warn("more of the registry was known wrongly; mended too", "records", len(differ)-lookNamed)
			break
		}
		has, had := e.Modified, known[e.Key]
		if e.Deleted {
			has = 0
		}
		a.log.Warn("the registry was known wrongly, though it was watched; mended", "key", e.Key,
			"known_revision", int64(had), "registry_revision", int64(has), "listed_at", int64(l.revision))
	}
	a.tell(l.span, Changes{Events: differ, Revision: l.span.revision})
}

// next moves on behind a look.
func (a *audit) next(l *look) {
	a.looks++
	if a.from = l.part.To; l.part.To != l.span.To {
		return
	}
	if a.span++; a.span == len(a.spans) {
		a.span, a.round, a.looks = 0, a.looks, 0
	}
	a.from = a.spans[a.span].From
}

// late gives up a watch that has not told in time what a look has seen.
func (a *audit) late(ctx context.Context) {
	l := a.now
	a.now = nil
	a.log.Warn("a watch of the registry is stuck; watching anew", "range", l.part.From,
		"told_up_to", int64(l.span.revision), "registry_revision", int64(l.revision))
	l.span.endWatch()
	a.watch(ctx, l.span)
	a.wait(l.took)
}
