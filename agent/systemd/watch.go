package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/unit"
)

// listOver is how many units are asked for one by one; for more, all that
// systemd has are listed in one call.
const listOver = 8

// Observe is agent.Manager's.
func (d *Driver) Observe(ctx context.Context, units []unit.Name) (map[unit.Name]agent.State, error) {
	b, err := d.connected(ctx)
	if err != nil {
		return nil, err
	}
	var fresh []unit.Name
	d.mu.Lock()
	for _, u := range units {
		if d.tracked[u] == nil {
			d.tracked[u] = &tracked{changed: make(chan struct{})}
			d.paths[unitPath(u)] = u
			fresh = append(fresh, u)
		}
	}
	d.mu.Unlock()
	if err := d.refresh(ctx, b, fresh, false); err != nil {
		for _, u := range fresh {
			d.untrack(u)
		}
		return nil, err
	}
	states := map[unit.Name]agent.State{}
	for _, u := range units {
		s := d.files(u)
		d.mu.Lock()
		if t := d.tracked[u]; t != nil {
			s.Status = t.status
		}
		d.mu.Unlock()
		states[u] = s
	}
	return states, nil
}

func (d *Driver) untrack(u unit.Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tracked, u)
	delete(d.paths, unitPath(u))
}

// refresh reads the status of units from systemd. For one that a signal came for
// meanwhile the answer doesn't count, and it is read again. Of those that are as
// they were known to be, details are read only if all is.
func (d *Driver) refresh(ctx context.Context, b *bus, units []unit.Name, asKnown bool) error {
	for range 10 {
		if len(units) == 0 {
			return nil
		}
		seen, known := d.signalsOf(units)
		if !asKnown {
			known = nil
		}
		statuses, err := b.statuses(ctx, units, known)
		if err != nil {
			return err
		}
		units = d.take(units, seen, statuses)
	}
	return nil // what changes that fast is told by signals
}

// take takes in what systemd answered. Units that a signal came for since seen are
// returned, and left as the signal told: the answer may be older than that.
func (d *Driver) take(units []unit.Name, seen map[unit.Name]uint64, answer map[unit.Name]agent.Status) (again []unit.Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, u := range units {
		t := d.tracked[u]
		switch {
		case t == nil:
		case t.signals != seen[u]:
			again = append(again, u)
		case t.status != answer[u]:
			t.status = answer[u]
			d.tell(u)
		}
	}
	return again
}

// signalsOf returns how many signals came for units, and what they told.
func (d *Driver) signalsOf(units []unit.Name) (map[unit.Name]uint64, map[unit.Name]agent.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen, known := map[unit.Name]uint64{}, map[unit.Name]agent.Status{}
	for _, u := range units {
		if t := d.tracked[u]; t != nil {
			seen[u], known[u] = t.signals, t.status
		}
	}
	return seen, known
}

// listed is one line of systemd's list of units.
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	JobID                                           uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

// statuses asks systemd for units; those it does not have are left out, and those
// that are as known are not asked for more.
func (b *bus) statuses(ctx context.Context, units []unit.Name, known map[unit.Name]agent.Status) (map[unit.Name]agent.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	var list []listed
	var call *dbus.Call
	if len(units) > listOver {
		call = b.call(ctx, "ListUnitsFiltered", []string{})
	} else {
		patterns := make([]string, len(units))
		for i, u := range units {
			patterns[i] = strings.ReplaceAll(string(u), `\`, `\\`)
		}
		call = b.call(ctx, "ListUnitsByPatterns", []string{}, patterns)
	}
	if err := call.Store(&list); err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	wanted := map[unit.Name]bool{}
	for _, u := range units {
		wanted[u] = true
	}
	statuses := map[unit.Name]agent.Status{}
	for _, l := range list {
		u := unit.Name(l.Name)
		if !wanted[u] || l.Load == "not-found" && l.Active == "inactive" {
			continue // named by another unit only
		}
		if k, ok := known[u]; ok && k.Load == l.Load && k.Active == l.Active && k.Sub == l.Sub {
			statuses[u] = k
			continue
		}
		s := agent.Status{Load: l.Load, Active: l.Active, Sub: l.Sub}
		if err := b.details(ctx, u, l.Path, &s); err != nil && !isGone(err) {
			return nil, err
		}
		statuses[u] = s
	}
	return statuses, nil
}

func isGone(err error) bool {
	name := errorName(err)
	return name == "org.freedesktop.DBus.Error.UnknownObject" || isNoSuchUnit(err)
}

func (b *bus) details(ctx context.Context, u unit.Name, path dbus.ObjectPath, s *agent.Status) error {
	var since uint64
	if err := b.property(ctx, path, unitIface, "StateChangeTimestamp", &since); err != nil {
		return err
	}
	s.Since = fromMicros(since)
	if !strings.HasSuffix(string(u), ".service") {
		return nil
	}
	for _, name := range []string{"MainPID", "ExecMainStartTimestamp", "Result", "ExecMainStatus"} {
		var v dbus.Variant
		call := b.conn.Object(destination, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, serviceIface, name)
		if err := call.Store(&v); err != nil {
			return fmt.Errorf("read %s of %s: %w", name, u, err)
		}
		apply(s, name, v)
	}
	return nil
}

func fromMicros(us uint64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us))
}

// apply takes one property in; those of no interest are left out.
func apply(s *agent.Status, name string, v dbus.Variant) {
	switch value := v.Value().(type) {
	case string:
		switch name {
		case "ActiveState":
			s.Active = value
		case "SubState":
			s.Sub = value
		case "LoadState":
			s.Load = value
		case "Result":
			s.Result = value
		}
	case uint32:
		if name == "MainPID" {
			s.MainPID = value
		}
	case int32:
		if name == "ExecMainStatus" {
			s.ExitStatus = value
		}
	case uint64:
		switch name {
		case "ExecMainStartTimestamp":
			s.MainStart = fromMicros(value)
		case "StateChangeTimestamp":
			s.Since = fromMicros(value)
		}
	}
}

// listen takes a connection's signals in until it ends.
func (d *Driver) listen(b *bus) {
	for s := range b.signals {
		d.signal(b, s)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tracked {
		t.wake() // whoever waits finds the connection gone
	}
}

func (d *Driver) signal(b *bus, s *dbus.Signal) {
	switch s.Name {
	case managerIface + ".JobRemoved":
		b.jobRemoved(s)
	case managerIface + ".Reloading":
		if len(s.Body) == 1 {
			b.reloading, _ = s.Body[0].(bool)
		}
		if !b.reloading {
			select {
			case d.reloaded <- struct{}{}:
			default:
			}
		}
	case managerIface + ".UnitNew":
		if u, ok := unitOf(s); ok {
			d.update(u, func(s *agent.Status) {
				if !s.Loaded() && !b.reloading {
					*s = agent.Status{Load: "loaded", Active: "inactive", Sub: "dead"}
				}
			})
		}
	case managerIface + ".UnitRemoved":
		if u, ok := unitOf(s); ok {
			d.update(u, func(s *agent.Status) {
				if !b.reloading { // then systemd forgets all units, for a moment
					*s = agent.Status{}
				}
			})
		}
	case changed:
		d.mu.Lock()
		u, ok := d.paths[s.Path]
		d.mu.Unlock()
		if !ok || len(s.Body) < 2 {
			return
		}
		properties, ok := s.Body[1].(map[string]dbus.Variant)
		if !ok {
			return
		}
		d.update(u, func(s *agent.Status) {
			for name, v := range properties {
				apply(s, name, v)
			}
			s.Load = firstOf(s.Load, "loaded")
		})
	}
}

func unitOf(s *dbus.Signal) (unit.Name, bool) {
	if len(s.Body) < 1 {
		return "", false
	}
	name, ok := s.Body[0].(string)
	return unit.Name(name), ok
}

// update changes what is known of a tracked unit.
func (d *Driver) update(u unit.Name, change func(*agent.Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tracked[u]
	if t == nil {
		return
	}
	change(&t.status)
	t.signals++
	t.wake()
	d.tell(u)
}

// tell has Watch speak of a unit. The lock is held.
func (d *Driver) tell(u unit.Name) {
	d.untold[u] = true
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// wake tells those who wait for a change.
func (t *tracked) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// changes returns a channel that is closed with the unit's next change.
func (d *Driver) changes(u unit.Name) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tracked[u]
	if t == nil {
		t = &tracked{changed: make(chan struct{})}
		d.tracked[u] = t
		d.paths[unitPath(u)] = u
	}
	return t.changed
}

// Watch is agent.Manager's.
func (d *Driver) Watch(ctx context.Context, changed func(unit.Name, agent.Status)) error {
	var last *bus
	for ctx.Err() == nil {
		b, err := d.connected(ctx)
		if err != nil {
			return err
		}
		// Whatever happened while nobody listened.
		d.mu.Lock()
		all := make([]unit.Name, 0, len(d.tracked))
		for u := range d.tracked {
			all = append(all, u)
		}
		d.mu.Unlock()
		if err := d.refresh(ctx, b, all, b == last); err != nil {
			return err
		}
		last = b
		d.follow(ctx, b, changed)
	}
	return ctx.Err()
}

// follow passes changes on until the connection ends, or systemd has read all
// units anew.
func (d *Driver) follow(ctx context.Context, b *bus, changed func(unit.Name, agent.Status)) {
	for {
		news := map[unit.Name]agent.Status{}
		d.mu.Lock()
		for u := range d.untold {
			if t := d.tracked[u]; t != nil {
				news[u] = t.status
			}
		}
		clear(d.untold)
		d.mu.Unlock()
		for u, s := range news {
			changed(u, s)
		}
		select {
		case <-ctx.Done():
			return
		case <-b.conn.Context().Done():
			d.log.Info("connecting to systemd again")
			return
		case <-d.reloaded:
			return
		case <-d.news:
		}
	}
}
