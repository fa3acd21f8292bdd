package image

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPolicyCheck(t *testing.T) {
	for _, tt := range []struct{ policy, ref, want string }{
		{"", "busybox", ""},
		{"Allow=docker.io", "busybox", ""},
		{"Allow=docker.io", "reg.example/x", "p:2: no Allow= there matches reg.example/x"},
		{"Allow=docker.io/library/*", "a/b", "matches docker.io/a/b"},
		{"Allow=docker.io/*/b", "a/b", ""},
		{"Allow=docker.io/*", "a/b", "matches docker.io/a/b"},
		{"Allow=docker.io/**", "a/b", ""},
		{"Allow=*.example/**", "reg.example/x/y/z", ""},
		{"Allow=*.example/**", "reg.example:5000/x", "no Allow="},
		{"Allow=reg.example:5000", "reg.example:5000/x", ""},
		{"Allow=docker.io\n# c\nBlock=docker.io/library/busy*", "busybox", "p:4: Block=docker.io/library/busy*"},
		{"Block=**", "busybox", "p:2: Block=**"},
		{"Block=docker.io/library/busybox", "busybox2", ""},
	} {
		p, err := ParsePolicy("p", []byte("[Policy]\n"+tt.policy))
		if err != nil {
			t.Errorf("%s: %v", tt.policy, err)
			continue
		}
		ref, err := ParseReference(tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		err = p.Admit(ref, false)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s, %s: got %v, want %s", tt.policy, tt.ref, err, tt.want)
		}
	}
}

func TestPolicyThatMakesNoSense(t *testing.T) {
	for policy, want := range map[string]string{
		"Allow=x":                       "p:1: Allow= stands before any section",
		"[Policy]\nAllow=busybox":       "p:2: Allow=busybox: busybox is no registry",
		"[Policy]\nAllow=docker.io/":    "write HOST or HOST/NAME",
		"[Policy]\nAllow=docker.io/a b": "is in no image's name",
		"[Policy]\nRequireDigest=maybe": "yes or no",
		"[Policy]\nAlow=docker.io":      "unknown key Alow=",
		"[Policy]\nAllow=":              "has no value",
		"[Store]\nMaxSize=much":         "such as 10G",
		"[Store]\nMaxAge=-1h":           "write a duration",
		"[Store]\nAllow=docker.io":      "unknown key Allow=",
	} {
		if _, err := ParsePolicy("p", []byte(policy)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", policy, err, want)
		}
	}
}

func TestParseSizeAndAge(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "500M": 500 << 20, "10G": 10 << 30, "1.5GB": 3 << 29, "2GiB": 2 << 30, "1k": 1024, "10g": 10 << 30} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "G", "1X", "-1", "1e99", "NaN", "1GG", "99999999T"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%s: %d", s, got)
		}
	}
	for s, want := range map[string]time.Duration{"30d": 720 * time.Hour, "2w": 336 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := ParseAge(s); err != nil || got != want {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("[Policy]\nAllow=docker.io/**\nBlock=*.example\nRequireDigest=yes\n[Store]\nMaxSize=1G\n"), "docker.io/library/x")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if len(data) > 200 || len(name) > 100 {
			return // patterns with many stars take long, and are the administrator's own
		}
		if p, err := ParsePolicy("p", data); err == nil {
			if ref, err := ParseReference(name); err == nil {
				_ = p.Admit(ref, true)
			}
		}
	})
}

func TestParsePlace(t *testing.T) {
	for s, want := range map[string]string{
		"docker-archive:/a/b.tar":             "docker-archive /a/b.tar ",
		"docker-archive:b.tar:busybox:latest": "docker-archive b.tar busybox:latest",
		"oci:/dir:v1":                         "oci /dir v1",
		"oci:./dir":                           "oci ./dir ",
		"oci-archive:x.tar":                   "oci-archive x.tar ",
		"oci:latest":                          "", // an image
		"oci:1.0":                             "",
		"docker.io/library/oci:1":             "",
		"docker-archive:":                     "-",
		"oci:/dir:":                           "-",
		"docker-archive:" + ":busybox":        "-",
	} {
		if IsPlace(s) != (want != "") {
			t.Errorf("%s: a place: %v", s, IsPlace(s))
		}
		p, err := ParsePlace(s)
		if (err != nil) != (want == "" || want == "-") || err == nil && strings.Join([]string{string(p.Transport), p.Path, p.Ref}, " ") != want {
			t.Errorf("%s: %+v, %v", s, p, err)
		}
	}
}
