package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// gather is how long changes are collected for one round while units of an
// earlier one are being started: systemd reads its directories anew after each
// write between two starts.
const gather = 50 * time.Millisecond

// writeMax is how long a unit waits for the files of others: until they are
// here, and until those of its round are written.
const writeMax = 500 * time.Millisecond

// recheckAfter is how long it may take until a name that became free is noticed.
const recheckAfter = 30 * time.Second

// startRound looks at the dirty units now, or shortly if others are at work.
func (a *Agent) startRound(ctx context.Context) {
	if len(a.dirty) == 0 {
		return
	}
	for _, m := range a.units {
		if m.working {
			a.roundBy(time.Now().Add(gather))
			return
		}
	}
	a.round(ctx)
}

// roundBy has a round begin then, if none begins earlier.
func (a *Agent) roundBy(at time.Time) {
	if a.roundAt.IsZero() || at.Before(a.roundAt) {
		a.roundAt = at
		a.later.Reset(time.Until(at))
	}
}

// due takes from the dirty units those to be looked at now. One that is to be
// started stays for a while if files are on their way: it may require another
// one that comes with it.
func (a *Agent) due() []unit.Name {
	now := time.Now()
	if !a.fetching() || !a.heldUntil.IsZero() && !now.Before(a.heldUntil) {
		a.heldUntil = time.Time{}
		names := slices.Sorted(maps.Keys(a.dirty))
		clear(a.dirty)
		return names
	}
	var names []unit.Name
	for u := range a.dirty {
		if !a.starts(u) {
			names = append(names, u)
			delete(a.dirty, u)
		}
	}
	switch {
	case len(a.dirty) == 0:
		a.heldUntil = time.Time{}
	case a.heldUntil.IsZero():
		a.heldUntil = now.Add(writeMax)
	}
	if len(a.dirty) > 0 {
		a.roundBy(a.heldUntil)
	}
	slices.Sort(names)
	return names
}

// starts says that a unit has a new generation to be launched, and its file is
// at hand; one whose file isn't is looked at, so that it is asked for.
func (a *Agent) starts(u unit.Name) bool {
	m := a.units[u]
	if m == nil || m.working || !m.known || m.want == nil || m.want.Target != registry.Target_LAUNCHED {
		return false
	}
	e, _ := a.ledger.get(u)
	return Fresh(*m.want, Observed{File: m.hash, Done: e.Done}) && (m.hash == m.want.File || a.files[m.want.File] != nil)
}

// round plans each dirty unit and sets its steps going.
func (a *Agent) round(ctx context.Context) {
	a.roundAt = time.Time{}
	a.later.Stop()
	a.startAgain()
	names := a.due()
	var unknown []unit.Name
	work := map[unit.Name][]Action{}
	for _, u := range names {
		m := a.units[u]
		switch {
		case m == nil || m.working:
			continue // its worker marks it again
		case !m.known:
			unknown = append(unknown, u)
			continue
		case a.forgotten(u, m):
			continue
		}
		if steps := a.plan(u, m); len(steps) > 0 {
			work[u] = steps
		}
		a.publish(u, m)
		a.recheckTaken(ctx, u, m)
	}
	a.observe(ctx, unknown)
	a.fetch(ctx)
	gate := newGate(len(work))
	for _, u := range slices.Sorted(maps.Keys(work)) {
		a.begin(ctx, a.units[u], work[u], gate)
	}
	if len(a.asked) == 0 {
		clear(a.files)
	}
}

// forgotten drops a unit that is neither wanted nor here.
func (a *Agent) forgotten(u unit.Name, m *managed) bool {
	if _, ours := a.ledger.get(u); m.want != nil || m.broken != "" || ours || a.frozen != "" {
		return false
	}
	delete(a.units, u)
	a.reporter.set(u, nil, false)
	return true
}

// recheckTaken looks again, some time later, whether a name that the machine
// has for itself became free. Nobody tells of that.
func (a *Agent) recheckTaken(ctx context.Context, u unit.Name, m *managed) {
	if m.want == nil || m.recheck || m.state.Taken == "" && TakenBy(*m.want, a.observed(u, m), u, a.UnitDir) == "" {
		return
	}
	m.recheck = true
	time.AfterFunc(recheckAfter, func() {
		a.tell(ctx, func() { m.recheck, m.known, a.dirty[u] = false, m.working, true })
	})
}

// plan returns a unit's steps, what is to be written included; none while
// something for them is missing. Nothing is begun before all is at hand.
func (a *Agent) plan(u unit.Name, m *managed) []Action {
	if m.want == nil || m.gone {
		return nil
	}
	wanted := Wanted{Frozen: a.frozen, Units: map[unit.Name]Desired{u: *m.want}}
	steps := Plan(wanted, map[unit.Name]Observed{u: a.observed(u, m)})
	if len(steps) == 0 {
		return nil
	}
	if writes := func(s Action) bool { return s.Verb == Write }; m.state.Taken != "" && slices.ContainsFunc(steps, writes) {
		// What runs goes on: its new file could not be written.
		m.failed(fmt.Errorf("write %s: the machine has a unit of that name, %s; rename one of them", u, m.state.Taken))
		return nil
	}
	here, err := load(u, m.source) // what it is now, for steps that leave it so
	if err != nil {
		here = loadable{}
	}
	var written []byte
	for i := range steps {
		if steps[i].Verb != Write {
			continue
		}
		src, err := a.content(m)
		if err != nil {
			m.failed(err)
			return nil
		}
		if src == nil {
			return nil // it is being fetched
		}
		written = src
		if here, err = load(u, src); err != nil {
			m.failed(err)
			return nil
		}
		steps[i].File = here.text
		steps[i].WantedBy, steps[i].RequiredBy = Follows(u, here.file)
		var notes []string
		steps[i].DropIn, notes = DropIn(u, here.file, a.IsNsrun)
		for _, note := range notes {
			a.Log.Warn("unit changed by its drop-in", "unit", u, "note", note)
		}
	}
	return withVerify(a.withPull(steps, here), written)
}

// withVerify puts before the steps of a unit that gets a file a look at it by
// this machine's systemd, unless one of the same version has taken it. It comes
// first of all: a file that doesn't do stops nothing.
func withVerify(steps []Action, src []byte) []Action {
	if src == nil {
		return steps
	}
	verify := Action{Verb: Verify, Unit: steps[0].Unit, Desired: steps[0].Desired, Reason: "its file is new here", File: src}
	return append([]Action{verify}, steps...)
}

// failed notes why a unit's steps can't be done for now.
func (m *managed) failed(err error) {
	var unfit *Unfit
	m.reason, m.tried = err.Error(), m.want.Generation
	if errors.As(err, &unfit) {
		m.reason = unfit.Error() // for the engine, to the letter
	}
}

func (a *Agent) observed(u unit.Name, m *managed) Observed {
	e, ours := a.ledger.get(u)
	o := Observed{
		File: m.hash, Ours: ours, Taken: m.state.Taken,
		Loaded: m.state.Loaded(), Active: m.state.Active,
		Done: e.Done, Restarted: e.Restarted, Begun: e.Begun, Again: e.Again,
	}
	if m.want != nil && m.want.File == o.File && Fresh(*m.want, o) {
		if l, err := load(u, m.source); err == nil {
			dropIn, _ := DropIn(u, l.file, a.IsNsrun)
			o.StaleDropIn = !bytes.Equal(dropIn, m.state.DropIn) || !bytes.Equal(l.text, m.state.File)
		}
	}
	return o
}

// publish tells the cluster how a unit is.
func (a *Agent) publish(u unit.Name, m *managed) {
	if !a.verified || a.cluster.foreign || !m.known {
		return
	}
	e, _ := a.ledger.get(u)
	v := view{
		want: m.want, has: a.observed(u, m), status: m.state.Status, unitDir: a.UnitDir,
		frozen: a.frozen, broken: m.broken, reason: m.reason, tried: m.tried, gone: m.gone,
	}
	if v.reason == "" && (m.state.Active != "active" || m.state.Since.Before(e.Failed)) {
		v.reason = e.Reason // systemd has not got it going since then
	}
	if o := report(u, v, a.Incarnation); o != nil {
		// A start is waited for until its end; what happens on the way to it can
		// wait, lest it make the end wait for its own turn.
		done := m.want == nil || o.Generation == m.want.Generation
		a.reporter.set(u, o, done && !m.working)
	}
}

// observe looks at units that were never looked at.
func (a *Agent) observe(ctx context.Context, names []unit.Name) {
	if len(names) == 0 {
		return
	}
	for _, u := range names {
		a.units[u].working, a.units[u].cancel = true, func() {}
	}
	a.workers.Go(func() {
		states, err := a.Manager.Observe(ctx, names)
		a.tell(ctx, func() {
			for _, u := range names {
				m := a.units[u]
				m.working = false
				if err != nil {
					a.again(ctx, u, m)
					continue
				}
				m.set(states[u])
				a.dirty[u] = true
			}
			if err != nil {
				a.Log.Warn("service manager does not answer", "units", len(names), "error", err)
			}
		})
	})
}

func (m *managed) set(s State) {
	m.state, m.known, m.hash, m.source = s, true, "", nil
	if s.File != nil {
		m.source = sourceOf(s.File)
		m.hash = unit.HashOf(m.source)
	}
}

// begin sets a unit's steps going.
func (a *Agent) begin(ctx context.Context, m *managed, steps []Action, gate *gate) {
	u := steps[0].Unit
	work, cancel := context.WithCancel(ctx)
	m.working, m.cancel, m.planned = true, cancel, *m.want
	a.workers.Go(func() {
		defer cancel()
		reason, err := a.carryOut(work, u, steps, gate)
		along := a.alongWith(u)
		states, seen := a.Manager.Observe(ctx, append(along, u))
		a.tell(ctx, func() {
			m.working = false
			if seen == nil {
				m.set(states[u])
				a.stopped(along, states)
			}
			a.finish(ctx, u, m, steps, reason, err)
		})
	})
}

// finish takes in how a unit's steps ended.
func (a *Agent) finish(ctx context.Context, u unit.Name, m *managed, steps []Action, reason string, err error) {
	a.dirty[u] = true
	current := m.want != nil && *m.want == m.planned
	switch {
	case err == nil:
		m.reason, m.retry = "", 0
		m.gone = current && steps[len(steps)-1].Verb == Gone
		if reason != "" {
			a.Log.Warn("unit failed", "unit", u, "machine", a.ID, "reason", reason)
		}
	case !current:
		// It was cut short because something else is wanted now.
	default:
		a.Log.Warn("unit's steps not done", "unit", u, "machine", a.ID, "error", err)
		m.failed(err)
		delete(a.dirty, u)
		a.publish(u, m)
		if unfit := (*Unfit)(nil); !errors.As(err, &unfit) { // systemd's mind won't change by itself
			a.again(ctx, u, m)
		}
	}
}

// again marks a unit after a pause that grows.
func (a *Agent) again(ctx context.Context, u unit.Name, m *managed) {
	m.retry = min(max(2*m.retry, retryFirst), 6*retryMax)
	time.AfterFunc(m.retry, func() { a.tell(ctx, func() { a.dirty[u] = true }) })
}

// carryOut runs one unit's steps in order. Units go side by side, so that a
// broken one holds up nobody; what it leaves undone, the next pass plans
// afresh. A reason without an error is why the unit itself failed.
func (a *Agent) carryOut(ctx context.Context, u unit.Name, steps []Action, gate *gate) (reason string, err error) {
	written := sync.OnceFunc(gate.written)
	defer written()
	lastWrite := -1
	for i, s := range steps {
		if s.Verb == Write {
			lastWrite = i
		}
	}
	for i, s := range steps {
		if i > lastWrite {
			written()
		}
		switch {
		case s.Verb == Pull:
			written() // what it writes can wait, and others can't for it
		case (s.Verb == Start || s.Verb == Restart) && reason != "":
			continue // what was loaded can't be started
		case s.Verb == Start || s.Verb == Restart:
			gate.await(ctx)
		case s.Verb == Stop && s.Desired.Target == registry.Target_LAUNCHED:
			s.Along = func(units []unit.Name) error { return a.takenAlong(u, units) }
		}
		if ctx.Err() != nil {
			return reason, ctx.Err()
		}
		var failure *Failure
		switch err := a.do(ctx, u, s, reason); {
		case errors.As(err, &failure):
			reason = failure.Why
		case err != nil:
			return reason, fmt.Errorf("%s: %w", s, err)
		}
	}
	return reason, nil
}

// do carries out one step and keeps the record of it.
func (a *Agent) do(ctx context.Context, u unit.Name, s Action, reason string) error {
	e, _ := a.ledger.get(u)
	e.Unit = u
	switch s.Verb {
	case Start, Stop, Restart, Remove:
		a.Log.Info("step", "unit", u, "machine", a.ID, "step", s.String(), "reason", s.Reason)
		if s.Verb == Start || s.Verb == Restart {
			s.Begun = func() { a.begun(e, s.Desired) }
		}
	case Write:
		// First of all it is known to be ours, so that no crash leaves a file
		// that nobody owns.
		e.File = s.Desired.File
		if err := a.ledger.put(e); err != nil {
			return err
		}
	case Pull:
		return a.pull(ctx, s)
	case Done:
		e.File, e.Done, e.Restarted, e.Reason, e.Failed = s.Desired.File, s.Desired.Generation, s.Desired.Restart, reason, time.Time{}
		if reason != "" {
			e.Failed = time.Now()
		}
		if e.Again = ""; s.Desired.Target != registry.Target_LAUNCHED {
			e.Along = nil // an operator's stop takes them along for good
		}
		return a.ledger.put(e)
	case Gone:
		if err := a.Manager.Do(ctx, s); err != nil {
			return err
		}
		return a.ledger.remove(u)
	}
	return a.Manager.Do(ctx, s)
}

// begun keeps that a unit's start is under way, so that a job that ends while
// no clusterd runs is not run twice.
func (a *Agent) begun(e entry, d Desired) {
	e.File, e.Begun, e.Again = d.File, d.Generation, ""
	if err := a.ledger.put(e); err != nil {
		a.Log.Warn("start not kept for a restart of clusterd", "unit", e.Unit, "error", err)
	}
}
