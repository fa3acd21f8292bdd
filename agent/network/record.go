package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Record is a container's place on the bridge.
type Record struct {
	ID       string
	Name     string
	PID      int    // its first process ...
	Start    uint64 // ... and when that started, in ticks since boot
	Address  Address
	Hardware string
	Aliases  []string
	Ports    []Forward
}

// State is what was done to the machine for the bridge's sake.
type State struct {
	Subnet  Prefix
	MTU     int
	Forward bool // passing packets on was off, and we switched it on
}

// Dir holds the records. Any number of processes may use it at once; who changes
// something holds the lock.
type Dir struct {
	root string // lock, NETNS/{bridge,live/ID}
	own  string // of the network name-space we are in
}

// RunDir is nsrun's run directory, below which records are kept. It is the same
// wherever containers are kept (NSRUN_DIR): the bridge is one for all of them.
const RunDir = "/run/nsrun"

// Open returns the records below a run directory, for the network
// name-space of the calling thread. Nothing need exist.
func Open(run string) (*Dir, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return nil, fmt.Errorf("find our network name-space: %w", err)
	}
	root := filepath.Join(run, "network")
	return &Dir{root: root, own: filepath.Join(root, strconv.FormatUint(st.Ino, 10))}, nil
}

// Lock takes the lock, having made the directories if need be; call the result
// to let go.
func (d *Dir) Lock() (unlock func(), err error) {
	if err := os.MkdirAll(d.root, 0o700); err != nil {
		return nil, fmt.Errorf("make a place for records: %w", err)
	}
	fd, err := unix.Open(filepath.Join(d.root, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s/lock: %w", d.root, err)
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s/lock: %w", d.root, err)
	}
	return func() { unix.Close(fd) }, nil
}

// Records returns those of this network name-space, by id. One that can't be read
// was never finished, and is nobody's.
func (d *Dir) Records() ([]Record, error) {
	dir := filepath.Join(d.own, "live")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	var all []Record
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read record: %w", err)
		}
		r, err := decodeRecord(data)
		if err != nil {
			r = Record{}
		}
		if r.ID = strings.TrimSuffix(e.Name(), ".new"); r.ID != e.Name() {
			r = Record{ID: e.Name()} // of no process: dead
		}
		all = append(all, r)
	}
	return all, nil
}

// Find returns the record of a container, in whatever name-space its nsrun was;
// nil when it has none.
func (d *Dir) Find(id string) *Record {
	files, _ := filepath.Glob(filepath.Join(d.root, "*", "live", id))
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			if r, err := decodeRecord(data); err == nil {
				return &r
			}
		}
	}
	return nil
}

// Split parts those that live from the others.
func Split(all []Record, alive func(pid int, start uint64) bool) (live, dead []Record) {
	for _, r := range all {
		if r.PID > 0 && alive(r.PID, r.Start) {
			live = append(live, r)
		} else {
			dead = append(dead, r)
		}
	}
	return live, dead
}

// Stale says whether something is left of containers that have ended, so that
// there is work for nsrun-network reconcile. It needs no lock.
func (d *Dir) Stale(alive func(pid int, start uint64) bool) bool {
	all, err := d.Records()
	if err != nil {
		return true
	}
	live, dead := Split(all, alive)
	if len(dead) > 0 || len(live) > 0 {
		return len(dead) > 0
	}
	return unix.Access(d.own, unix.F_OK) == nil
}

// DropSilent drops the records of containers that have ended if that is all there
// is to do for them: they published nothing, and others live, so no rule and no
// bridge has to go. done says whether it was.
func (d *Dir) DropSilent(alive func(pid int, start uint64) bool) (done bool, err error) {
	unlock, err := d.Lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	all, err := d.Records()
	if err != nil {
		return false, err
	}
	live, dead := Split(all, alive)
	if len(live) == 0 || slices.ContainsFunc(dead, func(r Record) bool { return len(r.Ports) > 0 || r.PID == 0 }) {
		return false, nil
	}
	for _, r := range dead {
		if err := d.Drop(r.ID); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Put writes a container's record; Drop removes it. The lock is held.
func (d *Dir) Put(r Record) error {
	if err := os.MkdirAll(filepath.Join(d.own, "live"), 0o700); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return d.write(filepath.Join("live", r.ID), r.encode())
}

// Drop removes a container's record; one that isn't there is no error.
func (d *Dir) Drop(id string) error {
	if err := os.Remove(filepath.Join(d.own, "live", id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record: %w", err)
	}
	return nil
}

// State returns what was done for the bridge; false: nothing.
func (d *Dir) State() (s State, ok bool, err error) {
	data, err := os.ReadFile(filepath.Join(d.own, "bridge"))
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if err == nil {
		s, err = decodeState(data)
	}
	if err != nil {
		return State{}, false, fmt.Errorf("read the bridge's state: %w", err)
	}
	return s, true, nil
}

// PutState writes it, before it is done. The lock is held.
func (d *Dir) PutState(s State) error {
	if err := os.MkdirAll(d.own, 0o700); err != nil {
		return fmt.Errorf("write the bridge's state: %w", err)
	}
	return d.write("bridge", s.encode())
}

// Clear removes everything of this network name-space. The lock is held.
func (d *Dir) Clear() error { return os.RemoveAll(d.own) }

func (d *Dir) write(name string, data []byte) error {
	file := filepath.Join(d.own, name)
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(file+".new", file)
}

// Owner returns which of these containers has an address, "" for none.
func Owner(live []Record) func(Address) string {
	return func(a Address) string {
		if i := slices.IndexFunc(live, func(r Record) bool { return r.Address == a }); i >= 0 {
			return live[i].Name
		}
		return ""
	}
}

// Taken says which of these containers has published a port that f would clash
// with, "" for none.
func Taken(live []Record, f Forward) string {
	for _, r := range live {
		if slices.ContainsFunc(r.Ports, f.clashes) {
			return r.Name
		}
	}
	return ""
}
