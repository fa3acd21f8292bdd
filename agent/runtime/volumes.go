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
	err = d.dropVolume(name)
	unlock()
	return errors.Join(err, d.emptyTrash())
}

// dropVolume moves a volume to the trash unless a container has it. The lock is
// held.
func (d *Dir) dropVolume(name string) error {
	all, err := d.List()
	if err != nil {
		return err
	}
	for _, c := range all {
		if slices.ContainsFunc(c.Volumes, func(v Volume) bool { return v.Name == name }) {
			return fmt.Errorf("%s: container %s has it; remove that first: nsrun rm %s", name, c.Name, c.Name)
		}
	}
	err = unix.Rename(d.volume(name), filepath.Join(d.data, "trash", "volume."+name+"."+NewID()[:12]))
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", name, ErrNoVolume)
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

// dropUnnamed deletes the volumes of a container that is no more which nobody
// gave a name: with all, every one; else those its image asked for. What another
// container has stays. The lock is held.
func (d *Dir) dropUnnamed(c *Container, all bool) error {
	for _, v := range c.Volumes {
		if !Anonymous(v.Name) || !all && !v.OfImage {
			continue
		}
		users, err := d.Volumes()
		if err != nil {
			return err
		}
		at := slices.IndexFunc(users, func(n NamedVolume) bool { return n.Name == v.Name })
		if at >= 0 && len(users[at].Users) == 0 {
			if err := d.dropVolume(v.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// RemoveAll is Remove, and deletes the container's volumes that have no name, too.
func (d *Dir) RemoveAll(name string) error {
	c, err := d.Get(name)
	if err != nil {
		return d.Remove(name)
	}
	if err := d.Remove(c.Name); err != nil {
		return err
	}
	unlock, err := d.prepare()
	if err != nil {
		return err
	}
	err = d.dropUnnamed(c, true)
	unlock()
	return errors.Join(err, d.emptyTrash())
}

// DropVolumes takes back volumes that were made for a container which did not
// come to be.
func (d *Dir) DropVolumes(names []string) {
	for _, name := range names {
		unix.Rmdir(d.volume(name)) // what isn't empty is somebody's
	}
}
