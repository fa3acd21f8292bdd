package unit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestA23_RequirementMatches(t *testing.T) {
	for _, tt := range []struct{ asks, has, lacks string }{
		{"region=eu", "region=eu", ""},
		{"region=eu", "region=us", "lacks region=eu"},
		{"region=eu", "", "lacks region=eu"},
		{"region=eu region=us", "region=us", ""},
		{"region in eu,us", "region=us", ""},
		{"region in eu,us", "region=asia", "lacks region=eu or region=us"},
		{"region!=eu", "region=us", ""},
		{"region!=eu", "", ""},
		{"region!=eu", "region=eu", "has region=eu"},
		{"gpu exists", "gpu=", ""},
		{"gpu exists", "", "lacks gpu"},
		{"disk>100", "disk=101", ""},
		{"disk>100", "disk=100", "lacks disk>100"},
		{"disk>100", "disk=many", "lacks disk>100"},
		{"disk<100", "", "lacks disk<100"},
		{"disk<100", "disk=99", ""},
		{"memory>16G", "memory=32G", ""},
		{"memory>1G", "memory=1048576K", "lacks memory>1G"},
		{"kernel>5.10", "kernel=5.9", "lacks kernel>5.10"},
		{"kernel>5.10", "kernel=6.1.0-13-amd64", ""},
		{"kernel<6", "kernel=6.0", "lacks kernel<6"},
		{"kernel<6.1", "kernel=6", ""},
	} {
		requirements, err := unit.ParseRequirements(tt.asks)
		if err != nil || len(requirements) != 1 {
			t.Errorf("ParseRequirements(%q) = %v, %v", tt.asks, requirements, err)
			continue
		}
		metadata := map[string]string{}
		for _, pair := range strings.Fields(tt.has) {
			key, value, _ := strings.Cut(pair, "=")
			metadata[key] = value
		}
		r := requirements[0]
		if got := r.Lacks(metadata); got != tt.lacks || r.Matches(metadata) != (got == "") {
			t.Errorf("machine with %q for %q: %q, want %q; matches %v", tt.has, tt.asks, got, tt.lacks, r.Matches(metadata))
		}
	}
}

func TestResources(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"nothing said", "[Service]\nType=simple\n", "cpu any, memory any, tasks any"},
		{"the unit's own limits", "[Service]\nCPUQuota=150%\nMemoryMax=1.5G\nTasksMax=64\n", "cpu 1500 CPUQuota, memory 1610612736 MemoryMax, tasks 64 TasksMax"},
		{"shares of the machine", "[Service]\nMemoryMax=12.5%\nTasksMax=10%\n", "cpu any, memory 12.5% MemoryMax, tasks 10% TasksMax"},
		{"the limit goes before the brake", "[Service]\nMemoryHigh=1M\nMemoryMax=2M\n", "cpu any, memory 2097152 MemoryMax, tasks any"},
		{"the brake alone", "[Service]\nMemoryHigh=1M\nMemoryMax=infinity\n", "cpu any, memory 1048576 MemoryHigh, tasks any"},
		{"requests where the limits say nothing", "[Service]\nMemoryMax=1M\n[X-Cluster]\nRequests=memory=1K cpu=250m tasks=5\n", "cpu 250 Requests, memory 1048576 MemoryMax, tasks 5 Requests"},
		{"taken back", "[Service]\nMemoryMax=1M\nMemoryMax=\n", "cpu any, memory any, tasks any"},
	} {
		f, err := unit.Parse("web.service", []byte(tt.src))
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Resources("web.service")
		if err != nil {
			t.Fatal(err)
		}
		text := func(name string, r unit.Resource) string {
			return strings.TrimSpace(name + " " + r.String() + " " + r.From)
		}
		if got := text("cpu", r.CPU) + ", " + text("memory", r.Memory) + ", " + text("tasks", r.Tasks); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	if of := (unit.Resource{Share: 1250}).Of(64 << 30); of != 8<<30 {
		t.Errorf("12.5%% of 64 GiB are %d", of)
	}
	if of := (unit.Resource{Amount: 7}).Of(1); of != 7 {
		t.Errorf("7 of a machine are %d", of)
	}
}

// asWords writes requirements as the words of a MachineMetadata=, the operator
// apart, so that nothing in a key or value can be taken for one.
func asWords(requirements []unit.Requirement) string {
	var words []string
	for _, r := range requirements {
		if r.Op == unit.Exists {
			words = append(words, r.Key, "exists")
		}
		for _, v := range r.Values {
			op := string(r.Op)
			if r.Op == unit.In {
				op = "="
			}
			words = append(words, r.Key, op, v)
		}
	}
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'"'"'`) + "'"
	}
	return strings.Join(words, " ")
}

func FuzzParseRequirements(f *testing.F) {
	for _, s := range []string{"region=eu region=us", "disk > 100 kernel<5.10", "rack in a,b gpu exists", `a!=b 'c d'="e f"`, "a! = b", "x in", "'", "in in in in", "a==b!=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := unit.ParseRequirements(text)
		if err != nil {
			return
		}
		again, err := unit.ParseRequirements(asWords(first))
		if err != nil || fmt.Sprintf("%q", again) != fmt.Sprintf("%q", first) {
			t.Fatalf("%q is %q, and written again as %s it is %q, %v", text, first, asWords(first), again, err)
		}
		for _, r := range first {
			if r.Matches(nil) != (r.Lacks(nil) == "") {
				t.Fatalf("%s: matches %v, %s", r, r.Matches(nil), r.Lacks(nil))
			}
		}
	})
}
