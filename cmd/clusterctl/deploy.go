package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// deployment is one unit that submit, load or start is asked for.
type deployment struct {
	name  unit.Name
	arg   string // as the user gave it
	dir   string // where local files are looked for
	path  bool   // the argument was a path: a file must be there
	local []byte // the unit's local file, or its template's; nil when there is none
	file  string // its path
}

func newSubmit(p *program) *cobra.Command {
	return newDeploy(p, &cobra.Command{
		Use:   "submit UNIT|FILE...",
		Short: "Hand unit files to the cluster, without running them",
		Long: `Hand unit files to the cluster, without running them.

A file is checked first: by what is known of systemd's settings, then by the systemd of a machine
the unit may come to. What that would refuse, ignore or misread is an error, and nothing is changed.
Who may submit a unit is root on the machines it lands on, since a unit may run anything as anybody.`,
		Example: `  clusterctl submit ./busybox.service
  clusterctl submit web@.service web@{1..9}
  clusterctl submit --replace ./busybox.service`,
	}, "")
}

func newLoad(p *program) *cobra.Command {
	return newDeploy(p, &cobra.Command{
		Use:   "load UNIT|FILE...",
		Short: "Place units on machines, without starting them; submits files first",
		Example: `  clusterctl load ./busybox.service
  clusterctl load 'web@*'`,
	}, "loaded")
}

func newStart(p *program) *cobra.Command {
	return newDeploy(p, &cobra.Command{
		Use:   "start UNIT|FILE...",
		Short: "Start units; submits files and places units first",
		Long: `Start units and wait until they run, or until it is certain that they don't.

A name is looked up in the registry, as a local file, as a template in the registry and as a
local template, in this order.`,
		Example: `  clusterctl start ./busybox.service
  clusterctl start web@{1..9} --timeout 1m
  clusterctl start --replace ./busybox.service`,
	}, "launched")
}

// deployFlags are what submit, load and start have in common.
type deployFlags struct{ replace, allowUnknown bool }

// newDeploy completes the command of one of the verbs that take files. The
// target is the one the verb raises units to.
func newDeploy(p *program, cmd *cobra.Command, target string) *cobra.Command {
	replace := cmd.Flags().Bool("replace", false, "let a local file take the place of the registry's; a unit that runs is stopped and started with it")
	allow := addAllowUnknown(cmd)
	why := addWhy(cmd)
	dry := addPlan(cmd)
	var wait *waitFlags
	if target != "" {
		wait = addWaitFlags(cmd)
	}
	cmd.Args = unitArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := wait.check(cmd.Name()); err != nil {
			return err
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		request, names, files, err := p.deploy(cmd.Context(), client, cmd.Name(), target, args, deployFlags{*replace, *allow})
		if err != nil {
			return err
		}
		request.Why = *why
		if *dry {
			return p.plan(cmd.Context(), client, cmd.Name(), request)
		}
		return p.apply(cmd.Context(), client, cmd.Name(), request, names, files, wait)
	}
	return cmd
}

// deploy turns arguments into one request for all units, or an error that
// names all that is wrong with them. The files are the paths of those it sends.
func (p *program) deploy(ctx context.Context, client *api.Client, verb, target string, args []string, flags deployFlags) (request api.Apply, names []unit.Name, files map[unit.Name]string, err error) {
	request = api.Apply{Files: map[unit.Hash][]byte{}, AllowUnknown: flags.allowUnknown}
	deployments, err := p.deployments(ctx, client, verb, target, args, flags.replace)
	if err != nil {
		return request, nil, nil, err
	}
	var asked []unit.Name
	for _, d := range deployments {
		names = append(names, d.name)
		asked = append(asked, d.name)
		if template, ok := d.name.Template(); ok {
			asked = append(asked, template)
		}
	}
	found, err := lookup(ctx, client, asked)
	if err != nil {
		return request, nil, nil, fmt.Errorf("%s: %w", verb, err)
	}
	var errs []error
	files = map[unit.Name]string{}
	for _, d := range deployments {
		change, err := p.change(ctx, client, verb, d, found, flags)
		if err != nil {
			// Instances of one template have the same things wrong with them.
			if !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
				errs = append(errs, err)
			}
			continue
		}
		if change.File != "" {
			request.Files[change.File] = d.local
			files[d.name] = d.file
		}
		change.Target = target
		if verb == "load" && found[d.name].Target == "launched" {
			change.Target = "" // a load takes nothing back
			p.note("load %s: it is launched already; to stop it: clusterctl stop %s", d.name, d.name)
		}
		request.Changes = append(request.Changes, change)
	}
	return request, names, files, errors.Join(errs...)
}

// deployments reads arguments and the local files they mean.
func (p *program) deployments(ctx context.Context, client *api.Client, verb, target string, args []string, replace bool) ([]deployment, error) {
	var all []deployment
	seen := map[unit.Name]bool{}
	add := func(d deployment) {
		if !seen[d.name] {
			seen[d.name] = true
			all = append(all, d)
		}
	}
	for _, arg := range args {
		if isGlob(arg) && !strings.Contains(arg, "/") {
			if replace {
				return nil, usageError("%s %s: a pattern means units of the cluster, and --replace takes files; name the units one by one", verb, arg)
			}
			units, err := known(ctx, client, verb, []string{arg})
			if err != nil {
				return nil, err
			}
			for _, u := range units {
				add(deployment{name: u.Name, arg: string(u.Name)})
			}
			continue
		}
		d, err := readDeployment(verb, arg)
		if err != nil {
			return nil, err
		}
		if d.name.IsTemplate() && target != "" {
			return nil, usageError("%s %s: a template runs nowhere; name an instance, such as %s", verb, d.name, d.name.InstanceOf("1"))
		}
		add(d)
	}
	return all, nil
}

// readDeployment reads one argument: a unit's name, or the path of a file.
func readDeployment(verb, arg string) (deployment, error) {
	d := deployment{arg: arg, dir: filepath.Dir(arg), path: strings.Contains(arg, "/")}
	if arg == "" {
		return d, usageError("%s: the name of a unit is empty; give one, such as web.service", verb)
	}
	name, err := unitOfFile(filepath.Base(arg))
	if err != nil {
		return d, usageError("%s: %v", verb, err)
	}
	d.name = name
	for _, candidate := range filesOf(name, filepath.Base(arg)) {
		d.file = filepath.Join(d.dir, candidate)
		d.local, err = readUnitFile(d.file)
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return d, usageError("%s %s: %v", verb, name, err)
		}
	}
	if d.path {
		return d, usageError("%s %s: no such file%s; give the path of a unit file, or the unit's name, which has no /", verb, arg, d.lookedFor())
	}
	return d, nil
}

// lookedFor names the file that stood for an argument without a suffix.
func (d deployment) lookedFor() string {
	if base := filepath.Base(d.arg); base == string(d.name) || strings.HasSuffix(base, container.Suffix) {
		return ""
	}
	return " as " + filepath.Join(d.dir, string(d.name))
}

// readUnitFile reads a file of bounded size. A directory of that name is not
// meant.
func readUnitFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file; give the path of a unit file", path)
	}
	if info.Size() > unit.FileMax {
		return nil, fmt.Errorf("%s has %d bytes; a unit file has at most %d", path, info.Size(), unit.FileMax)
	}
	text, err := os.ReadFile(path)
	if text == nil && err == nil {
		text = []byte{}
	}
	return text, err
}

// change decides what is asked for one unit: its registry file, its local
// file, the template the registry has, the local template, whichever is first.
func (p *program) change(ctx context.Context, client *api.Client, verb string, d deployment, found map[unit.Name]api.Unit, flags deployFlags) (api.Change, error) {
	change := api.Change{Name: d.name}
	current, inRegistry := found[d.name]
	inRegistry = inRegistry && current.Known && current.Target != "gone"
	source := current
	if template, ok := d.name.Template(); ok && !inRegistry && !isFileOf(d.file, d.name) {
		source = found[template] // the local file is a template's, and the registry may have its own
	}
	fromTemplate := !inRegistry && source.Known && source.Target != "gone"
	if d.local == nil {
		if !inRegistry && !fromTemplate {
			return change, failure(api.ExitUnknown, "%s %s: neither in the registry nor a file here; give the path of its file: clusterctl %s PATH/%s", verb, d.name, verb, d.name)
		}
		return change, nil
	}
	hash := unit.HashOf(d.local)
	switch {
	case (inRegistry || fromTemplate) && source.Hash == hash:
		if flags.allowUnknown && inRegistry {
			change.File = hash // what it says may be ignored from now on
		}
		return change, nil // the same text
	case (inRegistry || fromTemplate) && !flags.replace:
		return change, p.differs(ctx, client, verb, d, source)
	}
	if err := check(d, flags.allowUnknown); err != nil {
		return change, err
	}
	change.File, change.Replace = hash, flags.replace
	if inRegistry && d.name.IsTemplate() {
		p.noteInstances(ctx, client, verb, d)
	}
	return change, nil
}

// noteInstances says that the instances of a template that is replaced keep the
// text they have. Without an answer it says nothing.
func (p *program) noteInstances(ctx context.Context, client *api.Client, verb string, d deployment) {
	list, err := client.Units(ctx, literal(d.name.InstanceOf("?*")))
	if err != nil {
		return
	}
	var keep []string
	for _, u := range list.Units {
		if u.Known && u.Target != "gone" && u.Hash != unit.HashOf(d.local) {
			keep = append(keep, string(u.Name))
		}
	}
	if len(keep) == 0 {
		return
	}
	named := strings.Join(keep[:min(len(keep), noticesMax)], ", ")
	if more := len(keep) - noticesMax; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	first := filepath.Join(d.dir, keep[0])
	if strings.HasSuffix(d.file, container.Suffix) {
		first = strings.TrimSuffix(first, ".service") + container.Suffix
	}
	p.note("clusterctl: note: %s keep the text they have; to give it to them, too: clusterctl %s --replace %s", named, verb, first)
}

// differs is the error for a local file that is not what the registry has.
func (p *program) differs(ctx context.Context, client *api.Client, verb string, d deployment, source api.Unit) error {
	text := fmt.Sprintf("%s %s: the file %s is not what the registry has as %s; go on with clusterctl %s --replace %s, or look with clusterctl cat %s",
		verb, d.name, d.file, source.Name, verb, d.arg, source.Name)
	if old, err := client.File(ctx, source.Hash); err == nil {
		text += "\n" + strings.TrimSuffix(diff(string(old), string(d.local)), "\n")
	}
	return failure(api.ExitFailed, "%s", text)
}
