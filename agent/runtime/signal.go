package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The real-time signals, as the C library numbers them for programs.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// otherNames are signals' second names, which the table at hand hasn't got.
var otherNames = map[string]unix.Signal{"SIGCLD": unix.SIGCHLD, "SIGIOT": unix.SIGABRT, "SIGPOLL": unix.SIGIO}

// ParseSignal reads TERM, SIGTERM, 15, or RTMIN+3, which systemd takes as the
// word to halt.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= sigRTMax {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	if sig := otherNames[name]; sig != 0 {
		return sig, nil
	}
	if sig, ok := realTime(strings.TrimPrefix(name, "SIG")); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("signal %s: no such signal; see signal(7)", s)
}

// realTime reads RTMIN, RTMAX, and what is counted up from one or down from the
// other.
func realTime(name string) (unix.Signal, bool) {
	from, sign := sigRTMin, 1
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if !ok {
		from, sign = sigRTMax, -1
		rest, ok = strings.CutPrefix(name, "RTMAX")
	}
	if !ok || rest == "" {
		return unix.Signal(from), ok
	}
	if rest[0] != "-+"[(sign+1)/2] {
		return 0, false
	}
	n, err := strconv.Atoi(rest[1:])
	return unix.Signal(from + sign*n), err == nil && n >= 0 && n <= sigRTMax-sigRTMin
}
