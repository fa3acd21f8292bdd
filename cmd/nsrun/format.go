package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"text/tabwriter"
)

// show prints values as docker inspect does: by a template, one a line, or all
// as JSON.
func (a *app) show(format string, values []any) error {
	if format != "" && format != "json" {
		return a.eachBy(a.stdout, format, values)
	}
	if values == nil {
		values = []any{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if format == "" {
		enc.SetIndent("", "    ")
	}
	if err := enc.Encode(values); err != nil {
		return err
	}
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// eachBy prints each value by a template of Go's and a newline. What leads to a
// value by dots, with json in front or not, is done here; for more, nsrun-image
// is asked, for it would cost each start of a container to have it in here.
func (a *app) eachBy(w io.Writer, format string, values []any) error {
	parts, simple := split(format)
	if !simple {
		return a.askFor(w, format, values)
	}
	for _, v := range values {
		var line strings.Builder
		for _, p := range parts {
			text, err := p.print(v)
			if err != nil {
				return fmt.Errorf("--format: %w", err)
			}
			line.WriteString(text)
		}
		if _, err := fmt.Fprintln(w, line.String()); err != nil {
			return err
		}
	}
	return nil
}

// table prints rows by ps's table TEMPLATE: titles, then columns as wide as need be.
func (a *app) table(format string, titles any, rows []any) error {
	format = strings.TrimSpace(format)
	w := tabwriter.NewWriter(a.stdout, 10, 1, 3, ' ', 0)
	if err := a.eachBy(w, format, append([]any{titles}, rows...)); err != nil {
		return err
	}
	return w.Flush()
}

// askFor has nsrun-image print values by a template.
func (a *app) askFor(w io.Writer, format string, values []any) error {
	program, err := imageProgram()
	if err != nil {
		return err
	}
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	ask := exec.Command(program, "format", "--", format)
	ask.Stdin, ask.Stdout, ask.Stderr, ask.Env = &in, w, a.stderr, os.Environ()
	if err := ask.Run(); err != nil {
		return fmt.Errorf("--format=%s: %w", format, err)
	}
	return nil
}

// part is a piece of a template: text, or a value.
type part struct {
	text string
	path []string // what leads to the value; nil: text; empty: the value itself
	json bool
}

// split cuts a template into parts. simple is false when it says more than parts
// can hold.
func split(format string) (parts []part, simple bool) {
	unescape := strings.NewReplacer(`\t`, "\t", `\n`, "\n") // as docker's CLI does
	format = unescape.Replace(format)
	for format != "" {
		text, rest, found := strings.Cut(format, "{{")
		if text != "" {
			parts = append(parts, part{text: text})
		}
		if !found {
			return parts, true
		}
		action, after, closed := strings.Cut(rest, "}}")
		if !closed || strings.HasPrefix(action, "-") || strings.HasSuffix(action, "-") {
			return nil, false
		}
		p := part{path: []string{}}
		fields := strings.Fields(action)
		if len(fields) == 2 && fields[0] == "json" {
			p.json, fields = true, fields[1:]
		}
		if len(fields) != 1 || fields[0][0] != '.' {
			return nil, false
		}
		for _, name := range strings.Split(fields[0], ".")[1:] {
			if name == "" && fields[0] != "." || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
				return nil, false
			}
			if name != "" {
				p.path = append(p.path, name)
			}
		}
		parts, format = append(parts, p), after
	}
	return parts, true
}

// plain turns a value into what JSON has for it: maps, lists, text and numbers.
func plain(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var generic any
	err = dec.Decode(&generic)
	return generic, err
}

func (p part) print(v any) (string, error) {
	if p.path == nil {
		return p.text, nil
	}
	for i, name := range p.path {
		value, there := member(v, name)
		if !there {
			return "", fmt.Errorf("there is no .%s", strings.Join(p.path[:i+1], "."))
		}
		v = value
	}
	if p.json {
		data, err := json.Marshal(v)
		return string(data), err
	}
	generic, err := plain(v)
	return goText(generic), err
}

// member returns a part of a value by its name.
func member(v any, name string) (value any, ok bool) {
	switch v := v.(type) {
	case object:
		for _, f := range v {
			if f.name == name {
				return f.value, true
			}
		}
	case map[string]any:
		value, ok = v[name]
	case map[string]string:
		value, ok = v[name]
	}
	return value, ok
}

// goText writes a value as Go's templates do.
func goText(v any) string {
	switch v := v.(type) {
	case nil:
		return "<no value>"
	case bool:
		return strconv.FormatBool(v)
	case []any:
		words := make([]string, len(v))
		for i, e := range v {
			words[i] = goText(e)
		}
		return "[" + strings.Join(words, " ") + "]"
	case map[string]any:
		var words []string
		for _, k := range sorted(v) {
			words = append(words, k+":"+goText(v[k]))
		}
		return "map[" + strings.Join(words, " ") + "]"
	}
	return fmt.Sprint(v)
}
