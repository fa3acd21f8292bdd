package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	destination  = "org.freedesktop.systemd1"
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
	unitIface    = "org.freedesktop.systemd1.Unit"
	serviceIface = "org.freedesktop.systemd1.Service"
	changed      = "org.freedesktop.DBus.Properties.PropertiesChanged"

	privateSocket = "/run/systemd/private"
)

// errDisconnected says that the connection ended while something was under way.
var errDisconnected = errors.New("systemd's D-Bus connection ended")

// bus is one connection to systemd.
type bus struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal

	private   bool // straight to systemd: ends when that is replaced
	reloading bool // systemd reads all units anew; known to who takes the signals in
	version   atomic.Pointer[string]

	mu      sync.Mutex
	calling int                               // job calls that have no answer yet
	jobs    map[dbus.ObjectPath][]chan string // jobs that are waited for
	early   map[dbus.ObjectPath]string        // results that came before the call's answer
}

// dial connects and asks for signals.
func dial(ctx context.Context) (*bus, error) {
	type result struct {
		b   *bus
		err error
	}
	done := make(chan result, 1)
	go func() { // godbus bounds neither dialling nor authenticating
		b, err := connect()
		done <- result{b, err}
	}()
	select {
	case r := <-done:
		return r.b, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.b != nil {
				_ = r.b.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func connect() (*bus, error) {
	private := os.Geteuid() == 0
	if _, err := os.Stat(privateSocket); err != nil {
		private = false
	}
	handler := dbus.WithSignalHandler(dbus.NewSequentialSignalHandler())
	var conn *dbus.Conn
	var err error
	if private {
		conn, err = dbus.Dial("unix:path="+privateSocket, handler)
	} else {
		conn, err = dbus.SystemBusPrivate(handler)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w; is systemd this machine's process 1?", err)
	}
	b := &bus{conn: conn, private: private, signals: make(chan *dbus.Signal, 1024), jobs: map[dbus.ObjectPath][]chan string{}, early: map[dbus.ObjectPath]string{}}
	conn.Signal(b.signals)
	if err := b.greet(private); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	return b, nil
}

func (b *bus) greet(private bool) error {
	// The user id in digits: looking a name up needs more than this process has.
	if err := b.conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		return err
	}
	if !private {
		if err := b.conn.Hello(); err != nil {
			return err
		}
		for _, iface := range []string{managerIface, "org.freedesktop.DBus.Properties"} {
			err := b.conn.AddMatchSignal(dbus.WithMatchSender(destination), dbus.WithMatchInterface(iface),
				dbus.WithMatchPathNamespace(managerPath))
			if err != nil {
				return err
			}
		}
	}
	return b.subscribe()
}

// subscribe asks for signals. systemd may have read this first message together
// with the end of the authentication, and then looks at it no sooner than
// something else comes in; so it is nudged until it answers.
func (b *bus) subscribe() error {
	answer := b.manager().Go(managerIface+".Subscribe", 0, make(chan *dbus.Call, 1)).Done
	nudge := time.NewTicker(20 * time.Millisecond)
	defer nudge.Stop()
	deadline := time.NewTimer(answerMax)
	defer deadline.Stop()
	for {
		select {
		case call := <-answer:
			return call.Err
		case <-nudge.C:
			b.manager().Go("org.freedesktop.DBus.Peer.Ping", 0, make(chan *dbus.Call, 1))
		case <-deadline.C:
			return fmt.Errorf("systemd did not answer within %v", answerMax)
		}
	}
}

func (b *bus) manager() dbus.BusObject { return b.conn.Object(destination, managerPath) }

// call calls a method of systemd's manager.
func (b *bus) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return b.manager().CallWithContext(ctx, managerIface+"."+method, 0, args...)
}

// property reads one property of an object.
func (b *bus) property(ctx context.Context, path dbus.ObjectPath, iface, name string, into any) error {
	var v dbus.Variant
	call := b.conn.Object(destination, path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, iface, name)
	if err := call.Store(&v); err != nil {
		return fmt.Errorf("read %s of %s: %w", name, path, err)
	}
	return v.Store(into)
}

// await waits for a job's result.
func (b *bus) await(ctx context.Context, done <-chan string) (result string, err error) {
	select {
	case result := <-done:
		return result, nil
	case <-ctx.Done():
		return "", ctx.Err() // the job goes on, and its end is told to nobody
	case <-b.conn.Context().Done():
		return "", errDisconnected
	}
}

// enqueue makes a job. Its end may be told before the call that made it is
// answered here, so ends are kept while a call is under way.
func (b *bus) enqueue(ctx context.Context, method, unit string) (<-chan string, error) {
	b.mu.Lock()
	b.calling++
	b.mu.Unlock()
	var path dbus.ObjectPath
	err := b.call(ctx, method, unit, "replace").Store(&path)
	b.mu.Lock()
	defer b.mu.Unlock()
	done := make(chan string, 1)
	if err == nil {
		if result, ok := b.early[path]; ok {
			done <- result
		} else {
			b.jobs[path] = append(b.jobs[path], done)
		}
	}
	if b.calling--; b.calling == 0 {
		clear(b.early)
	}
	return done, err
}

// jobRemoved takes the signal of that name in.
func (b *bus) jobRemoved(s *dbus.Signal) {
	var id uint32
	var path dbus.ObjectPath
	var unit, result string
	if dbus.Store(s.Body, &id, &path, &unit, &result) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, done := range b.jobs[path] {
		done <- result
	}
	delete(b.jobs, path)
	if b.calling > 0 {
		b.early[path] = result
	}
}

// isNoSuchUnit says that systemd has no such unit in memory.
func isNoSuchUnit(err error) bool { return errorName(err) == "org.freedesktop.systemd1.NoSuchUnit" }

func errorName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	return ""
}

// answered says that systemd itself refused, rather than being unreachable.
func answered(err error) bool {
	switch errorName(err) {
	case "", "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Timeout", "org.freedesktop.DBus.Error.TimedOut",
		"org.freedesktop.DBus.Error.Disconnected", "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner",
		"org.freedesktop.systemd1.ShuttingDown", "org.freedesktop.systemd1.TransactionIsDestructive":
		return false
	}
	return true
}
