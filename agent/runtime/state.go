package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// ErrUnknown says that there is no container of that name.
var ErrUnknown = errors.New("no such container")

// ErrConflict says that a container's name is taken.
var ErrConflict = errors.New("name is taken")

// Dir is where containers live. Any number of processes may use it at once.
type Dir struct {
	data string // containers/NAME/{record,upper,work,…}, spare/, base/, trash/, volumes/, lock
	run  string // live/NAME, ids/BASE; gone after a reboot, as the processes are

	leases   Leases   // nil: images are left to themselves
	network  Network  // nil: there is no bridge
	profiles Profiles // nil: there is the built-in one only
}

// Leases keep images from being removed while containers need their layers. A
// holder is a container's id.
type Leases interface {
	Hold(holder string) error
	Release(holder string) error // of nothing is no error
	Holders() ([]string, error)
}

// UseLeases makes containers of images hold them for as long as they exist.
func (d *Dir) UseLeases(l Leases) { d.leases = l }

// Record is what is known of a container for as long as it exists.
type Record struct {
	Name        string
	ID          string
	Image       string
	Digest      string
	Layers      []string
	RootFS      string
	Command     []string
	Created     time.Time
	Unit        string
	Invocation  string
	Remove      bool
	StopSignal  string
	StopTimeout time.Duration
	Network     string
	Labels      []string // NAME=value
	Expose      []string // PORT/PROTOCOL
	Volumes     []Volume
	Details     Details
	Security

	Ended time.Time // zero: not, or nobody saw it
	Code  int       // as nsrun run gives it back; of use with Ended
}

// Details is what is kept of a container's plan for whoever asks, and for what
// joins it later: see [MakeExec].
type Details struct {
	Env      []string
	User     string
	WorkDir  string
	Hostname string
	CapAdd   []string
	CapDrop  []string
	Tmpfs    []Tmpfs
	ReadOnly bool
	HostIDs  bool
	Init     bool
	Groups   []string
	Caps     uint64 // bit n for capability n
}

// details returns what is kept of p.
func (p *Plan) details() Details {
	s := p.Spec
	return Details{
		Env: s.Env, User: s.User, WorkDir: s.WorkDir, Hostname: s.Hostname, CapAdd: s.CapAdd, CapDrop: s.CapDrop,
		Tmpfs: s.Tmpfs, ReadOnly: s.ReadOnly, HostIDs: s.HostIDs, Init: s.Init,
		Groups: s.Groups, Caps: uint64(p.Caps),
	}
}

// Container is a record and, while it runs, its process.
type Container struct {
	Record
	Live *Live // nil: it has ended
}

// Running reports whether the container's own first process is there.
func (c *Container) Running() bool { return c.Live != nil && !c.Live.Setting }

// SystemDir is root's; without root each user has an own. NSRUN_DIR in the
// environment puts everything below that directory instead, for trying things.
func SystemDir() (*Dir, error) { return systemDir(os.Geteuid(), os.Getenv, os.ReadFile) }

func systemDir(uid int, env func(string) string, read func(string) ([]byte, error)) (*Dir, error) {
	if dir := env("NSRUN_DIR"); dir != "" {
		return NewDir(dir, filepath.Join(dir, "run")), nil
	}
	if uid == 0 {
		return NewDir("/var/lib/nsrun", "/run/nsrun"), nil
	}
	// What is relative would be another directory for each working directory.
	data, run := env("XDG_DATA_HOME"), env("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(data) {
		home, err := homeOf(uid, env("HOME"), read)
		if err != nil {
			return nil, err
		}
		data = filepath.Join(home, ".local/share")
	}
	if !filepath.IsAbs(run) {
		run = filepath.Join(data, "nsrun", "run") // liveness goes by start time, so it may outlast a boot
		return NewDir(filepath.Join(data, "nsrun"), run), nil
	}
	return NewDir(filepath.Join(data, "nsrun"), filepath.Join(run, "nsrun")), nil
}

// homeOf returns home, what the environment says, if that is of use, or else what
// /etc/passwd has for uid. / is what systemd and many a file say for want of any.
func homeOf(uid int, home string, read func(string) ([]byte, error)) (string, error) {
	if !isHome(home) {
		passwd, _ := read("/etc/passwd") // without it nobody is known
		home = ""
		if entry := find(passwd, 7, func(f []string) bool { return f[2] == strconv.Itoa(uid) }); entry != nil {
			home = entry[5]
		}
	}
	if !isHome(home) {
		return "", fmt.Errorf("no home directory is known for user %d; set HOME or NSRUN_DIR", uid)
	}
	return home, nil
}

func isHome(dir string) bool { return filepath.IsAbs(dir) && filepath.Clean(dir) != "/" }

// NewDir returns the containers kept under data, their live state under run.
// Neither need exist yet.
func NewDir(data, run string) *Dir { return &Dir{data: data, run: run} }

// Volume returns the directory of a named volume, made when it isn't there.
func (d *Dir) Volume(name string) (string, error) {
	dir := d.volume(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make volume %s: %w", name, err)
	}
	return dir, nil
}

// Images returns the directory of the image store.
func (d *Dir) Images() string { return filepath.Join(d.data, "images") }

func (d *Dir) container(name string) string { return filepath.Join(d.data, "containers", name) }
func (d *Dir) live(name string) string      { return filepath.Join(d.run, "live", name) }

// prepare takes the lock, having made the directories if need be; call the
// result to let go. What is done under it takes milliseconds; nothing waits for
// a container there.
func (d *Dir) prepare() (unlock func(), err error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC
	fd, err := unix.Open(filepath.Join(d.data, "lock"), flags, 0o600)
	if unix.Access(d.run+"/ids", unix.F_OK) != nil || err != nil { // the last to be made; gone after a reboot
		if err == nil {
			unix.Close(fd)
		}
		if err := d.makeDirs(); err != nil {
			return nil, err
		}
		fd, err = unix.Open(filepath.Join(d.data, "lock"), flags, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s/lock: %w", d.data, err)
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s/lock: %w", d.data, err)
	}
	return func() { unix.Close(fd) }, nil
}

func (d *Dir) makeDirs() error {
	for _, dir := range []string{d.data, d.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for _, dir := range []string{d.data + "/containers", d.data + "/making", d.data + "/spare", d.data + "/trash", d.run + "/live", d.run + "/ids"} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// base is the lowest layer of every overlay, with the mount points each
// container needs: an image that has them has its own.
func (d *Dir) base() string { return filepath.Join(d.data, "base") }

// makeBase makes base in one piece. The lock is held.
func (d *Dir) makeBase() error {
	next := filepath.Join(d.data, "making", ".base") // no container is called so
	err := os.RemoveAll(next)
	for _, dir := range []string{"", "dev", "etc", "proc", "sys"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(next, dir), 0o755))
	}
	for _, file := range etcFiles {
		err = errors.Join(err, createFile(filepath.Join(next, "etc", file), nil, 0o644))
	}
	return errors.Join(err, unix.Chmod(next, 0o755), unix.Rename(next, d.base()))
}

// Get finds a container by its name or by the beginning of its id.
func (d *Dir) Get(name string) (*Container, error) {
	if ValidName(name) {
		if c, err := d.read(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	var found []*Container
	if len(name) >= 4 {
		all, err := d.List()
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			if strings.HasPrefix(c.ID, name) {
				found = append(found, c)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s: %w", name, ErrUnknown)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%s: %d containers have ids beginning so; write more of it", name, len(found))
}

// List returns all containers, the newest first. One whose record can't be read
// is left out: it was never finished.
func (d *Dir) List() ([]*Container, error) {
	entries, err := os.ReadDir(filepath.Join(d.data, "containers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var all []*Container
	for _, e := range entries {
		if c, err := d.read(e.Name()); err == nil {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Container) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.Name, b.Name))
	})
	return all, nil
}

func (d *Dir) read(name string) (*Container, error) {
	data, err := sheet.ReadFile(filepath.Join(d.container(name), "record"))
	if err != nil {
		return nil, err
	}
	c := &Container{}
	if c.Record, err = decodeRecord(data); err != nil {
		return nil, fmt.Errorf("read container %s: %w", name, err)
	}
	if live, err := d.readLive(name); err == nil && live.alive() {
		c.Live = live
	}
	return c, nil
}

// writeFile puts a small file in place in one piece. What it begins with is of a
// name that no container has.
func writeFile(file string, data []byte) error {
	next := filepath.Join(filepath.Dir(file), "."+filepath.Base(file))
	if err := createFile(next, data, 0o600); err != nil {
		return err
	}
	return unix.Rename(next, file)
}

// idsFirst and idsLast bound the ids systemd sets aside for containers:
// https://systemd.io/UIDS-GIDS
const (
	idsFirst = 0x80000
	idsLast  = 0x6fff0000
)

// claimIDs finds a range nobody uses and marks it as name's. The lock is held.
// Ranges are marked under run: a mark outlives neither its owner nor a reboot.
func (d *Dir) claimIDs(name string) (uint32, error) {
	const ranges = (idsLast - idsFirst) / idsPerContainer
	hash := fnv.New32a()
	hash.Write([]byte(name))
	first := hash.Sum32() % ranges
	for i := range uint32(ranges) {
		base := idsFirst + (first+i)%ranges*idsPerContainer
		mark := d.mark(base)
		owner, err := os.Readlink(mark)
		if err == nil && owner != name {
			if c, err := d.read(owner); err == nil && c.Live != nil && c.Live.IDs == base {
				continue
			}
		}
		if err == nil {
			if err := os.Remove(mark); err != nil {
				return 0, fmt.Errorf("claim ids: %w", err)
			}
		}
		if err := os.Symlink(name, mark); err != nil {
			return 0, fmt.Errorf("claim ids: %w", err)
		}
		return base, nil
	}
	return 0, errors.New("claim ids: all 28,000 ranges are in use")
}

func (d *Dir) mark(ids uint32) string {
	return filepath.Join(d.run, "ids", strconv.FormatUint(uint64(ids), 10))
}

// claim makes the container's directory and marks it as being set up by this
// process. A dead one of the same name gives way when it was to go anyway, or
// when the same unit starts again: replaced. Else the error is ErrConflict.
func (d *Dir) claim(rec Record, overlay, mapped bool) (ids uint32, replaced bool, err error) {
	unlock, err := d.prepare()
	if err != nil {
		return 0, false, err
	}
	defer unlock()
	old, err := d.read(rec.Name)
	switch {
	case err != nil: // none, or one that was never finished, or that is damaged
		if live, e := d.readLive(rec.Name); e == nil && live.alive() {
			return 0, false, fmt.Errorf("%w: %s runs already, as process %d, and its record can't be read (%w); end that process first", ErrConflict, rec.Name, live.PID, err)
		}
	case old.Live != nil:
		return 0, false, fmt.Errorf("%w: %s runs already, as process %d; stop it first: nsrun stop %s", ErrConflict, rec.Name, old.Live.PID, rec.Name)
	case !old.Remove && (old.Unit == "" || old.Unit != rec.Unit):
		return 0, false, fmt.Errorf("%w: a stopped container is called %s; remove it: nsrun rm %s", ErrConflict, rec.Name, rec.Name)
	}
	if replaced, err = d.discard(rec.Name, old, false); err != nil {
		return 0, false, err
	}
	if overlay && unix.Access(d.base(), unix.F_OK) != nil {
		if err := d.makeBase(); err != nil {
			return 0, false, fmt.Errorf("make %s: %w", d.base(), err)
		}
	}
	next, err := d.skeleton(rec, overlay)
	if err != nil {
		return 0, false, fmt.Errorf("make container %s: %w", rec.Name, err)
	}
	if mapped {
		if ids, err = d.claimIDs(rec.Name); err != nil {
			return 0, false, err
		}
	}
	if err := d.setLive(rec.Name, os.Getpid(), true, ids); err != nil {
		return 0, false, err
	}
	return ids, replaced, unix.Rename(next, d.container(rec.Name))
}

// discard moves what is left of a container to the trash, or keeps it to make
// another of it; moved says whether there was anything. c is what its record says,
// nil if it can't be read. With volumes all that were made for it go, too, as for
// one with --rm. The lock is held.
func (d *Dir) discard(name string, c *Container, volumes bool) (moved bool, err error) {
	if c != nil { // while there is a record that names them
		if err := d.dropUnnamed(c, volumes || c.Remove); err != nil {
			return false, fmt.Errorf("remove container %s: %w", name, err)
		}
	}
	if c != nil && d.leases != nil && c.Image != "" {
		if err := d.leases.Release(c.ID); err != nil {
			return false, fmt.Errorf("remove container %s: %w", name, err)
		}
	}
	if live, err := d.readLive(name); err == nil {
		if owner, err := os.Readlink(d.mark(live.IDs)); err == nil && owner == name {
			unix.Unlink(d.mark(live.IDs)) // else the next to try that range takes it over
		}
		unix.Unlink(d.live(name))
	}
	if !d.keepUsed(d.container(name)) {
		to := filepath.Join(d.data, "trash", name+"."+strconv.FormatInt(time.Now().UnixNano(), 36))
		err = unix.Rename(d.container(name), to)
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("remove container %s: %w", name, err)
		}
	}
	return true, nil
}
