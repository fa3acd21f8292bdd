package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// places are where one lab lies on the host. Everything is derived from the
// lab's name, so that Down finds it without any record.
type places struct {
	name   string // "lab", the default, or what the user called it
	dir    string // /var/lib/clusterd-lab[-name]: what lasts
	run    string // /run/clusterd-lab[-name]: one directory a machine, its /run/clusterd
	cgroup string // the cgroup's name in every hierarchy
	netns  string // the network namespace's name, as ip-netns(8) lists it
}

var labName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,20}$`)

// DefaultName is the lab's name where none is given.
const DefaultName = "lab"

func placesOf(name string) (places, error) {
	if name == "" {
		name = DefaultName
	}
	if !labName.MatchString(name) {
		return places{}, fmt.Errorf("name lab %q: %w; use up to 21 lower-case letters, digits and dashes", name, ErrOption)
	}
	id := "clusterd-lab"
	if name != DefaultName {
		id += "-" + name
	}
	return places{
		name:   name,
		dir:    "/var/lib/" + id,
		run:    "/run/" + id,
		cgroup: id,
		netns:  id,
	}, nil
}

func (p places) layer() string              { return filepath.Join(p.dir, "layer") }
func (p places) program(name string) string { return filepath.Join(p.layer(), "usr/bin", name) }
func (p places) hosts() string              { return filepath.Join(p.dir, "hosts") }
func (p places) netnsPath() string          { return filepath.Join("/run/netns", p.netns) }
func (p places) machineDir(m string) string { return filepath.Join(p.dir, "machines", m) }
func (p places) machineRun(m string) string { return filepath.Join(p.run, m) }
func (p places) machineCgroup(m string) string {
	return p.cgroup + "/" + m
}

// record is what the lab remembers of a machine. PID and StartTime are those of
// its process 1 as the host sees it; PID is 0 while it is off.
type record struct {
	Name      string `json:"name"`
	Index     int    `json:"index"`
	Address   string `json:"address"`
	MachineID string `json:"machineID"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime,omitempty"` // in clock ticks since the host's boot, so that a PID used again is not mistaken for it
	HostBoot  string `json:"hostBoot,omitempty"`
	Boots     int    `json:"boots"`
	Joined    bool   `json:"joined"` // it has been made a machine of the cluster
	Cut       bool   `json:"cut,omitempty"`
	Paused    bool   `json:"paused,omitempty"`
}

func (r record) running() bool {
	return r.PID > 0 && r.HostBoot == hostBoot() && startTime(r.PID) == r.StartTime && r.StartTime != 0
}

func (p places) writeRecord(r record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(p.machineDir(r.Name), "machine.json"), append(text, '\n'), 0o644)
}

func (p places) readRecord(machine string) (record, error) {
	var r record
	text, err := os.ReadFile(filepath.Join(p.machineDir(machine), "machine.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("machine %s: %w", machine, ErrNoMachine)
	}
	if err != nil {
		return r, fmt.Errorf("read machine %s: %w", machine, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read machine %s: %w; take the lab down and up again", machine, err)
	}
	return r, nil
}

// readRecords reads every machine's record, in the machines' order.
func (p places) readRecords() ([]record, error) {
	entries, err := os.ReadDir(filepath.Join(p.dir, "machines"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read lab: %w", err)
	}
	var all []record
	for _, e := range entries {
		r, err := p.readRecord(e.Name())
		if errors.Is(err, ErrNoMachine) {
			continue // a machine that was being made when the lab crashed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Index < all[j].Index })
	return all, nil
}

// writeFile replaces a file whole, so that a reader never sees half of one.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// startTime is when the process began, in clock ticks since boot; 0 when there
// is no such process or it is a zombie.
func startTime(pid int) uint64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The program's name, in parentheses, may hold anything.
	_, rest, ok := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}

func hostBoot() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// lock takes the lab's lock, so that two commands don't change it at once. Down
// removes the file that is locked; whoever waited for it then begins anew.
func (p places) lock() (unlock func(), err error) {
	path := filepath.Join(p.dir, "lock")
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock lab: %w", err)
		}
		if err := flock(f); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock lab: %w", err)
		}
		var held, there unix.Stat_t
		if unix.Fstat(int(f.Fd()), &held) == nil && unix.Stat(path, &there) == nil && held.Ino == there.Ino {
			return func() { f.Close() }, nil
		}
		f.Close()
		if _, err := os.Stat(p.dir); err != nil {
			return nil, fmt.Errorf("lock lab: it was taken down meanwhile")
		}
	}
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// pause waits between two looks at something the kernel gives no event for.
func pause(d time.Duration) { <-time.After(d) }
