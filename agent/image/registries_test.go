package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRegistriesSources(t *testing.T) {
	conf := `
# The machine room.
[Registry docker.io]
Mirror = m1.example
Mirror=m2.example:5000/hub/cache
Location=registry.lab:5000

; Its certificate is our own.
[Registry registry.lab:5000]
CAFile=/etc/nsrun/ca.crt
[Registry m1.example]
Insecure=plaintext
`
	r, err := ParseRegistries("registries.conf", []byte(conf))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ ref, want string }{
		{"busybox", "m1.example/library/busybox m2.example:5000/hub/cache/library/busybox registry.lab:5000/library/busybox"},
		{"quay.io/a/b", "quay.io/a/b"},
		{"registry.lab:5000/a", "registry.lab:5000/a"},
	} {
		ref, err := ParseReference(tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range r.Sources(ref) {
			got = append(got, s.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s is asked of %s, want %s", tt.ref, got, tt.want)
		}
	}
	for host, want := range map[string]Trust{
		"registry.lab:5000": {CAFile: "/etc/nsrun/ca.crt", Insecure: Secure},
		"m1.example":        {Insecure: Plaintext},
		"index.docker.io":   {Insecure: Secure},
		"quay.io":           {Insecure: Secure},
	} {
		if got := r.Trust(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

func TestRegistriesErrorsNameTheLine(t *testing.T) {
	for _, tt := range []struct{ conf, want string }{
		{"Mirror=x", "registries.conf:1: Mirror= stands before any section; put [Registry HOST] above it"},
		{"[Registry a.b]\nMiror=x", "registries.conf:2: unknown key Miror=; known are Mirror=, Location=, CAFile=, Insecure="},
		{"\n[Mirrors]", "registries.conf:2: unknown section [Mirrors]; write [Registry HOST]"},
		{"[Registry a.b", "registries.conf:1: unknown section [Registry a.b; write [Registry HOST]"},
		{"[Registry ../x]", `registries.conf:1: "../x" is no host name`},
		{"[Registry a.b]\n[Registry a.b]", "registries.conf:2: second section for a.b; put its keys together"},
		{"[Registry a.b]\nInsecure=yes", "registries.conf:2: Insecure=yes: one of no, unverified, plaintext"},
		{"[Registry a.b]\nCAFile=ca.crt", "registries.conf:2: CAFile=ca.crt: write the whole path"},
		{"[Registry a.b]\nLocation=", "registries.conf:2: Location= has no value; leave the line out"},
		{"[Registry a.b]\nLocation=https://x", `registries.conf:2: Location=https://x: "https:" is no host name`},
		{"[Registry a.b]\nMirror=x.y/UP", "registries.conf:2: Mirror=x.y/UP: names are lower case; try up"},
		{"[Registry a.b]\nhello", `registries.conf:2: "hello" is neither [Section] nor Key=value`},
	} {
		if _, err := ParseRegistries("registries.conf", []byte(tt.conf)); err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.conf, err, tt.want)
		}
	}
}

func TestLoadRegistriesOfNothing(t *testing.T) {
	r, err := LoadRegistries(filepath.Join(t.TempDir(), "registries.conf"))
	if err != nil || fmt.Sprint(r.Sources(Reference{Registry: "docker.io", Repository: "library/x"})) != "[docker.io/library/x]" {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := LoadRegistries(os.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}

func FuzzParseRegistries(f *testing.F) {
	f.Add("[Registry docker.io]\nMirror=a.b/c\nLocation=x:5\nCAFile=/x\nInsecure=no\n# c\n")
	f.Fuzz(func(t *testing.T, conf string) {
		r, err := ParseRegistries("f", []byte(conf))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("error without its line: %v", err)
			}
			return
		}
		for host := range r.hosts {
			if len(r.Sources(Reference{Registry: host, Repository: "a"})) == 0 {
				t.Fatalf("no sources for %q", host)
			}
		}
	})
}
