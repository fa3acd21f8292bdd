package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// waitFlags are those of every verb that waits.
type waitFlags struct {
	noBlock bool
	timeout time.Duration
}

func addWaitFlags(cmd *cobra.Command) *waitFlags {
	w := &waitFlags{}
	cmd.Flags().BoolVar(&w.noBlock, "no-block", false, "don't wait for the result")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "how long to wait for the result, such as 30s; 0 is as long as it takes")
	return w
}

func (w *waitFlags) check(verb string) error {
	if w != nil && w.timeout < 0 {
		return usageError("%s: --timeout %v is less than nothing; give a time such as 30s, or 0 for as long as it takes", verb, w.timeout)
	}
	return nil
}

const (
	noticeAfter   = time.Second      // silence before the user is told what is waited for
	believeAfter  = 3 * time.Second  // how long an answer to an older change is doubted
	reconnectFor  = 30 * time.Second // how long a lost connection is tried again
	reconnectEach = 500 * time.Millisecond
	noticesMax    = 3 // units named in one notice
	journalsMax   = 3 // failed units whose journal is shown
	journalLines  = 8
	journalWait   = 3 * time.Second
)

// waiter follows units until all goals are done.
type waiter struct {
	p       *program
	verb    string // the command's
	goals   []goal
	open    map[unit.Name]int // goals not yet done, by unit: index in goals
	last    map[unit.Name]outcome
	errs    []error                 // by goal
	noticed string                  // the last notice
	since   map[unit.Name]time.Time // of unsure outcomes
	refused map[unit.Name][]string  // machines that won't have a unit, with why
}

// update is what the watch saw: a unit, or the watch's end.
type update struct {
	unit api.Unit
	err  error
}

// wait returns once all goals are done, or the time is over, or ctx ends.
func (p *program) wait(ctx context.Context, client *api.Client, verb string, goals []goal, timeout time.Duration) error {
	w := &waiter{p: p, verb: verb, goals: goals, open: map[unit.Name]int{}, last: map[unit.Name]outcome{},
		errs: make([]error, len(goals)), since: map[unit.Name]time.Time{}, refused: map[unit.Name][]string{}}
	names := make([]unit.Name, len(goals))
	for i, g := range goals {
		names[i] = g.name
		w.open[g.name] = i
	}
	watching, stop := context.WithCancel(ctx)
	updates := make(chan update)
	go func() {
		defer close(updates)
		follow(watching, client, names, updates)
	}()
	err := w.loop(ctx, updates, timeout)
	stop()
	for range updates { // until the goroutine is gone
	}
	if err != nil {
		return err
	}
	w.showJournals(ctx, client)
	return errors.Join(w.errs...)
}

// showJournals adds to the first units that failed on a machine what they
// printed last: most often that names the cause.
func (w *waiter) showJournals(ctx context.Context, client *api.Client) {
	ctx, cancel := context.WithTimeout(ctx, journalWait)
	defer cancel()
	shown := 0
	for i, g := range w.goals {
		machine := w.last[g.name].machine
		if w.errs[i] == nil || machine == "" || shown == journalsMax {
			continue
		}
		shown++
		var text strings.Builder
		if client.Journal(ctx, g.name, machine, api.JournalOptions{Lines: journalLines, Output: "cat"}, &text) != nil || text.Len() == 0 {
			continue // the error names the command that shows it
		}
		w.errs[i] = fmt.Errorf("%w\n  | %s", w.errs[i], strings.ReplaceAll(strings.TrimSpace(text.String()), "\n", "\n  | "))
	}
}

// follow sends what a watch yields, and begins it again when the connection
// is lost, for a while.
func follow(ctx context.Context, client *api.Client, names []unit.Name, updates chan<- update) {
	lost := time.Time{}
	for {
		for u, err := range client.Watch(ctx, names...) {
			if err == nil {
				lost = time.Time{}
			} else if lost.IsZero() {
				lost = time.Now()
			}
			if err != nil && api.ExitCode(err) == api.ExitNoAnswer && time.Since(lost) < reconnectFor {
				break
			}
			select {
			case updates <- update{u, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
		select {
		case <-time.After(reconnectEach):
		case <-ctx.Done():
			return
		}
	}
}

func (w *waiter) loop(ctx context.Context, updates <-chan update, timeout time.Duration) error {
	var over <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		over = timer.C
	}
	tick := time.NewTicker(noticeAfter)
	defer tick.Stop()
	for len(w.open) > 0 {
		select {
		case u, ok := <-updates:
			switch {
			case ctx.Err() != nil:
				return w.interrupted()
			case !ok:
				return failure(api.ExitNoAnswer, "%s: the connection is gone; the cluster goes on; try again", w.verb)
			case u.err != nil:
				return fmt.Errorf("%s: wait for the result: %w", w.verb, u.err)
			}
			w.see(u.unit, time.Now())
		case <-tick.C:
			w.believe(time.Now())
			w.notice()
		case <-over:
			return w.timedOut(timeout)
		case <-ctx.Done():
			return w.interrupted()
		}
	}
	return nil
}

// see judges a unit anew.
func (w *waiter) see(u api.Unit, now time.Time) {
	i, open := w.open[u.Name]
	if !open {
		return
	}
	g := &w.goals[i]
	g.seen = g.seen || u.Known && u.Generation >= g.generation
	if g.verb == "start" || g.verb == "load" {
		w.seeRefused(u)
	}
	o := g.judge(u)
	w.last[u.Name] = o
	if o.unsure {
		if w.since[u.Name].IsZero() {
			w.since[u.Name] = now
		}
		return
	}
	delete(w.since, u.Name)
	if o.done {
		w.finish(i, o)
	}
}

// seeRefused notes why a unit goes elsewhere than where it was placed first:
// once it is there, nothing tells of that any more.
func (w *waiter) seeRefused(u api.Unit) {
	for i := range u.States {
		s := &u.States[i]
		text := place(s, false) + " " + refusal(s)
		if refusal(s) != "" && !slices.Contains(w.refused[u.Name], text) {
			w.refused[u.Name] = append(w.refused[u.Name], text)
		}
	}
}

// believe takes answers to older changes that nothing has followed.
func (w *waiter) believe(now time.Time) {
	for name, since := range w.since {
		if now.Sub(since) >= believeAfter {
			delete(w.since, name)
			w.finish(w.open[name], w.last[name])
		}
	}
}

func (w *waiter) finish(i int, o outcome) {
	delete(w.open, w.goals[i].name)
	w.errs[i] = o.err
	if refused := w.refused[w.goals[i].name]; o.err == nil && len(refused) > 0 {
		w.p.note("clusterctl: note: %s is not where it was placed first: %s", w.goals[i].name, strings.Join(refused[:min(len(refused), noticesMax)], ", "))
	}
	if o.err == nil && o.line != "" {
		fmt.Fprintln(w.p.stdout, o.line)
	}
}

// waiting says what the first open goals wait for.
func (w *waiter) waiting() string {
	text, named := "", 0
	for _, g := range w.goals {
		if _, open := w.open[g.name]; !open {
			continue
		}
		if named == noticesMax {
			return text + fmt.Sprintf(", and %d more", len(w.open)-named)
		}
		if named > 0 {
			text += ", "
		}
		what := w.last[g.name].waiting
		if what == "" {
			what = "an answer"
		}
		text += fmt.Sprintf("%s (%s)", g.name, what)
		named++
	}
	return text
}

// notice tells the user what is waited for, whenever that is something else.
func (w *waiter) notice() {
	if len(w.open) == 0 {
		return
	}
	if text := w.waiting(); text != w.noticed {
		w.noticed = text
		w.p.note("waiting for %s", text)
	}
}

func (w *waiter) timedOut(timeout time.Duration) error {
	return failure(api.ExitTimeout, "%s: not done after %s; last seen: %s\nthe cluster goes on; see clusterctl list-units", w.verb, timeout, w.waiting())
}

func (w *waiter) interrupted() error {
	return failure(api.ExitCanceled, "%s: interrupted; the cluster goes on with %s", w.verb, w.waiting())
}
