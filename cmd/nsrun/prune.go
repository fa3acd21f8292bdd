package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/runtime"
)

// pruneOptions is what the flags of the prune verbs say.
type pruneOptions struct {
	all, force, volumes bool
	filters             []string
}

func pruneFlags(o *pruneOptions) []flag {
	return []flag{
		{long: "all", short: 'a', set: boolean(&o.all), about: "all images that no container uses; of volumes those with names"},
		{long: "force", short: 'f', set: boolean(&o.force), about: "don't ask"},
		{long: "filter", text: list(&o.filters), arg: "KEY=VALUE", about: "until=24h, label=NAME[=VALUE], label!=NAME[=VALUE]"},
	}
}

// volumesFlag is system prune's own.
func volumesFlag(o *pruneOptions) flag {
	return flag{long: "volumes", set: boolean(&o.volumes), about: "volumes without a name that no container has, too"}
}

func (o *pruneOptions) parse(args []string, more ...flag) error {
	rest, err := parse(append(pruneFlags(o), more...), args, true)
	if err == nil && len(rest) > 0 {
		err = usageError{fmt.Errorf("%q is one argument too many", rest[0])}
	}
	return err
}

// pruneContainers removes containers that have ended.
func (a *app) pruneContainers(args []string) error {
	o := &pruneOptions{}
	if err := o.parse(args); err != nil {
		return err
	}
	fits, err := o.filter(time.Now())
	if err != nil {
		return err
	}
	if err := a.sure(o, "This will remove all stopped containers."); err != nil {
		return err
	}
	bytes, err := a.removeStopped(fits)
	fmt.Fprintln(a.stdout, "Total reclaimed space:", size(bytes))
	return err
}

func (a *app) removeStopped(fits func(*runtime.Container) bool) (bytes int64, err error) {
	all, err := a.dir.List()
	if err != nil {
		return 0, err
	}
	var errs []error
	title := "Deleted Containers:\n"
	for _, c := range all {
		if c.Live != nil || !fits(c) {
			continue
		}
		own := a.dir.OwnBytes(c.Name)
		switch err := a.dir.Remove(c.Name); {
		case err == nil:
			fmt.Fprintf(a.stdout, "%s%s\n", title, c.ID)
			title, bytes = "", bytes+own
		case !errors.Is(err, runtime.ErrUnknown): // somebody was faster
			errs = append(errs, err)
		}
	}
	if title == "" {
		fmt.Fprintln(a.stdout)
	}
	return bytes, errors.Join(errs...)
}

// filter reads until= and label=.
func (o *pruneOptions) filter(now time.Time) (func(*runtime.Container) bool, error) {
	var tests []func(*runtime.Container) bool
	for _, f := range o.filters {
		key, value, ok := strings.Cut(f, "=")
		switch {
		case ok && key == "until":
			until, err := parseUntil(value, now)
			if err != nil {
				return nil, usageError{fmt.Errorf("--filter=%s: %w", f, err)}
			}
			tests = append(tests, func(c *runtime.Container) bool {
				at := c.Ended
				if at.IsZero() {
					at = c.Created
				}
				return at.Before(until)
			})
		case ok && (key == "label" || key == "label!"):
			tests = append(tests, func(c *runtime.Container) bool { return labelled(c.Labels, value) == (key == "label") })
		default:
			return nil, usageError{fmt.Errorf("--filter=%s: there are until=, label= and label!=", f)}
		}
	}
	return func(c *runtime.Container) bool {
		for _, test := range tests {
			if !test(c) {
				return false
			}
		}
		return true
	}, nil
}

// labelled says whether one of labels is NAME or NAME=value.
func labelled(labels []string, want string) bool {
	for _, l := range labels {
		if name, _, _ := strings.Cut(l, "="); l == want || name == want {
			return true
		}
	}
	return false
}

// parseUntil reads a time, or how long ago that was.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if d, err := image.ParseAge(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: write a duration such as 24h or 30d, or a time such as 2006-01-02T15:04:05", s)
}

// pruneVolumes removes volumes no container has: those without a name of their
// own, as docker does, and with --all the others.
func (a *app) pruneVolumes(args []string) error {
	o := &pruneOptions{}
	if err := o.parse(args); err != nil {
		return err
	}
	which := "all volumes without a name that no container has"
	if o.all {
		which = "all volumes that no container has"
	}
	if len(o.filters) > 0 {
		return usageError{fmt.Errorf("--filter=%s: volumes have no labels here", o.filters[0])}
	}
	if err := a.sure(o, "This will remove "+which+", with what is in them."); err != nil {
		return err
	}
	bytes, err := a.removeVolumes(o.all)
	fmt.Fprintln(a.stdout, "Total reclaimed space:", size(bytes))
	return err
}

func (a *app) removeVolumes(all bool) (bytes int64, err error) {
	volumes, err := a.dir.Volumes()
	if err != nil {
		return 0, err
	}
	var errs []error
	title := "Deleted Volumes:\n"
	for _, v := range volumes {
		if len(v.Users) > 0 || !all && !runtime.Anonymous(v.Name) {
			continue
		}
		own := runtime.DiskBytes(v.Dir)
		if err := a.dir.RemoveVolume(v.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(a.stdout, "%s%s\n", title, v.Name)
		title, bytes = "", bytes+own
	}
	if title == "" {
		fmt.Fprintln(a.stdout)
	}
	return bytes, errors.Join(errs...)
}

// pruneSystem removes stopped containers, then images, and with --volumes volumes.
func (a *app) pruneSystem(args []string) error {
	o := &pruneOptions{}
	if err := o.parse(args, volumesFlag(o)); err != nil {
		return err
	}
	fits, err := o.filter(time.Now())
	if err != nil {
		return err
	}
	what := "This will remove:\n  - all stopped containers\n  - all images without a name"
	if o.all {
		what = "This will remove:\n  - all stopped containers\n  - all images that no container uses"
	}
	if o.volumes {
		what += "\n  - all volumes without a name that no container has, with what is in them"
	}
	if err := a.sure(o, what); err != nil {
		return err
	}
	bytes, err := a.removeStopped(fits)
	if o.volumes {
		more, volumesErr := a.removeVolumes(false)
		bytes, err = bytes+more, errors.Join(err, volumesErr)
	}
	program, lookErr := imageProgram()
	if lookErr != nil {
		return errors.Join(err, lookErr)
	}
	images := []string{"--root", a.dir.Images(), "prune", "--force", fmt.Sprintf("--all=%t", o.all)}
	for _, f := range o.filters {
		images = append(images, "--filter", f)
	}
	fmt.Fprintf(a.stdout, "Containers and volumes: %s\nImages:\n", size(bytes))
	cmd := exec.Command(program, images...)
	cmd.Args[0] = a.name
	cmd.Stdout, cmd.Stderr = a.stdout, a.stderr
	return errors.Join(err, cmd.Run())
}

// errSayIt says that nobody is there to be asked.
var errSayIt = errors.New("nobody is there to be asked, so say it: --force")

// errNo says that the answer was no, which is no failure.
var errNo = exitError(0)

// sure asks, on a terminal, whether to go on.
func (a *app) sure(o *pruneOptions, warning string) error {
	if o.force {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err != nil {
		return errSayIt
	}
	fmt.Fprintf(a.stderr, "WARNING! %s\nAre you sure you want to continue? [y/N] ", warning)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
		return nil
	}
	return errNo
}

// size writes a number of bytes as docker does: 4.26MB.
func size(bytes int64) string {
	value, unit := float64(bytes), 0
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for value >= 1000 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g%s", value, units[unit])
}
