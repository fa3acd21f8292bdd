package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

const (
	historyMax   = 10      // entries of a unit's history
	applyTries   = 40      // of a transaction whose guards fail
	batchBytes   = 1 << 20 // of unit files in one transaction, unless a single one is larger
	changesLimit = 100_000 // units in one call
)

// checked is an Apply whose names, files and targets make sense by themselves.
type checked struct {
	Apply
	parsed     map[unit.Name]*unit.File // of changes that bring a file
	fresh      []Change                 // those whose file is new to the unit, once check was content
	verifiedBy map[unit.Hash]string     // the version of the systemd that had nothing against a file
	needs      map[unit.Hash]int        // the oldest systemd that does for a file
	notes      []string
}

// checkApply refuses what is wrong whatever the registry holds.
func checkApply(a Apply) (*checked, error) {
	if len(a.Changes) == 0 {
		return nil, badRequest("apply: no changes are given")
	}
	if len(a.Changes) > changesLimit {
		return nil, badRequest("apply: %d changes at once; give at most %d", len(a.Changes), changesLimit)
	}
	for hash, src := range a.Files {
		if unit.HashOf(src) != hash {
			return nil, badRequest("apply: file %s has the hash %s; send it again", hash.Short(), unit.HashOf(src).Short())
		}
	}
	c := &checked{Apply: a, parsed: map[unit.Name]*unit.File{}, verifiedBy: map[unit.Hash]string{}, needs: map[unit.Hash]int{}}
	seen := map[unit.Name]bool{}
	for _, change := range a.Changes {
		if err := c.checkChange(change); err != nil {
			return nil, err
		}
		if seen[change.Name] {
			return nil, badRequest("apply: %s is named twice", change.Name)
		}
		seen[change.Name] = true
	}
	return c, nil
}

func (c *checked) checkChange(change Change) error {
	full, err := unit.ParseName(string(change.Name))
	if err != nil {
		return badRequest("%v", err)
	}
	if full != change.Name {
		return badRequest("unit name %s: give it in full: %s", change.Name, full)
	}
	target := registry.Target_TARGET_UNSPECIFIED
	if change.Target != "" {
		var ok bool
		if target, ok = parseTarget(change.Target); !ok {
			return badRequest("%s: there is no target %q; use inactive, loaded, launched or gone", change.Name, change.Target)
		}
	}
	if change.Name.IsTemplate() && (target == registry.Target_LOADED || target == registry.Target_LAUNCHED || change.Restart) {
		return badRequest("%s: a template can't run; use an instance of it, such as %s", change.Name, change.Name.InstanceOf("1"))
	}
	src, ok := c.Files[change.File]
	if change.File == "" || !ok {
		return nil
	}
	if c.parsed[change.Name], err = unit.Parse(string(change.Name), src); err != nil {
		return badRequest("%v", err)
	}
	return nil
}

// step is what one change comes to: the unit's new record and the condition
// under which it may be written.
type step struct {
	name   unit.Name
	record *registry.Unit // nil: nothing to write
	result *registry.Unit // the unit after it
	guards []registry.Guard
	file   unit.Hash // that the record refers to
}

// plan says what the changes come to, given what the registry holds. It reads
// no clock but now and changes nothing.
func (c *checked) plan(view registry.View, who string, now time.Time) ([]step, error) {
	lost := map[unit.Name]bool{}
	for _, change := range c.Changes {
		rec, _ := view.Get(registry.UnitKey(change.Name))
		if _, err := registry.Decode[registry.Unit](rec); rec.Key == "" || err != nil {
			lost[change.Name] = true
		}
	}
	known := traces(view, lost)
	steps := make([]step, 0, len(c.Changes))
	for _, change := range c.Changes {
		s, err := c.planChange(view, change, known[change.Name], who, now)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func (c *checked) planChange(view registry.View, change Change, known trace, who string, now time.Time) (step, error) {
	rec, present := view.Get(registry.UnitKey(change.Name))
	s := step{name: change.Name, guards: []registry.Guard{{Key: registry.UnitKey(change.Name), Modified: rec.Modified}}}
	old := &registry.Unit{}
	if present {
		var err error
		if old, err = registry.Decode[registry.Unit](rec); err != nil && change.Target != TargetGone && change.File == "" {
			return s, conflict("%v; submit the unit again, or destroy it", err)
		} else if err != nil {
			old = &registry.Unit{Generation: uint64(rec.Modified)} // above any it had
		}
	}
	leaving := old.GetTarget() == registry.Target_GONE
	if change.Target == TargetGone && present && leaving {
		s.result = old
		return s, nil
	}
	file, err := c.resolveFile(view, change, old, present && !leaving, &s)
	if err != nil {
		return s, err
	}
	next := proto.CloneOf(old)
	next.Wish = nil // whoever changes the unit knows better
	next.File, next.AllowUnknown, next.VerifiedBy, next.NeedsSystemd = string(file.hash), file.allowUnknown, file.verifiedBy, file.needs
	if change.Target != "" {
		next.Target, _ = parseTarget(change.Target)
	} else if !present || leaving || next.Target == registry.Target_TARGET_UNSPECIFIED {
		next.Target = max(known.target, registry.Target_INACTIVE)
	}
	if change.Restart && next.Target != registry.Target_LAUNCHED {
		return s, conflict("restart %s: it is not to run (target %s); start it instead: clusterctl start %s", change.Name, targetWords[next.Target], change.Name)
	}
	// Asking for a state once more counts: a unit that ended is started again.
	asked := change.Target == TargetLoaded || change.Target == TargetLaunched || change.Restart
	if present && !asked && next.File == old.GetFile() && next.Target == old.GetTarget() && next.AllowUnknown == old.GetAllowUnknown() {
		s.result = old
		return s, nil
	}
	s.file = file.hash
	next.Generation = max(old.GetGeneration(), known.generation) + 1
	if change.Restart {
		next.RestartGeneration = next.Generation
	}
	if next.File != old.GetFile() && next.File != "" {
		v := &registry.UnitVersion{File: next.File, SubmittedUnixMs: now.UnixMilli(), Who: who}
		next.History = append([]*registry.UnitVersion{v}, next.History...)
		next.History = next.History[:min(len(next.History), historyMax)]
	}
	next.Who, next.Why, next.ChangedUnixMs = who, c.Why, now.UnixMilli()
	s.record, s.result = next, next
	return s, nil
}

// accepted is a unit's file and what was found when it was submitted.
type accepted struct {
	hash         unit.Hash
	allowUnknown bool
	verifiedBy   string
	needs        uint32
}

func acceptedOf(u *registry.Unit) accepted {
	return accepted{unit.Hash(u.GetFile()), u.GetAllowUnknown(), u.GetVerifiedBy(), u.GetNeedsSystemd()}
}

// resolveFile says which file the unit has after the change.
func (c *checked) resolveFile(view registry.View, change Change, old *registry.Unit, known bool, s *step) (accepted, error) {
	present := unit.Hash(old.GetFile())
	switch {
	case known && change.Target == TargetGone:
		return acceptedOf(old), nil
	case !known && change.Existing, !known && (change.Restart || change.Target == TargetGone):
		return accepted{}, unknownUnit(change.Name)
	case known && change.File == present && c.AllowUnknown:
		return accepted{hash: present, allowUnknown: true, verifiedBy: old.GetVerifiedBy()}, nil
	case known && (change.File == "" || change.File == present):
		return acceptedOf(old), nil
	case known && !change.Replace && present != "":
		return accepted{}, conflict("%s: the cluster has it with another file (%s, not %s); compare with clusterctl cat %s, "+
			"then give --replace to change it", change.Name, present.Short(), change.File.Short(), change.Name)
	case change.File != "":
		return accepted{change.File, c.AllowUnknown, c.verifiedBy[change.File], uint32(c.needs[change.File])}, c.checkKnownFile(view, change.Name, change.File)
	}
	template, ok := change.Name.Template()
	if !ok {
		return accepted{}, unknownUnit(change.Name)
	}
	rec, ok := view.Get(registry.UnitKey(template))
	if !ok {
		return accepted{}, unknownUnit(change.Name)
	}
	t, err := registry.Decode[registry.Unit](rec)
	if err != nil {
		return accepted{}, conflict("%s: its template: %v; submit %s again", change.Name, err, template)
	}
	if t.GetTarget() == registry.Target_GONE {
		return accepted{}, unknownUnit(change.Name)
	}
	s.guards = append(s.guards, registry.Guard{Key: rec.Key, Modified: rec.Modified})
	return acceptedOf(t), c.checkKnownFile(view, change.Name, unit.Hash(t.GetFile()))
}

func unknownUnit(name unit.Name) error {
	return notFound("%s: not in the registry; submit it first: clusterctl submit %s", name, name)
}

// checkKnownFile makes sure that a file the request did not bring along is in
// the registry and good for the unit.
func (c *checked) checkKnownFile(view registry.View, name unit.Name, hash unit.Hash) error {
	if c.parsed[name] != nil {
		return nil
	}
	src, ok := c.Files[hash]
	if !ok {
		rec, inRegistry := view.Get(registry.FileKey(hash))
		if !inRegistry {
			return badRequest("%s: file %s is not in the registry; send its bytes along", name, hash.Short())
		}
		src = rec.Value
	}
	if err := usable(name, src); err != nil {
		return badRequest("%v", err)
	}
	return nil
}

// batch is one transaction.
type batch struct {
	steps  []step
	guards map[string]registry.Guard
	ops    []registry.Op
	bytes  int
}

// batches groups the steps, in their order, into transactions that fit. A file
// is put by the first that needs it; later ones are guarded by what that
// commit is told to have written, see commit.
func (c *checked) batches(view registry.View, steps []step) []batch {
	var out []batch
	var b batch
	put := map[unit.Hash]bool{}
	for _, s := range steps {
		if s.record == nil {
			continue
		}
		_, stored := view.Get(registry.FileKey(s.file))
		brings := s.file != "" && !stored && !put[s.file]
		size := 0
		if brings {
			size = len(c.Files[s.file])
		}
		// A step adds at most two operations and three guards.
		if len(b.steps) > 0 && (len(b.ops)+2 > registry.OpsMax || len(b.guards)+3 > registry.OpsMax || b.bytes+size > batchBytes) {
			out = append(out, b)
			b = batch{}
		}
		b.add(s)
		if brings {
			key := registry.FileKey(s.file)
			b.guards[key] = registry.Guard{Key: key}
			b.ops = append(b.ops, registry.Op{Key: key, Value: c.Files[s.file]})
			b.bytes += size
			put[s.file] = true
		} else if rec, ok := view.Get(registry.FileKey(s.file)); ok {
			b.guards[rec.Key] = registry.Guard{Key: rec.Key, Modified: rec.Modified}
		}
	}
	if len(b.steps) > 0 {
		out = append(out, b)
	}
	return out
}

func (b *batch) add(s step) {
	if b.guards == nil {
		b.guards = map[string]registry.Guard{}
	}
	for _, g := range s.guards {
		if _, ok := b.guards[g.Key]; !ok {
			b.guards[g.Key] = g
		}
	}
	b.steps = append(b.steps, s)
	b.ops = append(b.ops, registry.Op{Key: registry.UnitKey(s.name), Value: registry.Encode(s.record)})
}

// commitError says how far a call came that could not be finished.
type commitError struct {
	done, all int
	err       error
}

func (e *commitError) Error() string {
	unanswered := errors.Is(e.err, registry.ErrNoAnswer) || errors.Is(e.err, context.DeadlineExceeded)
	switch {
	case unanswered && e.done == 0:
		return fmt.Sprintf("apply: %v; it is open whether anything changed, the same command once more is safe", e.err)
	case unanswered:
		return fmt.Sprintf("apply: %v; at least %d of %d units are changed, the same command once more is safe", e.err, e.done, e.all)
	case e.done == 0:
		return fmt.Sprintf("apply: %v; nothing was changed, try again", e.err)
	}
	return fmt.Sprintf("apply: %v; %d of %d units are changed, the same command once more does the rest", e.err, e.done, e.all)
}

func (e *commitError) Unwrap() error { return e.err }

// apply validates the changes together and carries them out.
func (s *Server) apply(ctx context.Context, c *Control, a Apply, who string) (*Applied, error) {
	want, err := checkApply(a)
	if err != nil {
		return nil, err
	}
	results := map[unit.Name]*registry.Unit{}
	var revision registry.Revision
	for try := 0; ; try++ {
		view, err := c.freshView(ctx)
		if err != nil {
			return nil, &commitError{len(results), len(a.Changes), err}
		}
		if try == 0 {
			if err := s.check(ctx, c, want, view); err != nil {
				return nil, err
			}
		}
		rest := *want
		rest.Changes = slices.DeleteFunc(slices.Clone(want.Changes), func(change Change) bool { return results[change.Name] != nil })
		steps, err := rest.plan(view, who, s.Now())
		if err != nil {
			return nil, err
		}
		committed, err := c.commit(ctx, rest.batches(view, steps), results)
		revision = max(revision, committed)
		if err == nil {
			for _, s := range steps {
				results[s.name] = s.result
			}
			break
		}
		if !errors.Is(err, registry.ErrGuard) || !again(ctx, try+1) {
			return nil, &commitError{len(results), len(a.Changes), err}
		}
	}
	return c.applied(ctx, want, results, revision, s.Now()), nil
}

// check looks at the files by itself, then has a machine's systemd do so.
func (s *Server) check(ctx context.Context, c *Control, want *checked, view registry.View) error {
	if !want.brings(view) {
		return nil
	}
	fleet := newFleet(view)
	if err := want.check(view, fleet); err != nil {
		return err
	}
	return want.verify(ctx, s, c.picture(view, s.Now()), fleet)
}

// again says whether a transaction that met another change is to be tried once
// more, after a short while: many who change one unit at once would otherwise
// go on meeting each other.
func again(ctx context.Context, try int) bool {
	if try >= applyTries {
		return false
	}
	pause := time.NewTimer(rand.N(time.Duration(min(try, 10)) * 5 * time.Millisecond))
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// commit writes the batches one after the other and notes what is done.
func (c *Control) commit(ctx context.Context, batches []batch, results map[unit.Name]*registry.Unit) (registry.Revision, error) {
	var last registry.Revision
	written := map[string]registry.Revision{}
	for _, b := range batches {
		guards := make([]registry.Guard, 0, len(b.guards))
		for key, g := range b.guards {
			if at, ok := written[key]; ok {
				g.Modified = at
			}
			guards = append(guards, g)
		}
		// Files an earlier batch put must still be there.
		for _, s := range b.steps {
			key := registry.FileKey(s.file)
			if at, ok := written[key]; ok && b.guards[key].Key == "" {
				guards = append(guards, registry.Guard{Key: key, Modified: at})
				b.guards[key] = registry.Guard{Key: key, Modified: at}
			}
		}
		slices.SortFunc(guards, func(x, y registry.Guard) int { return strings.Compare(x.Key, y.Key) })
		revision, err := c.write(ctx, guards, b.ops)
		if err != nil {
			return last, err
		}
		last = revision
		for _, op := range b.ops {
			written[op.Key] = revision
		}
		for _, s := range b.steps {
			results[s.name] = s.result
		}
	}
	return last, nil
}

// applied is the answer: the units as they are after the changes.
func (c *Control) applied(ctx context.Context, want *checked, results map[unit.Name]*registry.Unit, revision registry.Revision, now time.Time) *Applied {
	// Best effort: without an answer, states are as old as the copy.
	view, err := c.freshView(ctx)
	if err != nil {
		view = c.Copy.View()
	}
	names := make([]unit.Name, len(want.Changes))
	for i, change := range want.Changes {
		names[i] = change.Name
	}
	units := c.picture(view, now).several(names)
	for i := range units {
		// What was written here, should the copy be behind or already ahead.
		u, r := &units[i], results[names[i]]
		u.Known, u.Hash, u.Target, u.Generation = true, unit.Hash(r.GetFile()), targetWords[r.GetTarget()], r.GetGeneration()
	}
	return &Applied{Units: units, Revision: max(revision, view.Revision()), Notes: want.notes}
}
