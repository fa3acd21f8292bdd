package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// tableFlags are those of every list.
type tableFlags struct {
	full     bool
	noLegend bool
	fields   []string
	output   string
}

// column is one field that a list of T can show.
type column[T any] struct {
	name string
	cell func(T) string
}

func addTableFlags[T any](cmd *cobra.Command, columns func(full bool) []column[T], shown ...string) *tableFlags {
	t := &tableFlags{}
	var names []string
	for _, c := range columns(false) {
		names = append(names, c.name)
	}
	cmd.Flags().BoolVar(&t.full, "full", false, "print ids and hashes in full")
	cmd.Flags().BoolVar(&t.noLegend, "no-legend", false, "print no header")
	cmd.Flags().StringSliceVar(&t.fields, "fields", shown, "columns to print, of "+strings.Join(names, ","))
	cmd.Flags().StringVarP(&t.output, "output", "o", "table", "table or json")
	return t
}

// printList prints rows as a table, or all as JSON.
func printList[T any](w io.Writer, t *tableFlags, columns func(full bool) []column[T], rows []T, all any) error {
	switch t.output {
	case "table":
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	default:
		return usageError("--output=%s is unknown; use table or json", t.output)
	}
	var shown []column[T]
	for _, field := range t.fields {
		i := slices.IndexFunc(columns(t.full), func(c column[T]) bool { return c.name == strings.ToLower(field) })
		if i < 0 {
			var names []string
			for _, c := range columns(t.full) {
				names = append(names, c.name)
			}
			return usageError("--fields has no column %q; use some of %s", field, strings.Join(names, ","))
		}
		shown = append(shown, columns(t.full)[i])
	}
	if len(shown) == 0 {
		return usageError("--fields is empty; leave it out for the usual columns")
	}
	tab := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(cell func(column[T]) string) {
		cells := make([]string, len(shown))
		for i, c := range shown {
			if cells[i] = cell(c); cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tab, strings.Join(cells, "\t"))
	}
	if !t.noLegend {
		line(func(c column[T]) string { return strings.ToUpper(c.name) })
	}
	for _, row := range rows {
		line(func(c column[T]) string { return c.cell(row) })
	}
	return tab.Flush()
}
