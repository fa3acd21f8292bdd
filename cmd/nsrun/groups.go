package main

import (
	"fmt"
	"slices"
	"strings"
)

// groups are docker's words in front of a verb, with what the verbs behind them
// are called without.
var groups = map[string]map[string][]string{
	"container": {"ls": {"ps"}, "list": {"ps"}, "ps": {"ps"}, "prune": {"container prune"}, "inspect": {"inspect", "--type=container"}},
	"image":     {"ls": {"images"}, "list": {"images"}, "rm": {"rmi"}, "remove": {"rmi"}, "inspect": {"inspect", "--type=image"}},
	"system":    {"prune": {"system prune"}},
}

// ungroup turns docker's long way to write a verb, container ls say, into the
// short one.
func ungroup(name string, args []string) (string, []string) {
	short, ok := groups[name]
	if !ok || len(args) == 0 {
		return name, args
	}
	if args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		return "help", []string{name}
	}
	verb, args := args[0], args[1:]
	if to, ok := short[verb]; ok {
		return to[0], append(slices.Clone(to[1:]), args...)
	}
	return verb, args
}

// otherVerbs are docker's that there are not, each with the way to get what it is for.
func otherVerbs() map[string]string {
	list := map[string]string{}
	for why, names := range map[string]string{
		"a container begins when run makes it; write what create was told behind run, in ExecStart=":     "create",
		"images are made elsewhere; pull what was built, or load an archive: nsrun load":                 "build buildx builder commit import push",
		"there are no settings to change; they are the unit's: systemctl set-property UNIT MemoryMax=1G": "update",
		"systemd does that: systemctl freeze UNIT, systemctl thaw UNIT":                                  "pause unpause",
		"what a container prints goes where nsrun's output goes; see nsrun logs --follow":                "attach",
		"the journal tells that: journalctl --follow --unit UNIT":                                        "events",
		"a container's name is fixed; run it anew under another":                                         "rename",
		"not there yet; systemd-cgtop shows what a unit uses, and ps what runs in it":                    "stats top",
		"not there yet; bind a directory with --volume, or go by way of nsrun exec NAME cat":             "cp diff export",
		"not there yet": "search manifest trust plugin context",
		"there is no daemon to form a swarm; units are placed by the cluster: clusterctl":                        "swarm service stack node secret config",
		"write a unit a container, and Requires= and After= between them; clusterctl convert makes one of a run": "compose",
	} {
		for _, name := range strings.Fields(names) {
			list[name] = why
		}
	}
	return list
}

// unknown is the error of a verb that there is not.
func (a *app) unknown(name string) error {
	if why, ok := otherVerbs()[name]; ok {
		return fmt.Errorf("%s", why)
	}
	var known []string
	for _, v := range verbs() {
		known = append(known, v.name)
	}
	if strings.HasPrefix(name, "-") {
		return fmt.Errorf("no such flag; flags go behind the verb; see %s help", a.name)
	}
	return fmt.Errorf("no such command%s; see %s help", didYouMean(name, a.name+" ", known), a.name)
}
