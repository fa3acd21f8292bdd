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
	for _, arg := range args {
		if arg == "--help" || arg == "-h" {
			return a.help([]string{"volume", verb})
		}
	}
	switch verb {
	case "create":
		return a.createVolume(args)
	case "ls", "list":
		return a.listVolumes(args)
	case "rm", "remove":
		force := false
		names, err := parse(volumeRmFlags(&force), args, true)
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
	case "help", "--help", "-h":
		return a.help([]string{"volume"})
	}
	return usageError{fmt.Errorf("%s: no such command%s", verb, didYouMean(verb, "volume ", []string{"create", "ls", "rm", "inspect", "prune"}))}
}

func volumeRmFlags(force *bool) []flag {
	return []flag{{long: "force", short: 'f', set: boolean(force), about: "one that isn't there is no error"}}
}

func volumeCreateFlags(name *string) []flag {
	const elsewhere = "volumes are directories of this machine; mount what it should be, by a .mount unit, and bind that"
	return []flag{
		{long: "name", text: text(name), arg: "NAME", about: "another way to write the name"},
		{long: "label", takes: true, why: "volumes have no labels yet; leave it out"},
		{long: "opt", short: 'o', takes: true, why: elsewhere},
		{long: "driver", short: 'd', text: func(v string) error {
			if v != "local" {
				return fmt.Errorf("%s: %s", v, elsewhere)
			}
			return nil
		}},
	}
}

func (a *app) createVolume(args []string) error {
	name := ""
	names, err := parse(volumeCreateFlags(&name), args, true)
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

func volumeLsFlags(quiet *bool) []flag {
	return []flag{
		{long: "quiet", short: 'q', set: boolean(quiet), about: "print names only"},
		{long: "filter", short: 'f', takes: true, why: "not there yet; leave it out"},
		{long: "format", takes: true, why: "not there yet; leave it out"},
	}
}

func (a *app) listVolumes(args []string) error {
	quiet := false
	if _, err := parse(volumeLsFlags(&quiet), args, false); err != nil {
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
	names, err := parse(formatFlags(&format), args, true)
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
