package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

const differencesMax = 20

// verify compares layers with the lists written when they were unpacked.
func (t *tool) verify(ctx context.Context, args []string) error {
	refs, err := t.parseNames(t.flags("verify"), args, 0, 0)
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
		img, err := store.Find(ref)
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
	if err := store.CheckBlueprint(img); err != nil {
		return err
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
