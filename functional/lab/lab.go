package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What can be wrong with a request, for exit codes.
var (
	// ErrNotRoot: only root can boot machines.
	ErrNotRoot = errors.New("only root can do that; try sudo")
	// ErrNoLab: there is no lab of that name.
	ErrNoLab = errors.New("there is none; boot one: clusterctl lab up")
	// ErrExists: there is a lab of that name already.
	ErrExists = errors.New("it is there already; clusterctl lab status shows it, clusterctl lab down removes it")
	// ErrNoMachine: the lab has no such machine.
	ErrNoMachine = errors.New("the lab has no such machine; clusterctl lab status lists them")
	// ErrState: the machine is not in a state in which that can be done.
	ErrState = errors.New("not possible now")
	// ErrOption: an option has a value it can't have.
	ErrOption = errors.New("not possible")
	// ErrMissing: the host lacks something the lab needs.
	ErrMissing = errors.New("the host lacks it")
)

// Options are what Up is told.
type Options struct {
	// Name tells labs on one host apart; empty is [DefaultName].
	Name string
	// Machines is how many to boot; 0 is 3.
	Machines int
	// Bin is the directory that holds clusterctl, clusterd, nsrun and its kin.
	Bin string
	// Bare boots the machines and forms no cluster of them.
	Bare bool
	// Keep leaves a lab that did not come up as it is, to be looked into.
	Keep bool
	// Config is every machine's clusterd.conf; empty is none.
	Config string
	// Progress is told in lines what is being done; nil is nobody.
	Progress io.Writer
}

// Lab is a lab that is up. Its methods may be called by several goroutines and
// programs at once.
type Lab struct {
	places
	progress io.Writer
}

// Machine is what Status says of one machine.
type Machine struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// State is running, off, cut (running, without network) or paused.
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"` // its process 1, as the host sees it
	Boots int    `json:"boots"`
	// Socket is its clusterd's, on the host.
	Socket    string `json:"socket"`
	MachineID string `json:"machineID"`
}

// Check says whether this host can boot machines.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("boot machines: %w", ErrNotRoot)
	}
	for file, pkg := range map[string]string{"/lib/systemd/systemd": "systemd", "/usr/bin/dbus-daemon": "dbus"} {
		if !exists(file) {
			return fmt.Errorf("boot machines: %w: no %s; install the package %s", ErrMissing, file, pkg)
		}
	}
	return nil
}

// Up boots a lab. When it fails or ctx ends, nothing of it is left.
func Up(ctx context.Context, o Options) (_ *Lab, err error) {
	if err := Check(); err != nil {
		return nil, err
	}
	p, err := placesOf(o.Name)
	if err != nil {
		return nil, err
	}
	if o.Machines == 0 {
		o.Machines = 3
	}
	if o.Machines < 1 || o.Machines > machinesMax {
		return nil, fmt.Errorf("boot %d machines: %w; between 1 and %d are", o.Machines, ErrOption, machinesMax)
	}
	l := &Lab{places: p, progress: o.Progress}
	if err := os.Mkdir(p.dir, 0o755); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("boot lab %s: %w", p.name, ErrExists)
	} else if err != nil {
		return nil, err
	}
	unlock, err := p.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	defer func() {
		if err != nil && !o.Keep {
			err = errors.Join(err, p.removeAll())
		}
	}()
	l.say("preparing lab %s", p.name)
	if err := l.lay(ctx, o); err != nil {
		return nil, fmt.Errorf("prepare lab: %w", err)
	}
	records, err := l.boot(ctx, 1, o.Machines)
	if err != nil {
		return nil, err
	}
	if o.Bare {
		return l, nil
	}
	if err := l.form(ctx, records); err != nil {
		return nil, err
	}
	l.say("%d machines are one cluster", len(records))
	return l, nil
}

// lay makes what all machines share.
func (l *Lab) lay(ctx context.Context, o Options) error {
	if err := l.removeLeftovers(); err != nil {
		return err
	}
	if err := l.buildLayer(o.Bin); err != nil {
		return err
	}
	if !o.Bare {
		if err := l.installClusterd(o.Bin, o.Config); err != nil {
			return err
		}
	}
	if err := l.writeHosts(nil); err != nil {
		return err
	}
	if err := os.Mkdir(l.run, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := l.makeNetwork(); err != nil {
		return err
	}
	return l.startRegistry(ctx)
}

// writeHosts rewrites the file all machines have as /etc/hosts: in place, since
// they have it mounted.
func (l *Lab) writeHosts(records []record) error {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	fmt.Fprintf(&b, "%s %s\n", gateway, registryName)
	for _, r := range records {
		fmt.Fprintf(&b, "%s %s\n", r.Address, r.Name)
	}
	return os.WriteFile(l.hosts(), []byte(b.String()), 0o644)
}

// boot makes and boots the machines from index first to last, side by side.
func (l *Lab) boot(ctx context.Context, first, last int) ([]record, error) {
	records, err := l.readRecords()
	if err != nil {
		return nil, err
	}
	known := len(records)
	for i := first; i <= last; i++ {
		id := make([]byte, 16)
		if _, err := rand.Read(id); err != nil {
			return nil, err
		}
		id[0] = 0xc0 | id[0]&0x0f // one first digit for all: a beginning that fits several can be tried
		r := record{Name: "m" + strconv.Itoa(i), Index: i, Address: addressOf(i), MachineID: hex.EncodeToString(id)}
		if err := os.MkdirAll(l.machineDir(r.Name), 0o755); err != nil {
			return nil, err
		}
		if err := l.writeRecord(r); err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	if err := errors.Join(l.writeHosts(records), l.writeRules(records)); err != nil {
		return nil, err
	}
	fresh := records[known:]
	err = each(fresh, func(i int) error {
		r, err := l.places.boot(ctx, fresh[i])
		if err == nil {
			fresh[i] = r
			l.say("machine %s is up at %s", r.Name, r.Address)
		}
		return err
	})
	return fresh, err
}

// each calls f for every element, side by side, and joins the errors.
func each[T any](all []T, f func(i int) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// say tells the user one line.
func (l *Lab) say(format string, args ...any) {
	if l.progress != nil {
		fmt.Fprintf(l.progress, format+"\n", args...)
	}
}

// Open finds a lab that is up.
func Open(name string, progress io.Writer) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("open lab: %w", ErrNotRoot)
	}
	p, err := placesOf(name)
	if err != nil {
		return nil, err
	}
	if !exists(p.dir) {
		return nil, fmt.Errorf("open lab %s: %w", p.name, ErrNoLab)
	}
	return &Lab{places: p, progress: progress}, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Socket is where the host finds a machine's clusterd.
func (l *Lab) Socket(machine string) string {
	return filepath.Join(l.machineRun(machine), "clusterd.sock")
}

// Dir is where the host finds a machine's /var.
func (l *Lab) Dir(machine string) string { return filepath.Join(l.machineDir(machine), "var") }

// Netns is the path of the lab's network namespace, from which every machine
// can be reached.
func (l *Lab) Netns() string { return l.netnsPath() }

// Start boots a machine that is off from the directories it had.
func (l *Lab) Start(ctx context.Context, machine string) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := l.readRecord(machine)
	if err != nil {
		return err
	}
	if r.running() {
		return fmt.Errorf("start machine %s: %w: it is running", machine, ErrState)
	}
	if err := l.sweep(r); err != nil {
		return err
	}
	_, err = l.places.boot(ctx, r)
	return err
}

// killLimit bounds how long the kernel may take to end a machine.
const killLimit = 10 * time.Second

// Kill cuts a machine's power: from one moment to the next it is silent, and
// nothing in it can say or write anything more.
func (l *Lab) Kill(machine string) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := l.readRecord(machine)
	if err != nil {
		return err
	}
	if !r.running() {
		return fmt.Errorf("kill machine %s: %w: it is off", machine, ErrState)
	}
	if err := l.unplug(machine); err != nil {
		return fmt.Errorf("kill machine %s: %w", machine, err)
	}
	if err := l.killAndWait(r); err != nil {
		return fmt.Errorf("kill machine %s: %w", machine, err)
	}
	return l.sweep(r)
}

// killAndWait kills a machine's process 1, with which the kernel kills all
// others in it, and waits until the last is gone.
func (l *Lab) killAndWait(r record) error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !r.running() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if r.Paused {
		hs, err := hierarchies()
		if err != nil {
			return err
		}
		thawAll(hs, l.machineCgroup(r.Name))
	}
	for deadline := time.Now().Add(killLimit); ; {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, left.Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 1 {
			return err
		}
		return fmt.Errorf("process %d is still there after %v", r.PID, killLimit)
	}
}

// sweep removes what a machine that is off leaves on the host, all but its
// directories.
func (l *Lab) sweep(r record) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	err = errors.Join(
		l.removeLink(r.Name),
		removeCgroup(hs, l.machineCgroup(r.Name), killLimit),
		l.emptyRun(r.Name))
	r.PID, r.StartTime, r.Paused = 0, 0, false
	return errors.Join(err, l.writeRecord(r))
}

// Shell runs argv on a machine as root and returns its exit code, 128+n when
// signal n ended it. An error means that it could not be run.
func (l *Lab) Shell(ctx context.Context, machine string, argv []string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	r, err := l.readRecord(machine)
	if err != nil {
		return -1, err
	}
	if r.Paused {
		return -1, fmt.Errorf("enter machine %s: %w: it is paused; clusterctl lab resume %s", machine, ErrState, machine)
	}
	if len(argv) == 0 {
		argv = []string{"/bin/bash", "-i"}
	}
	return l.shell(ctx, r, argv, stdin, stdout, stderr)
}

// Status lists the machines, in their order.
func (l *Lab) Status() ([]Machine, error) {
	records, err := l.readRecords()
	if err != nil {
		return nil, err
	}
	var all []Machine
	for _, r := range records {
		m := Machine{Name: r.Name, Address: r.Address, State: "off", Boots: r.Boots,
			Socket: l.Socket(r.Name), MachineID: r.MachineID}
		if r.running() {
			m.State, m.PID = "running", r.PID
			switch {
			case r.Paused:
				m.State = "paused"
			case r.Cut:
				m.State = "cut"
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// Down removes a lab, whatever state it is in; one that isn't there is fine. It
// returns whether there was anything.
func Down(name string) (found bool, err error) {
	if os.Geteuid() != 0 {
		return false, fmt.Errorf("take lab down: %w", ErrNotRoot)
	}
	p, err := placesOf(name)
	if err != nil {
		return false, err
	}
	found = exists(p.dir) || exists(p.run) || exists(p.netnsPath())
	if exists(p.dir) {
		unlock, err := p.lock()
		if err != nil {
			return found, err
		}
		defer unlock()
	}
	return found, p.removeAll()
}

// removeAll takes away everything under the lab's names. It goes by what is
// there, not by the records, which a crash may have kept from being written.
func (p places) removeAll() error {
	if err := p.removeLeftovers(); err != nil {
		return err // what is still mounted must not be deleted through
	}
	return os.RemoveAll(p.dir)
}

func (p places) removeLeftovers() error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	if err := removeCgroup(hs, p.cgroup, killLimit); err != nil {
		return fmt.Errorf("end the lab's processes: %w", err)
	}
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	// The innermost first.
	sort.Slice(mounts, func(i, j int) bool { return len(mounts[i].Point) > len(mounts[j].Point) })
	for _, m := range mounts {
		if strings.HasPrefix(m.Point, p.dir+"/") || strings.HasPrefix(m.Point, p.run+"/") {
			if err := unix.Unmount(m.Point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmount %s: %w", m.Point, err)
			}
		}
	}
	return errors.Join(p.removeNetwork(), os.RemoveAll(p.run))
}

// Add boots one more machine, lets it join and returns its name.
func (l *Lab) Add(ctx context.Context) (string, error) {
	unlock, err := l.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	records, err := l.readRecords()
	if err != nil {
		return "", err
	}
	next := 1
	if len(records) > 0 {
		next = records[len(records)-1].Index + 1
	}
	if next > machinesMax {
		return "", fmt.Errorf("add a machine: there are %d already, which is all the lab's network has room for", machinesMax)
	}
	fresh, err := l.boot(ctx, next, next)
	if err != nil {
		return "", err
	}
	for _, r := range records {
		if r.Joined && r.running() {
			return fresh[0].Name, l.join(ctx, r, fresh)
		}
	}
	return fresh[0].Name, nil
}
