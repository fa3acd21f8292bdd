package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// flags returns an empty set of flags that stays silent: run prints the error.
func (t *tool) flags(verb string) *flag.FlagSet {
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	return flags
}

// both defines a switch that has a short name, too.
func both(flags *flag.FlagSet, long, short, about string) *bool {
	at := flags.Bool(long, false, about)
	flags.BoolVar(at, short, false, about)
	return at
}

// word is both for a flag with a value.
func word(flags *flag.FlagSet, long, short, about string) *string {
	at := flags.String(long, "", about)
	flags.StringVar(at, short, "", about)
	return at
}

// list is a flag that may stand several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// parse reads flags wherever they stand, as docker does, up to a --; the rest
// comes back. Short ones may be bundled: -aq.
func (t *tool) parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	args = unbundle(flags, args)
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			if err := t.helpVerb(flags); err != nil {
				return nil, err
			}
			return nil, flag.ErrHelp
		} else if err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", flags.Name(), err)}
		}
		left := flags.Args()
		if n := len(args) - len(left); len(left) == 0 || n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// unbundle turns -aq into -a -q where there is no flag called aq.
func unbundle(flags *flag.FlagSet, args []string) []string {
	var out []string
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name := strings.TrimPrefix(arg, "-")
		if len(name) < 2 || len(arg)-len(name) != 1 || !allSwitches(flags, name) {
			out = append(out, arg)
			continue
		}
		for _, c := range name {
			out = append(out, "-"+string(c))
		}
	}
	return out
}

func allSwitches(flags *flag.FlagSet, name string) bool {
	if flags.Lookup(name) != nil {
		return false
	}
	for _, c := range name {
		if f := flags.Lookup(string(c)); f == nil || !isSwitch(f) {
			return false
		}
	}
	return true
}

func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// parseNames parses a verb's flags and wants from namesMin to namesMax arguments; 0: any number.
func (t *tool) parseNames(flags *flag.FlagSet, args []string, namesMin, namesMax int) ([]string, error) {
	names, err := t.parse(flags, args)
	switch {
	case err != nil:
		return nil, err
	case len(names) < namesMin && namesMin > 1:
		return nil, usageError{fmt.Errorf("%s: name %d images, it takes %s", flags.Name(), namesMin, argsOf(flags.Name()))}
	case len(names) < namesMin:
		return nil, usageError{fmt.Errorf("%s: name an image", flags.Name())}
	case namesMax > 0 && len(names) > namesMax:
		return nil, tooMany(flags.Name(), names[namesMax:])
	}
	return names, nil
}

func argsOf(name string) string {
	v, _ := verbOf(name)
	return v.args
}
