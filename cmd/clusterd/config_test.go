package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/registry/api"
)

func TestConfigPrecedence(t *testing.T) {
	path := writeFiles(t, map[string]string{
		"clusterd.conf":               "[Clusterd]\nAPIPort=1001\nGatePort=1002\nPeerPort=1003\nMetadata=region=eu\n",
		"clusterd.conf.d/10-own.conf": "[Clusterd]\nGatePort=2002\nMetadata=disk=ssd\n",
	})
	t.Setenv("CLUSTERD_PEER_PORT", "3003")
	var stdout, stderr bytes.Buffer
	code := run([]string{"--config", path, "--check-config", "--gossip-port", "4004"}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	for _, want := range []string{
		"# " + path + ":2\nAPIPort=1001",
		"# " + path + ".d/10-own.conf:2\nGatePort=2002",
		"# environment CLUSTERD_PEER_PORT\nPeerPort=3003",
		"# flag --gossip-port\nGossipPort=4004",
		"Metadata=disk=ssd region=eu",
		"# default\nMachineLease=5s",
	} {
		if !strings.Contains(stdout.String(), want+"\n") {
			t.Errorf("the configuration lacks %q:\n%s", want, stdout.String())
		}
	}
}

// What --check-config prints is a configuration file of the same meaning.
func TestConfigPrintsWhatItReads(t *testing.T) {
	var first, second, stderr bytes.Buffer
	if code := run([]string{"--config", writeFiles(t, map[string]string{"clusterd.conf": ""}), "--check-config"}, &first, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	path := writeFiles(t, map[string]string{"clusterd.conf": first.String()})
	if code := run([]string{"--config", path, "--check-config"}, &second, &stderr); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr.String())
	}
	if a, b := values(first.String()), values(second.String()); a != b {
		t.Errorf("read back:\n%s\nwant:\n%s", b, a)
	}
}

func values(config string) string {
	var out []string
	for line := range strings.Lines(config) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"an unknown key is named with its line", "[Clusterd]\nApiPort=1\n", "clusterd.conf:2: ApiPort= is unknown"},
		{"an unknown section is named", "[Cluster]\nAPIPort=1\n", "clusterd.conf:2: section [Cluster] is unknown"},
		{"a port out of range", "[Clusterd]\nAPIPort=70000\n", `APIPort=: "70000" is no port`},
		{"a number of members that can't be", "[Clusterd]\nMembers=2\n", `Members=: "2" is not 1, 3 or 5`},
		{"metadata that is no pair", "[Clusterd]\nMetadata=region\n", `Metadata=: "region" is not key=value`},
		{"a lease that is too short", "[Clusterd]\nMachineLease=1s\n", "MachineLease=: 1s is too short; the least is 2s"},
		{"a quota that is too small", "[Clusterd]\nEtcdQuotaMiB=8\n", `EtcdQuotaMiB=: "8" is no number from 16`},
		{"an outside etcd without a CA", "[Clusterd]\nControl=yes\nEtcdEndpoints=10.0.0.1:2379\n", "EtcdEndpoints= needs EtcdCA="},
		{"an outside etcd that knows nobody", "[Clusterd]\nControl=yes\nEtcdEndpoints=10.0.0.1:2379\nEtcdCA=/ca\n", "needs EtcdCert= and EtcdKey=, or EtcdUser="},
		{"a user without a password", "[Clusterd]\nControl=yes\nEtcdEndpoints=10.0.0.1:2379\nEtcdCA=/ca\nEtcdUser=u\n", "EtcdUser= and EtcdPasswordFile= go together"},
		{"a user of no etcd", "[Clusterd]\nEtcdUser=u\nEtcdPasswordFile=/p\n", "go with EtcdEndpoints="},
		{"a CA that isn't there", "[Clusterd]\nControl=yes\nEtcdEndpoints=10.0.0.1:2379\nEtcdCA=/no/ca\nEtcdUser=u\nEtcdPasswordFile=/p\n", "read EtcdCA=: open /no/ca"},
		{"a relative directory", "[Clusterd]\nDataDir=x\n", `DataDir=: "x" is no absolute path`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			path := writeFiles(t, map[string]string{"clusterd.conf": c.file})
			if code := run([]string{"--config", path, "--check-config"}, &stdout, &stderr); code != api.ExitUsage {
				t.Errorf("exit %d, want %d", code, api.ExitUsage)
			}
			if !strings.Contains(stderr.String(), c.want) {
				t.Errorf("stderr is %q, want %q in it", stderr.String(), c.want)
			}
		})
	}
}

func TestA01_HelpVersionAndUnknown(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "Examples:"},
		{[]string{"help"}, 0, "Examples:"},
		{[]string{"version"}, 0, "clusterd dev\n"},
		{[]string{"--version"}, 0, "clusterd dev\n"},
		{[]string{"--nonsense"}, api.ExitUsage, "unknown flag: --nonsense"},
		{[]string{"nonsense"}, api.ExitUsage, "nonsense"},
		{[]string{"inti"}, api.ExitUsage, "no command \"inti\"; did you mean init?"},
		{[]string{"init", "x"}, api.ExitUsage, "\"x\" is one argument too many"},
		{[]string{"join"}, api.ExitUsage, "no argument given; use it as: clusterd join TOKEN"},
		{[]string{"join", "nonsense"}, api.ExitUsage, "join:"},
	} {
		var out bytes.Buffer
		if code := run(c.args, &out, &out); code != c.code {
			t.Errorf("clusterd %v: exit %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("clusterd %v: printed %q, want %q in it", c.args, out.String(), c.want)
		}
	}
}

func writeFiles(t *testing.T, files map[string]string) (configPath string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "clusterd.conf")
}
