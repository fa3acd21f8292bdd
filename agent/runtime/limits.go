package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Ulimit is a limit on what one process may use, as setrlimit(2) has it.
type Ulimit struct {
	Name string // as docker and limits.conf(5) call it: nofile
	Soft uint64 // in the units of setrlimit(2); Unlimited is none
	Hard uint64
}

// Unlimited as a limit's value is none.
const Unlimited = unix.RLIM_INFINITY

// ulimits are the limits by docker's names, with the units' settings for them.
var ulimits = map[string]struct {
	number  int
	setting string
}{
	"core": {unix.RLIMIT_CORE, "LimitCORE="}, "cpu": {unix.RLIMIT_CPU, "LimitCPU="},
	"data": {unix.RLIMIT_DATA, "LimitDATA="}, "fsize": {unix.RLIMIT_FSIZE, "LimitFSIZE="},
	"locks": {unix.RLIMIT_LOCKS, "LimitLOCKS="}, "memlock": {unix.RLIMIT_MEMLOCK, "LimitMEMLOCK="},
	"msgqueue": {unix.RLIMIT_MSGQUEUE, "LimitMSGQUEUE="}, "nice": {unix.RLIMIT_NICE, "LimitNICE="},
	"nofile": {unix.RLIMIT_NOFILE, "LimitNOFILE="}, "nproc": {unix.RLIMIT_NPROC, "LimitNPROC="},
	"rss": {unix.RLIMIT_RSS, "LimitRSS="}, "rtprio": {unix.RLIMIT_RTPRIO, "LimitRTPRIO="},
	"rttime": {unix.RLIMIT_RTTIME, "LimitRTTIME="}, "sigpending": {unix.RLIMIT_SIGPENDING, "LimitSIGPENDING="},
	"stack": {unix.RLIMIT_STACK, "LimitSTACK="},
}

// ParseUlimit reads docker's NAME=SOFT[:HARD], a number or unlimited each; -1 is
// unlimited, too.
func ParseUlimit(s string) (Ulimit, error) {
	name, value, _ := strings.Cut(s, "=")
	soft, hard, two := strings.Cut(value, ":")
	if !two {
		hard = soft
	}
	u := Ulimit{Name: name}
	if _, ok := ulimits[name]; !ok {
		return u, fmt.Errorf("%q is no limit; there are core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending and stack", name)
	}
	for _, part := range []struct {
		text string
		at   *uint64
	}{{soft, &u.Soft}, {hard, &u.Hard}} {
		if part.text == "unlimited" || part.text == "-1" {
			*part.at = Unlimited
			continue
		}
		n, err := strconv.ParseUint(part.text, 10, 64)
		if err != nil {
			return u, fmt.Errorf("%q is no number; write %s=SOFT:HARD, or unlimited", part.text, name)
		}
		*part.at = n
	}
	if u.Soft > u.Hard {
		return u, fmt.Errorf("the soft limit is above the hard one; write %s=SOFT:HARD, the lower one first", name)
	}
	return u, nil
}

func (u Ulimit) String() string {
	text := func(n uint64) string {
		if n == Unlimited {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	return u.Name + "=" + text(u.Soft) + ":" + text(u.Hard)
}

// The parent raises hard limits, for its rights on the machine; the child sets
// the exact values, last of all, for it needs descriptors itself until then.
type (
	raiseLimits struct{ Limits []Ulimit }
	setLimits   struct{ Limits []Ulimit }
	scoreOOM    struct{ Score int }
)

func (s raiseLimits) String() string {
	return "raise the new process's hard limits if need be: " + s.names()
}
func (s raiseLimits) names() string { return setLimits(s).names() }
func (s setLimits) String() string  { return "set limits: " + s.names() }
func (s setLimits) names() string {
	var names []string
	for _, u := range s.Limits {
		names = append(names, u.String())
	}
	return strings.Join(names, " ")
}
func (s scoreOOM) String() string {
	return fmt.Sprintf("set the new process's oom_score_adj to %d", s.Score)
}

// do raises the hard limits of a process where they are lower.
func (s raiseLimits) do(pid int) error {
	for _, u := range s.Limits {
		of := ulimits[u.Name]
		var now unix.Rlimit
		if err := unix.Prlimit(pid, of.number, nil, &now); err != nil {
			return fmt.Errorf("--ulimit=%s: read the limit: %w", u, err)
		}
		if now.Max >= u.Hard {
			continue
		}
		now.Max = u.Hard
		err := unix.Prlimit(pid, of.number, &now, nil)
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("--ulimit=%s: nsrun may not raise the hard limit here; ask for less, or have systemd do it: put %s into the unit", u, of.setting)
		}
		if err != nil {
			return fmt.Errorf("--ulimit=%s: %w", u, err)
		}
	}
	return nil
}

func (s setLimits) compile(b *builder, in *inputs) {
	for _, u := range s.Limits {
		b.call("set limit "+u.String(), unix.SYS_PRLIMIT64, 0, ulimits[u.Name].number, pin(b, &unix.Rlimit{Cur: u.Soft, Max: u.Hard}), 0)
	}
}

// do writes the score of a process. Our own follows, as long as we share our
// memory with it.
func (s scoreOOM) do(pid int) error {
	err := createFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(s.Score)), 0)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("--oom-score-adj=%d: nsrun may not lower it here; have systemd do it: put OOMScoreAdjust= into the unit", s.Score)
	case err != nil:
		return fmt.Errorf("--oom-score-adj=%d: %w", s.Score, err)
	}
	return nil
}

// splitLimits tells the limit of open files from the others.
func (s *Spec) splitLimits() (files, others []Ulimit) {
	for _, u := range s.Ulimits {
		if u.Name == "nofile" {
			files = append(files, u)
		} else {
			others = append(others, u)
		}
	}
	return files, others
}

// limits says whether a limit is set.
func (s *Spec) limits(name string) bool {
	return slices.ContainsFunc(s.Ulimits, func(u Ulimit) bool { return u.Name == name })
}

func checkLimits(s *Spec) error {
	if s.OOMScore != nil && (*s.OOMScore < -1000 || *s.OOMScore > 1000) {
		return fmt.Errorf("--oom-score-adj=%d: between -1000 and 1000", *s.OOMScore)
	}
	for _, u := range s.Ulimits {
		if _, ok := ulimits[u.Name]; !ok || u.Soft > u.Hard {
			return fmt.Errorf("--ulimit=%s: no such limit", u)
		}
	}
	return nil
}
