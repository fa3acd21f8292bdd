package bridge

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/network"
	"github.com/clusterd/clusterd/unit/publish"
)

// ErrUnavailable says that this machine, or what we may do on it, doesn't allow
// for a bridge.
var ErrUnavailable = errors.New("unavailable")

// unavailableError is an error that is ErrUnavailable, too, and doesn't say so.
type unavailableError struct{ error }

func (e unavailableError) Unwrap() error        { return e.error }
func (e unavailableError) Is(target error) bool { return target == ErrUnavailable }

// Wish is what a container wants of the bridge.
type Wish struct {
	ID, Name string
	PID      int    // its first process, which hasn't begun yet ...
	Start    uint64 // ... and when that started, in ticks since boot
	Netns    int    // descriptor of its network name-space
	Address  network.Address
	Hardware string // empty: as goes with the address
	Aliases  []string
	Publish  []publish.Port
}

// Alive says whether a process, known by its start as well, runs.
type Alive func(pid int, start uint64) bool

// Up connects a container and returns its record and the bridge's state. What
// is left of containers that have ended goes in passing. When it fails nothing is
// left.
func Up(d *network.Dir, c network.Config, w Wish, alive Alive) (network.Record, network.State, error) {
	r, s, err := claim(d, c, w, alive)
	if err != nil {
		return r, s, err
	}
	err = plug(r, s, w.Netns)
	if err == nil && alive(w.PID, w.Start) {
		return r, s, nil
	}
	if err == nil {
		err = errors.New("the container's process is gone")
	}
	return r, s, errors.Join(err, undo(d, w.ID, alive))
}

// claim does what takes the lock: all but the container's own cable.
func claim(d *network.Dir, c network.Config, w Wish, alive Alive) (r network.Record, s network.State, err error) {
	unlock, err := d.Lock()
	if err != nil {
		return r, s, err
	}
	defer unlock()
	all, err := d.Records()
	if err != nil {
		return r, s, err
	}
	live, dead := network.Split(all, alive)
	k, err := open()
	if err != nil {
		return r, s, err
	}
	defer k.close()
	s, there, err := d.State()
	if err != nil {
		return r, s, err
	}
	// The number of a name-space is given to another when it is gone, and then the
	// state is of the earlier one.
	if !there || len(live) == 0 && !k.installed() {
		if s, err = k.choose(c); err != nil {
			return r, s, err
		}
		if err := d.PutState(s); err != nil {
			return r, s, err
		}
	}
	if r, err = w.record(s.Subnet, live); err == nil {
		err = d.Put(r)
	}
	if err == nil {
		live = append(live, r)
		err = k.install(s, live, dead, r)
	}
	if err != nil {
		live, gone := network.Split(live, func(pid int, start uint64) bool { return pid != w.PID && alive(pid, start) })
		return r, s, errors.Join(err, k.settle(d, live, append(dead, gone...)))
	}
	for _, old := range dead {
		if err := d.Drop(old.ID); err != nil {
			return r, s, err
		}
	}
	return r, s, nil
}

// record decides what the container gets.
func (w Wish) record(subnet network.Prefix, live []network.Record) (network.Record, error) {
	r := network.Record{ID: w.ID, Name: w.Name, PID: w.PID, Start: w.Start, Hardware: w.Hardware, Aliases: w.Aliases}
	var err error
	if r.Address, err = subnet.Choose(w.Name, w.Address, network.Owner(live)); err != nil {
		return r, err
	}
	if r.Hardware == "" {
		r.Hardware = r.Address.Hardware()
	}
	if len(w.Publish) == 0 {
		return r, nil
	}
	first, last, err := ephemeral()
	if err != nil {
		return r, err
	}
	r.Ports, err = network.Assign(w.Name, w.Publish, first, last, func(f network.Forward) error {
		if name := network.Taken(live, f); name != "" {
			return fmt.Errorf("port %d/%s of the machine is container %s's; choose another, or stop that: nsrun stop %s", f.Port, f.Protocol, name, name)
		}
		return unused(f)
	})
	return r, err
}

// ephemeral is the row of ports that the machine takes for itself.
func ephemeral() (first, last uint16, err error) {
	const file = "/proc/sys/net/ipv4/ip_local_port_range"
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(data))
	if len(f) == 2 {
		from, err1 := strconv.ParseUint(f[0], 10, 16)
		to, err2 := strconv.ParseUint(f[1], 10, 16)
		if err1 == nil && err2 == nil && from > 0 && from < to {
			return uint16(from), uint16(to), nil
		}
	}
	return 0, 0, fmt.Errorf("read %s: %q are not two ports", file, data)
}

// Reconcile removes what is left of containers that have ended, and all there is
// when none lives.
func Reconcile(d *network.Dir, alive Alive) error { return undo(d, "", alive) }

// undo is Reconcile with one container taken for dead, by its id.
func undo(d *network.Dir, id string, alive Alive) error {
	unlock, err := d.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := d.Records()
	if err != nil {
		return err
	}
	var live, dead []network.Record
	for _, r := range all {
		if r.ID != id && r.PID > 0 && alive(r.PID, r.Start) {
			live = append(live, r)
		} else {
			dead = append(dead, r)
		}
	}
	k, err := open()
	if err != nil {
		return err
	}
	defer k.close()
	return k.settle(d, live, dead)
}

// settle puts the kernel right for those that live, then drops the records of
// the dead. The lock is held.
func (k *kernel) settle(d *network.Dir, live, dead []network.Record) error {
	s, there, err := d.State()
	if err != nil {
		return err
	}
	if len(live) == 0 {
		if there {
			if err := k.dismantle(s, dead); err != nil {
				return err
			}
		}
		return d.Clear()
	}
	if err := k.install(s, live, dead, network.Record{}); err != nil {
		return err
	}
	for _, old := range dead {
		if err := d.Drop(old.ID); err != nil {
			return err
		}
	}
	return nil
}

// unavailable marks the errors by which a kernel says that it can't, or that we
// may not.
func unavailable(err error) error {
	for _, e := range []error{
		unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EPFNOSUPPORT, unix.ENOENT, unix.EPERM, unix.EACCES, unix.EROFS, unix.ENODEV,
	} {
		if errors.Is(err, e) {
			return unavailableError{err}
		}
	}
	return err
}
