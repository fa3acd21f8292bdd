package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// format prints each JSON value on standard input by a template of Go's, as
// docker's --format does. It is here for nsrun, which is too small for that.
func (t *tool) format(_ context.Context, args []string) error {
	flags := t.flags("format")
	if err := flags.Parse(args); err != nil {
		return usageError{err}
	}
	if flags.NArg() != 1 {
		return usageError{errors.New("format: write one template")}
	}
	tmpl, err := parseTemplate(flags.Arg(0))
	if err != nil {
		return usageError{fmt.Errorf("format: %w", err)}
	}
	dec := json.NewDecoder(t.stdin)
	dec.UseNumber()
	for {
		var v any
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("format: %w", err)
		}
		if err := tmpl.Execute(t.stdout, numbers(v)); err != nil {
			return fmt.Errorf("format: %w", err)
		}
		fmt.Fprintln(t.stdout)
	}
}

// parseTemplate reads a template with docker's functions.
func parseTemplate(text string) (*template.Template, error) {
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	return template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			data, err := json.Marshal(v)
			return string(data), err
		},
		"split": strings.Split,
		"join": func(list []any, between string) string {
			words := make([]string, len(list))
			for i, v := range list {
				words[i] = fmt.Sprint(v)
			}
			return strings.Join(words, between)
		},
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"title": func(s string) string {
			if s == "" {
				return s
			}
			return strings.ToUpper(s[:1]) + s[1:]
		},
		"pad": func(s string, before, after int) string {
			return strings.Repeat(" ", max(0, before)) + s + strings.Repeat(" ", max(0, after))
		},
		"truncate": func(s string, n int) string { return s[:min(len(s), max(0, n))] },
		"println":  fmt.Sprintln,
	}).Parse(text)
}

// numbers makes whole numbers of those that are, so that a template can compare
// them with what it says itself.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		texts := make(map[string]string, len(v))
		for k := range v {
			v[k] = numbers(v[k])
			if s, ok := v[k].(string); ok {
				texts[k] = s
			}
		}
		if len(texts) == len(v) { // labels: one that isn't there is empty
			return texts
		}
	}
	return v
}
