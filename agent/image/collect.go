package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// graceTime is how long an image that was just pulled is safe from budgets: whoever
// pulled it may be about to start it.
const graceTime = 10 * time.Minute

// Collection says what [Store.Collect] is to remove besides what has no name. The
// zero value removes nothing else.
type Collection struct {
	All     bool                                  // images that no container holds
	Before  time.Time                             // of these only those last pulled or used before; zero: whenever
	KeepMax int64                                 // and only as many, the longest unused first, as leave that many bytes; 0: all of them
	Accept  func(img *Image, used time.Time) bool // and only these; nil: any
	NoWait  bool                                  // when something is being pulled: do nothing, and say Later
}

// Collect removes images as o says, and then what no name and no container uses.
// It has the store for itself while it chooses, so that nothing is taken away from a
// container that is about to hold it. Killed at any moment it leaves no half of an image.
func (s *Store) Collect(ctx context.Context, o Collection) (removed Removed, err error) {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return Removed{}, nil
	}
	var lock *fileLock
	if o.NoWait {
		lock, err = tryLock(s.lockPath(), unix.LOCK_EX)
	} else {
		lock, err = waitLock(ctx, s.lockPath(), unix.LOCK_EX)
	}
	if errors.Is(err, errLocked) && o.NoWait {
		return Removed{Later: true}, nil
	}
	if err != nil {
		return Removed{}, fmt.Errorf("prune images: %w", err)
	}
	removed, gone, err := s.collectLocked(o)
	lock.release()
	return removed, errors.Join(err, os.RemoveAll(gone))
}

func (s *Store) collectLocked(o Collection) (removed Removed, gone string, err error) {
	var untagged []string
	if o.All {
		refs, err := s.chosen(o)
		if err != nil {
			return Removed{}, "", fmt.Errorf("prune images: nothing removed: %w", err)
		}
		for _, ref := range refs {
			if err := os.Remove(s.refPath(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return Removed{Untagged: untagged}, "", err
			}
			untagged = append(untagged, ref.String())
		}
	}
	removed, gone, err = s.sweepLocked()
	removed.Untagged = untagged
	return removed, gone, err
}

// Prune removes what no reference and no container uses, and the beginnings of
// blobs, waiting for pulls to end.
func (s *Store) Prune(ctx context.Context) (Removed, error) { return s.Collect(ctx, Collection{}) }

// KeepBudget removes images that p says are too old or too many, but none that a
// container holds, that was pulled or used just now, or that keep names. It
// waits for nobody: whoever pulls next does the rest.
func (s *Store) KeepBudget(ctx context.Context, p *Policy, now time.Time, keep ...Digest) (Removed, error) {
	if p.MaxBytes == 0 && p.MaxAge == 0 {
		return Removed{}, nil
	}
	accept := func(img *Image, used time.Time) bool {
		return now.Sub(used) > graceTime && !slices.Contains(keep, img.ConfigID)
	}
	var removed Removed
	if p.MaxAge > 0 {
		var err error
		removed, err = s.Collect(ctx, Collection{All: true, Before: now.Add(-p.MaxAge), Accept: accept, NoWait: true})
		if err != nil || removed.Later || p.MaxBytes == 0 {
			return removed, err
		}
	}
	more, err := s.Collect(ctx, Collection{All: true, KeepMax: p.MaxBytes, Accept: accept, NoWait: true})
	more.add(removed)
	return more, err
}

func (r *Removed) add(other Removed) {
	r.Untagged = append(other.Untagged, r.Untagged...)
	r.Blobs = append(other.Blobs, r.Blobs...)
	r.Layers = append(other.Layers, r.Layers...)
	r.Bytes += other.Bytes
	r.Later = r.Later || other.Later
}

// use is an image's name and what it needs.
type use struct {
	ref  Reference
	img  *Image
	used time.Time
}

// chosen returns the references that o says are to go. The caller has the
// store for itself.
func (s *Store) chosen(o Collection) ([]Reference, error) {
	refs, err := s.references()
	if err != nil {
		return nil, err
	}
	held, err := s.leases()
	if err != nil {
		return nil, err
	}
	holds := map[Digest]bool{} // configurations
	users := map[Digest]int{}  // names of each layer
	for _, l := range held {
		holds[l.Config] = true
	}
	var candidates []use
	var total int64
	for _, ref := range refs {
		img, err := s.load(ref)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w; repair it: nsrun pull %s", ref.Familiar(), err, ref.Familiar())
		}
		for _, id := range img.DiffIDs {
			if users[id]++; users[id] == 1 {
				total += s.LayerBytes(id)
			}
		}
		u := use{ref, img, img.Pulled}
		if holds[img.ConfigID] || !o.Before.IsZero() && !u.used.Before(o.Before) || o.Accept != nil && !o.Accept(img, u.used) {
			continue
		}
		candidates = append(candidates, u)
	}
	slices.SortStableFunc(candidates, func(a, b use) int { return a.used.Compare(b.used) })
	var gone []Reference
	for _, u := range candidates {
		if o.KeepMax > 0 && total <= o.KeepMax {
			break
		}
		for _, id := range u.img.DiffIDs {
			if users[id]--; users[id] == 0 {
				total -= s.LayerBytes(id)
			}
		}
		gone = append(gone, u.ref)
	}
	return gone, nil
}
