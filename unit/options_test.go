package unit_test

import (
	"fmt"
	"slices"
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
	for _, r := range o.Requirements {
		parts = append(parts, r.String())
	}
	for _, r := range o.Prefer {
		parts = append(parts, "better "+r.String())
	}
	if len(o.Spread) > 0 {
		parts = append(parts, "over "+strings.Join(o.Spread, " "))
	}
	if o.Priority != 0 {
		parts = append(parts, fmt.Sprintf("priority %d", o.Priority))
	}
	if o.Requests != (unit.Resources{}) {
		parts = append(parts, fmt.Sprintf("needs cpu %v memory %v tasks %v", o.Requests.CPU, o.Requests.Memory, o.Requests.Tasks))
	}
	if o.MinAvailable.IsSet() {
		parts = append(parts, fmt.Sprintf("at least %v", o.MinAvailable))
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
		{"A23 metadata OR and AND", "web.service", "[X-Cluster]\nMachineMetadata=region=eu region=us\nMachineMetadata=\"disk=ssd\"\n", "disk=ssd, region=eu or region=us"},
		{"A23 operators", "web.service", "[X-Cluster]\nMachineMetadata=region!=eu disk>100 disk < 1T kernel>5.10\nMachineMetadata=gpu exists rack in a,b,a rack=c zone != z\n",
			"disk>100, disk<1T, gpu exists, kernel>5.10, rack=a or rack=b or rack=c, region!=eu, zone!=z"},
		{"a plain value keeps its signs", "web.service", "[X-Cluster]\nMachineMetadata=a=b<c=d in=x exists=y\n", "a=b<c=d, exists=y, in=x"},
		{"MachineOf takes patterns", "web.service", "[X-Cluster]\nMachineOf=db@*.service cache\n", "with db@*.service cache.service"},
		{"what makes a machine better, and what it must have left", "web@1.service", "[X-Cluster]\nSpread=rack zone\nPrefer=disk=ssd\nPriority=-5\nRequests=cpu=0.5 Memory=512M tasks=10%\n",
			"better disk=ssd, over rack zone, priority -5, needs cpu 500 memory 536870912 tasks 10%"},
		{"how many are to stay", "web@1.service", "[X-Cluster]\nMinAvailable=2\n", "at least 2"},
		{"which share is to stay", "web@.service", "[X-Cluster]\nMinAvailable=50%\n", "at least 50%"},
		{"none need stay", "web@1.service", "[X-Cluster]\nMinAvailable=3\nMinAvailable=0\n", ""},
		{"how many is taken back", "web@1.service", "[X-Cluster]\nMinAvailable=3\nMinAvailable=\n", ""},
		{"taken back, no warning", "web.service", "[X-Cluster]\nSpread=rack\nSpread=\nPrefer=a=b\nPrefer=\nPriority=3\nPriority=\nRequests=cpu=1\nRequests=\n", ""},
		{"A24 unescaped specifiers", `a-b\x2dc@x-y\x20z.service`, "[X-Cluster]\nMachineMetadata=a=%P b=%I c=%J d=%j\n", `a=a/b-c, b=x/y z, c=b-c, d=b\x2dc`},
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
			"web.service:2: [X-Fleet] has no setting Foo=, which is ignored; use Global=, MachineID=, MachineOf=, MachineMetadata=, Conflicts=, Replaces=, Fencing=, Spread=, Prefer=, Priority=, Requests=, MinAvailable="},
		{"a malformed pair of fleet's is a warning", "web.service", "[X-Fleet]\nMachineMetadata=x\n", `web.service:2: MachineMetadata=: "x" is no requirement, which is ignored; write it as key=value, key!=value, key<number, key>number, key in a,b or key exists`},
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
		{"an unknown specifier", "[X-Cluster]\nMachineOf=db@%H\n", "web.service:2: MachineOf=: %H is known on the unit's machine only; use %n, %N, %p, %P, %i, %I, %j, %J, or %% for a percent sign"},
		{"a malformed pair", "[X-Cluster]\nMachineMetadata=region\n", `web.service:2: MachineMetadata=: "region" is no requirement; write it as key=value, key!=value, key<number, key>number, key in a,b or key exists`},
		{"a specifier that is none", "[X-Cluster]\nMachineOf=db@%Z\n", "web.service:2: MachineOf=: no specifier %Z; use %n, %N, %p, %P, %i, %I, %j, %J, or %% for a percent sign"},
		{"a percent sign at the end", "[X-Cluster]\nMachineOf=db%\n", `web.service:2: MachineOf=: "db%" ends in a percent sign; use %n, %N, %p, %P, %i, %I, %j, %J, or %% for a percent sign`},
		{"not a number", "[X-Cluster]\nMachineMetadata=disk>big\n", `web.service:2: MachineMetadata=: "big" is no number; write it as key=value, key!=value, key<number, key>number, key in a,b or key exists`},
		{"in what", "[X-Cluster]\nMachineMetadata=disk in\n", `web.service:2: MachineMetadata=: "disk in" is no requirement; write it as key=value, key!=value, key<number, key>number, key in a,b or key exists`},
		{"an empty value in a list", "[X-Cluster]\nPrefer=disk in a,,b\n", `web.service:2: Prefer=: "disk in a,,b" has an empty value; write it as key=value, key!=value, key<number, key>number, key in a,b or key exists`},
		{"wanted and not wanted", "[X-Cluster]\nMachineMetadata=a=b\nMachineMetadata=a!=b\n", "web.service:2: a=b in line 2 and a!=b in line 3 can't hold together; take one of them out"},
		{"between nothing", "[X-Cluster]\nMachineMetadata=a<5\nMachineMetadata=a>5\n", "web.service:2: a<5 in line 2 and a>5 in line 3 can't hold together; take one of them out"},
		{"a priority out of bounds", "[X-Cluster]\nPriority=2000\n", "web.service:2: Priority=2000 is no priority; give a whole number from -1000 to 1000"},
		{"a request for nothing", "[X-Cluster]\nRequests=disk=5G\n", `web.service:2: Requests=: "disk=5G" asks for nothing that is known; write it as cpu=0.5, memory=512M or tasks=100; take MemoryMax=, CPUQuota= and TasksMax= where the unit is to be limited`},
		{"a request of no amount", "[X-Cluster]\nRequests=memory=lots\n", `web.service:2: Requests=: "memory=lots" is no amount; write it as cpu=0.5, memory=512M or tasks=100; take MemoryMax=, CPUQuota= and TasksMax= where the unit is to be limited`},
		{"a request past the limit", "[Service]\nMemoryMax=1G\n[X-Cluster]\nRequests=memory=2G\n", "web.service:4: Requests= in line 4 asks for more memory than MemoryMax= in line 2 allows; take it out: the unit's own limit is what counts"},
		{"fencing by hand", "[X-Cluster]\nFencing=manual\n", "web.service:2: Fencing=manual is not available yet; leave it out, which means none: in a partition a second copy may run"},
		{"fencing that is none", "[X-Cluster]\nFencing=stonith\n", "web.service:2: Fencing=stonith is no kind of fencing; write none; lease and manual are not available yet"},
		{"replaces itself", "[X-Cluster]\nReplaces=web\n", "web.service:2: Replaces= names the unit itself; name another unit, or take it out"},
		{"with itself", "[X-Cluster]\nMachineOf=web\n", "web.service:2: MachineOf= names the unit itself; name another unit, or take it out"},
		{"with what it conflicts with", "[X-Cluster]\nConflicts=db@*\nMachineOf=db@1\n", "web.service:3: MachineOf= in line 3 and Conflicts=db@* in line 2 both mean db@1.service; take one of them out"},
		{"not built yet", "[X-Cluster]\nFencing=lease\n", "web.service:2: Fencing=lease is not available yet; leave it out, which means none: in a partition a second copy may run"},
	} {
		if got := options("web.service", tt.src); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.test, got, tt.want)
		}
	}
}

func TestA21_CombinationsRefused(t *testing.T) {
	value := map[string]string{"MachineID": "m1", "MachineOf": "db", "Conflicts": "x", "Global": "yes", "Replaces": "y", "MachineMetadata": "a=b", "Spread": "rack", "Prefer": "a=b", "Priority": "1", "Requests": "cpu=1"}
	refused := []string{
		"MachineID MachineOf", "MachineID Conflicts", "MachineID Global", "MachineID Replaces",
		"Global MachineOf", "Global Replaces", "Conflicts Replaces",
		"MachineID Spread", "MachineID Prefer", "Global Spread", "Global Prefer", "MachineOf Spread",
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

// asSection writes options as an [X-Cluster] section.
func asSection(o unit.Options) string {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s=%s\n", key, strings.ReplaceAll(value, "%", "%%")) }
	b.WriteString("[X-Cluster]\n")
	if o.Global {
		line("Global", "yes")
	}
	if o.MachineID != "" {
		line("MachineID", o.MachineID)
	}
	for key, patterns := range map[string][]string{"MachineOf": o.MachineOf, "Conflicts": o.Conflicts, "Replaces": o.Replaces, "Spread": o.Spread} {
		for _, p := range patterns {
			if key != "Spread" && !strings.ContainsAny(p, "*?[") {
				p = strings.ReplaceAll(p, `\\`, `\`) // it is a name
			}
			line(key, "'"+strings.ReplaceAll(p, "'", `'"'"'`)+"'")
		}
	}
	for key, requirements := range map[string][]unit.Requirement{"MachineMetadata": o.Requirements, "Prefer": o.Prefer} {
		if len(requirements) > 0 {
			line(key, asWords(requirements))
		}
	}
	if o.Priority != 0 {
		line("Priority", fmt.Sprint(o.Priority))
	}
	if o.MinAvailable.IsSet() {
		fmt.Fprintf(&b, "MinAvailable=%v\n", o.MinAvailable)
	}
	return b.String()
}

// FuzzOptions: options that are written again are the same, and what is wrong
// with a section lies in it.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{
		"Global=yes\nConflicts=web@*.service 'a b'\n", "MachineMetadata=a=b c > 5 \\\n# x\nd in x,y\nPrefer=e exists\n", "MachineID=m1\nMachineID=\n",
		"MachineOf=%p@%i a\\x2db [x]*\nSpread=r \"q's\"\nPriority=-7\nReplaces=x\n", "Fencing=lease\nRequests=cpu=1 memory=5%\n", "MinAvailable=50%\n", "[X-Fleet]\nX-Conflicts=a\nFoo=x\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		const name = "fuzz@1.service"
		file, err := unit.Parse(name, []byte("[X-Cluster]\n"+body))
		if err != nil {
			return
		}
		o, err := file.Options(name)
		if err != nil {
			if o.Global || o.Conflicts != nil || o.Requirements != nil {
				t.Fatalf("%v, and yet %+v", err, o)
			}
			return
		}
		text := asSection(o)
		again, err := unit.Parse(name, []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		p, err := again.Options(name)
		if err != nil || !sameLines(asSection(p), text) {
			t.Fatalf("%s\nis written again as\n%s\nand that is %v\n%s", body, text, err, asSection(p))
		}
	})
}

// sameLines compares two texts whose lines may come in another order.
func sameLines(a, b string) bool {
	return slices.Equal(sorted(strings.Split(a, "\n")), sorted(strings.Split(b, "\n")))
}
