package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/agent/sheet"
)

// blueprintPath is where that which a configuration says is kept for who starts
// containers, in lines: reading the JSON itself takes a start several times as long.
func (s *Store) blueprintPath(config Digest) string {
	return filepath.Join(s.dir, "blueprints", config.Hex())
}

// putBlueprint keeps what a configuration blob, which is here, says.
func (x *Session) putBlueprint(config Digest) error {
	data, err := x.store.Blob(config)
	if err != nil {
		return err
	}
	print, err := ParseConfig(data)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", config, err)
	}
	path, want := x.store.blueprintPath(config), print.encode()
	if has, err := sheet.ReadFile(path); err == nil && string(has) == string(want) {
		return nil
	}
	return x.store.writeFile(path, want)
}

// blueprint returns what a configuration says.
func (s *Store) blueprint(config Digest) (*Blueprint, error) {
	data, err := sheet.ReadFile(s.blueprintPath(config))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: what configuration %s says is missing", ErrDamaged, config)
	}
	if err != nil {
		return nil, err
	}
	print, err := decodeBlueprint(data)
	if err != nil {
		return nil, fmt.Errorf("%w: what configuration %s says: %w", ErrDamaged, config, err)
	}
	return print, nil
}

// CheckBlueprint returns an error that wraps [ErrDamaged] unless what is kept of
// img's configuration is what that says.
func (s *Store) CheckBlueprint(img *Image) error {
	data, err := s.Blob(img.ConfigID)
	if err != nil {
		return err
	}
	print, err := ParseConfig(data)
	if err != nil {
		return fmt.Errorf("%w: configuration %s: %w", ErrDamaged, img.ConfigID, err)
	}
	if has, err := sheet.ReadFile(s.blueprintPath(img.ConfigID)); err != nil || string(has) != string(print.encode()) {
		return fmt.Errorf("%w: what is kept of configuration %s is not what that says", ErrDamaged, img.ConfigID)
	}
	return nil
}

func (b *Blueprint) encode() []byte {
	var w sheet.Writer
	w.Time("created", b.Created)
	w.Put("platform", b.Platform.OS, b.Platform.Architecture, b.Platform.Variant)
	for _, id := range b.DiffIDs {
		w.Text("layer", string(id))
	}
	c := b.Config
	w.Put("env", c.Env...)
	w.Put("entrypoint", c.Entrypoint...)
	w.Put("cmd", c.Cmd...)
	w.Text("workdir", c.WorkingDir)
	w.Text("user", c.User)
	w.Text("stopsignal", c.StopSignal)
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		w.Put("label", name, c.Labels[name])
	}
	w.Put("volumes", slices.Sorted(maps.Keys(c.Volumes))...)
	w.Put("ports", slices.Sorted(maps.Keys(c.ExposedPorts))...)
	return w.Bytes()
}

func decodeBlueprint(data []byte) (*Blueprint, error) {
	b := &Blueprint{}
	err := sheet.Read(data, b.take)
	return b, err
}

func (b *Blueprint) take(l sheet.Line) (err error) {
	c := &b.Config
	switch l.Name {
	case "created":
		b.Created, err = l.Time()
	case "platform":
		if len(l.Values) != 3 {
			return fmt.Errorf("platform %s: want three words", strings.Join(l.Values, " "))
		}
		b.Platform = Platform{OS: l.Values[0], Architecture: l.Values[1], Variant: l.Values[2]}
	case "layer":
		var id Digest
		id, err = ParseDigest(l.Text())
		b.DiffIDs = append(b.DiffIDs, id)
	case "env":
		c.Env = l.Values
	case "entrypoint":
		c.Entrypoint = l.Values
	case "cmd":
		c.Cmd = l.Values
	case "workdir":
		c.WorkingDir = l.Text()
	case "user":
		c.User = l.Text()
	case "stopsignal":
		c.StopSignal = l.Text()
	case "label":
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[l.Text()] = l.Values[len(l.Values)-1]
	case "volumes":
		c.Volumes = set(l.Values)
	case "ports":
		c.ExposedPorts = set(l.Values)
	}
	return err
}

func set(names []string) map[string]struct{} {
	m := make(map[string]struct{}, len(names))
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}
