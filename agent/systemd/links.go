package systemd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/clusterd/clusterd/unit"
)

// writeLinks has other units of the cluster pull this one in as they start.
// What the machine has for itself, such as multi-user.target, is left alone: it
// is the cluster that starts its units.
func (d *Driver) writeLinks(u unit.Name, wantedBy, requiredBy []unit.Name) error {
	if err := d.removeLinks(u); err != nil {
		return err
	}
	for suffix, names := range map[string][]unit.Name{".wants": wantedBy, ".requires": requiredBy} {
		for _, by := range names {
			if by == u || d.taken(by) != "" {
				continue
			}
			dir := d.path(by) + suffix
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
				return err
			}
			if err := os.Symlink(linkTo(u), filepath.Join(dir, string(u))); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// linkTo is what our links say; others of the same name stay.
func linkTo(u unit.Name) string { return "../" + string(u) }

func (d *Driver) removeLinks(u unit.Name) error {
	dirs, err := os.ReadDir(d.unitDir)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if ext := filepath.Ext(dir.Name()); !dir.IsDir() || ext != ".wants" && ext != ".requires" {
			continue
		}
		link := filepath.Join(d.unitDir, dir.Name(), string(u))
		if to, err := os.Readlink(link); err != nil || to != linkTo(u) {
			continue
		}
		if err := os.Remove(link); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(link)) // stays while it holds others
	}
	return nil
}
