//go:build machine

package unit

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// unlike are settings that aren't compared by their kind.
var unlike = []string{
	// There is no such property.
	"PermissionsStartOnly", "ReadWriteOnly", "OnFailureIsolate", "SELinuxContextFromNet", "BlockIOAccounting", "USBFunctionDescriptors", "USBFunctionStrings",
	// It is a number where the setting is a word.
	"CPUSchedulingPolicy", "IOSchedulingClass", "SyslogFacility", "SyslogLevel", "LogLevelMax", "MountFlags", "IPTOS", "NUMAPolicy", "SocketProtocol",
	// It depends on other settings, or is known once the unit runs.
	"WatchdogSec", "CPUQuotaPeriodSec", "RootDirectoryStartOnly",
	// They are compared by ofType.
	"Type", "Where", "What", "Unit", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec",
	"PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty",
}

// renamed are properties that have another name than their setting.
var renamed = map[string]string{"StartLimitInterval": "StartLimitIntervalUSec", "TimeoutSec": "TimeoutUSec"}

// signalNumbers are those of the signals that the files use.
var signalNumbers = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "CONT": 18, "WINCH": 28, "RTMIN": 34, "RTMAX": 64}

func signalNumber(text string) string {
	name := strings.TrimPrefix(text, "SIG")
	for _, sign := range []string{"+", "-"} {
		if base, rest, ok := strings.Cut(name, sign); ok {
			n, _ := strconv.Atoi(sign + rest)
			return strconv.Itoa(signalNumbers[base] + n)
		}
	}
	if n, ok := signalNumbers[name]; ok {
		return strconv.Itoa(n)
	}
	return name
}

// byKind are the properties that a setting of a simple kind becomes.
func (s *specimen) byKind(set setting, text string) []property {
	name := set.key
	if to, ok := renamed[name]; ok {
		name = to
	}
	if strings.HasPrefix(set.key, "StartLimit") && strings.Count(string(s.src), "StartLimit") > 1 {
		return nil // some mean the same, in [Service] too
	}
	if slices.Contains(unlike, set.key) || strings.HasPrefix(set.key, "TriggerLimit") && (text == "4294967295" || text == "infinity") || text == "inherit" {
		return nil
	}
	if _, implied := s.f.Last(sectionOf(s.name.Type()), "DynamicUser"); implied && set.kind == "bool" {
		return nil // it switches others on
	}
	expanded, known := (&checker{name: s.name}).expand(text)
	switch set.kind {
	case "bool":
		if value, ok := parseBool(text); ok {
			yes := "no"
			if value {
				yes = "yes"
			}
			if set.key == "BindIPv6Only" {
				yes = map[bool]string{true: "ipv6-only", false: "both"}[value]
			}
			if set.key == "Timestamping" {
				yes = map[bool]string{true: "ns", false: "off"}[value]
			}
			return []property{equal(name, yes)}
		}
		return []property{equal(name, strings.NewReplacer("usec", "us", "μs", "us", "µs", "us", "nsec", "ns").Replace(text))}
	case "enum":
		word, _, _ := strings.Cut(text, ":") // file:/x
		return []property{equal(name, strings.Replace(word, "syslog", "journal", 1))}
	case "int":
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return []property{equal(name, text)}
		}
		return []property{equal(name, strconv.FormatInt(n, 10))}
	case "span":
		return s.span(set.key, name, text)
	case "nspan":
		span, _ := parseSpan(text, time.Nanosecond)
		if span == forever {
			return nil // as if it weren't there
		}
		return []property{equal(name, strconv.FormatInt(span.Nanoseconds(), 10))}
	case "mode":
		n, _ := strconv.ParseUint(text, 8, 32)
		return []property{equal(name, fmt.Sprintf("%04o", n))}
	case "signal":
		return []property{equal(name, signalNumber(text))}
	case "size":
		n, _ := parseSize(text)
		return []property{equal(name, strconv.FormatUint(n, 10))}
	case "account":
		if known {
			return []property{equal(name, expanded)}
		}
	case "slice":
		if known {
			return []property{equal(name, expanded)}
		}
	case "path":
		if known {
			return []property{equal(name, SimplifyPath(expanded))}
		}
	case "workdir":
		if path, may := strings.CutPrefix(expanded, "-"); known && may {
			return []property{equal(name, "!"+SimplifyPath(path))}
		} else if known {
			return []property{equal(name, SimplifyPath(path))}
		}
	case "documentation":
		if words, err := splitWords(text, true); err == nil && known && len(s.f.Values("Unit", set.key)) == 1 {
			var want []string
			for _, w := range words {
				uri, _ := s.name.Expand(w.text)
				want = append(want, uri)
			}
			return []property{{name, fmt.Sprintf("%q", want), func(theirs []string) bool { return slices.Equal(unquoted(theirs), want) }}}
		}
	case "rlimit-int", "rlimit-size", "rlimit-span", "rlimit-uspan", "rlimit-nice":
		return rlimit(set.kind, name, text)
	case "memory":
		return []property{s.memory(name, text)}
	}
	return nil
}

func (s *specimen) span(key, name, text string) []property {
	want, _ := parseSpan(text, time.Second)
	if want == 0 && slices.Contains([]string{"TimeoutStartSec", "TimeoutStopSec", "TimeoutSec", "JobTimeoutSec", "JobRunningTimeoutSec", "TimeoutIdleSec"}, key) {
		want = forever // of timeouts, none is at once
	}
	if stem, ok := strings.CutSuffix(name, "Sec"); ok && name == key {
		name = stem + "USec"
	}
	is := func(theirs []string) bool {
		if len(theirs) != 1 {
			return false
		}
		got, ok := parseSpan(theirs[0], time.Microsecond)
		return ok && (got == want || got == want.Truncate(time.Microsecond))
	}
	if key == "TimeoutSec" && s.name.Type() == "service" {
		return []property{{"TimeoutStartUSec", want.String(), is}, {"TimeoutStopUSec", want.String(), is}}
	}
	return []property{{name, want.String(), is}}
}

func rlimit(kind, name, text string) []property {
	soft, hard, both := strings.Cut(text, ":")
	if !both {
		hard = soft
	}
	number := func(text string) string {
		n, _ := parseLimit(kind, text)
		if text == "infinity" {
			return text
		}
		switch kind {
		case "rlimit-span":
			n = (n + uint64(time.Second) - 1) / uint64(time.Second)
		case "rlimit-uspan":
			n /= uint64(time.Microsecond)
		}
		return strconv.FormatUint(n, 10)
	}
	return []property{equal(name, number(hard)), equal(name+"Soft", number(soft))}
}

// memoryTotal is what systemd takes percentages of.
func memoryTotal() uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	kilobytes, _ := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	return kilobytes << 10
}

func (s *specimen) memory(name, text string) property {
	if text == "infinity" {
		return property{name, text, func(theirs []string) bool {
			return len(theirs) == 1 && (theirs[0] == text || theirs[0] == "18446744073709551615")
		}}
	}
	r, _ := parseMemory(text)
	want := r.Of(memoryTotal())
	return property{name, strconv.FormatUint(want, 10), func(theirs []string) bool {
		got, err := strconv.ParseUint(strings.Join(theirs, " "), 10, 64)
		return err == nil && got <= want && want-got < 1<<13 // whole pages
	}}
}
