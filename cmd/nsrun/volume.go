package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/clusterd/clusterd/agent/runtime"
)

// volume is docker volume create, ls, rm, inspect and prune.
func (a *app) volume(args []string) error {
	if len(args) == 0 {
		return errors.New("which of create, ls, rm, inspect and prune?")
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "create":
		return a.createVolume(args)
	case "ls", "list":
		return a.listVolumes(args)
	case "rm", "remove":
		force := false
		names, err := parse([]flag{{long: "force", short: 'f', set: boolean(&force)}}, args, true)
		if err != nil {
			return err
		}
		return a.each(names, func(name string) error {
			err := a.dir.RemoveVolume(name)
			if force && errors.Is(err, runtime.ErrNoVolume) {
				return errNothing
			}
			return err
		})
	case "inspect":
		return a.inspectVolumes(args)
	case "prune":
		return a.pruneVolumes(args)
	}
	return usageError{fmt.Errorf("%s: no such command%s", verb, didYouMean(verb, "volume ", []string{"create", "ls", "rm", "inspect", "prune"}))}
}

func (a *app) createVolume(args []string) error {
	name := ""
	const elsewhere = "volumes are directories of this machine; mount what it should be, by a .mount unit, and bind that"
	names, err := parse([]flag{
		{long: "name", text: text(&name)},
		{long: "label", takes: true, why: "volumes have no labels yet; leave it out"},
		{long: "opt", short: 'o', takes: true, why: elsewhere},
		{long: "driver", short: 'd', text: func(v string) error {
			if v != "local" {
				return fmt.Errorf("%s: %s", v, elsewhere)
			}
			return nil
		}},
	}, args, true)
	switch {
	case err != nil:
		return err
	case len(names) > 1 || len(names) == 1 && name != "":
		return usageError{errors.New("write one name")}
	case len(names) == 1:
		name = names[0]
	case name == "":
		name = runtime.NewID()
	}
	if !runtime.ValidName(name) {
		return usageError{fmt.Errorf("%q: letters, digits, _ . and - only, two at least, a letter or digit first", name)}
	}
	if _, err := a.dir.Volume(name); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, name)
	return nil
}

func (a *app) listVolumes(args []string) error {
	quiet := false
	if _, err := parse([]flag{
		{long: "quiet", short: 'q', set: boolean(&quiet)},
		{long: "filter", short: 'f', takes: true, why: "not there yet; leave it out"},
		{long: "format", takes: true, why: "not there yet; leave it out"},
	}, args, false); err != nil {
		return err
	}
	all, err := a.dir.Volumes()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 8, 4, ' ', 0)
	if !quiet {
		fmt.Fprintln(w, "DRIVER\tVOLUME NAME")
	}
	for _, v := range all {
		if quiet {
			fmt.Fprintln(w, v.Name)
		} else {
			fmt.Fprintf(w, "local\t%s\n", v.Name)
		}
	}
	return w.Flush()
}

func (a *app) inspectVolumes(args []string) error {
	format := ""
	names, err := parse([]flag{{long: "format", short: 'f', text: text(&format)}}, args, true)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errors.New("which volume? write its name")
	}
	all, err := a.dir.Volumes()
	if err != nil {
		return err
	}
	var found []any
	var errs []error
	for _, name := range names {
		err := fmt.Errorf("%s: %w", name, runtime.ErrNoVolume)
		for _, v := range all {
			if v.Name == name {
				found, err = append(found, map[string]any{"Name": v.Name, "Driver": "local", "Mountpoint": v.Dir, "Scope": "local", "Labels": nil, "Options": nil}), nil
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, a.show(format, found))...)
}
