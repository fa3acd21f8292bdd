package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/unpack"
)

const differencesMax = 20

// verify compares layers with the lists written when they were unpacked. Those
// that differ are marked, so that the next pull makes them again.
func (t *tool) verify(ctx context.Context, args []string) error {
	refs, err := t.parseNames(t.flags("verify"), args, 0, 0)
	if err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	session, err := store.Begin(ctx) // so that nobody removes what is being read
	if err != nil {
		return err
	}
	defer session.Close()
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
		if err := t.verifyOne(ctx, store, session, img); err != nil {
			failed = append(failed, fmt.Errorf("image %s: %w", img.Ref, err))
			continue
		}
		fmt.Fprintf(t.stdout, "%s %s: as it was pulled\n", img.Ref, img.Digest)
	}
	return errors.Join(failed...)
}

func (t *tool) verifyOne(ctx context.Context, store *image.Store, session *image.Session, img *image.Image) error {
	for _, d := range []image.Digest{img.Digest, img.Manifest} {
		if _, err := store.Blob(d); err != nil {
			return err
		}
	}
	if err := store.CheckBlueprint(img); err != nil {
		return err
	}
	damaged := ""
	for i, id := range img.DiffIDs {
		differences, err := unpack.CheckSums(ctx, store.SumsPath(id), img.Layers[i], differencesMax)
		if errors.Is(err, fs.ErrNotExist) { // the list, or what goes while we look
			differences, err = []string{err.Error()}, nil
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", id.Short(), err)
		}
		for _, d := range differences {
			fmt.Fprintf(t.stdout, "layer %s: %s\n", id.Short(), d)
		}
		if len(differences) == 0 {
			continue
		}
		if err := session.MarkDamaged(id); err != nil {
			return err
		}
		damaged += " " + id.Short()
	}
	if damaged != "" {
		return fmt.Errorf("%w: not what was unpacked: layer%s; repair it: nsrun pull %s", image.ErrDamaged, damaged, img.Ref)
	}
	return nil
}
