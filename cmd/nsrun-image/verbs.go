package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/pull"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

// pull fetches every image named and goes on past one that can't be had.
func (t *tool) pull(ctx context.Context, args []string) error {
	flags := t.flags("pull")
	quiet := flags.Bool("q", false, "")
	flags.BoolVar(quiet, "quiet", false, "")
	platform := flags.String("platform", "", "")
	refs, err := t.parseRefs(flags, args, 1)
	if err != nil {
		return err
	}
	cfg := pull.Config{Progress: t.stderr}
	if *quiet {
		cfg.Progress = io.Discard
	}
	if *platform != "" {
		if cfg.Platform, err = image.ParsePlatform(*platform); err != nil {
			return fmt.Errorf("%w; %w", err, errUsage)
		}
	}
	if cfg.Registries, err = image.LoadRegistries(t.registries); err != nil {
		return err
	}
	if cfg.Store, err = t.store(); err != nil {
		return err
	}
	puller := pull.New(cfg)
	defer puller.Close()
	var failed []error
	for _, ref := range refs {
		img, fresh, err := puller.Pull(ctx, ref)
		switch {
		case err != nil:
			failed = append(failed, err)
		case *quiet:
			fmt.Fprintln(t.stdout, img.Ref)
		default:
			t.announce(img, ref, fresh)
		}
	}
	return errors.Join(failed...)
}

func (t *tool) announce(img *image.Image, ref string, fresh bool) {
	parsed, err := image.ParseReference(ref)
	if err != nil { // it was pulled by this name
		panic(fmt.Sprintf("image %q pulled, but %v", ref, err))
	}
	what := "Pulled"
	if !fresh {
		what = "Up to date:"
	}
	fmt.Fprintf(t.stdout, "%s %s@%s\n", what, parsed.FamiliarName(), img.Digest)
}

func (t *tool) images(args []string) error {
	flags := t.flags("images")
	quiet := flags.Bool("q", false, "")
	flags.BoolVar(quiet, "quiet", false, "")
	digests := flags.Bool("digests", false, "")
	whole := flags.Bool("no-trunc", false, "")
	if err := t.parse(flags, args); err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	images, err := store.List()
	table := tabwriter.NewWriter(t.stdout, 0, 0, 3, ' ', 0)
	if !*quiet {
		title := "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE"
		if *digests {
			title = "REPOSITORY\tTAG\tDIGEST\tIMAGE ID\tCREATED\tSIZE"
		}
		fmt.Fprintln(table, title)
	}
	for _, img := range images {
		id := img.ConfigID.Short()
		if *whole {
			id = img.ConfigID.String()
		}
		if *quiet {
			fmt.Fprintln(table, id)
			continue
		}
		ref, _ := image.ParseReference(img.Ref) // it is a reference's own normal form
		tag := ref.Tag
		if tag == "" {
			tag = "<none>"
		}
		if *digests {
			tag += "\t" + img.Digest.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", ref.FamiliarName(), tag, id, age(img.Created, time.Now()), pull.Size(store.Bytes(img)))
	}
	return errors.Join(err, table.Flush())
}

// age says how long ago something was, in one unit.
func age(then, now time.Time) string {
	if then.Unix() <= 0 {
		return "N/A"
	}
	d := now.Sub(then)
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"year", 365 * 24 * time.Hour}, {"month", 30 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := int(d / unit.long); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		} else if n == 1 {
			return fmt.Sprintf("1 %s ago", unit.name)
		}
	}
	return "just now"
}

func (t *tool) remove(ctx context.Context, args []string) error {
	flags := t.flags("rmi")
	force := flags.Bool("f", false, "")
	flags.BoolVar(force, "force", false, "")
	refs, err := t.parseRefs(flags, args, 1)
	if err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	var failed []error
	for _, ref := range refs {
		removed, err := store.Remove(ctx, ref, *force)
		t.removed(removed)
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (t *tool) prune(ctx context.Context, args []string) error {
	flags := t.flags("prune")
	force := flags.Bool("f", false, "") // docker asks otherwise; there is nothing to lose here
	flags.BoolVar(force, "force", false, "")
	if err := t.parse(flags, args); err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	removed, err := store.Prune(ctx)
	t.removed(removed)
	return err
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
		fmt.Fprintln(t.stderr, "nsrun-image: a pull is under way; what is unused goes with the next removal or nsrun-image prune")
	}
}

const differencesMax = 20

// verify compares layers with the lists written when they were unpacked.
func (t *tool) verify(ctx context.Context, args []string) error {
	refs, err := t.parseRefs(t.flags("verify"), args, 0)
	if err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	var images []*image.Image
	var failed []error
	if len(refs) == 0 {
		images, err = store.List()
		if err != nil {
			failed = append(failed, err)
		}
	}
	for _, ref := range refs {
		img, err := store.Resolve(ref)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		images = append(images, img)
	}
	for _, img := range images {
		if err := t.verifyOne(ctx, store, img); err != nil {
			failed = append(failed, fmt.Errorf("image %s: %w", img.Ref, err))
			continue
		}
		fmt.Fprintf(t.stdout, "%s %s: as it was pulled\n", img.Ref, img.Digest)
	}
	return errors.Join(failed...)
}

func (t *tool) verifyOne(ctx context.Context, store *image.Store, img *image.Image) error {
	for _, d := range []image.Digest{img.Digest, img.Manifest} {
		if _, err := store.Blob(d); err != nil {
			return err
		}
	}
	for i, id := range img.DiffIDs {
		differences, err := unpack.CheckSums(ctx, store.SumsPath(id), img.Layers[i], differencesMax)
		if err != nil {
			return fmt.Errorf("layer %s: %w", id.Short(), err)
		}
		for _, d := range differences {
			fmt.Fprintf(t.stdout, "layer %s: %s\n", id.Short(), d)
		}
		if len(differences) > 0 {
			return fmt.Errorf("%w: layer %s is not what was unpacked; remove the image and pull it again", image.ErrDamaged, id.Short())
		}
	}
	return nil
}
