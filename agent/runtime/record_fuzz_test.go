package runtime

import (
	"reflect"
	"strings"
	"testing"

	"github.com/clusterd/clusterd/agent/sheet"
)

// FuzzRecord reads records whose lines are anybody's: what can be read is
// written and read again the same.
func FuzzRecord(f *testing.F) {
	f.Add(string((&Record{ID: strings.Repeat("a", 64), Name: "web", Unit: "web.service"}).encode()))
	f.Add("id\x00x\nname\x00y\nvolume\x00/a\x00/b\x00ro\nlabel\x00a=b")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = decodeRecord([]byte(text))
		var w sheet.Writer
		for line := range strings.SplitSeq(text, "\n") {
			word := strings.FieldsFunc(line, func(c rune) bool { return c == 0 || c == ' ' })
			if len(word) > 0 && len(word[0]) < 100 {
				w.Put(word[0], word[1:]...)
			}
		}
		first, err := decodeRecord(w.Bytes())
		if err != nil {
			return
		}
		again, err := decodeRecord(first.encode())
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("%+v\nwas written as\n%s\nand read as\n%+v, %v", first, first.encode(), again, err)
		}
	})
}
