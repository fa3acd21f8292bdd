package registry

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// whole fails unless parts are r, without a gap.
func whole(t *testing.T, what string, r Range, parts []Range) {
	t.Helper()
	at := r.From
	for _, p := range parts {
		if p.From != at || p.To <= p.From {
			t.Fatalf("%s: the part %q begins not at %q or is empty", what, p, at)
		}
		at = p.To
	}
	if at != r.To {
		t.Fatalf("%s: the parts end at %q, want %q", what, at, r.To)
	}
}

func TestRange_Cut(t *testing.T) {
	whole(t, "everything", Everything(), Everything().Cut())
	if parts := Everything().Cut(); len(parts) != 11 {
		t.Errorf("everything is %d parts, want one before, and one for each of 10 kinds", len(parts))
	}
	if parts := Prefix("units/web").Cut(); len(parts) != 1 || parts[0] != Prefix("units/web") {
		t.Errorf("a part of one kind is cut into %q", parts)
	}
	if parts := Single("units/web").Cut(); len(parts) != 1 || parts[0] != Single("units/web") {
		t.Errorf("one key is cut into %q", parts)
	}
}

// TestRange_SplitAfter: whatever was read, the rest is all there, once.
func TestRange_SplitAfter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	key := func() string {
		var b strings.Builder
		for range r.IntN(6) {
			b.WriteByte("\x00\x0109afgzAZ@.-\xfe\xff"[r.IntN(15)])
		}
		return "u/" + b.String()
	}
	for range 50_000 {
		first, last := key(), key()
		if last < first {
			first, last = last, first
		}
		span := Range{From: first, To: Prefix("u/").To}
		if to := key(); to > last+"\x00" {
			span.To = to
		}
		whole(t, fmt.Sprintf("%q: %q to %q", span, first, last), Range{From: last + "\x00", To: span.To}, span.SplitAfter(first, last))
	}
}

// TestRange_SplitAfterIsEven: of names as they are in life, no part is more
// than a tenth of the rest after a few rounds, and few rounds are needed.
func TestRange_SplitAfterIsEven(t *testing.T) {
	got := Prefix("u/web").SplitAfter("u/web@000001", "u/web@000500")
	var text []string
	for _, p := range got[:13] {
		text = append(text, strings.TrimPrefix(p.To, "u/"))
	}
	want := "web@0006 web@0007 web@0008 web@0009 web@000A web@000a web@000b web@000c web@000d web@000e web@000f web@000g web@001"
	if s := strings.Join(text, " "); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
}
