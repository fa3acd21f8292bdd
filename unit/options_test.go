package unit_test

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

// options prints the options of an [X-Cluster] body in one line.
func options(name unit.Name, src string) string {
	f, err := unit.Parse(string(name), []byte(src))
	if err != nil {
		return "parse: " + err.Error()
	}
	o, err := f.Options(name)
	if err != nil {
		return err.Error()
	}
	var parts []string
	if o.Global {
		parts = append(parts, "global")
	}
	if o.MachineID != "" {
		parts = append(parts, "id "+o.MachineID)
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"with", o.MachineOf}, {"not with", o.Conflicts}, {"replaces", o.Replaces}} {
		if len(list.values) > 0 {
			parts = append(parts, list.name+" "+strings.Join(list.values, " "))
		}
	}
	var keys []string
	for k := range o.Metadata {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s=%s", k, strings.Join(o.Metadata[k], "|")))
	}
	return strings.Join(append(parts, o.Warnings...), ", ")
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		test, name, src, want string
	}{
		{"none", "web.service", "[Service]\nType=simple\n", ""},
		{"words, quotes and lines", "web.service", "[X-Cluster]\nConflicts=a.service 'b@*.service'\nConflicts=\"c?.service\" a.service\n", "not with a.service b@*.service c?.service"},
		{"an empty assignment takes back", "web.service", "[X-Cluster]\nConflicts=a.service\nConflicts=\nConflicts=b\n", "not with b.service"},
		{"taken back, so no contradiction", "web.service", "[X-Cluster]\nConflicts=a.service\nMachineID=m1\nConflicts=\n", "id m1"},
		{"A23 metadata OR and AND", "web.service", "[X-Cluster]\nMachineMetadata=region=eu region=us\nMachineMetadata=\"disk=ssd\"\n", "disk=ssd, region=eu|us"},
		{"global", "web.service", "[X-Cluster]\nGlobal=True\nMachineMetadata=a=b\nConflicts=x\n", "global, not with x.service, a=b"},
		{"global no", "web.service", "[X-Cluster]\nGlobal=no\nMachineOf=x\n", "with x.service"},
		{"names get their suffix", "web.service", "[X-Cluster]\nMachineOf=db cache.socket\n", "with db.service cache.socket"},
		{"a name with an escape is a pattern of itself", "web.service", "[X-Cluster]\nConflicts=a\\x2db\n", `not with a\\x2db.service`},
		{"MachineID twice the same", "web.service", "[X-Cluster]\nMachineID=abc\nMachineID=abc\n", "id abc"},
		{"Fencing=none is the default", "web.service", "[X-Cluster]\nFencing=none\n", ""},
		{"A24 fleet's section", "web.service", "[X-Fleet]\nMachineOf=db.service\n", "with db.service"},
		{"A24 fleet's old names", "web.service", "[X-Fleet]\nX-ConditionMachineMetadata=a=b\nX-Conflicts=x@*\nX-ConditionMachineOf=db.service\n", "with db.service, not with x@*, a=b"},
		{"A24 fleet's old machine ids", "web.service", "[X-Fleet]\nX-ConditionMachineBootID=abcd\n", "id abcd"},
		{"A24 specifiers", "a-b@7.service", "[X-Cluster]\nMachineOf=%p-db@%i %N-x\nConflicts=%n.d\nMachineMetadata=hostname=%i load=5%% last=%j\n",
			"with a-b-db@7.service a-b@7-x.service, not with a-b@7.service.d.service, hostname=7, last=b, load=5%"},
		{"A24 a template can be checked", "web@.service", "[X-Cluster]\nMachineMetadata=hostname=%i\nMachineOf=db@%i.service\n", "with db@i.service, hostname=i"},
		{"an unknown key of fleet's is a warning", "web.service", "[X-Fleet]\nFoo=x\n[Service]\n",
			"web.service:2: [X-Fleet] has no setting Foo=, which is ignored; use Global=, MachineID=, MachineOf=, MachineMetadata=, Conflicts=, Replaces=, Fencing="},
		{"a malformed pair of fleet's is a warning", "web.service", "[X-Fleet]\nMachineMetadata=x\n", `web.service:2: MachineMetadata= has "x", which is ignored; write it as key=value`},
	} {
		if got := options(unit.Name(tt.name), tt.src); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.test, got, tt.want)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	for _, tt := range []struct{ test, src, want string }{
		{"a misspelt key", "[X-Cluster]\nMachinOf=db\n", "web.service:2: [X-Cluster] has no setting MachinOf=; use MachineOf="},
		{"lower case", "[X-Cluster]\nglobal=yes\n", "web.service:2: [X-Cluster] has no setting global=; use Global="},
		{"not a boolean", "[X-Cluster]\nGlobal=maybe\n", "web.service:2: Global=maybe is neither yes nor no; write yes or no"},
		{"two words for one", "[X-Cluster]\nMachineID=a b\n", "web.service:2: MachineID= has 2 words; give one"},
		{"two machines", "[X-Cluster]\nMachineID=a\nMachineID=b\n", "web.service:3: MachineID=b contradicts MachineID=a in line 2; keep one of them"},
		{"a broken quote", "[X-Cluster]\nConflicts='a\n", `web.service:2: Conflicts=: the quote ' is not closed in "'a"; close it, or escape it with a backslash; as systemd.syntax(7) has it`},
		{"a broken pattern", "[X-Cluster]\nConflicts=web@[1\n", "web.service:2: Conflicts=web@[1 is no pattern; close its bracket, as in web@[1-3].service"},
		{"an unknown specifier", "[X-Cluster]\nMachineOf=db@%H\n", "web.service:2: MachineOf=: no specifier %H; use %n, %N, %p, %i, %j, or %% for a percent sign"},
		{"a malformed pair", "[X-Cluster]\nMachineMetadata=region\n", `web.service:2: MachineMetadata= has "region"; write it as key=value`},
		{"with itself", "[X-Cluster]\nMachineOf=web\n", "web.service:2: MachineOf= names the unit itself; name another unit, or take it out"},
		{"with what it conflicts with", "[X-Cluster]\nConflicts=db@*\nMachineOf=db@1\n", "web.service:3: MachineOf= in line 3 and Conflicts=db@* in line 2 both mean db@1.service; take one of them out"},
		{"not built yet", "[X-Cluster]\nFencing=lease\n", "web.service:2: Fencing=lease is not available in this version; leave it out, which means none"},
	} {
		if got := options("web.service", tt.src); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.test, got, tt.want)
		}
	}
}

func TestA21_CombinationsRefused(t *testing.T) {
	value := map[string]string{"MachineID": "m1", "MachineOf": "db", "Conflicts": "x", "Global": "yes", "Replaces": "y", "MachineMetadata": "a=b"}
	refused := []string{
		"MachineID MachineOf", "MachineID Conflicts", "MachineID Global", "MachineID Replaces",
		"Global MachineOf", "Global Replaces", "Conflicts Replaces",
	}
	for one := range value {
		for other := range value {
			if one == other {
				continue
			}
			got := options("web.service", fmt.Sprintf("[X-Cluster]\n%s=%s\n%s=%s\n", one, value[one], other, value[other]))
			want := slices.Contains(refused, one+" "+other) || slices.Contains(refused, other+" "+one)
			if is := strings.Contains(got, "can't hold together"); is != want {
				t.Errorf("%s with %s: refused %v, want %v: %s", one, other, is, want, got)
			} else if want && !(strings.Contains(got, "line 2") && strings.Contains(got, "line 3")) {
				t.Errorf("%s with %s: does not name both lines: %s", one, other, got)
			}
		}
	}
}
