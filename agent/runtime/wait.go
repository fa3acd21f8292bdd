package runtime

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Wait waits until a container has ended and returns its exit code. Who started it
// notes that: its nsrun at once, a unit's ExecStopPost= when the unit has stopped;
// limit is how long that may take after the end.
func (d *Dir) Wait(name string, limit time.Duration) (code int, err error) {
	c, err := d.Get(name)
	if err != nil {
		return 0, err
	}
	for running := c; running != nil && running.Live != nil; running = d.after(running) {
		fd, err := running.Live.open()
		if err == nil {
			err = waitReadable(fd, forever)
			unix.Close(fd)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	for until := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		now, err := d.read(c.Name)
		if err == nil && now.ID == c.ID && !now.Ended.IsZero() {
			return now.Code, nil
		}
		if err != nil || now.ID != c.ID || time.Now().After(until) {
			return 0, fmt.Errorf("%s: has ended, and nobody noted its exit code; its unit tells: systemctl status %s", name, orNone(c.Unit))
		}
	}
}

// forever is longer than any container runs.
const forever = 100 * 365 * 24 * time.Hour

func orNone(unit string) string {
	if unit == "" {
		return "UNIT"
	}
	return unit
}
