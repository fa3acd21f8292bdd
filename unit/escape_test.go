package unit_test

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestEscape(t *testing.T) {
	for _, tt := range []struct{ plain, escaped string }{
		{"", ""},
		{"web", "web"},
		{"a b", `a\x20b`},
		{"a/b", "a-b"},
		{"/", "-"},
		{"/a//b/", "-a--b-"},
		{"a-b", `a\x2db`},
		{"a@b", `a\x40b`},
		{`a\b`, `a\x5cb`},
		{".hidden", `\x2ehidden`},
		{"a.b:c_d", "a.b:c_d"},
		{"ä", `\xc3\xa4`},
	} {
		if got := unit.Escape(tt.plain); got != tt.escaped {
			t.Errorf("Escape(%q) = %s, want %s", tt.plain, got, tt.escaped)
		}
		if got, err := unit.Unescape(tt.escaped); got != tt.plain || err != nil {
			t.Errorf("Unescape(%s) = %q, %v, want %q", tt.escaped, got, err, tt.plain)
		}
	}
	for _, bad := range []string{`\`, `\x`, `\x2`, `\xzz`, `\n`, `a\x00`, `a\X20`} {
		if got, err := unit.Unescape(bad); err == nil {
			t.Errorf("Unescape(%s) = %q, want an error", bad, got)
		}
	}
}

func TestEscapePath(t *testing.T) {
	for _, tt := range []struct{ path, escaped, back string }{
		{"/", "-", "/"},
		{"//", "-", "/"},
		{"/.", "-", "/"},
		{"/srv/my data", `srv-my\x20data`, "/srv/my data"},
		{"/srv//data/", "srv-data", "/srv/data"},
		{"/srv/./data", "srv-data", "/srv/data"},
		{"/.x", `\x2ex`, "/.x"},
		{"/a/.x", `a-.x`, "/a/.x"},
		{"/-", `\x2d`, "/-"},
		{"/a-b", `a\x2db`, "/a-b"},
	} {
		got, err := unit.EscapePath(tt.path)
		if got != tt.escaped || err != nil {
			t.Errorf("EscapePath(%q) = %s, %v, want %s", tt.path, got, err, tt.escaped)
		}
		if back, err := unit.UnescapePath(got); back != tt.back || err != nil {
			t.Errorf("UnescapePath(%s) = %q, %v, want %q", got, back, err, tt.back)
		}
	}
	if got, err := unit.EscapePath("/a/../b"); err == nil {
		t.Errorf("EscapePath(/a/../b) = %s, want an error", got)
	}
	for _, bad := range []string{"", "-a", "a-", "a--b", "..", "a-..-b", "a-.", `a\`} {
		if got, err := unit.UnescapePath(bad); err == nil {
			t.Errorf("UnescapePath(%s) = %q, want an error", bad, got)
		}
	}
}

func TestMangle(t *testing.T) {
	for _, tt := range []struct{ give, want, err string }{
		{give: "web", want: "web.service"},
		{give: "web.socket", want: "web.socket"},
		{give: "web@1", want: "web@1.service"},
		{give: "a b", want: `a\x20b.service`},
		{give: "a/b", want: "a-b.service"},
		{give: "/home", want: "home.mount"},
		{give: "/srv/my data", want: `srv-my\x20data.mount`},
		{give: "/", want: "-.mount"},
		{give: "*.service", want: `\x2a.service`},
		{give: "/dev/sda", err: "systemd makes .device units itself"},
		{give: "", err: "it is empty"},
		{give: "@", err: "nothing stands before the @"},
	} {
		got, err := unit.Mangle(tt.give)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Mangle(%q) = %s, %v, want an error with %q", tt.give, got, err, tt.err)
			}
		} else if string(got) != tt.want || err != nil {
			t.Errorf("Mangle(%q) = %s, %v, want %s", tt.give, got, err, tt.want)
		}
	}
}

// randomText is made of what matters to escaping.
func randomText(r *rand.Rand) string {
	const alphabet = "ab./--\\\\x20@:_ zA9.%~ä"
	text := make([]byte, 1+r.IntN(12))
	for i := range text {
		text[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(text)
}

// TestEscapeAsSystemdDoes compares with the real program.
func TestEscapeAsSystemdDoes(t *testing.T) {
	program, err := exec.LookPath("systemd-escape")
	if err != nil {
		t.Fatal("needs systemd-escape; install systemd, as make deps does")
	}
	ask := func(args ...string) (string, bool) {
		out, err := exec.Command(program, args...).Output()
		return strings.TrimSuffix(string(out), "\n"), err == nil
	}
	r := rand.New(rand.NewPCG(1, 2))
	var texts, escaped []string
	for range 500 {
		texts = append(texts, randomText(r))
		escaped = append(escaped, unit.Escape(texts[len(texts)-1]))
	}
	all, _ := ask(append([]string{"--"}, texts...)...)
	for i, want := range strings.Split(all, " ") {
		if escaped[i] != want {
			t.Errorf("Escape(%q) = %s, systemd-escape says %s", texts[i], escaped[i], want)
		}
	}
	for _, text := range texts[:60] {
		for option, fn := range map[string]func(string) (string, error){
			"-p": unit.EscapePath, "-u": unit.Unescape, "-up": unit.UnescapePath,
			"-m": func(s string) (string, error) { n, err := unit.Mangle(s); return string(n), err },
		} {
			want, ok := ask(option, "--", text)
			got, err := fn(text)
			if ours := err == nil; ours != ok && !refusedOnPurpose(option, want) || ours && ok && got != want {
				t.Errorf("%s %q = %q, %v, systemd-escape says %q, %v", option, text, got, err, want, ok)
			}
		}
	}
}

// refusedOnPurpose says whether systemd makes a name that no file can have.
func refusedOnPurpose(option, name string) bool {
	return option == "-m" && strings.HasSuffix(name, ".device") || strings.HasPrefix(name, ".")
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a b", "/srv/my data", "..", "/./a", `a\x20-`, "-", "ä"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		back, err := unit.Unescape(unit.Escape(s))
		if strings.Contains(s, "\x00") {
			return // no name or path has one
		}
		if err != nil || back != s {
			t.Fatalf("%q escaped and back is %q, %v", s, back, err)
		}
		if escaped, err := unit.EscapePath(s); err == nil {
			path, err := unit.UnescapePath(escaped)
			if again, _ := unit.EscapePath(path); err != nil || again != escaped {
				t.Fatalf("path %q escaped is %s, and that is %q, %v", s, escaped, path, err)
			}
		}
		if n, err := unit.Mangle(s); err == nil {
			if again, err := unit.ParseName(string(n)); err != nil || again != n {
				t.Fatalf("Mangle(%q) = %s, which is no name: %v", s, n, err)
			}
		}
		_, _ = unit.Unescape(s)
		_, _ = unit.UnescapePath(s)
	})
}
