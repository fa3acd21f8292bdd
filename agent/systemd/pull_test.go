package systemd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestLastLine(t *testing.T) {
	var told []string
	out := &lastLine{each: func(line string) { told = append(told, line) }}
	for _, piece := range []string{"layer 1", " of 2\nlay", "er 2 of 2\r\n\n", "done\n", strings.Repeat("x", 3000)} {
		if n, err := out.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	want := []string{"layer 1 of 2", "layer 2 of 2", "done", strings.Repeat("x", 3000)}
	if !slices.Equal(told, want) || out.last != want[3] {
		t.Errorf("told %q, last %q", told, out.last)
	}
}

// fakeRegistry pulls when it is told to.
type fakeRegistry struct {
	mu   sync.Mutex
	runs int
	gate chan struct{} // each pull takes one
	had  bool
}

func (r *fakeRegistry) puller() *puller {
	return &puller{
		slots: make(chan struct{}, pullsMax), flights: map[string]*flight{},
		have: func(string) bool { r.mu.Lock(); defer r.mu.Unlock(); return r.had },
		run: func(ctx context.Context, ref string, progress func(string)) error {
			r.mu.Lock()
			r.runs++
			r.mu.Unlock()
			progress("fetching " + ref)
			select {
			case <-r.gate:
			case <-ctx.Done():
				return ctx.Err()
			}
			if ref == "missing" {
				return errors.New("no such image")
			}
			return nil
		},
	}
}

func TestPullsAreShared(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refresh bool
		runs    int
	}{
		{"any copy will do", false, 1},
		{"one that was asked for before does not count", true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &fakeRegistry{gate: make(chan struct{}, 10)}
				p := r.puller()
				var told atomic.Int32
				errs := make(chan error)
				ask := func() {
					errs <- p.pull(t.Context(), "a", tt.refresh, func(string) { told.Add(1) })
				}
				go ask()
				synctest.Wait()
				for range 99 {
					go ask()
				}
				synctest.Wait()
				for range tt.runs {
					r.gate <- struct{}{}
				}
				for range 100 {
					if err := <-errs; err != nil {
						t.Error(err)
					}
				}
				if r.runs != tt.runs || told.Load() < 1 || len(p.flights) != 0 {
					t.Errorf("%d pulls, want %d; told %d times; %d left", r.runs, tt.runs, told.Load(), len(p.flights))
				}
			})
		})
	}
}

func TestPullGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRegistry{gate: make(chan struct{}, 10)}
		p := r.puller()
		first, cancel := context.WithCancel(t.Context())
		gaveUp, stayed := make(chan error), make(chan error)
		go func() { gaveUp <- p.pull(first, "a", false, func(string) {}) }()
		synctest.Wait()
		go func() { stayed <- p.pull(t.Context(), "a", false, func(string) {}) }()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		r.gate <- struct{}{}
		if err := <-stayed; err != nil {
			t.Errorf("who stayed got %v", err)
		}
		alone, cancel := context.WithCancel(t.Context())
		go func() { gaveUp <- p.pull(alone, "a", false, func(string) {}) }()
		synctest.Wait()
		cancel()
		<-gaveUp
		synctest.Wait() // its goroutine ends, too
		r.gate <- struct{}{}
		if err := p.pull(t.Context(), "missing", false, func(string) {}); err == nil || err.Error() != "no such image" {
			t.Errorf("missing: %v", err)
		}
		r.had = true
		if err := p.pull(t.Context(), "missing", false, func(string) {}); err != nil {
			t.Errorf("it is here already: %v", err)
		}
	})
}
