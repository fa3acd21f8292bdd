//go:build machine

package unit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// execKeys are the settings that hold commands, by type.
var execKeys = map[string][]string{
	"service": {"ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"},
	"socket":  {"ExecStartPre", "ExecStartPost", "ExecStopPre", "ExecStopPost"},
}

// execution is a command as systemd has it.
type execution struct {
	path  string
	argv  []string
	flags []string
}

// commands are the properties of settings that hold commands, and of
// Environment=, word by word.
func (s *specimen) commands(refused map[int]string) []property {
	if s.executions == nil {
		return nil
	}
	var all []property
	own := sectionOf(s.name.Type())
	for _, key := range execKeys[s.name.Type()] {
		if s.anyRefused(own, key, refused) {
			continue
		}
		at := 0
		for _, v := range s.f.Values(own, key) {
			first := at
			at += commandCount([]Value{v})
			want, ok := s.execution(v)
			if !ok {
				continue
			}
			all = append(all, property{key + "Ex", fmt.Sprintf("%q", want), func([]string) bool {
				theirs := s.executions[key]
				return first < len(theirs) && theirs[first].same(want)
			}})
		}
		all = append(all, property{key + "Ex", fmt.Sprintf("%d commands", at), func([]string) bool { return len(s.executions[key]) == at }})
	}
	if want, ok := s.environment(own); ok && !s.anyRefused(own, "Environment", refused) {
		all = append(all, property{"Environment", fmt.Sprintf("%q", want), func([]string) bool { return slices.Equal(s.variables, want) }})
	}
	return all
}

func (e execution) same(want execution) bool {
	if e.flags == nil { // a socket's are not on the bus
		want.flags = nil
	}
	slices.Sort(e.flags)
	slices.Sort(want.flags)
	return e.path == want.path && slices.Equal(e.argv, want.argv) && slices.Equal(e.flags, want.flags)
}

// execution is the first command of a value, as SplitCommand has it; false
// where only the machine can tell.
func (s *specimen) execution(v Value) (e execution, ok bool) {
	prefixes, argv, err := SplitCommand(v.Text)
	if err != nil {
		return e, false
	}
	for i := range argv {
		if argv[i], ok = (&checker{name: s.name}).expand(argv[i]); !ok {
			return e, false
		}
	}
	e.path, e.argv = SimplifyPath(argv[0]), argv
	if !strings.HasPrefix(e.path, "/") { // it is looked for when it is started
		e.path = argv[0]
	}
	if strings.Contains(prefixes, "@") {
		e.argv = argv[1:]
	}
	for prefix, flag := range map[string]string{"-": "ignore-failure", "+": "privileged", ":": "no-env-expand"} {
		if strings.Contains(prefixes, prefix) {
			e.flags = append(e.flags, flag)
		}
	}
	switch strings.Count(prefixes, "!") {
	case 1:
		e.flags = append(e.flags, "no-setuid")
	case 2:
		e.flags = append(e.flags, "ambient")
	}
	return e, true
}

// environment are the variables that Environment= sets, sorted.
func (s *specimen) environment(section string) (variables []string, ok bool) {
	values := map[string]string{}
	for _, v := range s.f.Values(section, "Environment") {
		words, err := splitWords(v.Text, true)
		if err != nil {
			return nil, false
		}
		for _, w := range words {
			text, ok := (&checker{name: s.name}).expand(w.text)
			if !ok {
				return nil, false
			}
			name, value, _ := strings.Cut(text, "=")
			values[name] = value
		}
	}
	for name, value := range values {
		variables = append(variables, name+"="+value)
	}
	slices.Sort(variables)
	return variables, len(variables) > 0
}

// ask takes the commands and variables from the bus, which keeps words apart.
func (s *specimen) ask() error {
	keys := execKeys[s.name.Type()]
	if keys == nil || s.load != "loaded" || strings.HasPrefix(s.from, "testdata/bad") && !strings.Contains(s.from, "exec") {
		return nil // the others' commands are dull
	}
	object := "/org/freedesktop/systemd1/unit/"
	for i := 0; i < len(s.name); i++ {
		if c := s.name[i]; plainByte(c) && (i > 0 || c > '9') {
			object += string(c)
		} else {
			object += fmt.Sprintf("_%02x", c)
		}
	}
	// All at once: systemd loads a unit that nothing refers to again for each call.
	out, err := output("busctl", "--json=short", "call", "org.freedesktop.systemd1", object, "org.freedesktop.DBus.Properties", "GetAll", "s", "org.freedesktop.systemd1."+sectionOf(s.name.Type()))
	if err != nil {
		return err
	}
	var answer struct {
		Data []map[string]struct{ Data any }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return err
	}
	has := answer.Data[0]
	s.variables, s.executions = texts(has["Environment"].Data), map[string][]execution{}
	slices.Sort(s.variables)
	for _, key := range keys {
		property := key
		if s.name.Type() == "service" {
			property += "Ex"
		}
		for _, command := range has[property].Data.([]any) {
			c := command.([]any)
			e := execution{path: c[0].(string), argv: texts(c[1])}
			if flags, ok := c[2].([]any); ok {
				e.flags = append([]string{}, texts(flags)...)
			}
			s.executions[key] = append(s.executions[key], e)
		}
	}
	return nil
}

func texts(list any) []string {
	var all []string
	for _, text := range list.([]any) {
		all = append(all, text.(string))
	}
	return all
}
