package runtime

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/clusterd/clusterd/agent/sheet"
)

// Live is a container's first process. A pid alone means nothing: it is used
// again for another process within minutes.
type Live struct {
	PID     int
	Start   uint64 // clock ticks since boot, /proc/PID/stat
	Setting bool   // not its process yet but the nsrun that sets it up
	IDs     uint32 // first id of its range; 0 is none
}

// String is the line in live/NAME.
func (l Live) String() string {
	state := "running"
	if l.Setting {
		state = "setting"
	}
	return fmt.Sprintf("%s %d %d %d\n", state, l.PID, l.Start, l.IDs)
}

func parseLive(line string) (*Live, error) {
	f := strings.Fields(line)
	if len(f) != 4 || f[0] != "running" && f[0] != "setting" {
		return nil, fmt.Errorf("%q: want a state, a process, its start and its ids", line)
	}
	pid, err1 := strconv.Atoi(f[1])
	start, err2 := strconv.ParseUint(f[2], 10, 64)
	ids, err3 := strconv.ParseUint(f[3], 10, 32)
	return &Live{PID: pid, Start: start, Setting: f[0] == "setting", IDs: uint32(ids)}, errors.Join(err1, err2, err3)
}

func (d *Dir) readLive(name string) (*Live, error) {
	data, err := sheet.ReadFile(d.live(name))
	if err != nil {
		return nil, err
	}
	return parseLive(string(data))
}

func (l *Live) alive() bool {
	start, ended, err := startTime(l.PID)
	return err == nil && !ended && start == l.Start
}

// startTime returns when a process started, in ticks since boot, and whether it
// has ended and only waits for its parent to notice.
func startTime(pid int) (start uint64, ended bool, err error) {
	f, err := statFields(pid)
	if err != nil {
		return 0, false, err
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, f[0] == "Z" || f[0] == "X", err
}

// statFields returns the fields of /proc/PID/stat from the third, the state, on.
func statFields(pid int) ([]string, error) {
	data, err := sheet.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	// The name in parentheses may hold anything, so count from its end.
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(f) < 20 {
		return nil, fmt.Errorf("read /proc/%d/stat: too short", pid)
	}
	return f, nil
}

func (d *Dir) setLive(name string, pid int, setting bool, ids uint32) error {
	start, _, err := startTime(pid)
	if err != nil {
		return fmt.Errorf("record process %d: %w", pid, err)
	}
	if err := writeFile(d.live(name), []byte(Live{PID: pid, Start: start, Setting: setting, IDs: ids}.String())); err != nil {
		return fmt.Errorf("record process %d: %w", pid, err)
	}
	return nil
}
