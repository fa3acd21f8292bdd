package agent

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/clusterd/clusterd/unit"
)

// fakeManager is a service manager in memory. How a unit behaves stands in its
// file: "hang" never starts, "fail" fails to, "job" ends at once; "unfit" is
// nothing for this manager, and "stubborn" can't be restarted.
type fakeManager struct {
	mu      sync.Mutex
	units   map[unit.Name]*fakeUnit
	taken   map[unit.Name]string
	bound   map[unit.Name][]unit.Name // units that stop with this one
	refuses string                    // a step that gets no answer: "write web.service"
	log     []string                  // what changed: "start web.service"
	looked  []string                  // what was verified
	pid     uint32
	changed map[unit.Name]bool
	wake    chan struct{}
	gone    bool // does not answer
}

type fakeUnit struct {
	State
	running []byte // the file it was started with
}

func newFakeManager() *fakeManager {
	return &fakeManager{units: map[unit.Name]*fakeUnit{}, taken: map[unit.Name]string{}, changed: map[unit.Name]bool{}, wake: make(chan struct{}, 1), pid: 100}
}

func (f *fakeManager) Observe(ctx context.Context, names []unit.Name) (map[unit.Name]State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil, fmt.Errorf("observe: no answer")
	}
	states := map[unit.Name]State{}
	for _, u := range names {
		s := State{}
		if x := f.units[u]; x != nil {
			s = x.State
		}
		s.Taken = f.taken[u]
		states[u] = s
	}
	return states, ctx.Err()
}

// take lets the machine have a name for itself; an empty path gives it back.
func (f *fakeManager) take(u unit.Name, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken[u] = path
}

func (f *fakeManager) note(u unit.Name) {
	f.changed[u] = true
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fakeManager) set(u unit.Name, active, sub string) {
	x := f.units[u]
	x.Load, x.Active, x.Sub, x.Since = "loaded", active, sub, time.Now()
	if active == "active" {
		f.pid++
		x.MainPID, x.MainStart = f.pid, time.Now()
	} else {
		x.MainPID = 0
	}
	f.note(u)
}

func (f *fakeManager) Do(ctx context.Context, s Action) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone || f.refuses != "" && strings.HasPrefix(s.String(), f.refuses) {
		return fmt.Errorf("%s: no answer", s)
	}
	x := f.units[s.Unit]
	if x == nil {
		x = &fakeUnit{}
		f.units[s.Unit] = x
	}
	if s.Verb == Start || s.Verb == Stop || s.Verb == Restart || s.Verb == Write || s.Verb == Remove {
		f.log = append(f.log, s.String())
	}
	switch s.Verb {
	case Verify:
		if s.Desired.VerifiedBy == "249" {
			return nil
		}
		f.looked = append(f.looked, s.String())
		if strings.Contains(string(s.File), "unfit") {
			return &Unfit{"runs systemd 249"}
		}
	case Write:
		x.File, x.DropIn = s.File, s.DropIn
	case Remove:
		x.File, x.DropIn = nil, nil
	case Gone:
		delete(f.units, s.Unit)
		delete(f.changed, s.Unit)
	case AwaitUnloaded:
		x.Status = Status{}
	case Stop:
		var along []unit.Name
		for _, u := range f.bound[s.Unit] {
			if x := f.units[u]; x != nil && x.Active == "active" {
				along = append(along, u)
			}
		}
		if s.Along != nil {
			if err := s.Along(along); err != nil {
				return err
			}
		}
		for _, u := range append(along, s.Unit) {
			f.set(u, "inactive", "dead")
		}
	case Start, Restart:
		return f.start(ctx, s, x)
	}
	return nil
}

func (f *fakeManager) start(ctx context.Context, s Action, x *fakeUnit) error {
	if s.Verb == Restart && strings.Contains(string(x.File), "stubborn") {
		return &Failure{s.Unit, "refused"}
	}
	x.running = x.File
	if s.Begun != nil {
		s.Begun()
	}
	switch text := string(x.File); {
	case strings.Contains(text, "hang"):
		f.set(s.Unit, "activating", "start")
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return ctx.Err()
	case strings.Contains(text, "fail"):
		f.set(s.Unit, "failed", "failed")
		return &Failure{s.Unit, "exit-code 3"}
	case strings.Contains(text, "job"):
		f.set(s.Unit, "inactive", "dead")
	default:
		f.set(s.Unit, "active", "running")
	}
	return nil
}

func (f *fakeManager) Watch(ctx context.Context, changed func(unit.Name, Status)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.wake:
		}
		f.mu.Lock()
		statuses := map[unit.Name]Status{}
		for u := range f.changed {
			if x := f.units[u]; x != nil {
				statuses[u] = x.Status
			}
		}
		clear(f.changed)
		f.mu.Unlock()
		for u, s := range maps.All(statuses) {
			changed(u, s)
		}
	}
}

// took returns what was done since the last call.
func (f *fakeManager) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := strings.Join(f.log, "; ")
	f.log = nil
	return log
}

func (f *fakeManager) pidOf(u unit.Name) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.units[u]; x != nil {
		return x.MainPID
	}
	return 0
}
