package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrInUse says that a container still needs an image.
var ErrInUse = errors.New("in use")

// Removed is what a removal took away.
type Removed struct {
	Untagged []string // references, in normal form
	Blobs    []Digest
	Layers   []Digest // diffIDs
	Bytes    int64    // what they took
	Later    bool     // a pull is under way: unused content goes with the next removal
}

// Remove takes a reference away, or all that stand for the image whose id begins
// with name, and with it all content that nothing else uses. When it is the last name of
// an image that a container holds, that is [ErrInUse]; with force the name goes
// and the content stays as long as it is held. An id with names in several
// repositories needs force, too.
func (s *Store) Remove(ctx context.Context, name string, force bool) (Removed, error) {
	refs, err := s.named(name, force)
	if err != nil {
		return Removed{}, fmt.Errorf("remove image %s: %w", name, err)
	}
	if !force {
		if err := s.checkUnused(refs); err != nil {
			return Removed{}, fmt.Errorf("remove image %s: %w", name, err)
		}
	}
	var removed Removed
	for _, r := range refs {
		if err := os.Remove(s.refPath(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove image %s: %w", name, err)
		}
		removed.Untagged = append(removed.Untagged, r.String())
	}
	swept, err := s.sweep()
	if errors.Is(err, errLocked) {
		removed.Later = true
		return removed, nil
	}
	swept.Untagged = removed.Untagged
	return swept, err
}

// named returns the references that a name or an id stands for.
func (s *Store) named(name string, force bool) ([]Reference, error) {
	r, err := ParseReference(name)
	if err == nil {
		var refs []Reference
		if refs, err = s.matching(r); !errors.Is(err, ErrNoImage) {
			return refs, err
		}
	}
	refs, idErr := s.byID(name)
	if idErr != nil || refs == nil {
		return nil, errors.Join(idErr, err)
	}
	for _, ref := range refs[1:] {
		if ref.FamiliarName() != refs[0].FamiliarName() && !force {
			return nil, fmt.Errorf("it has several names, such as %s and %s; remove those, or all with -f", refs[0].Familiar(), ref.Familiar())
		}
	}
	return refs, nil
}

// matching returns the references that r names: its own, or with a digest all
// of its repository that stand for that.
func (s *Store) matching(r Reference) ([]Reference, error) {
	if r.Digest == "" {
		if _, err := os.Lstat(s.refPath(r)); err != nil {
			return nil, ErrNoImage
		}
		return []Reference{r}, nil
	}
	all, err := s.references()
	if err != nil {
		return nil, err
	}
	var found []Reference
	for _, other := range all {
		if other.Registry != r.Registry || other.Repository != r.Repository {
			continue
		}
		rec, _, err := s.record(other)
		if other.Digest == r.Digest || err == nil && (rec.Digest == r.Digest || rec.Manifest == r.Digest) {
			found = append(found, other)
		}
	}
	if found == nil {
		return nil, ErrNoImage
	}
	return found, nil
}

// checkUnused returns ErrInUse when a container holds an image that has no name but refs.
func (s *Store) checkUnused(refs []Reference) error {
	held, err := s.leases()
	if err != nil || len(held) == 0 {
		return err
	}
	all, err := s.references()
	if err != nil {
		return err
	}
	names := map[Digest]int{} // by configuration
	for _, ref := range all {
		if rec, _, err := s.record(ref); err == nil {
			names[rec.Config]++
		}
	}
	for _, ref := range refs {
		rec, _, err := s.record(ref)
		if err != nil {
			continue // a damaged record keeps nothing alive
		}
		if names[rec.Config]--; names[rec.Config] > 0 {
			continue
		}
		for holder, l := range held {
			if l.Config == rec.Config {
				return fmt.Errorf("%w by container %s; remove that first: nsrun rm %s", ErrInUse, holder, holder)
			}
		}
	}
	return nil
}
