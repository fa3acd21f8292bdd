// Package cmd_test checks which packages the packages of this module import.
package cmd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/clusterd/clusterd/"

// ban says that packages of must not depend on packages like banned. Patterns
// ending in /... mean a package and all below it.
type ban struct {
	of     string
	except []string
	banned []string
	direct bool // only imports of its own count, not those of what it imports
	reason string
}

func bans() []ban {
	etcd := []string{"go.etcd.io/etcd/..."}
	dbus := []string{"github.com/godbus/dbus/...", "github.com/coreos/go-systemd/v22/dbus/..."}
	return []ban{
		{of: "unit/...", banned: []string{"net", "os/exec"}, reason: "a unit file is read without any I/O"},
		{of: "unit/...", banned: []string{"registry/...", "engine/...", "agent/...", "cmd/...", "functional/..."}, reason: "imports run cmd, engine and agent, registry, unit, and never back"},
		{of: "registry/...", banned: []string{"engine/...", "agent/...", "cmd/...", "functional/..."}, reason: "the registry declares the interfaces it needs, and cmd/clusterd wires them"},
		{of: "registry/...", except: []string{"registry/etcd/...", "registry/gate/..."}, banned: etcd, reason: "what uses the Store must run on any of them"},
		{of: "engine/...", except: []string{"engine/sim/..."}, banned: []string{"agent/..."}, reason: "engine and agent meet in the registry"},
		{of: "engine/...", banned: etcd, reason: "the engine knows the Store only"},
		{of: "engine/...", banned: dbus, reason: "the engine never speaks to a systemd"},
		{of: "engine/...", banned: []string{"cmd/...", "functional/..."}, reason: "imports run one way"},
		{of: "agent/...", banned: []string{"engine/..."}, reason: "engine and agent meet in the registry"},
		{of: "agent/...", banned: etcd, reason: "the agent knows the Store only"},
		{of: "agent/...", except: []string{"agent/systemd/..."}, banned: dbus, direct: true, reason: "D-Bus stays in agent/systemd"},
		{of: "agent/...", banned: []string{"cmd/...", "functional/..."}, reason: "imports run one way"},
		{of: "cmd/nsrun", banned: slices.Concat(etcd, dbus, []string{"google.golang.org/grpc/...", "net/http/..."}), reason: "nsrun must start in about a millisecond"},
		{of: "cmd/clusterctl", banned: slices.Concat(etcd, []string{"engine/...", "google.golang.org/grpc/..."}), reason: "clusterctl sees the cluster through the API"},
		{of: "functional/...", banned: []string{"engine/...", "registry/..."}, reason: "functional tests see only the binaries"},
		{of: "functional/...", except: []string{"functional/lab/..."}, banned: []string{"agent/runtime/..."}, direct: true, reason: "functional tests see only the binaries"},
	}
}

// like says whether a package is meant by a pattern, which names one of this
// module's when its first part has no dot and is one of its directories.
func like(pkg, pattern string) bool {
	tree, all := strings.CutSuffix(pattern, "/...")
	switch first, _, _ := strings.Cut(tree, "/"); first {
	case "unit", "registry", "engine", "agent", "cmd", "functional":
		tree = module + tree
	}
	return pkg == tree || all && strings.HasPrefix(pkg, tree+"/")
}

func likeAny(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return like(pkg, p) })
}

// imports reads who imports whom, of this module's packages and all they need;
// tests are left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	var stderr bytes.Buffer
	list := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Imports", "./...")
	list.Dir, list.Stderr = "..", &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	graph := map[string][]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatal(err)
		}
		graph[p.ImportPath] = p.Imports
	}
}

// chain is the shortest way from a package to one that is banned; nil when
// there is none.
func chain(graph map[string][]string, from string, b ban) []string {
	seen := map[string]bool{from: true}
	for ways := [][]string{{from}}; len(ways) > 0; ways = ways[1:] {
		way := ways[0]
		for _, next := range graph[way[len(way)-1]] {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := append(slices.Clone(way), next)
			if likeAny(next, b.banned) {
				return longer
			}
			if !b.direct {
				ways = append(ways, longer)
			}
		}
	}
	return nil
}

func TestImportsRunOneWay(t *testing.T) {
	graph := imports(t)
	for pkg := range graph {
		if !strings.HasPrefix(pkg, module) {
			continue
		}
		if name := path.Base(pkg); slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "base", "pkg"}, name) {
			t.Errorf("%s: name a package for what it provides, not %s", pkg, name)
		}
		for _, b := range bans() {
			if !like(pkg, b.of) || likeAny(pkg, b.except) {
				continue
			}
			if way := chain(graph, pkg, b); way != nil {
				t.Errorf("%s: %s", b.reason, strings.Join(way, " imports "))
			}
		}
		if like(pkg, "unit/...") {
			for _, imported := range graph[pkg] {
				if strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && !like(imported, "unit/...") {
					t.Errorf("package unit needs the standard library only: %s imports %s", pkg, imported)
				}
			}
		}
	}
}
