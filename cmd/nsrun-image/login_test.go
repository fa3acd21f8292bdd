package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoginHost: what is given is a host, whatever an image's name would make of it.
func TestLoginHost(t *testing.T) {
	for arg, want := range map[string]string{
		"myregistry": "myregistry", "myregistry:5000": "myregistry:5000", "localhost": "localhost",
		"docker.io": "docker.io", "index.docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io",
		"https://registry.example/some/path": "registry.example", "http://myregistry/v2/": "myregistry",
		"registry.example/": "registry.example", "registry.example/v2": "registry.example",
		"registry.example/team": "", "": "", "https://": "", "bob:secret@registry.example": "", "../x": "",
	} {
		if got, err := loginHost([]string{arg}); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", arg, got, err, want)
		}
	}
	if got, err := loginHost(nil); got != "docker.io" || err != nil {
		t.Errorf("none: %q, %v", got, err)
	}
}

func TestLogoutLeavesDockerHub(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"Ym9iOng="}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	run(context.Background(), []string{"logout", "nosuch"}, strings.NewReader(""), &out, &out)
	if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), "index.docker.io") {
		t.Errorf("%s, %v: docker.io's login is gone: %s", data, err, out.String())
	}
}
