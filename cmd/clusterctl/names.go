package main

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
)

// isGlob says whether a unit argument is a pattern.
func isGlob(arg string) bool { return strings.ContainsAny(arg, `*?[`) }

// literal makes a name a pattern of itself: a backslash may stand in both.
func literal(n unit.Name) string { return strings.ReplaceAll(string(n), `\`, `\\`) }

// nameGlobs turns arguments, names or patterns, into patterns for the API.
func nameGlobs(args []string) ([]string, error) {
	var globs []string
	for _, arg := range args {
		if !isGlob(arg) {
			name, err := parseName(arg)
			if err != nil {
				return nil, err
			}
			globs = append(globs, literal(name))
			continue
		}
		if _, err := path.Match(arg, ""); err != nil {
			return nil, usageError("pattern %s: a bracket is not closed; write it as in 'web@[1-3].service'", arg)
		}
		globs = append(globs, arg, arg+".service")
	}
	return globs, nil
}

func parseName(arg string) (unit.Name, error) {
	name, err := unit.ParseName(arg)
	if err != nil {
		return "", usageError("%v", err)
	}
	return name, nil
}

// lookupBytes is how much one request asks for: names stand in its URL.
const lookupBytes = 16 << 10

// lookup asks for units by name; those nobody knows are left out.
func lookup(ctx context.Context, client *api.Client, names []unit.Name) (map[unit.Name]api.Unit, error) {
	found := map[unit.Name]api.Unit{}
	for len(names) > 0 {
		var globs []string
		size := 0
		for len(names) > 0 && size < lookupBytes {
			globs = append(globs, literal(names[0]))
			size += len("&name=") + len(url.QueryEscape(globs[len(globs)-1]))
			names = names[1:]
		}
		list, err := client.Units(ctx, globs...)
		if err != nil {
			return nil, err
		}
		for _, u := range list.Units {
			found[u.Name] = u
		}
	}
	return found, nil
}

// known returns the units that arguments mean, in their order and each once.
// A name nobody knows, and a pattern that nothing matches, is an error: then
// none is returned. Templates, which run nowhere, match patterns only of verbs
// that are about files.
func known(ctx context.Context, client *api.Client, verb string, args []string) ([]api.Unit, error) {
	var names []unit.Name
	var patterns []string
	for _, arg := range args {
		if isGlob(arg) {
			patterns = append(patterns, arg)
			continue
		}
		name, err := parseName(arg)
		if base, ok := strings.CutPrefix(arg, "./"); ok && err != nil && !strings.Contains(base, "/") {
			return nil, usageError("%s %s: it takes no file; name the unit: %s", verb, arg, base)
		}
		if err != nil {
			return nil, usageError("%s: %v", verb, err)
		}
		names = append(names, name)
	}
	found, err := lookup(ctx, client, names)
	if err != nil {
		return nil, failure(api.ExitCode(err), "%s: %v", verb, err)
	}
	matches := map[string][]api.Unit{}
	for _, pattern := range patterns {
		globs, err := nameGlobs([]string{pattern})
		if err != nil {
			return nil, usageError("%s: %v", verb, err)
		}
		list, err := client.Units(ctx, globs...)
		if err != nil {
			return nil, failure(api.ExitCode(err), "%s: %v", verb, err)
		}
		if verb != "cat" && verb != "destroy" && verb != "submit" {
			list.Units = slices.DeleteFunc(list.Units, func(u api.Unit) bool { return u.Name.IsTemplate() })
		}
		if len(list.Units) == 0 {
			return nil, failure(api.ExitUnknown, "%s: no unit matches %s; see clusterctl list-unit-files", verb, pattern)
		}
		matches[pattern] = list.Units
	}
	return inOrder(verb, args, found, matches)
}

func inOrder(verb string, args []string, found map[unit.Name]api.Unit, matches map[string][]api.Unit) ([]api.Unit, error) {
	var units []api.Unit
	var unknown []string
	seen := map[unit.Name]bool{}
	add := func(u api.Unit) {
		if !seen[u.Name] {
			seen[u.Name] = true
			units = append(units, u)
		}
	}
	for _, arg := range args {
		if isGlob(arg) {
			for _, u := range matches[arg] {
				add(u)
			}
			continue
		}
		name, _ := unit.ParseName(arg)
		u, ok := found[name]
		if !ok {
			unknown = append(unknown, notInRegistry(verb, name))
			continue
		}
		add(u)
	}
	if len(unknown) > 0 {
		return nil, failure(api.ExitUnknown, "%s", strings.Join(unknown, "\n"))
	}
	return units, nil
}

func notInRegistry(verb string, name unit.Name) string {
	return verb + " " + string(name) + ": not in the registry; submit it first: clusterctl submit " + string(name)
}
