package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/archive"
	"github.com/clusterd/clusterd/agent/image/pull"
)

// remove takes images' names away, and what nothing needs any more with them.
func (t *tool) remove(ctx context.Context, args []string) error {
	flags := t.flags("rmi")
	force := both(flags, "force", "f", "an image that a container uses, too (its content stays as long); one that isn't here is no error")
	flags.Bool("no-prune", false, "")
	names, err := t.parseNames(flags, args, 1, 0)
	if err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		removed, err := store.Remove(ctx, name, *force)
		t.removed(removed)
		if errors.Is(err, image.ErrNoImage) && *force { // as docker does
			t.say("%v", err)
			err = nil
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// prune removes what isn't used.
func (t *tool) prune(ctx context.Context, args []string) error {
	flags := t.flags("prune")
	all := both(flags, "all", "a", "all images that no container uses, not only those without a name")
	force := both(flags, "force", "f", "don't ask")
	keep := flags.String("keep-storage", "", "as --all, the longest unused first, until `SIZE` is left: 10G, 500M")
	var filters list
	flags.Var(&filters, "filter", "only images that `NAME=VALUE` is true of; may stand several times")
	if rest, err := t.parse(flags, args); err != nil || len(rest) > 0 {
		return errors.Join(err, tooMany("prune", rest))
	}
	o, err := collection(*all, filters, *keep)
	if err != nil {
		return usageError{fmt.Errorf("prune: %w", err)}
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	named := *all || *keep != ""
	what := "all images without a name"
	if named {
		what = "all images that no container uses"
	}
	if yes, err := t.sure(*force, named, "WARNING! This will remove "+what+"."); err != nil || !yes {
		return err
	}
	removed, err := store.Collect(ctx, o)
	t.removed(removed)
	fmt.Fprintln(t.stdout, "Total reclaimed space:", pull.Size(removed.Bytes))
	return err
}

// collection turns the flags of prune into what is to go. Untagged images of
// archives always are.
func collection(all bool, filters []string, keep string) (o image.Collection, err error) {
	o.All = true
	var labels, without []string
	for _, f := range filters {
		key, value, _ := strings.Cut(f, "=")
		switch {
		case key == "until":
			if o.Before, err = parseUntil(value, time.Now()); err != nil {
				return o, err
			}
		case key == "label":
			labels = append(labels, value)
		case key == "label!":
			without = append(without, value)
		case key == "dangling" && (value == "true" || value == "false"):
			all = all || value == "false"
		default:
			return o, fmt.Errorf("--filter=%s: there are until=, label= and label!=", f)
		}
	}
	if keep != "" {
		if o.KeepMax, err = image.ParseSize(keep); err != nil {
			return o, fmt.Errorf("--keep-storage=%s: %w", keep, err)
		}
		all, o.KeepMax = true, max(o.KeepMax, 1)
	}
	o.Accept = func(img *image.Image, _ time.Time) bool {
		has := func(label string) bool {
			name, want, hasValue := strings.Cut(label, "=")
			got, ok := img.Config.Labels[name]
			return ok && (!hasValue || got == want)
		}
		return (all || refOf(img).FamiliarName() == archive.Untagged) && !slices.ContainsFunc(without, has) &&
			!slices.ContainsFunc(labels, func(l string) bool { return !has(l) })
	}
	return o, nil
}

// sure asks, on a terminal, whether to go on. Without one, what has a name is
// removed only with --force.
func (t *tool) sure(force, named bool, warning string) (bool, error) {
	file, ok := t.stdin.(*os.File)
	switch terminal := ok && term.IsTerminal(int(file.Fd())); {
	case force || !terminal && !named:
		return true, nil
	case !terminal:
		return false, errors.New("prune: removes images that have a name, and nobody is there to be asked, so say it: --force")
	}
	fmt.Fprintf(t.stderr, "%s\nAre you sure you want to continue? [y/N] ", warning)
	answer, err := bufio.NewReader(t.stdin).ReadString('\n')
	if err != nil && answer == "" {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

func (t *tool) removed(r image.Removed) {
	for _, ref := range r.Untagged {
		if parsed, err := image.ParseReference(ref); err == nil {
			ref = parsed.Familiar()
		}
		fmt.Fprintln(t.stdout, "Untagged:", ref)
	}
	for _, d := range append(r.Blobs, r.Layers...) {
		fmt.Fprintln(t.stdout, "Deleted:", d)
	}
	if r.Later {
		t.say("a pull is under way; what is unused goes with the next removal or %s prune", t.name)
	}
}

// keepBudget removes what policy.conf says is too old or too much. What was just
// brought in stays, and so does what another process is busy with.
func (t *tool) keepBudget(ctx context.Context, keep ...archive.Loaded) error {
	policy, err := image.LoadPolicy(t.policyFile)
	if err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	var ids []image.Digest
	for _, one := range keep {
		ids = append(ids, one.ConfigID)
	}
	removed, err := store.KeepBudget(ctx, policy, time.Now(), ids...)
	for _, ref := range removed.Untagged {
		t.say("removed %s: %s keeps no more", ref, t.policyFile)
	}
	if err != nil { // what was wanted is here
		t.say("warning: %v", err)
	}
	return nil
}
