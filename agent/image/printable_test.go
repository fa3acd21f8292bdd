package image

import "testing"

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		`a "b" \c é …`:         `a "b" \c é …`,
		"a\x1b[2J\r\nb\tc":     `a\x1b[2J\r\nb\tc`,
		"one byte, CSI: \x9b1": `one byte, CSI: \x9b1`,
		"as text: \u009b":      `as text: \u009b`,
		"backwards: \u202eabc": `backwards: \u202eabc`,
		"cut off: \xe2\x80":    `cut off: \xe2\x80`,
		"as it was: \ufffd":    "as it was: \ufffd",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := PrintableLines("a\x1b\nb\r\n"); got != "a\\x1b\nb\\r\n" {
		t.Errorf("lines: %q", got)
	}
}
