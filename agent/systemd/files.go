package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/unit"
)

// hostDirs are the directories in which a machine has units of its own. See
// systemd.unit(5), unit file load path.
var hostDirs = []string{
	"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
	"/run/systemd/generator.early", "/etc/systemd/system", "/etc/systemd/system.attached",
	"/run/systemd/system.attached", "/run/systemd/generator", "/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
}

// files reads what lies on disk for a unit.
func (d *Driver) files(u unit.Name) agent.State {
	var s agent.State
	s.File, _ = os.ReadFile(d.path(u)) // what can't be read is taken for somebody else's below
	if _, err := os.Lstat(d.path(u)); err == nil && s.File == nil {
		s.Taken = d.path(u)
	}
	s.DropIn, _ = os.ReadFile(d.dropIn(u)) // if it can't be read it is written anew
	if s.Taken == "" {
		s.Taken = d.taken(u)
	}
	return s
}

// taken looks for the unit, or the template it is an instance of, among the
// machine's own.
func (d *Driver) taken(u unit.Name) string {
	names := []string{string(u)}
	if prefix, rest, ok := strings.Cut(string(u), "@"); ok {
		if dot := strings.LastIndexByte(rest, '.'); dot > 0 {
			names = append(names, prefix+"@"+rest[dot:])
		}
	}
	for _, dir := range hostDirs {
		if dir == d.unitDir {
			continue
		}
		for _, name := range names {
			path := filepath.Join(dir, name)
			if _, err := os.Lstat(path); err == nil {
				return path
			}
		}
	}
	return ""
}

func (d *Driver) dropIn(u unit.Name) string {
	return filepath.Join(d.path(u)+".d", agent.DropInName)
}

// write puts a unit's drop-in, links and file in place; the file last, so that
// systemd never loads it without the others.
func (d *Driver) write(s agent.Action, had, links []link) error {
	u := s.Unit
	if path := d.taken(u); path != "" {
		return fmt.Errorf("write %s: the machine has a unit of that name, %s; rename one of them", u, path)
	}
	if err := os.MkdirAll(d.unitDir, 0o755); err != nil {
		return fmt.Errorf("write %s: %w", u, err)
	}
	if err := d.writeDropIn(u, s.DropIn); err != nil {
		return fmt.Errorf("write %s: %w", u, err)
	}
	if err := d.writeLinks(u, had, links); err != nil {
		return fmt.Errorf("write %s: %w", u, err)
	}
	if err := replaceFile(d.path(u), s.File); err != nil {
		return fmt.Errorf("write %s: %w", u, err)
	}
	return nil
}

func (d *Driver) writeDropIn(u unit.Name, content []byte) error {
	if len(content) == 0 {
		return d.removeDropIn(u)
	}
	dir := filepath.Dir(d.dropIn(u))
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	return replaceFile(d.dropIn(u), content)
}

func (d *Driver) removeDropIn(u unit.Name) error {
	if err := os.Remove(d.dropIn(u)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_ = os.Remove(filepath.Dir(d.dropIn(u))) // stays if somebody else has a drop-in there
	return nil
}

func (d *Driver) remove(u unit.Name, had []link) error {
	if err := os.Remove(d.path(u)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", u, err)
	}
	if err := errors.Join(d.removeDropIn(u), d.writeLinks(u, had, nil)); err != nil {
		return fmt.Errorf("remove %s: %w", u, err)
	}
	return nil
}

// replaceFile writes a file so that systemd sees the old or the new one, never
// half of it. The directory lives in memory, so nothing is synced.
func replaceFile(path string, content []byte) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	// Whatever umask clusterd has, people may read units, as everywhere.
	return errors.Join(os.Chmod(temporary, 0o644), os.Rename(temporary, path))
}
