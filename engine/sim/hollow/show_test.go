package hollow

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// show draws how far something is, on a terminal only.
func show(what string, n, of int) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return
	}
	const width = 30
	done := width
	if of > 0 {
		done = width * min(n, of) / of
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K%-28s [%s%s] %d of %d", what, strings.Repeat("#", done), strings.Repeat(".", width-done), n, of)
	if n >= of {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}

// waitFor waits until count reaches want, and shows it on a terminal.
func waitFor(tb testing.TB, what string, want int, atMost time.Duration, count func() int) {
	tb.Helper()
	begun := time.Now()
	for n := count(); n < want; n = count() {
		if time.Since(begun) > atMost {
			tb.Fatalf("%s: %d of %d after %v", what, n, want, atMost)
		}
		show(what, n, want)
		time.Sleep(10 * time.Millisecond)
	}
	show(what, want, want)
}

// table is what a benchmark prints at its end.
type table struct {
	text bytes.Buffer
	w    *tabwriter.Writer
}

func newTable(head string) *table {
	t := &table{}
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t.w, head)
	return t
}

func (t *table) row(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

func (t *table) print(b *testing.B) {
	t.w.Flush()
	fmt.Printf("\n%s\n", t.text.String())
}
