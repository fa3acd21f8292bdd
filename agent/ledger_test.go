package agent

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

// TestLedgerCutAnywhere: whatever of the file a killed clusterd has written, the
// next one knows each entry as it was before or after a change.
func TestLedgerCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	var states []map[unit.Name]entry // after each change
	note := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, maps.Clone(l.entries))
	}
	note(nil)
	note(l.put(entry{Unit: "a.service", File: "1"}))
	note(l.put(entry{Unit: "b.service", File: "2", Reason: "exit-code 3"}))
	note(l.put(entry{Unit: "a.service", File: "1", Done: 7}))
	note(l.remove("a.service"))
	note(l.put(entry{Unit: "c.service"}))
	text, err := os.ReadFile(l.path())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(text) + 1 {
		cut := t.TempDir()
		if err := os.WriteFile(filepath.Join(cut, "ledger"), text[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		again, err := openLedger(cut)
		if err != nil {
			t.Fatal(err)
		}
		whole := bytes.Count(text[:n], []byte("\n"))
		atEnd := n == len(text) || text[n] == '\n' // the line is whole but for its end
		if want := states[whole]; !reflect.DeepEqual(again.entries, want) && !(atEnd && reflect.DeepEqual(again.entries, states[min(whole+1, len(states)-1)])) {
			t.Fatalf("cut after %d bytes: %v, want %v", n, again.entries, want)
		}
		if err := again.put(entry{Unit: "d.service"}); err != nil {
			t.Fatal(err)
		}
		third, err := openLedger(cut)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(third.entries, again.entries) {
			t.Fatalf("cut after %d bytes, one more change: %v, want %v", n, third.entries, again.entries)
		}
	}
}

// TestLedgerStaysSmall: many changes of few units don't fill /run.
func TestLedgerStaysSmall(t *testing.T) {
	l, err := openLedger(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		if err := l.put(entry{Unit: unit.Name(fmt.Sprintf("u%d.service", i%5)), Done: uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(l.path())
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2*ledgerSlack {
		t.Errorf("%d bytes for 5 units", info.Size())
	}
	again, err := openLedger(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := again.get("u4.service"); len(again.entries) != 5 || e.Done != 9999 {
		t.Errorf("%d entries, the last %+v", len(again.entries), e)
	}
}
