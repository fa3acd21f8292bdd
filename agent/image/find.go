package image

import (
	"errors"
	"fmt"
	"strings"
)

// Find is Resolve that also takes an image's id, or its beginning, as docker
// does. A reference of that name comes first.
func (s *Store) Find(name string) (*Image, error) {
	img, err := s.Resolve(name)
	if !errors.Is(err, ErrNoImage) {
		if _, bad := ParseReference(name); bad == nil {
			return img, err
		}
	}
	refs, byID := s.byID(name)
	if byID != nil {
		return nil, byID
	}
	if len(refs) == 0 {
		return nil, err
	}
	return s.load(refs[0])
}

// byID returns the references that stand for the image whose id begins with name;
// none when name is no id, an error when it could be several images'.
func (s *Store) byID(name string) ([]Reference, error) {
	prefix := strings.TrimPrefix(name, digestPrefix)
	if prefix == "" || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil, nil
	}
	all, err := s.references()
	if err != nil {
		return nil, err
	}
	var found []Reference
	var id Digest
	for _, ref := range all {
		rec, _, err := s.record(ref)
		if err != nil || !strings.HasPrefix(rec.Config.Hex(), prefix) {
			continue
		}
		if id != "" && rec.Config != id {
			return nil, fmt.Errorf("image %s: that could be %s or %s; write more of the id", name, id.Short(), rec.Config.Short())
		}
		id, found = rec.Config, append(found, ref)
	}
	return found, nil
}

// Retag makes dst stand for what src stands for.
func (x *Session) Retag(src *Image, dst Reference) error {
	if dst.Digest != "" {
		return fmt.Errorf("tag %s: a name for an image has no digest", dst.Familiar())
	}
	return x.Tag(dst, src.Digest, src.Manifest, src.ConfigID)
}
