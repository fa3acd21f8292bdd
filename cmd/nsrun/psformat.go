package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/runtime"
)

// psBy prints rows by a template, as docker ps does.
func (a *app) psBy(o *psOptions, rows []*runtime.Container) error {
	now := time.Now()
	var values []any
	for _, c := range rows {
		values = append(values, o.describe(c, now))
	}
	switch rest, table := strings.CutPrefix(o.format, "table"); {
	case o.format == "json":
		return a.eachBy(a.stdout, "{{json .}}", values)
	case table && strings.TrimSpace(rest) != "":
		return a.table(rest, map[string]string{
			"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT", "RunningFor": "CREATED",
			"State": "STATE", "Status": "STATUS", "Ports": "PORTS", "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS",
			"Networks": "NETWORKS", "Unit": "UNIT", "Size": "SIZE",
		}, values)
	}
	return a.eachBy(a.stdout, o.format, values)
}

// describe is a row of docker ps, by the names of its templates.
func (o *psOptions) describe(c *runtime.Container, now time.Time) map[string]string {
	var mounts []string
	for _, v := range c.Volumes {
		if v.Name != "" {
			mounts = append(mounts, v.Name)
		} else {
			mounts = append(mounts, v.Source)
		}
	}
	command := quote(c.Command)
	if o.full {
		command = strconv.Quote(strings.Join(c.Command, " "))
	}
	return map[string]string{
		"ID": o.id(c), "Image": imageOf(c), "Command": command, "Names": c.Name, "State": state(c), "Status": status(c, now),
		"CreatedAt": c.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"), "RunningFor": age(now.Sub(c.Created)) + " ago",
		"Labels": strings.Join(c.Labels, ","), "Mounts": strings.Join(mounts, ","), "Networks": c.Network,
		"Ports": ports(c), "Unit": c.Unit, "Size": "",
	}
}

func imageOf(c *runtime.Container) string {
	if c.Image != "" {
		return c.Image
	}
	return c.RootFS
}

// checkFilter says what is wrong with a filter of ps.
func checkFilter(key, value string, whole bool) error {
	if !whole {
		return errors.New("write KEY=VALUE")
	}
	switch key {
	case "name", "id", "label", "network", "volume":
		return nil
	case "status":
		if !slices.Contains(strings.Fields("created restarting running removing paused exited dead"), value) {
			return fmt.Errorf("no container is %s; there are running, exited and created", value)
		}
		return nil
	case "exited":
		if _, err := strconv.Atoi(value); err != nil {
			return fmt.Errorf("%s is no exit code", value)
		}
		return nil
	case "ancestor":
		if _, err := image.ParseReference(value); err != nil && !strings.HasPrefix(value, "sha256:") {
			return err
		}
		return nil
	case "health", "expose", "publish", "before", "since", "is-task":
		return errors.New("not there yet; leave it out")
	}
	known := strings.Fields("name id label status exited ancestor network volume")
	return fmt.Errorf("no such key%s; there are %s", didYouMean(key, "", known), strings.Join(known, ", "))
}

// isOf says whether a container is of an image: named in any way, or by its digest.
func isOf(c *runtime.Container, name string) bool {
	if digest, ok := strings.CutPrefix(name, "sha256:"); ok || len(name) >= 12 {
		if strings.HasPrefix(strings.TrimPrefix(c.Digest, "sha256:"), digest) {
			return true
		}
	}
	want, err1 := image.ParseReference(name)
	is, err2 := image.ParseReference(c.Image)
	return err1 == nil && err2 == nil && want == is
}

// hasVolume says whether a container has a volume of that name, from that path,
// or at it.
func hasVolume(c *runtime.Container, v string) bool {
	return slices.ContainsFunc(c.Volumes, func(has runtime.Volume) bool { return has.Name == v || has.Source == v || has.Target == v })
}

// count reads a whole number above zero; -1 is no limit.
func count(at *int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return fmt.Errorf("%s: a number of containers; all of them: --all", v)
		}
		*at = n
		return nil
	}
}

// journalTime turns the times that docker's --since takes, which journalctl
// doesn't know, into such as it does: so long ago, RFC 3339, seconds since 1970.
func journalTime(s string, now time.Time) string {
	at := func(t time.Time) string { return fmt.Sprintf("@%d.%06d", t.Unix(), t.Nanosecond()/1000) }
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return at(now.Add(-d))
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02Z07:00"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at(t)
		}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 {
		return "@" + s
	}
	return s
}

// codeMax is how long wait waits for somebody to note the exit code of a
// container that has ended.
const codeMax = 3 * time.Second

// waitFor is docker wait: it prints the exit code of each container that ends.
func (a *app) waitFor(args []string) error {
	names, err := parse(nil, args, true)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("for which one? write its name")
	}
	var errs []error
	for _, name := range names {
		code, err := a.dir.Wait(name, codeMax)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(a.stdout, code)
	}
	return errors.Join(errs...)
}
