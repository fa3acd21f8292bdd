package image

import (
	"strings"
	"testing"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseReference(t *testing.T) {
	for _, tt := range []struct{ in, want, familiar string }{
		{"busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"},
		{"library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"user/app", "docker.io/user/app:latest", "user/app:latest"},
		{"localhost/app", "localhost/app:latest", "localhost/app:latest"},
		{"registry.lab:5000/a/b/c:v1", "registry.lab:5000/a/b/c:v1", "registry.lab:5000/a/b/c:v1"},
		{"[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"},
		{"quay.io/app@" + someDigest, "quay.io/app@" + someDigest, "quay.io/app@" + someDigest},
		{"busybox:1@" + someDigest, "docker.io/library/busybox:1@" + someDigest, "busybox:1@" + someDigest},
		{"a__b-c.d---e", "docker.io/library/a__b-c.d---e:latest", "a__b-c.d---e:latest"},
	} {
		ref, err := ParseReference(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if ref.String() != tt.want || ref.Familiar() != tt.familiar {
			t.Errorf("%s reads as %s (%s), want %s (%s)", tt.in, ref, ref.Familiar(), tt.want, tt.familiar)
		}
	}
}

func TestParseReferenceRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `image "": a name is missing`},
		{"Busybox", `image "Busybox": names are lower case; try busybox`},
		{"busybox:", `image "busybox:": tag "": a tag is 1 to 128 letters, digits, _, . and -, and begins with none of the last two`},
		{"../etc", `image "../etc": registry ".." is no host name`},
		{"reg.io/../../etc", `image "reg.io/../../etc": name part "..": letters and digits, joined by ., _, __ or -`},
		{"a//b", `image "a//b": name part "": letters and digits, joined by ., _, __ or -`},
		{"a___b", `image "a___b": name part "a___b": letters and digits, joined by ., _, __ or -`},
		{"a@sha512:00", `image "a@sha512:00": digest "sha512:00": unknown kind; only sha256:… is`},
		{"a@sha256:00", `image "a@sha256:00": digest "sha256:00": sha256: is followed by 64 lower-case hexadecimal digits`},
		{"reg.io:99999999/a", `image "reg.io:99999999/a": registry "reg.io:99999999" is no host name`},
	} {
		if _, err := ParseReference(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.in, err, tt.want)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"busybox", "a.b:5/c/d:e@" + someDigest, "[::1]:5/x", "Localhost/x", "../x", "a/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q reads as %v, which reads as %v, %v", s, ref, again, err)
		}
		familiar, err := ParseReference(ref.Familiar())
		if err != nil || familiar != ref {
			t.Fatalf("%q is familiarly %s, which reads as %v, %v", s, ref.Familiar(), familiar, err)
		}
		for part := range strings.SplitSeq(ref.dir()+"/"+ref.leaf(), "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
				t.Fatalf("%q is kept under %s/%s", s, ref.dir(), ref.leaf())
			}
		}
	})
}
