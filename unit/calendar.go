package unit

import (
	"strconv"
	"strings"
)

// calendarNames are the calendar's times that have a name.
const calendarNames = " minutely hourly daily weekly monthly quarterly semiannually semi-annually biannually bi-annually half-yearly yearly annually anually "

// parseCalendar says whether s is a calendar event as systemd.time(7) has it:
// weekdays, date, time and zone, each of which may be left out. Whether there
// is such a zone, the machine knows.
func parseCalendar(s string) bool {
	if seconds, ok := strings.CutPrefix(s, "@"); ok {
		_, err := strconv.ParseUint(seconds, 10, 63)
		return err == nil
	}
	if at := strings.LastIndexByte(s, ' '); at > 0 && isZone(s[at+1:]) {
		if s = s[:at]; s[at-1] == ' ' {
			return false // one blank stands before a zone
		}
	}
	words := strings.FieldsFunc(s, func(c rune) bool { return c == ' ' }) // and no tabs
	if len(words) == 1 && strings.Contains(calendarNames, " "+strings.ToLower(words[0])+" ") {
		return true
	}
	read := 0
	for _, part := range []func(string) bool{isWeekdays, isDate, isClock} {
		if read < len(words) && part(words[read]) {
			read++
		}
	}
	return read > 0 && read == len(words)
}

// isZone says whether s may be a time zone: UTC, or a name such as Europe/Berlin.
func isZone(s string) bool {
	return strings.EqualFold(s, "UTC") || s != "" && s[0] >= 'A' && s[0] <= 'Z' && !isWeekdays(s) &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/+-") == ""
}

// isWeekdays says whether s is a list of them, such as Mon..Fri,Sun.
func isWeekdays(s string) bool {
	for part := range strings.SplitSeq(strings.TrimSuffix(s, ","), ",") {
		from, to, isRange := strings.Cut(part, "..")
		if !isRange {
			from, to, isRange = strings.Cut(part, "-")
		}
		if first := weekday(from); first < 0 || isRange && weekday(to) < first {
			return false
		}
	}
	return true
}

// weekday is the number of a day, from 0 for Monday; negative for what is none.
func weekday(s string) int {
	s = strings.ToLower(s)
	for i, name := range []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"} {
		if s == name || s == name[:3] {
			return i
		}
	}
	return -1
}

// isDate says whether s is [year-]month-day; ~ for the last - counts days from
// the month's end.
func isDate(s string) bool {
	at := strings.LastIndexAny(s, "-~")
	if at < 0 {
		return false
	}
	year, month, hasYear := strings.Cut(s[:at], "-")
	if !hasYear {
		year, month = "*", s[:at]
	}
	return isChain(year, 0, 2199, false) && isChain(month, 1, 12, false) && isChain(s[at+1:], 1, 31, false)
}

// isClock says whether s is hour:minute[:second].
func isClock(s string) bool {
	parts := strings.Split(s, ":")
	switch len(parts) {
	case 2:
		parts = append(parts, "0")
	case 3:
	default:
		return false
	}
	return isChain(parts[0], 0, 23, false) && isChain(parts[1], 0, 59, false) && isChain(parts[2], 0, 60, true)
}

// isChain says whether s is an asterisk, or a list of numbers in bounds: one,
// from..to, and either with /step.
func isChain(s string, low, high float64, fractions bool) bool {
	if s == "*" {
		return true
	}
	for part := range strings.SplitSeq(s, ",") {
		bounds, step, steps := strings.Cut(part, "/")
		from, to, isRange := strings.Cut(bounds, "..")
		start, ok := calendarNumber(from, fractions)
		if !ok || start < low || start > high {
			return false
		}
		end := high
		if isRange {
			if end, ok = calendarNumber(to, fractions); !ok || end <= start || end > high {
				return false
			}
		}
		if by, ok := calendarNumber(step, fractions); steps && (!ok || by == 0 || start+by > end) {
			return false
		}
	}
	return true
}

func calendarNumber(s string, fractions bool) (float64, bool) {
	n, rest, ok := cutDecimal(s)
	return n, ok && rest == "" && s[0] != '.' && (fractions || !strings.Contains(s, "."))
}
