package unit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

func TestSplitCommand(t *testing.T) {
	for _, tt := range []struct{ give, want, err string }{
		{give: "/bin/true", want: "|/bin/true"},
		{give: "-/usr/bin/nsrun kill busybox1", want: "-|/usr/bin/nsrun|kill|busybox1"},
		{give: "-+@/bin/sh sh0 -c x", want: "-+@|/bin/sh|sh0|-c|x"},
		{give: "!!/bin/true", want: "!!|/bin/true"},
		{give: `/bin/sh -c "while true; do echo 'a  b'; done"`, want: "|/bin/sh|-c|while true; do echo 'a  b'; done"},
		{give: `/bin/echo 'a "b"' c"d e"f ""`, want: `|/bin/echo|a "b"|cd ef|`},
		{give: `/bin/echo a\x20b \"q\" \101 \u00e9 \s \\ \d`, want: "|/bin/echo|a b|\"q\"|A|é| |\\|\\d"},
		{give: "/bin/echo a ; /bin/echo b", want: "|/bin/echo|a"},
		{give: `/bin/echo a \; b ";"`, want: "|/bin/echo|a|;|b|;"},
		{give: "/bin/echo %i ${A} $B", want: "|/bin/echo|%i|${A}|$B"},
		{give: "  /bin/echo\t a  ", want: "|/bin/echo|a"},
		{give: `"/opt/my prog/x" y`, want: "|/opt/my prog/x|y"},
		{give: `/bin/echo \`, want: `|/bin/echo|\`},
		{give: "", err: "it is empty"},
		{give: "-", err: `nothing stands behind "-"`},
		{give: `/bin/echo "a`, err: `the quote " is not closed`},
	} {
		prefixes, argv, err := unit.SplitCommand(tt.give)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("SplitCommand(%q): %v, want an error with %q", tt.give, err, tt.err)
			}
			continue
		}
		if got := prefixes + "|" + strings.Join(argv, "|"); err != nil || got != tt.want {
			t.Errorf("SplitCommand(%q) = %s, %v, want %s", tt.give, got, err, tt.want)
		}
	}
}

// FuzzSplitCommand: what a command is taken apart into is, quoted and put
// together again, the same command.
func FuzzSplitCommand(f *testing.F) {
	for _, s := range []string{"/bin/true", "-+@/bin/sh sh0 -c 'x y'", `/a "b \"c\"" \x20 \101\;`, "/a ; /b", `@"/a" ''`, "!!", "'", `/a \`, `/a \u00e9 \U0010ffff \x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		prefixes, argv, err := unit.SplitCommand(value)
		if err != nil {
			return
		}
		quoted := make([]string, len(argv))
		for i, w := range argv {
			if i == 0 {
				w = prefixes + w
			}
			quoted[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
		}
		again, words, err := unit.SplitCommand(strings.Join(quoted, " "))
		if err != nil || again != prefixes || !slices.Equal(words, argv) {
			t.Fatalf("%q is %q %q, and quoted it is %q %q, %v", value, prefixes, argv, again, words, err)
		}
	})
}
