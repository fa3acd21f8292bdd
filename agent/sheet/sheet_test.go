package sheet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	var w Writer
	when := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	w.Text("name", "web")
	w.Text("nothing", "")
	w.Put("command", "sh", "-c", "echo \"a\nb\"\x00\xff", "")
	w.Put("none")
	w.Flag("remove", true)
	w.Flag("kept", false)
	w.Int("code", -3)
	w.Int("zero", 0)
	w.Time("created", when)
	w.Time("ended", time.Time{})
	var got []string
	err := Read(w.Bytes(), func(l Line) error {
		got = append(got, fmt.Sprintf("%s %q", l.Name, l.Values))
		switch l.Name {
		case "code":
			if n, err := l.Int(); n != -3 || err != nil {
				t.Errorf("code: %d, %v", n, err)
			}
		case "created":
			if at, err := l.Time(); !at.Equal(when) || err != nil {
				t.Errorf("created: %s, %v", at, err)
			}
		}
		return nil
	})
	want := []string{
		`name ["web"]`, `command ["sh" "-c" "echo \"a\nb\"\x00\xff" ""]`, `remove ["yes"]`, `code ["-3"]`,
		`created ["2026-03-04T05:06:07.000000008Z"]`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A power cut leaves part of a file, or zeros.
func TestWhatWasCutOffOrChangedIsDamaged(t *testing.T) {
	var w Writer
	w.Text("name", "web")
	w.Put("command", "sleep", "3")
	whole := w.Bytes()
	take := func(Line) error { return nil }
	for n := range whole {
		if err := Read(whole[:n], take); !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d bytes: %v, want it damaged", n, err)
		}
		for bit := range 8 {
			flipped := slices.Clone(whole)
			flipped[n] ^= 1 << bit
			if err := Read(flipped, take); !errors.Is(err, ErrDamaged) {
				t.Errorf("byte %d, bit %d changed: %v, want it damaged", n, bit, err)
			}
		}
	}
	if err := Read(make([]byte, len(whole)), take); !errors.Is(err, ErrDamaged) {
		t.Errorf("zeros: %v, want it damaged", err)
	}
}

func TestErrorsOfTheReaderComeBack(t *testing.T) {
	var w Writer
	w.Text("code", "many")
	err := Read(w.Bytes(), func(l Line) error { _, err := l.Int(); return err })
	if err == nil || !strings.Contains(err.Error(), "code: ") {
		t.Errorf("%v, want one that names the line", err)
	}
}

func FuzzRead(f *testing.F) {
	var w Writer
	w.Put("command", "sh", "-c")
	f.Add(w.Bytes())
	f.Add([]byte("sum 0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var w Writer
		if Read(data, func(l Line) error { w.Put(l.Name, l.Values...); return nil }) != nil {
			return
		}
		var again Writer
		if err := Read(w.Bytes(), func(l Line) error { again.Put(l.Name, l.Values...); return nil }); err != nil || string(again.Bytes()) != string(w.Bytes()) {
			t.Errorf("not the same after a round trip: %v\n%s", err, w.Bytes())
		}
	})
}
