package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// flag is one option of a verb. Exactly one of set, text and why is given.
type flag struct {
	long  string // without dashes
	short byte   // 0: none
	set   func(on bool)
	text  func(value string) error
	why   string // not done here: what to do instead
	takes bool   // with why: docker's takes a value
	arg   string // what help calls the value
	about string
}

// parse reads docker's way of writing flags: --name=value, --name value, -n
// value, -nvalue, -it, and the long ones with a single dash as docker had them
// once (-rm, -name x). It ends at the first argument that is no flag, or at --,
// and returns the rest: what follows an image belongs to the program. With
// mixed, flags may stand among the arguments, too.
func parse(flags []flag, args []string, mixed bool) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			return append(rest, args[1:]...), nil
		case len(arg) < 2 || arg[0] != '-':
			if !mixed {
				return args, nil
			}
			rest, args = append(rest, arg), args[1:]
			continue
		}
		if args, err = parseOne(flags, args); err != nil {
			return nil, usageError{err}
		}
	}
	return rest, nil
}

// parseOne takes the first of args, and its value, and returns the others.
func parseOne(flags []flag, args []string) ([]string, error) {
	arg := args[0]
	name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	if f := long(flags, name); f != nil && (arg[1] == '-' || len(name) > 1) {
		return f.take("--"+name, value, hasValue, args[1:])
	}
	if arg[1] == '-' {
		return nil, fmt.Errorf("--%s: no such flag%s; see help", name, didYouMean(name, "--", longNames(flags)))
	}
	for i := 1; i < len(arg); i++ {
		f := short(flags, arg[i])
		if f == nil {
			meant := ""
			if len(name) > 2 { // -naem web
				meant = didYouMean(name, "--", longNames(flags))
			}
			return nil, fmt.Errorf("-%c: no such flag%s; see help", arg[i], meant)
		}
		if f.text == nil && !f.takes {
			if f.why != "" {
				return nil, fmt.Errorf("-%c: %s", arg[i], f.why)
			}
			f.set(true)
			continue
		}
		rest := strings.TrimPrefix(arg[i+1:], "=")
		return f.take("-"+arg[i:i+1], rest, rest != "", args[1:])
	}
	return args[1:], nil
}

func longNames(flags []flag) (names []string) {
	for _, f := range flags {
		names = append(names, f.long)
	}
	return names
}

func long(flags []flag, name string) *flag {
	for i := range flags {
		if flags[i].long == name && name != "" {
			return &flags[i]
		}
	}
	return nil
}

func short(flags []flag, c byte) *flag {
	for i := range flags {
		if flags[i].short == c {
			return &flags[i]
		}
	}
	return nil
}

// take gives a flag its value, the next argument if need be.
func (f *flag) take(name, value string, hasValue bool, rest []string) ([]string, error) {
	if off, err := strconv.ParseBool(value); f.why != "" && !f.takes && hasValue && err == nil && !off {
		return rest, nil // --privileged=false asks for what is so
	}
	if f.why != "" {
		return nil, fmt.Errorf("%s: %s", name, f.why)
	}
	if f.text == nil {
		on := true
		if hasValue {
			var err error
			if on, err = strconv.ParseBool(value); err != nil {
				return nil, fmt.Errorf("%s=%s: true or false", name, value)
			}
		}
		f.set(on)
		return rest, nil
	}
	if !hasValue {
		if len(rest) == 0 {
			return nil, fmt.Errorf("%s: needs a value", name)
		}
		value, rest = rest[0], rest[1:]
	}
	if err := f.text(value); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rest, nil
}

// What flags store to.

func boolean(at *bool) func(bool) { return func(on bool) { *at = on } }

func text(at *string) func(string) error {
	return func(v string) error { *at = v; return nil }
}

func list(at *[]string) func(string) error {
	return func(v string) error { *at = append(*at, v); return nil }
}

// secondsMax is sixty-eight years.
const secondsMax = 1 << 31

// seconds reads a whole number of seconds, as docker's -t: -1 is no limit.
func seconds(at *time.Duration) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < -1 || n > secondsMax {
			return fmt.Errorf("%s: a number of seconds, or -1 for no limit", v)
		}
		if n == -1 {
			n = secondsMax
		}
		*at = time.Duration(n) * time.Second
		return nil
	}
}

// usage lists flags for help, those that do something first.
func usage(flags []flag) string {
	var b strings.Builder
	for _, f := range flags {
		if f.about == "" || f.long == "" {
			continue
		}
		name := "    --" + f.long
		if f.short != 0 {
			name = "-" + string(f.short) + ", --" + f.long
		}
		if f.arg != "" {
			name += " " + f.arg
		}
		fmt.Fprintf(&b, "  %-28s %s\n", name, f.about)
	}
	return b.String()
}
