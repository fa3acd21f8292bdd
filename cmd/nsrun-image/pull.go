package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/archive"
	"github.com/clusterd/clusterd/agent/image/pull"
)

type pullOptions struct {
	quiet, pinned bool
	platform      string
}

// pull fetches every image named and goes on past one that can't be had.
func (t *tool) pull(ctx context.Context, args []string) error {
	flags := t.flags("pull")
	o := pullOptions{}
	quiet := both(flags, "quiet", "q", "print names only")
	allTags := both(flags, "all-tags", "a", "")
	flags.BoolVar(&o.pinned, "require-digest", false, "refuse a REF without digest")
	flags.StringVar(&o.platform, "platform", "", aboutPlatform)
	names, err := t.parseNames(flags, args, 1, 0)
	o.quiet = *quiet
	if err != nil {
		return err
	}
	if *allTags {
		return usageError{errors.New("pull: --all-tags: not done here; name the tags that are needed")}
	}
	var failed []error
	var pulled []archive.Loaded
	for _, name := range names {
		img, err := t.pullOne(ctx, name, o)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		pulled = append(pulled, archive.Loaded{Image: img})
	}
	return errors.Join(append(failed, t.keepBudget(ctx, pulled...))...)
}

func (t *tool) pullOne(ctx context.Context, name string, o pullOptions) (*image.Image, error) {
	if image.IsPlace(name) {
		loaded, err := t.pullPlace(ctx, name, o.quiet, o.platform)
		if err != nil {
			return nil, err
		}
		if !o.quiet {
			fmt.Fprintf(t.stdout, "Status: %s\n", status(loaded.Fresh, name))
		}
		fmt.Fprintln(t.stdout, loaded.Ref)
		return loaded.Image, nil
	}
	cfg, err := t.pullConfig(name, o)
	if err != nil {
		return nil, err
	}
	shown := t.display(o.quiet)
	cfg.Progress, cfg.Watch = shown, shown.watch
	puller := pull.New(cfg)
	defer puller.Close()
	img, fresh, err := puller.Pull(ctx, name)
	shown.close()
	if err != nil {
		return nil, err
	}
	if !o.quiet {
		ref, err := image.ParseReference(name)
		if err != nil { // it was pulled by this name
			panic(fmt.Sprintf("image %q pulled, but %v", name, err))
		}
		fmt.Fprintf(t.stdout, "Digest: %s\nStatus: %s\n", img.Digest, status(fresh, ref.Familiar()))
	}
	fmt.Fprintln(t.stdout, img.Ref)
	return img, nil
}

func status(fresh bool, name string) string {
	if fresh {
		return "Downloaded newer image for " + name
	}
	return "Image is up to date for " + name
}

// pullConfig reads the settings, having asked the policy about name.
func (t *tool) pullConfig(name string, o pullOptions) (cfg pull.Config, err error) {
	ref, err := image.ParseReference(name)
	if err != nil {
		return cfg, err
	}
	policy, err := image.LoadPolicy(t.policyFile)
	if err != nil {
		return cfg, err
	}
	if err := policy.Admit(ref, o.pinned); err != nil {
		return cfg, fmt.Errorf("pull %s: %w", name, err)
	}
	if o.platform != "" {
		if cfg.Platform, err = image.ParsePlatform(o.platform); err != nil {
			return cfg, usageError{err}
		}
	}
	if cfg.Registries, err = image.LoadRegistries(t.registries); err != nil {
		return cfg, err
	}
	cfg.Store, err = t.store()
	return cfg, err
}
