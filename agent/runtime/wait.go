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
	if c.Live != nil {
		fd, err := c.Live.open()
		if err == nil {
			for err = waitReadable(fd, time.Hour); err != nil && c.Live.alive(); {
				err = waitReadable(fd, time.Hour)
			}
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

func orNone(unit string) string {
	if unit == "" {
		return "UNIT"
	}
	return unit
}
