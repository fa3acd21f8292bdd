package unit

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// The values of systemd's settings, as its manual pages define them. Each
// function says with ok whether systemd would take the value.

// parseBool reads a boolean.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}

// forever is what infinity means as a time span.
const forever = time.Duration(math.MaxInt64)

// timeUnits are systemd's, those that begin alike the longest first.
var timeUnits = []struct {
	names string
	is    time.Duration
}{
	{"nsec ns", time.Nanosecond},
	{"usec us µs μs", time.Microsecond},
	{"msec ms", time.Millisecond},
	{"months month", 2629800 * time.Second},
	{"minutes minute min", time.Minute},
	{"seconds second sec s", time.Second},
	{"hours hour hr h", time.Hour},
	{"days day d", 24 * time.Hour},
	{"weeks week w", 7 * 24 * time.Hour},
	{"years year y", 31557600 * time.Second},
	{"M", 2629800 * time.Second},
	{"m", time.Minute},
}

// parseSpan reads a time span such as 5min 20s; a number alone counts in the
// given unit.
func parseSpan(s string, plain time.Duration) (time.Duration, bool) {
	s = trim(s)
	if s == "infinity" {
		return forever, true
	}
	if s == "" {
		return 0, false
	}
	total := 0.0
	for s != "" {
		number, rest, ok := cutDecimal(strings.TrimPrefix(s, "+"))
		if !ok || strings.HasPrefix(rest, ".") {
			return 0, false
		}
		scale, rest := cutTimeUnit(trimLeft(rest), plain)
		total += number * float64(scale)
		s = trimLeft(rest)
	}
	if total >= math.MaxInt64 {
		return forever, true
	}
	return time.Duration(total), true
}

func cutTimeUnit(s string, plain time.Duration) (scale time.Duration, rest string) {
	for _, u := range timeUnits {
		if u.is == time.Nanosecond && plain != time.Nanosecond {
			continue
		}
		for name := range strings.SplitSeq(u.names, " ") {
			if strings.HasPrefix(s, name) {
				return u.is, s[len(name):]
			}
		}
	}
	return plain, s
}

// parseUint reads a number without a minus sign: in decimal, or after 0x, 0o or
// 0b in another base.
func parseUint(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, bits)
	return n, err == nil && !strings.Contains(s, "_")
}

// cutDecimal cuts a number without a sign off s.
func cutDecimal(s string) (number float64, rest string, ok bool) {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	if end < len(s) && s[end] == '.' {
		dot := end
		for end++; end < len(s) && '0' <= s[end] && s[end] <= '9'; end++ {
		}
		if end == dot+1 {
			return 0, s, false
		}
	}
	number, err := strconv.ParseFloat(s[:end], 64)
	return number, s[end:], err == nil
}

// parseSize reads a number of bytes such as 1G 512M; each letter is 1024 times
// the one before it, and a sum has the largest first.
func parseSize(s string) (bytes uint64, ok bool) {
	s = trim(s)
	if s == "" {
		return 0, false
	}
	const letters = "EPTGMKB"
	from := 0
	total := 0.0
	for s != "" {
		s = strings.TrimPrefix(s, "+")
		number, rest, ok := cutDecimal(s)
		if at := strings.IndexByte(s, '.'); !ok && at > 0 {
			number, rest, ok = cutDecimal(s[:at]) // 1.G will do
			ok = ok && rest == ""
			rest = s[at+1:]
		}
		if !ok || strings.HasPrefix(s, ".") {
			return 0, false
		}
		rest = trimLeft(rest)
		exponent := 0
		if rest == "" || '0' <= rest[0] && rest[0] <= '9' {
			if from > len(letters) {
				return 0, false
			}
			from = len(letters) + 1
		} else {
			at := strings.IndexByte(letters, rest[0])
			if at < from {
				return 0, false
			}
			exponent, rest, from = len(letters)-1-at, rest[1:], at+1
		}
		total += number * math.Pow(1024, float64(exponent))
		s = trimLeft(rest)
	}
	if total >= math.MaxUint64 {
		return 0, false
	}
	return uint64(total), true
}

// parseShare reads a percentage, in hundredths of a percent; per mille and per
// ten thousand are allowed, too. It has two decimals at most.
func parseShare(s string) (hundredths uint64, ok bool) {
	scale := 0.0
	switch {
	case strings.HasSuffix(s, "%"):
		s, scale = s[:len(s)-1], 100
	case strings.HasSuffix(s, "‰"):
		s, scale = strings.TrimSuffix(s, "‰"), 10
	case strings.HasSuffix(s, "‱"):
		s, scale = strings.TrimSuffix(s, "‱"), 1
	default:
		return 0, false
	}
	number, rest, ok := cutDecimal(s)
	value := number * scale
	if !ok || rest != "" || value > 1e12 {
		return 0, false
	}
	rounded := math.Round(value)
	return uint64(rounded), math.Abs(value-rounded) < 1e-6 && s[0] != '.'
}

// parseMode reads an access mode in octal digits.
func parseMode(s string) bool {
	n, err := strconv.ParseUint(s, 8, 32)
	return err == nil && n <= 0o7777 && s[0] != '+'
}

// signals are the names of the signals, without SIG.
const signals = " HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS IOT POLL CLD RTMIN RTMAX "

// IsSignal says whether systemd takes s for a signal: a name, with SIG or
// without, or a number.
func IsSignal(s string) bool { return parseSignal(s) }

// parseSignal reads a signal's name or number.
func parseSignal(s string) bool {
	if n, err := strconv.ParseInt(s, 0, 32); err == nil {
		return n > 0 && n <= 64
	}
	s = strings.TrimPrefix(s, "SIG")
	for prefix, sign := range map[string]string{"RTMIN": "+", "RTMAX": "-"} {
		if rest, ok := strings.CutPrefix(s, prefix+sign); ok {
			n, err := strconv.Atoi(rest)
			return err == nil && n >= 0 && n <= 30
		}
	}
	return s != "" && !strings.Contains(s, " ") && strings.Contains(signals, " "+s+" ")
}
