package systemd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/unit"
)

// Config is what a Driver works with.
type Config struct {
	// UnitDir is where unit files are written; empty is /run/systemd/system.
	UnitDir string
	// Log is required.
	Log *slog.Logger
}

const (
	// unloadMax is how long a stopped unit is waited for to leave systemd's memory.
	unloadMax = time.Second
	// answerMax is how long one call to systemd may take. A daemon-reload makes
	// it deaf for a while.
	answerMax = 30 * time.Second
	// callsMax is how many job calls may wait for systemd's answer at once.
	callsMax = 64
)

// Driver runs an agent's steps on this machine's systemd. It is an
// agent.Manager.
type Driver struct {
	unitDir  string
	log      *slog.Logger
	calls    chan struct{}
	verifies chan struct{}
	verdicts verdicts

	mu      sync.Mutex
	bus     *bus
	tracked map[unit.Name]*tracked
	paths   map[godbus.ObjectPath]unit.Name
	untold  map[unit.Name]bool   // what Watch has not spoken of since it changed
	news    chan struct{}        // untold is not empty
	unseen  map[unit.Name][]link // links that changed; see seeLinks

	reloaded chan struct{} // systemd has read all units anew

	reloading       sync.Mutex
	reloadMu        sync.Mutex
	begun, complete uint64 // reloads
}

var _ agent.Manager = (*Driver)(nil)

// tracked is a unit whose signals are listened to.
type tracked struct {
	status  agent.Status
	signals uint64        // how many came
	changed chan struct{} // closed and replaced with each
}

// New makes a Driver; it connects when it is first used.
func New(c Config) *Driver {
	if c.UnitDir == "" {
		c.UnitDir = "/run/systemd/system"
	}
	return &Driver{
		unitDir: c.UnitDir, log: c.Log, calls: make(chan struct{}, callsMax), verifies: make(chan struct{}, verifiesMax),
		verdicts: verdicts{known: map[[sha256.Size]byte]string{}},
		tracked:  map[unit.Name]*tracked{}, paths: map[godbus.ObjectPath]unit.Name{}, untold: map[unit.Name]bool{}, news: make(chan struct{}, 1),
		unseen: map[unit.Name][]link{}, reloaded: make(chan struct{}, 1),
	}
}

// Close ends the connection. Jobs go on without it.
func (d *Driver) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bus != nil {
		_ = d.bus.conn.Close()
		d.bus = nil
	}
}

// connected returns a working connection.
func (d *Driver) connected(ctx context.Context) (*bus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bus != nil && d.bus.conn.Connected() {
		return d.bus, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	b, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	d.bus = b
	go d.listen(b)
	return b, nil
}

// Stopping says whether the machine is going down.
func (d *Driver) Stopping(ctx context.Context) bool {
	b, err := d.connected(ctx)
	if err != nil {
		return false
	}
	var state string
	err = b.property(ctx, managerPath, managerIface, "SystemState", &state)
	return err == nil && state == "stopping"
}

// Version is systemd's version, as it says it itself.
func (d *Driver) Version(ctx context.Context) (string, error) {
	b, err := d.connected(ctx)
	if err != nil {
		return "", err
	}
	if version := b.version.Load(); version != nil && b.private {
		return *version, nil
	}
	var version string
	if err := b.property(ctx, managerPath, managerIface, "Version", &version); err != nil {
		return "", err
	}
	b.version.Store(&version)
	return version, nil
}

// Do is agent.Manager's.
func (d *Driver) Do(ctx context.Context, s agent.Action) error {
	switch s.Verb {
	case agent.Gone:
		d.untrack(s.Unit)
		d.forgetLinks(s.Unit)
		return nil
	case agent.Done:
		return nil
	}
	b, err := d.connected(ctx)
	if err != nil {
		return err
	}
	switch s.Verb {
	case agent.Check, agent.Start, agent.Restart:
		if err := d.seeLinks(ctx, b, s.Unit); err != nil {
			return err
		}
	}
	switch s.Verb {
	case agent.Write:
		links := d.wantedLinks(s.Unit, s.WantedBy, s.RequiredBy)
		return d.changeLinks(ctx, b, s.Unit, links, func(had []link) error { return d.write(s, had, links) })
	case agent.Remove:
		return d.changeLinks(ctx, b, s.Unit, nil, func(had []link) error { return d.remove(s.Unit, had) })
	case agent.Stop:
		return d.stop(ctx, b, s)
	case agent.Start:
		return d.start(ctx, b, "StartUnit", s)
	case agent.Restart:
		return d.start(ctx, b, "RestartUnit", s)
	case agent.ResetFailed:
		if err := b.call(ctx, "ResetFailedUnit", string(s.Unit)).Err; err != nil && !isNoSuchUnit(err) {
			return fmt.Errorf("reset %s: %w", s.Unit, err)
		}
		return nil
	case agent.Verify:
		return d.fit(ctx, s)
	case agent.AwaitUnloaded:
		return d.awaitUnloaded(ctx, b, s.Unit)
	case agent.Check:
		return d.check(ctx, b, s.Unit)
	}
	return fmt.Errorf("%s: a step systemd's driver does not know", s)
}

// job makes a job and waits for its result. How many are waited for is not
// bounded, since some hang; how many are being made is. begun is called once it
// is made; nil is left out.
func (d *Driver) job(ctx context.Context, b *bus, method string, u unit.Name, begun func()) (string, error) {
	select {
	case d.calls <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	done, err := b.enqueue(ctx, method, string(u))
	<-d.calls
	if err != nil {
		return "", err
	}
	if begun != nil {
		begun()
	}
	return b.await(ctx, done)
}

func (d *Driver) stop(ctx context.Context, b *bus, s agent.Action) error {
	u := s.Unit
	if s.Along != nil {
		units, err := b.takenAlong(ctx, u)
		if err != nil {
			return err
		}
		if err := s.Along(units); err != nil {
			return err
		}
	}
	result, err := d.job(ctx, b, "StopUnit", u, nil)
	switch {
	case isNoSuchUnit(err):
		return nil
	case err != nil:
		return fmt.Errorf("stop %s: %w", u, err)
	case result != "done":
		return fmt.Errorf("stop %s: systemd's job ended as %s", u, result)
	}
	return nil
}

// takenAlong returns the running units that stop when u does, and that systemd
// would start again if it restarted u.
func (b *bus) takenAlong(ctx context.Context, u unit.Name) ([]unit.Name, error) {
	found := []unit.Name{u}
	for i := 0; i < len(found); i++ {
		for _, property := range []string{"RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf"} {
			var names []string
			if err := b.property(ctx, unitPath(found[i]), unitIface, property, &names); err != nil && !isGone(err) {
				return nil, err
			}
			for _, n := range names {
				var active string
				err := b.property(ctx, unitPath(unit.Name(n)), unitIface, "ActiveState", &active)
				if err == nil && active != "inactive" && active != "failed" && !slices.Contains(found, unit.Name(n)) {
					found = append(found, unit.Name(n))
				}
			}
		}
	}
	return found[1:], nil
}

func (d *Driver) start(ctx context.Context, b *bus, method string, s agent.Action) error {
	u := s.Unit
	if path := d.taken(u); path != "" && method == "RestartUnit" { // it would stop ours for another
		return &agent.Failure{Unit: u, Why: fmt.Sprintf("the machine has a unit of that name, %s; rename one of them", path)}
	}
	result, err := d.job(ctx, b, method, u, s.Begun)
	switch {
	case errorName(err) == "org.freedesktop.systemd1.BadUnitSetting":
		return &agent.Failure{Unit: u, Why: fmt.Sprintf("%s; see systemd-analyze verify %s", strings.TrimSuffix(err.Error(), "."), d.path(u))}
	case answered(err):
		return &agent.Failure{Unit: u, Why: err.Error()}
	case err != nil:
		return fmt.Errorf("start %s: %w", u, err)
	case result == "done":
		return d.checkStarted(ctx, b, u)
	}
	return &agent.Failure{Unit: u, Why: d.whyFailed(ctx, b, u, result)}
}

// whyFailed puts into words how a start ended. Nothing is known but the job's
// result when systemd forgot the unit already.
func (d *Driver) whyFailed(ctx context.Context, b *bus, u unit.Name, job string) string {
	switch job {
	case "dependency":
		return "a unit it requires could not be started; see systemctl list-dependencies " + string(u)
	case "canceled":
		return "another request took its place"
	case "failed", "timeout":
	default:
		return "systemd's job ended as " + job
	}
	var result string
	var code int32
	path := unitPath(u)
	if b.property(ctx, path, serviceIface, "Result", &result) != nil || result == "" || result == "success" {
		return "systemd's job ended as " + job
	}
	_ = b.property(ctx, path, serviceIface, "ExecMainStatus", &code) // 0 when it can't be read: left out
	if result == "exit-code" && code != 0 {
		return fmt.Sprintf("exit-code %d", code)
	}
	return result
}

// awaitUnloaded waits until systemd has the unit no longer in memory; in vain
// when another unit refers to it.
func (d *Driver) awaitUnloaded(ctx context.Context, b *bus, u unit.Name) error {
	timeout := time.NewTimer(unloadMax)
	defer timeout.Stop()
	for {
		changed := d.changes(u)
		var path godbus.ObjectPath
		err := b.call(ctx, "GetUnit", string(u)).Store(&path)
		if isNoSuchUnit(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unload %s: %w", u, err)
		}
		select {
		case <-changed:
		case <-timeout.C:
			d.log.Debug("unit stays in systemd's memory", "unit", u)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loaded is what systemd says of the file it has for a unit.
type loaded struct {
	fragment string
	stale    bool
	state    string
}

func (b *bus) loaded(ctx context.Context, path godbus.ObjectPath) (l loaded, err error) {
	err = errors.Join(
		b.property(ctx, path, unitIface, "FragmentPath", &l.fragment),
		b.property(ctx, path, unitIface, "NeedDaemonReload", &l.stale),
		b.property(ctx, path, unitIface, "LoadState", &l.state),
	)
	return l, err
}

// check makes sure that what systemd has loaded is the unit's file as it is on
// disk, and reloads once if it is not.
func (d *Driver) check(ctx context.Context, b *bus, u unit.Name) error {
	var l loaded
	for attempt := range 2 {
		var path godbus.ObjectPath
		if err := b.call(ctx, "LoadUnit", string(u)).Store(&path); err != nil {
			if answered(err) {
				return &agent.Failure{Unit: u, Why: err.Error()}
			}
			return fmt.Errorf("load %s: %w", u, err)
		}
		var err error
		if l, err = b.loaded(ctx, path); err != nil {
			return fmt.Errorf("load %s: %w", u, err)
		}
		if !l.stale && l.fragment == d.path(u) {
			return d.loadResult(ctx, b, u, l.state, path)
		}
		if attempt == 0 {
			if err := d.reload(ctx, b); err != nil {
				return err
			}
		}
	}
	if l.state == "bad-setting" || l.state == "error" {
		return d.loadResult(ctx, b, u, l.state, unitPath(u))
	}
	return fmt.Errorf("load %s: systemd has %s (%s, needs reload: %t) and not %s; see systemctl status %s",
		u, firstOf(l.fragment, "no file"), l.state, l.stale, d.path(u), u)
}

func (d *Driver) loadResult(ctx context.Context, b *bus, u unit.Name, state string, path godbus.ObjectPath) error {
	d.update(u, func(s *agent.Status) {
		if s.Loaded() {
			s.Load = state
		}
	})
	if state == "loaded" {
		return nil
	}
	var why struct{ Name, Message string }
	if err := b.property(ctx, path, unitIface, "LoadError", &why); err != nil {
		why.Message = state
	}
	return &agent.Failure{Unit: u, Why: fmt.Sprintf("%s; see systemd-analyze verify %s", strings.TrimSuffix(firstOf(why.Message, state), "."), d.path(u))}
}

// checkStarted makes sure that what was started is the unit's own file.
func (d *Driver) checkStarted(ctx context.Context, b *bus, u unit.Name) error {
	var path godbus.ObjectPath
	if err := b.call(ctx, "GetUnit", string(u)).Store(&path); err != nil {
		return nil // it ended, and systemd forgot it
	}
	var fragment string
	if err := b.property(ctx, path, unitIface, "FragmentPath", &fragment); err != nil {
		return nil
	}
	if fragment != "" && fragment != d.path(u) {
		return &agent.Failure{Unit: u, Why: fmt.Sprintf("systemd started %s and not %s", fragment, d.path(u))}
	}
	return nil
}

// reload makes systemd read all its files anew, once for all who ask while it
// waits to begin.
func (d *Driver) reload(ctx context.Context, b *bus) error {
	d.reloadMu.Lock()
	wanted := d.begun + 1
	d.reloadMu.Unlock()
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.reloadMu.Lock()
	if d.complete >= wanted {
		d.reloadMu.Unlock()
		return nil
	}
	d.begun++
	mine := d.begun
	d.reloadMu.Unlock()
	d.log.Info("systemd reloads its units")
	if err := b.call(ctx, "Reload").Err; err != nil {
		return fmt.Errorf("reload systemd: %w", err)
	}
	d.reloadMu.Lock()
	d.complete = mine
	d.reloadMu.Unlock()
	return nil
}

func (d *Driver) path(u unit.Name) string { return filepath.Join(d.unitDir, string(u)) }

func unitPath(u unit.Name) godbus.ObjectPath {
	return managerPath + "/unit/" + godbus.ObjectPath(dbus.PathBusEscape(string(u)))
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			return t
		}
	}
	return ""
}
