package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/pull"
)

// inspected is an image in docker's words.
type inspected struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Parent       string
	Comment      string
	Created      string `json:",omitempty"`
	Author       string
	Config       json.RawMessage
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64
	RootFS       rootFS
	Metadata     struct{ LastTagTime time.Time }
}

type rootFS struct {
	Type   string
	Layers []image.Digest
}

// inspect prints all that is known of images, as docker does.
func (t *tool) inspect(_ context.Context, args []string) error {
	flags := t.flags("inspect")
	format := word(flags, "format", "f", "print by `TEMPLATE`, or json: all on one line")
	kind := flags.String("type", "image", "")
	flags.Bool("s", false, "")
	names, err := t.parseNames(flags, args, 1, 0)
	if err != nil {
		return err
	}
	if *kind != "image" {
		return usageError{fmt.Errorf("inspect: --type=%s: there are only images here", *kind)}
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	var failed []error
	found := []any{}
	for _, name := range names {
		img, err := store.Find(name)
		if err == nil {
			var one *inspected
			if one, err = inspectOne(store, img); err == nil {
				found = append(found, one)
			}
		}
		failed = append(failed, err)
	}
	if *format == "" || *format == "json" {
		enc := json.NewEncoder(t.stdout)
		enc.SetEscapeHTML(false)
		if *format == "" {
			enc.SetIndent("", "    ")
		}
		return errors.Join(append(failed, enc.Encode(found))...)
	}
	for i := range found { // templates look into what they print, under its printed names
		data, err := json.Marshal(found[i])
		var printed any
		if err == nil {
			err = json.Unmarshal(data, &printed)
		}
		found[i] = printed
		failed = append(failed, err)
	}
	return errors.Join(append(failed, printFormat(t.stdout, *format, found, nil))...)
}

func inspectOne(store *image.Store, img *image.Image) (*inspected, error) {
	data, err := store.Blob(img.ConfigID)
	if err != nil {
		return nil, err
	}
	var raw struct {
		Author  string          `json:"author"`
		Comment string          `json:"comment"`
		Config  json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%w: configuration %s: %w", image.ErrDamaged, img.ConfigID, err)
	}
	if raw.Config == nil {
		raw.Config = json.RawMessage("{}")
	}
	one := &inspected{
		ID: img.ConfigID.String(), RepoTags: []string{}, RepoDigests: []string{}, Comment: raw.Comment, Author: raw.Author, Config: raw.Config,
		Architecture: img.Platform.Architecture, Variant: img.Platform.Variant, Os: img.Platform.OS, Size: store.Bytes(img),
		RootFS: rootFS{Type: "layers", Layers: img.DiffIDs},
	}
	if !img.Created.IsZero() {
		one.Created = img.Created.Format(time.RFC3339Nano)
	}
	one.Metadata.LastTagTime = img.Pulled
	images, _ := store.List() // others that are broken are no matter here
	digests := map[string]bool{}
	for _, other := range images {
		if other.ConfigID != img.ConfigID {
			continue
		}
		ref := refOf(other)
		if ref.Digest == "" {
			one.RepoTags = append(one.RepoTags, ref.Familiar())
		}
		if d := ref.FamiliarName() + "@" + other.Digest.String(); fromRegistry(other) && !digests[d] {
			digests[d] = true
			one.RepoDigests = append(one.RepoDigests, d)
		}
	}
	return one, nil
}

// layerRow is a step of an image's making, in docker's words.
type layerRow struct{ ID, CreatedSince, CreatedAt, CreatedBy, Size, Comment string }

// history prints how an image says it was made, the last step first.
func (t *tool) history(_ context.Context, args []string) error {
	flags := t.flags("history")
	quiet := both(flags, "quiet", "q", "print ids only")
	whole := flags.Bool("no-trunc", false, "print whole ids and commands")
	both(flags, "human", "H", "") // as sizes always are
	format := flags.String("format", "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", "`FORM` of a line: json, or a template of .ID .CreatedSince .CreatedAt .CreatedBy .Size .Comment")
	names, err := t.parseNames(flags, args, 1, 1)
	if err != nil {
		return err
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	img, err := store.Find(names[0])
	if err != nil {
		return err
	}
	data, err := store.Blob(img.ConfigID)
	if err != nil {
		return err
	}
	var raw struct {
		History []struct {
			Created   time.Time `json:"created"`
			CreatedBy string    `json:"created_by"`
			Comment   string    `json:"comment"`
			Empty     bool      `json:"empty_layer"`
		} `json:"history"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("image %s: %w: %w", names[0], image.ErrDamaged, err)
	}
	if *quiet {
		*format = "{{.ID}}"
	}
	var rows []any
	layer := 0
	for i, step := range raw.History {
		r := layerRow{ID: "<missing>", CreatedBy: oneLine(step.CreatedBy), Comment: oneLine(step.Comment), CreatedSince: age(step.Created, time.Now()), CreatedAt: step.Created.Format(time.RFC3339), Size: "0B"}
		if !step.Empty && layer < len(img.DiffIDs) {
			r.Size = pull.Size(store.LayerBytes(img.DiffIDs[layer]))
			layer++
		}
		if i == len(raw.History)-1 {
			if r.ID = img.ConfigID.Short(); *whole {
				r.ID = img.ConfigID.String()
			}
		}
		if text := []rune(r.CreatedBy); !*whole && len(text) > 45 {
			r.CreatedBy = string(text[:44]) + "…"
		}
		rows = append([]any{r}, rows...)
	}
	return printFormat(t.stdout, *format, rows, layerRow{"IMAGE", "CREATED", "CREATED AT", "CREATED BY", "SIZE", "COMMENT"})
}

// oneLine makes of what an image says of itself something for a table.
func oneLine(text string) string {
	return image.Printable(strings.Join(strings.Fields(text), " "))
}
