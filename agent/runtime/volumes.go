package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// NamedVolume is a volume that nsrun keeps by a name.
type NamedVolume struct {
	Name  string
	Dir   string
	Users []string // containers that have it, running or not
}

// VolumeDir is where a named volume is, or would be.
func (d *Dir) VolumeDir(name string) string { return d.volume(name) }

func (d *Dir) volume(name string) string { return filepath.Join(d.data, "volumes", name) }

// Volumes lists the named volumes, those without a name of their own among them,
// in the order of their names.
func (d *Dir) Volumes() ([]NamedVolume, error) {
	entries, err := os.ReadDir(filepath.Join(d.data, "volumes"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	all, err := d.List()
	if err != nil {
		return nil, err
	}
	var list []NamedVolume
	for _, e := range entries {
		if ValidName(e.Name()) {
			v := NamedVolume{Name: e.Name(), Dir: d.volume(e.Name())}
			for _, c := range all {
				if slices.ContainsFunc(c.Volumes, func(of Volume) bool { return of.Name == v.Name }) {
					v.Users = append(v.Users, c.Name)
				}
			}
			list = append(list, v)
		}
	}
	return list, nil
}

// ErrNoVolume says that there is no volume of that name.
var ErrNoVolume = errors.New("no such volume")

// RemoveVolume deletes a volume and what is in it. One that a container has is
// an error, as docker has it.
func (d *Dir) RemoveVolume(name string) error {
	if !ValidName(name) {
		return fmt.Errorf("%s: %w", name, ErrNoVolume)
	}
	unlock, err := d.prepare()
	if err != nil {
		return err
	}
	c, err := d.holder(name, "")
	switch {
	case err != nil:
	case c != nil:
		err = fmt.Errorf("%s: container %s has it; remove that first: nsrun rm %s", name, c.Name, c.Name)
	default:
		err = d.dropVolume(name)
	}
	unlock()
	return errors.Join(err, d.emptyTrash())
}

// holder returns a container that has a volume, nil if there is none; the one
// whose id is but doesn't count. The lock is held.
func (d *Dir) holder(name, but string) (*Container, error) {
	all, err := d.List()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.ID != but && slices.ContainsFunc(c.Volumes, func(v Volume) bool { return v.Name == name }) {
			return c, nil
		}
	}
	return nil, nil
}

// dropVolume moves a volume to the trash. The lock is held.
func (d *Dir) dropVolume(name string) error {
	err := unix.Rename(d.volume(name), filepath.Join(d.data, "trash", "volume."+name+"."+NewID()[:12]))
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", name, ErrNoVolume)
	}
	if err == nil {
		err = os.RemoveAll(filling(d.volume(name))) // of a start that was killed
	}
	if err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}

// Anonymous reports whether a volume's name is one that nsrun made up.
func Anonymous(name string) bool {
	return len(name) == idLength && strings.Trim(name, "0123456789abcdef") == ""
}

// dropUnnamed deletes the volumes that were made for a container which is about
// to go: with all, every one; else those its image asked for. What another
// container has stays. The lock is held.
func (d *Dir) dropUnnamed(c *Container, all bool) error {
	for _, v := range c.Volumes {
		if !v.Made || !all && !v.OfImage {
			continue
		}
		other, err := d.holder(v.Name, c.ID)
		if err == nil && other == nil {
			err = d.dropVolume(v.Name)
		}
		if err != nil && !errors.Is(err, ErrNoVolume) {
			return err
		}
	}
	return nil
}

// makeUnnamed makes the volumes that are a container's own. Its record names them
// by then: whatever happens to us, whoever removes the container removes them.
func (d *Dir) makeUnnamed(volumes []Volume) error {
	for _, v := range volumes {
		if v.Made {
			if _, err := d.Volume(v.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// RemoveAll is Remove, and deletes all volumes that were made for the container.
func (d *Dir) RemoveAll(name string) error {
	if c, err := d.Get(name); err == nil {
		name = c.Name
	}
	return d.removeWith(name, true)
}
