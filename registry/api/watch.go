package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// Changes that come in a burst go out together: after a look at the units there
// is a pause, in proportion to what the look took, so that watching a thousand
// units does not take the processor from starting them. The first change goes
// out at once.
const (
	watchPauseMin = 10 * time.Millisecond
	watchPauseMax = 200 * time.Millisecond
)

func (s *Server) watch(c *Control, w http.ResponseWriter, r *http.Request) error {
	request, err := read[WatchRequest](r)
	if err != nil {
		return err
	}
	if len(request.Names) == 0 {
		return badRequest("watch units: no names are given")
	}
	if _, _, err := c.recentView(r.Context()); err != nil {
		return err
	}
	ctx, cancel := streamContext(r)
	defer cancel()
	out := openStream(w, "application/x-ndjson")
	names := slices.Compact(slices.Sorted(slices.Values(request.Names)))
	seen := newWatched(names)
	for {
		changed := c.Copy.Changed()
		begun := time.Now()
		if text := seen.news(c.picture(c.Copy.View(), s.Now())); len(text) > 0 {
			if _, err := out.Write(text); err != nil {
				return nil // the watcher left
			}
		}
		pause := time.NewTimer(min(max(10*time.Since(begun), watchPauseMin), watchPauseMax))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		select {
		case <-ctx.Done():
			out.end(0, nil)
			return nil
		case <-changed:
		}
	}
}

// watched is what a watcher was told.
type watched struct {
	names []unit.Name
	marks []uint64
	sent  [][]byte
}

func newWatched(names []unit.Name) *watched {
	return &watched{names: names, marks: make([]uint64, len(names)), sent: make([][]byte, len(names))}
}

// news is a line for each unit that isn't as it was told last.
func (w *watched) news(p *picture) []byte {
	var out bytes.Buffer
	machines := p.machinesWithUnits()
	base := newMark()
	for _, m := range machines {
		base = base.text(string(m)).text(p.machine(m).state).text(p.machine(m).incarnation)
	}
	for i, name := range w.names {
		mark := uint64(p.mark(base, machines, name))
		if w.sent[i] != nil && w.marks[i] == mark {
			continue
		}
		w.marks[i] = mark
		u, _ := p.unit(name)
		line, err := json.Marshal(u)
		if err != nil || bytes.Equal(line, w.sent[i]) {
			continue // a Unit always has a JSON form
		}
		w.sent[i] = line
		out.Write(line)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// mark is a number that differs when a unit's records do: looking at their
// revisions is much cheaper than reading them.
type mark uint64

// FNV-1a's parameters.
func newMark() mark { return 14695981039346656037 }

func (m mark) add(n uint64) mark { return (m ^ mark(n)) * 1099511628211 }

func (m mark) text(s string) mark {
	for i := range len(s) {
		m = m.add(uint64(s[i]))
	}
	return m.add(256)
}

func (p *picture) mark(m mark, machines []registry.MachineID, name unit.Name) mark {
	add := func(key string) {
		rec, _ := p.view.Get(key)
		m = m.add(uint64(rec.Modified))
	}
	add(registry.UnitKey(name))
	add(registry.PendingKey(name))
	for _, machine := range machines {
		add(registry.AssignmentKey(machine, name))
		add(registry.ObservedKey(machine, name))
	}
	return m
}
