package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	godbus "github.com/godbus/dbus/v5"

	"github.com/clusterd/clusterd/unit"
)

// link says by what a unit is pulled in as that starts. A link in the unit
// directory makes it so.
type link struct {
	by  unit.Name
	dir string // what by's directory of such links ends in
}

// linkDirs are the ends of such directories' names, each with the property of a
// unit that says the same once it is in systemd's memory.
var linkDirs = map[string]string{".wants": "Wants", ".requires": "Requires"}

func (d *Driver) linkPath(u unit.Name, l link) string {
	return filepath.Join(d.path(l.by)+l.dir, string(u))
}

// wantedLinks has other units of the cluster pull this one in. What the machine
// has for itself, such as multi-user.target, is left alone: it is the cluster
// that starts its units.
func (d *Driver) wantedLinks(u unit.Name, wantedBy, requiredBy []unit.Name) []link {
	var links []link
	add := func(dir string, names []unit.Name) {
		for _, by := range names {
			if by != u && d.taken(by) == "" && !slices.Contains(links, link{by, dir}) {
				links = append(links, link{by, dir})
			}
		}
	}
	add(".wants", wantedBy)
	add(".requires", requiredBy)
	return links
}

// links are those of ours that pull a unit in.
func (d *Driver) links(u unit.Name) ([]link, error) {
	dirs, err := os.ReadDir(d.unitDir)
	if err != nil {
		return nil, err
	}
	var links []link
	for _, dir := range dirs {
		ext := filepath.Ext(dir.Name())
		l := link{unit.Name(strings.TrimSuffix(dir.Name(), ext)), ext}
		if !dir.IsDir() || linkDirs[ext] == "" {
			continue
		}
		if to, err := os.Readlink(d.linkPath(u, l)); err == nil && to == linkTo(u) {
			links = append(links, l)
		}
	}
	return links, nil
}

// linkTo is what our links say; others of the same name stay.
func linkTo(u unit.Name) string { return "../" + string(u) }

// writeLinks makes of the links that a unit has those that are wanted.
func (d *Driver) writeLinks(u unit.Name, has, want []link) error {
	for _, l := range has {
		if slices.Contains(want, l) {
			continue
		}
		if err := os.Remove(d.linkPath(u, l)); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(d.linkPath(u, l))) // stays while it holds others
	}
	for _, l := range want {
		dir := filepath.Dir(d.linkPath(u, l))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
			return err
		}
		if err := os.Symlink(linkTo(u), d.linkPath(u, l)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// changeLinks writes a unit's links by way of change, and has systemd see them.
func (d *Driver) changeLinks(ctx context.Context, b *bus, u unit.Name, want []link, change func(had []link) error) error {
	had, err := d.links(u)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the links to %s: %w", u, err)
	}
	d.mu.Lock()
	unseen := d.unseen[u]
	for _, l := range append(slices.Clone(had), want...) {
		if slices.Contains(had, l) != slices.Contains(want, l) {
			unseen = append(unseen, l)
		}
	}
	d.unseen[u] = unseen
	if len(had)+len(want) > 0 && len(unseen) == 0 {
		delete(d.unseen, u) // the same as before: but were they seen?
	}
	d.mu.Unlock()
	if err := change(had); err != nil {
		return err
	}
	return d.seeLinks(ctx, b, u)
}

// seeLinks has systemd read anew the units at the other ends of a unit's links
// that it has in memory: it looks for links only as it loads a unit. What it
// may not have seen yet is kept until it has, so that the step after one that
// got no answer makes up for it. Of a unit that another clusterd wrote, all
// links are compared once.
func (d *Driver) seeLinks(ctx context.Context, b *bus, u unit.Name) error {
	d.mu.Lock()
	unseen, known := d.unseen[u]
	unseen = slices.Clone(unseen)
	d.mu.Unlock()
	if known && len(unseen) == 0 {
		return nil
	}
	has, err := d.links(u)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the links to %s: %w", u, err)
	}
	for _, l := range append(slices.Clone(has), unseen...) {
		stale := slices.Contains(unseen, l)
		if !l.by.IsTemplate() {
			if stale, err = b.misses(ctx, u, l, slices.Contains(has, l)); err != nil {
				return err
			}
		}
		if stale {
			if err := d.reload(ctx, b); err != nil {
				return err
			}
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unseen[u] = nil
	return nil
}

// forgetLinks drops what is kept of a unit that is gone.
func (d *Driver) forgetLinks(u unit.Name) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.unseen, u)
}

// misses says whether systemd has the unit at a link's other end in memory, and
// has not seen that there is this link, or that there is none.
func (b *bus) misses(ctx context.Context, u unit.Name, l link, pulls bool) (bool, error) {
	var path godbus.ObjectPath
	err := b.call(ctx, "GetUnit", string(l.by)).Store(&path)
	if isNoSuchUnit(err) {
		return false, nil
	}
	var names []string
	if err == nil {
		err = b.property(ctx, path, unitIface, linkDirs[l.dir], &names)
	}
	if err != nil && !isGone(err) {
		return false, fmt.Errorf("read what %s pulls in: %w", l.by, err)
	}
	return err == nil && slices.Contains(names, string(u)) != pulls, nil
}
