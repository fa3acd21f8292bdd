package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clusterd/clusterd/agent/runtime"
)

type psOptions struct {
	all, quiet, full, last bool
	filters                []string
	lastN                  int
	format                 string
}

func psFlags(o *psOptions) []flag {
	return []flag{
		{long: "all", short: 'a', set: boolean(&o.all), about: "those that have ended, too"},
		{long: "quiet", short: 'q', set: boolean(&o.quiet), about: "ids only"},
		{long: "no-trunc", set: boolean(&o.full), about: "whole ids and commands"},
		{long: "filter", short: 'f', text: list(&o.filters), arg: "KEY=VALUE", about: "name=, id=, label=NAME[=VALUE], status=running|exited|created, exited=CODE, ancestor=IMAGE, network=, volume="},
		{long: "latest", short: 'l', set: boolean(&o.last), about: "the one made last"},
		{long: "last", short: 'n', text: count(&o.lastN), arg: "N", about: "the N made last"},
		{long: "format", text: text(&o.format), arg: "TEMPLATE", about: "such as {{.Names}}, table {{.ID}}\\t{{.Status}}, or json"},
		{long: "size", short: 's', why: "sizes are not counted; see du"},
	}
}

func (a *app) ps(args []string) error {
	o := &psOptions{}
	rest, err := parse(psFlags(o), args, true)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usageError{fmt.Errorf("%s: ps takes no arguments", rest[0])}
	}
	if err := a.dir.Reap(); err != nil {
		fmt.Fprintf(a.stderr, "%s: ps: tidy up: %v\n", a.name, err)
	}
	a.tidyNetwork()
	all, err := a.dir.List()
	if err != nil {
		return err
	}
	rows, err := o.selectFrom(all)
	if err != nil {
		return err
	}
	if o.format != "" && !o.quiet {
		return a.psBy(o, rows)
	}
	if o.quiet {
		for _, c := range rows {
			fmt.Fprintln(a.stdout, o.id(c))
		}
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES")
	now := time.Now()
	for _, c := range rows {
		from := c.Image
		if from == "" {
			from = c.RootFS
		}
		command := quote(c.Command)
		if o.full {
			command = fmt.Sprintf("%q", strings.Join(c.Command, " "))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s ago\t%s\t%s\t%s\n", o.id(c), from, command, age(now.Sub(c.Created)), status(c, now), ports(c), c.Name)
	}
	return w.Flush()
}

func (o *psOptions) id(c *runtime.Container) string {
	if o.full || len(c.ID) < 12 {
		return c.ID
	}
	return c.ID[:12]
}

// selectFrom keeps what the flags ask for. Filters of one key are alternatives,
// of different keys all must hold, as docker has it.
func (o *psOptions) selectFrom(all []*runtime.Container) ([]*runtime.Container, error) {
	wanted := map[string][]string{}
	for _, f := range o.filters {
		key, value, ok := strings.Cut(f, "=")
		if err := checkFilter(key, value, ok); err != nil {
			return nil, usageError{fmt.Errorf("--filter=%s: %w", f, err)}
		}
		wanted[key] = append(wanted[key], value)
	}
	if o.last {
		o.lastN = 1
	}
	ended := o.all || o.lastN > 0 || wanted["status"] != nil || wanted["exited"] != nil
	var rows []*runtime.Container
	for _, c := range all {
		if c.Live == nil && !ended || c.Remove && c.Live == nil {
			continue
		}
		if holds(wanted["name"], func(v string) bool { return nameMatches(c.Name, v) }) &&
			holds(wanted["id"], func(v string) bool { return strings.HasPrefix(c.ID, v) }) &&
			hasLabels(c.Labels, wanted["label"]) &&
			holds(wanted["status"], func(v string) bool { return state(c) == v }) &&
			holds(wanted["exited"], func(v string) bool { return state(c) == "exited" && !c.Ended.IsZero() && strconv.Itoa(c.Code) == v }) &&
			holds(wanted["ancestor"], func(v string) bool { return isOf(c, v) }) &&
			holds(wanted["network"], func(v string) bool { return c.Network == v }) &&
			holds(wanted["volume"], func(v string) bool { return hasVolume(c, v) }) {
			rows = append(rows, c)
		}
		if o.lastN > 0 && len(rows) == o.lastN {
			break
		}
	}
	return rows, nil
}

func holds(values []string, match func(string) bool) bool {
	for _, v := range values {
		if match(v) {
			return true
		}
	}
	return len(values) == 0
}

// hasLabels says whether all of the wanted labels are there; one without a value
// is there with any.
func hasLabels(labels, wanted []string) bool {
	for _, w := range wanted {
		if !slices.ContainsFunc(labels, func(l string) bool { return l == w || strings.HasPrefix(l, w+"=") && !strings.Contains(w, "=") }) {
			return false
		}
	}
	return true
}

// nameMatches is docker's rule: a part of the name will do, ^ and $ tie it.
func nameMatches(name, pattern string) bool {
	pattern, start := strings.CutPrefix(pattern, "^")
	pattern = strings.TrimPrefix(pattern, "/")
	pattern, end := strings.CutSuffix(pattern, "$")
	switch {
	case start && end:
		return name == pattern
	case start:
		return strings.HasPrefix(name, pattern)
	case end:
		return strings.HasSuffix(name, pattern)
	}
	return strings.Contains(name, pattern)
}

func state(c *runtime.Container) string {
	switch {
	case c.Running():
		return "running"
	case c.Live != nil:
		return "created"
	}
	return "exited"
}

func status(c *runtime.Container, now time.Time) string {
	switch state(c) {
	case "running":
		return "Up " + age(now.Sub(c.Created))
	case "created":
		return "Created"
	}
	if c.Ended.IsZero() {
		return "Exited"
	}
	return fmt.Sprintf("Exited (%d) %s ago", c.Code, age(now.Sub(c.Ended)))
}

// age says a duration as docker does.
func age(d time.Duration) string {
	plural := func(n int, unit string) string { return fmt.Sprintf("%d %s", n, unit) }
	switch {
	case d < time.Second:
		return "Less than a second"
	case d < 2*time.Second:
		return "1 second"
	case d < time.Minute:
		return plural(int(d/time.Second), "seconds")
	case d < 2*time.Minute:
		return "About a minute"
	case d < time.Hour:
		return plural(int(d/time.Minute), "minutes")
	case d < 2*time.Hour:
		return "About an hour"
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hours")
	case d < 14*24*time.Hour:
		return plural(int(d/(24*time.Hour)), "days")
	}
	return plural(int(d/(7*24*time.Hour)), "weeks")
}
