package agent

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// view is all that is known of one unit here.
type view struct {
	want    *Desired // nil: no assignment
	has     Observed
	status  Status
	unitDir string
	frozen  string
	broken  string // why its assignment or file can't be used
	reason  string // why its last steps failed
	tried   uint64 // the generation whose steps were tried and failed
	gone    bool
}

// report returns what the cluster is told of a unit, nil for nothing.
func report(name unit.Name, v view, incarnation string) *registry.Observed {
	if v.want == nil && !v.has.Ours && v.broken == "" {
		return nil
	}
	o := &registry.Observed{
		Incarnation: incarnation,
		Unclaimed:   v.want == nil && v.has.Ours,
		Generation:  v.has.Done,
	}
	taken := ""
	if v.want != nil {
		taken = TakenBy(*v.want, v.has, name, v.unitDir)
		switch {
		case v.gone:
			o.Gone, o.Generation = true, v.want.Generation
			return o
		case v.broken != "" || taken != "" || v.tried == v.want.Generation || !Fresh(*v.want, v.has):
			o.Generation = v.want.Generation
		}
	}
	o.Reason = firstOf(v.broken, v.reason)
	if taken != "" {
		o.Reason = registry.RefusalReason(registry.RuleNameTaken, taken)
		return o // what runs under this name is not the cluster's
	}
	if o.Reason == "" && v.frozen != "" {
		o.Reason = v.frozen
	}
	s := v.status
	o.File, o.Load, o.Active, o.Sub = string(v.has.File), s.Load, s.Active, s.Sub
	if !s.Loaded() && v.has.File != "" {
		// systemd forgets a unit that is neither running nor failed.
		o.Load, o.Active, o.Sub = firstOf(s.Load, "loaded"), "inactive", "dead"
	}
	o.MainPid, o.Result, o.ExitStatus = s.MainPID, s.Result, s.ExitStatus
	o.MainStartUnixUs, o.SinceUnixUs = micros(s.MainStart), micros(s.Since)
	return o
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// reporter writes observations when they change: what somebody may wait for at
// once, the rest together with what follows soon. What can't be written now is
// kept, only the latest of each unit, and written when the registry answers again.
type reporter struct {
	store   registry.Records
	machine registry.MachineID
	log     *slog.Logger
	wake    chan struct{}
	urgent  chan struct{}

	mu      sync.Mutex
	waiting map[unit.Name][]byte
	written map[unit.Name][]byte // nil until it was read
	sending map[unit.Name]bool   // in the transaction under way, and not forgotten since
}

func newReporter(store registry.Records, machine registry.MachineID, log *slog.Logger) *reporter {
	return &reporter{
		store: store, machine: machine, log: log, waiting: map[unit.Name][]byte{},
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
	}
}

// set says what is to be told of a unit, at once or when there is more. Nil
// takes back what was not told yet and forgets the unit; its record is the
// leader's to delete.
func (r *reporter) set(u unit.Name, o *registry.Observed, atOnce bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o == nil {
		delete(r.waiting, u)
		delete(r.written, u)
		delete(r.sending, u)
		return
	}
	r.waiting[u] = registry.Encode(o)
	signal(r.wake)
	if atOnce {
		signal(r.urgent)
	}
}

// signal leaves a word for whoever waits on c, if there is none yet.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// forget makes the reporter read again what the registry has.
func (r *reporter) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = nil
}

const (
	coalesce   = 100 * time.Millisecond
	retryFirst = 250 * time.Millisecond
	retryMax   = 5 * time.Second
	answerMax  = 5 * time.Second // how long one call to the registry may take
)

func (r *reporter) run(ctx context.Context) {
	pause := retryFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-r.urgent:
		case <-time.After(coalesce):
		}
		for r.flush(ctx) != nil && wait(ctx, pause) {
			pause = min(2*pause, retryMax)
		}
		pause = retryFirst
		if !wait(ctx, coalesce) {
			return
		}
	}
}

// flush writes all that waits. The error was logged.
func (r *reporter) flush(ctx context.Context) error {
	if err := r.read(ctx); err != nil {
		r.log.Debug("observed units not read", "error", err)
		return err
	}
	for {
		names, ops := r.batch()
		if len(ops) == 0 {
			return nil
		}
		call, cancel := context.WithTimeout(ctx, answerMax)
		_, err := r.store.Commit(call, nil, ops)
		cancel()
		if err != nil {
			r.log.Debug("observed units not written", "units", len(ops), "error", err)
			return err
		}
		r.mu.Lock()
		for i, u := range names {
			if r.written != nil && r.sending[u] {
				r.written[u] = ops[i].Value
			}
			if bytes.Equal(r.waiting[u], ops[i].Value) {
				delete(r.waiting, u)
			}
		}
		r.mu.Unlock()
	}
}

// read learns what the registry has, so that another clusterd writes only what
// differs.
func (r *reporter) read(ctx context.Context) error {
	r.mu.Lock()
	known := r.written != nil
	r.mu.Unlock()
	if known {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	snapshot, err := r.store.Range(call, registry.Prefix(registry.ObservedOf(r.machine)))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = map[unit.Name][]byte{}
	for _, rec := range snapshot.Records {
		u := unit.Name(strings.TrimPrefix(rec.Key, registry.ObservedOf(r.machine)))
		r.written[u] = rec.Value
	}
	return nil
}

// batch takes what one transaction may write, and drops what needs no writing.
func (r *reporter) batch() ([]unit.Name, []registry.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []unit.Name
	var ops []registry.Op
	r.sending = map[unit.Name]bool{}
	for _, u := range slices.Sorted(maps.Keys(r.waiting)) {
		value := r.waiting[u]
		if old, ok := r.written[u]; ok && bytes.Equal(old, value) {
			delete(r.waiting, u)
			continue
		}
		if len(ops) == registry.OpsMax {
			break
		}
		names = append(names, u)
		r.sending[u] = true
		ops = append(ops, registry.Op{Key: registry.ObservedKey(r.machine, u), Value: value})
	}
	return names, ops
}

// wait returns false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
