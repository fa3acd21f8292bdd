package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// scaleMax bounds how many instances a template is scaled to.
const scaleMax = 100_000

func newScale(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale TEMPLATE [NUMBER]",
		Short: "Run the instances 1 to NUMBER of a template, and no higher ones",
		Long: `Run the instances 1 to NUMBER of a template, and destroy those with a higher number.

New ones start from the template as the cluster has it now; those that are there keep their text.
Instances whose name is no number are left alone. Without NUMBER, print how many are to run.`,
		Example: "  clusterctl scale web@ 5\n  clusterctl scale web@ 2 --dry-run",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError("%sit takes a template and a number, and %s given; use it as: %s", within(cmd), counted(len(args), "word is", "words are"), cmd.UseLine())
			}
			return nil
		},
	}
	wait := addWaitFlags(cmd)
	why := addWhy(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "say what would be started and destroyed, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := wait.check("scale"); err != nil {
			return err
		}
		template, to, err := scaleArgs(args)
		if err != nil {
			return err
		}
		client, err := p.client()
		if err != nil {
			return err
		}
		defer client.Close()
		s, err := scalingOf(cmd.Context(), client, template)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			fmt.Fprintln(p.stdout, s.running())
			return nil
		}
		return p.scale(cmd.Context(), client, s, to, *why, *dry, wait)
	}
	return cmd
}

func scaleArgs(args []string) (template unit.Name, to int, err error) {
	template, err = parseName(args[0])
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("scale: %w", err)
	case !template.IsTemplate():
		fix := "name one, such as web@"
		if of, ok := template.Template(); ok {
			fix = "it is an instance of " + string(of)
		}
		return "", 0, usageError("scale %s: that is no template; %s", template, fix)
	case len(args) == 1:
		return template, 0, nil
	}
	if to, err = strconv.Atoi(args[1]); err != nil || to < 0 || to > scaleMax {
		return "", 0, usageError("scale %s: %q is no number of instances; give a whole number from 0 to %d", template, args[1], scaleMax)
	}
	return template, to, nil
}

// scaling is a template with its instances.
type scaling struct {
	template api.Unit
	numbered map[int]api.Unit
	others   []unit.Name // whose instance is no number
}

func scalingOf(ctx context.Context, client *api.Client, template unit.Name) (*scaling, error) {
	list, err := client.Units(ctx, literal(template), literal(template.InstanceOf("?*")))
	if err != nil {
		return nil, fmt.Errorf("scale: %w", err)
	}
	s := &scaling{numbered: map[int]api.Unit{}}
	for _, u := range list.Units {
		switch n, ok := instanceNumber(u.Name); {
		case !u.Known:
		case u.Name == template:
			s.template = u
		case ok:
			s.numbered[n] = u
		case u.Target != "gone":
			s.others = append(s.others, u.Name)
		}
	}
	if !s.template.Known || s.template.Target == "gone" {
		return nil, failure(api.ExitUnknown, "scale %s: not in the registry; submit it first: clusterctl submit PATH/%s", template, template)
	}
	return s, nil
}

// instanceNumber is the number that an instance's name is; false when it is none
// that scale would give.
func instanceNumber(name unit.Name) (int, bool) {
	text, _ := name.Instance()
	n, err := strconv.Atoi(text)
	return n, err == nil && n > 0 && strconv.Itoa(n) == text
}

// running counts the numbered instances that are to run.
func (s *scaling) running() int {
	n := 0
	for _, u := range s.numbered {
		if u.Target == "launched" {
			n++
		}
	}
	return n
}

// changes are what scaling to a number takes: what to start, in order, then what
// to destroy, the highest first.
func (s *scaling) changes(to int) (start, destroy []unit.Name) {
	for n := 1; n <= to; n++ {
		if s.numbered[n].Target != "launched" {
			start = append(start, s.template.Name.InstanceOf(strconv.Itoa(n)))
		}
	}
	var above []int
	for n, u := range s.numbered {
		if n > to && u.Target != "gone" {
			above = append(above, n)
		}
	}
	slices.Sort(above)
	slices.Reverse(above)
	for _, n := range above {
		destroy = append(destroy, s.numbered[n].Name)
	}
	return start, destroy
}

func (p *program) scale(ctx context.Context, client *api.Client, s *scaling, to int, why string, dry bool, wait *waitFlags) error {
	start, destroy := s.changes(to)
	s.note(p, to)
	if len(start)+len(destroy) == 0 {
		fmt.Fprintf(p.stdout, "Unit %s has %s already\n", s.template.Name, counted(to, "instance", "instances"))
		return nil
	}
	if dry {
		for _, name := range start {
			fmt.Fprintf(p.stdout, "Unit %s would be started\n", name)
		}
		for _, name := range destroy {
			fmt.Fprintf(p.stdout, "Unit %s would be destroyed\n", name)
		}
		return nil
	}
	request := api.Apply{Why: why}
	var goals []goal
	for _, name := range start {
		request.Changes = append(request.Changes, api.Change{Name: name, Target: "launched"})
		goals = append(goals, goal{verb: "start", name: name})
	}
	for _, name := range destroy {
		request.Changes = append(request.Changes, api.Change{Name: name, Target: "gone"})
		goals = append(goals, goal{verb: "destroy", name: name})
	}
	applied, err := client.Apply(ctx, request)
	if err != nil {
		return fmt.Errorf("scale %s: %w", s.template.Name, err)
	}
	p.noteApplied(applied, nil)
	for i := range goals {
		goals[i].generation = applied.Units[i].Generation
		if wait.noBlock {
			fmt.Fprintf(p.stdout, "Triggered unit %s %s\n", goals[i].name, goals[i].verb)
		}
	}
	if wait.noBlock {
		return nil
	}
	return p.wait(ctx, client, "scale", goals, wait.timeout)
}

// note says what scaling leaves as it is.
func (s *scaling) note(p *program, to int) {
	if len(s.others) > 0 {
		named := make([]string, 0, noticesMax)
		for _, name := range s.others[:min(len(s.others), noticesMax)] {
			named = append(named, string(name))
		}
		text := strings.Join(named, ", ")
		if more := len(s.others) - noticesMax; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		p.note("clusterctl: note: left alone, since their instance is no number: %s", text)
	}
	old := 0
	for n, u := range s.numbered {
		if n <= to && u.Target != "gone" && u.Hash != s.template.Hash {
			old++
		}
	}
	if old > 0 {
		p.note("clusterctl: note: %s another text than %s has now; to give it to them: clusterctl start --replace, with their names in the directory of its file",
			counted(old, "instance keeps", "instances keep"), s.template.Name)
	}
}
