package unit

import (
	"slices"
	"strings"
)

// Dependency is one unit that a unit names in a setting of [Unit], or triggers.
type Dependency struct {
	// Kind is the setting's present name, such as Requires or After; Triggers
	// is what a socket, timer or path starts.
	Kind string
	Unit Name
	Line int // 0 where it goes without saying
}

// Triggers is the Kind of the unit that a socket, timer or path starts.
const Triggers = "Triggers"

// dependencyKinds are the settings that name units, with what older names of
// theirs mean today.
var dependencyKinds = []struct{ key, kind string }{
	{"Requires", "Requires"}, {"RequiresOverridable", "Requires"}, {"Requisite", "Requisite"}, {"RequisiteOverridable", "Requisite"},
	{"Wants", "Wants"}, {"BindsTo", "BindsTo"}, {"BindTo", "BindsTo"}, {"PartOf", "PartOf"}, {"Upholds", "Upholds"}, {"Conflicts", "Conflicts"},
	{"Before", "Before"}, {"After", "After"}, {"OnFailure", "OnFailure"}, {"OnSuccess", "OnSuccess"},
	{"PropagatesReloadTo", "PropagatesReloadTo"}, {"PropagateReloadTo", "PropagatesReloadTo"}, {"ReloadPropagatedFrom", "ReloadPropagatedFrom"}, {"PropagateReloadFrom", "ReloadPropagatedFrom"},
	{"PropagatesStopTo", "PropagatesStopTo"}, {"StopPropagatedFrom", "StopPropagatedFrom"}, {"JoinsNamespaceOf", "JoinsNamespaceOf"},
}

// isDependency says whether a setting of [Unit] is a list to which systemd only
// ever adds.
func isDependency(key string) bool {
	if key == "RequiresMountsFor" || key == "WantsMountsFor" {
		return true
	}
	for _, d := range dependencyKinds {
		if d.key == key {
			return true
		}
	}
	return false
}

// Dependencies are the units that the file names, for the unit n: specifiers
// expanded, and of a template that instance that systemd takes: the one of the
// unit's own instance, or else of its prefix. What only the machine can tell,
// and what is no unit's name, is left out. The order is that of the file.
func (f *File) Dependencies(n Name) []Dependency {
	var all []Dependency
	for _, d := range dependencyKinds {
		for _, v := range f.Values("Unit", d.key) {
			for _, word := range strings.Fields(v.Text) {
				if name, ok := n.named(word); ok {
					all = append(all, Dependency{d.kind, n.fill(name), v.Line})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Dependency) int { return a.Line - b.Line })
	if t, ok := f.triggered(n); ok {
		all = append(all, t)
	}
	return all
}

// triggered is the unit that a socket, timer or path starts.
func (f *File) triggered(n Name) (Dependency, bool) {
	section, key := sectionOf(n.Type()), "Unit"
	switch n.Type() {
	case "socket":
		key = "Service"
	case "timer", "path":
	default:
		return Dependency{}, false
	}
	if values := f.Values(section, key); len(values) > 0 {
		v := values[0] // of several a timer, and a path, takes the first
		if n.Type() == "socket" {
			v = values[len(values)-1]
		}
		name, ok := n.named(v.Text)
		return Dependency{Triggers, n.fill(name), v.Line}, ok
	}
	accept, _ := f.Last(section, "Accept")
	if yes, _ := parseBool(accept.Text); yes {
		return Dependency{Triggers, Name(n.Prefix() + "@.service"), accept.Line}, true
	}
	return Dependency{Triggers, Name(n.stem() + ".service"), 0}, true
}

// fill makes an instance of a template that n depends on.
func (n Name) fill(name Name) Name {
	if !name.IsTemplate() {
		return name
	}
	if instance, ok := n.Instance(); ok {
		return name.InstanceOf(instance)
	}
	if n.IsTemplate() {
		return name
	}
	return name.InstanceOf(n.Prefix())
}

// named is the unit that a word in the file of n names; false when it is none,
// or only the machine can tell. Quotes and backslashes are nothing special there.
func (n Name) named(text string) (Name, bool) {
	text, err := n.Expand(text)
	if err != nil {
		return "", false
	}
	judged := text
	if typ := Name(text).Type(); slices.Contains(fileless, typ) {
		judged = strings.TrimSuffix(text, typ) + "service"
	}
	name, err := ParseName(judged)
	return Name(text), err == nil && string(name) == judged
}

// Install is what the [Install] section says, specifiers expanded. In a
// cluster it enables nothing; see the package agent.
type Install struct {
	WantedBy, RequiredBy, UpheldBy []Name
	Alias, Also                    []Name
	DefaultInstance                string
}

// Install reads the [Install] section for the unit n.
func (f *File) Install(n Name) Install {
	list := func(key string) []Name {
		var names []Name
		for _, v := range f.Values("Install", key) {
			words, err := splitWords(v.Text, false)
			if err != nil {
				continue
			}
			for _, w := range words {
				if name, ok := n.named(w.text); ok && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
		return names
	}
	instance, _ := f.Last("Install", "DefaultInstance")
	return Install{
		WantedBy: list("WantedBy"), RequiredBy: list("RequiredBy"), UpheldBy: list("UpheldBy"),
		Alias: list("Alias"), Also: list("Also"), DefaultInstance: instance.Text,
	}
}
