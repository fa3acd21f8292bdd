package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clusterd/clusterd/agent/image"
	"github.com/clusterd/clusterd/agent/image/archive"
	"github.com/clusterd/clusterd/agent/image/pull"
)

const none = "<none>" // docker's word for no tag and no digest

// row is an image in a list, in docker's words: what --format sees.
type row struct {
	Containers   string
	CreatedAt    string
	CreatedSince string
	Digest       string
	ID           string
	Repository   string
	SharedSize   string
	Size         string
	Tag          string
	UniqueSize   string
}

type imagesOptions struct {
	quiet, digests, whole bool
	format                string
	filters               list
}

// images lists the images that are here.
func (t *tool) images(_ context.Context, args []string) error {
	flags := t.flags("images")
	o := imagesOptions{}
	both(flags, "all", "a", "") // there are no images within images
	quiet := both(flags, "quiet", "q", "print ids only")
	flags.BoolVar(&o.digests, "digests", false, "print digests, too")
	flags.BoolVar(&o.whole, "no-trunc", false, "print whole ids")
	flags.StringVar(&o.format, "format", "", "`FORM` of a line: json, table, a template, or table and a template")
	flags.Var(&o.filters, "filter", "only images that `NAME=VALUE` is true of; may stand several times")
	flags.Var(&o.filters, "f", "only images that `NAME=VALUE` is true of; may stand several times")
	names, err := t.parse(flags, args)
	o.quiet = *quiet
	if err == nil && len(names) > 1 {
		err = tooMany("images", names[1:])
	}
	if err != nil {
		return err
	}
	if len(names) == 1 {
		o.filters = append(o.filters, "reference="+names[0])
	}
	store, err := t.store()
	if err != nil {
		return err
	}
	accept, err := imageFilter(store, o.filters)
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	images, broken := store.List()
	var rows []row
	for _, img := range named(images) {
		if accept(img) {
			rows = append(rows, rowOf(store, img, o.whole, time.Now()))
		}
	}
	return errors.Join(broken, printRows(t.stdout, rows, o))
}

// named leaves out images that are kept by digest and have a tag of the same
// repository, too.
func named(images []*image.Image) []*image.Image {
	tagged := map[string]bool{}
	for _, img := range images {
		if ref := refOf(img); ref.Digest == "" {
			tagged[ref.FamiliarName()+string(img.Manifest)] = true
		}
	}
	var left []*image.Image
	for _, img := range images {
		if ref := refOf(img); ref.Digest == "" || !tagged[ref.FamiliarName()+string(img.Manifest)] {
			left = append(left, img)
		}
	}
	return left
}

// refOf reads the reference under which an image is kept, in its own normal form.
func refOf(img *image.Image) image.Reference {
	ref, err := image.ParseReference(img.Ref)
	if err != nil {
		panic(fmt.Sprintf("image kept as %q: %v", img.Ref, err))
	}
	return ref
}

// fromRegistry says whether the image's digest is one a registry knows; one out
// of docker's archives has only an id.
func fromRegistry(img *image.Image) bool { return img.Digest != img.ConfigID }

func rowOf(store *image.Store, img *image.Image, whole bool, now time.Time) row {
	ref := refOf(img)
	r := row{
		Containers: "N/A", SharedSize: "N/A", UniqueSize: "N/A",
		Repository: ref.FamiliarName(), Tag: ref.Tag, Digest: none, ID: img.ConfigID.Short(),
		CreatedSince: age(img.Created, now), CreatedAt: img.Created.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		Size: pull.Size(store.Bytes(img)),
	}
	if ref.FamiliarName() == archive.Untagged {
		r.Repository = none
	}
	if r.Tag == "" {
		r.Tag = none
	}
	if fromRegistry(img) {
		r.Digest = img.Digest.String()
	}
	if whole {
		r.ID = img.ConfigID.String()
	}
	return r
}

func printRows(out io.Writer, rows []row, o imagesOptions) error {
	format := o.format
	switch {
	case o.quiet:
		format = "{{.ID}}"
	case format == "" && o.digests:
		format = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	case format == "" || format == "table":
		format = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
	}
	var all []any
	seen := map[string]bool{}
	for _, r := range rows {
		if o.quiet && seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		all = append(all, r)
	}
	return printFormat(out, format, all, row{
		ID: "IMAGE ID", Repository: "REPOSITORY", Tag: "TAG", Digest: "DIGEST", CreatedSince: "CREATED",
		CreatedAt: "CREATED AT", Size: "SIZE", Containers: "CONTAINERS", SharedSize: "SHARED SIZE", UniqueSize: "UNIQUE SIZE",
	})
}

// printFormat prints things as a Go template says, one a line, or json, or a table
// with a line of titles, as docker's --format.
func printFormat(out io.Writer, format string, things []any, titles any) error {
	format, isTable := strings.CutPrefix(format, "table ")
	if format == "json" {
		format = "{{json .}}"
	}
	parsed, err := parseTemplate(format)
	if err != nil {
		return usageError{fmt.Errorf("--format: %w", err)}
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	if isTable {
		things = append([]any{titles}, things...)
	}
	to := io.Writer(table)
	if !isTable {
		to = out
	}
	for _, thing := range things {
		if err := parsed.Execute(to, thing); err != nil {
			return usageError{fmt.Errorf("--format: %w", err)}
		}
		fmt.Fprintln(to)
	}
	return table.Flush()
}

// imageFilter reads docker's filters. Of one kind any may fit, of different kinds all must.
func imageFilter(store *image.Store, filters []string) (func(*image.Image) bool, error) {
	kinds := map[string][]func(*image.Image) bool{}
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--filter=%s: write NAME=VALUE", f)}
		}
		var fits func(*image.Image) bool
		switch key {
		case "dangling":
			want := value == "true" || value == "1"
			fits = func(img *image.Image) bool { return (refOf(img).FamiliarName() == archive.Untagged) == want }
		case "reference":
			if _, err := path.Match(value, ""); err != nil {
				return nil, usageError{fmt.Errorf("--filter=%s: %w", f, err)}
			}
			fits = func(img *image.Image) bool { return fitsReference(value, refOf(img)) }
		case "label":
			name, want, hasValue := strings.Cut(value, "=")
			key += name // several labels must all fit
			fits = func(img *image.Image) bool {
				got, ok := img.Config.Labels[name]
				return ok && (!hasValue || got == want)
			}
		case "before", "since":
			other, err := store.Find(value)
			if err != nil {
				return nil, err
			}
			fits = func(img *image.Image) bool {
				return key == "before" && img.Created.Before(other.Created) || key == "since" && img.Created.After(other.Created)
			}
		case "until":
			until, err := parseUntil(value, time.Now())
			if err != nil {
				return nil, usageError{fmt.Errorf("--filter=%s: %w", f, err)}
			}
			fits = func(img *image.Image) bool { return img.Created.Before(until) }
		default:
			return nil, usageError{fmt.Errorf("--filter=%s: there are dangling, reference, label, before, since and until", f)}
		}
		kinds[key] = append(kinds[key], fits)
	}
	return func(img *image.Image) bool {
		for _, any := range kinds {
			ok := false
			for _, fits := range any {
				ok = ok || fits(img)
			}
			if !ok {
				return false
			}
		}
		return true
	}, nil
}

// fitsReference compares as docker does: with the familiar name, with and
// without its tag, and with the whole one.
func fitsReference(pattern string, ref image.Reference) bool {
	if exact, err := image.ParseReference(pattern); err == nil && exact == ref {
		return true
	}
	whole := ref.Registry + "/" + ref.Repository
	for _, name := range []string{ref.FamiliarName(), ref.Familiar(), whole, ref.String()} {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// parseUntil reads a time, or how long ago that was.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if d, err := image.ParseAge(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: write a duration such as 24h or 30d, or a time such as 2006-01-02T15:04:05", s)
}

// age says how long ago something was, in one unit.
func age(then, now time.Time) string {
	if then.Unix() <= 0 {
		return "N/A"
	}
	d := now.Sub(then)
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"year", 365 * 24 * time.Hour}, {"month", 30 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := int(d / unit.long); n > 1 {
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		} else if n == 1 {
			return fmt.Sprintf("1 %s ago", unit.name)
		}
	}
	return "just now"
}
