package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/archive"
)

// load brings in the images of an archive.
func (t *tool) load(ctx context.Context, args []string) error {
	flags := t.flags("load")
	file := word(flags, "input", "i", "the archive is `FILE` (default: standard input)")
	quiet := both(flags, "quiet", "q", "no progress")
	platform := flags.String("platform", "", aboutPlatform)
	if rest, err := t.parse(flags, args); err != nil || len(rest) > 0 {
		return errors.Join(err, tooMany("load", rest))
	}
	in, ok := t.stdin.(*os.File)
	if *file != "" {
		var err error
		if in, err = os.Open(*file); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	} else if !ok || term.IsTerminal(int(in.Fd())) {
		return usageError{errors.New("load: nothing to read: give the archive with -i FILE, or redirect one to here")}
	}
	loader, shown, err := t.loader(*quiet, *platform)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	loaded, err := loader.LoadFile(ctx, in)
	shown.close()
	if err != nil {
		err = fmt.Errorf("load: %w", err)
	}
	for _, one := range loaded {
		if !one.Named {
			fmt.Fprintln(t.stdout, "Loaded image ID:", one.ConfigID)
			continue
		}
		for _, ref := range one.Refs {
			fmt.Fprintln(t.stdout, "Loaded image:", ref.Familiar())
		}
	}
	return errors.Join(err, t.keepBudget(ctx, loaded...))
}

func tooMany(verb string, rest []string) error {
	if len(rest) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s: %q is one argument too many", verb, rest[0])}
}

// loader returns one and what shows its progress; the caller closes that.
func (t *tool) loader(quiet bool, platform string) (*archive.Loader, *display, error) {
	cfg := archive.Config{}
	var err error
	if platform != "" {
		if cfg.Platform, err = image.ParsePlatform(platform); err != nil {
			return nil, nil, usageError{err}
		}
	}
	if cfg.Policy, err = image.LoadPolicy(t.policyFile); err != nil {
		return nil, nil, err
	}
	if cfg.Store, err = t.store(); err != nil {
		return nil, nil, err
	}
	shown := t.display(quiet)
	cfg.Progress, cfg.Watch = shown, shown.watch
	return archive.New(cfg), shown, nil
}

// save writes images to an archive.
func (t *tool) save(ctx context.Context, args []string) error {
	flags := t.flags("save")
	file := word(flags, "output", "o", "write to `FILE` (default: standard output)")
	format := flags.String("format", string(image.DockerArchive), "`FORM` of the archive: docker-archive (the default; holds an OCI layout, too) or oci-archive")
	names, err := t.parseNames(flags, args, 1, 0)
	if err != nil {
		return err
	}
	form := image.Transport(*format)
	if form != image.DockerArchive && form != image.OCIArchive {
		return usageError{fmt.Errorf("save: --format=%s: there are %s and %s", *format, image.DockerArchive, image.OCIArchive)}
	}
	out, isFile := t.stdout.to.(*os.File)
	if *file == "" && isFile && term.IsTerminal(int(out.Fd())) {
		return usageError{errors.New("save: an archive is nothing for a terminal: write it with -o FILE, or redirect it")}
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	session, err := store.Begin(ctx) // so that nobody removes what is being saved
	if err != nil {
		return err
	}
	defer session.Close()
	wanted, err := wantedImages(store, names)
	if err != nil {
		return err
	}
	if *file != "" {
		err = archive.SaveFile(ctx, store, form, wanted, *file)
	} else {
		err = archive.Save(ctx, store, form, wanted, t.stdout)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("save: %w", context.Cause(ctx))
	}
	return err
}

// wantedImages finds images by name or id, each once with all the names that
// were given for it. A name without tag means latest, as everywhere here.
func wantedImages(store *image.Store, names []string) ([]archive.Wanted, error) {
	var wanted []archive.Wanted
	byID := map[image.Digest]int{}
	for _, name := range names {
		img, err := store.Find(name)
		if err != nil {
			return nil, err
		}
		at, known := byID[img.ConfigID]
		if !known {
			at = len(wanted)
			byID[img.ConfigID], wanted = at, append(wanted, archive.Wanted{Image: img})
		}
		if ref, err := image.ParseReference(name); err == nil && ref.Digest == "" && ref.String() == img.Ref {
			wanted[at].Tags = append(wanted[at].Tags, ref)
		}
	}
	return wanted, nil
}

// tag gives an image another name.
func (t *tool) tag(ctx context.Context, args []string) error {
	flags := t.flags("tag")
	both(flags, "force", "f", "") // docker had it once; a tag moves anyway
	names, err := t.parseNames(flags, args, 2, 2)
	if err != nil {
		return err
	}
	dst, err := image.ParseReference(names[1])
	if err != nil {
		return err
	}
	policy, err := image.LoadPolicy(t.policyFile)
	if err != nil {
		return err
	}
	if err := policy.Check(dst); err != nil {
		return fmt.Errorf("tag %s: %w", names[1], err)
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	session, err := store.Begin(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	img, err := store.Find(names[0])
	if err != nil {
		return err
	}
	// What may not be run may not get a name that may.
	src, err := image.ParseReference(img.Ref)
	if err != nil {
		return err
	}
	if err := policy.Check(src); err != nil {
		return fmt.Errorf("tag %s: %w", names[0], err)
	}
	return session.Retag(img, dst)
}

// pullPlace makes sure that an archive's or a layout's image is here.
func (t *tool) pullPlace(ctx context.Context, name string, quiet bool, platform string) (*archive.Loaded, error) {
	place, err := image.ParsePlace(name)
	if err != nil {
		return nil, err
	}
	loader, shown, err := t.loader(quiet, platform)
	if err != nil {
		return nil, err
	}
	defer shown.close()
	loaded, err := loader.LoadPlace(ctx, place)
	if err != nil {
		return nil, fmt.Errorf("pull %w", err)
	}
	return loaded, nil
}
