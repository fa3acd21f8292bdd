package runtime

import (
	"io/fs"
	"strings"
	"testing"
)

func TestHomeOfStore(t *testing.T) {
	const passwd = "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\nsvc:x:990:990::/:/bin/false\nodd:x:991:991::odd:/bin/sh\n"
	for _, row := range []struct {
		uid       int
		env, want string // want "": an error
	}{
		{1000, "HOME=/srv/bob", "/srv/bob/.local/share/nsrun"},
		{1000, "", "/home/bob/.local/share/nsrun"},
		{1000, "HOME=bob", "/home/bob/.local/share/nsrun"},
		{1000, "HOME=/", "/home/bob/.local/share/nsrun"},
		{1000, "XDG_DATA_HOME=data", "/home/bob/.local/share/nsrun"},
		{990, "XDG_DATA_HOME=/data", "/data/nsrun"},
		{990, "NSRUN_DIR=/data", "/data"},
		{990, "", ""}, {991, "", ""}, {4711, "HOME=x", ""},
		{0, "", "/var/lib/nsrun"},
	} {
		env := func(name string) string {
			value, ok := strings.CutPrefix(row.env, name+"=")
			if !ok {
				return ""
			}
			return value
		}
		dir, err := systemDir(row.uid, env, func(string) ([]byte, error) { return []byte(passwd), nil })
		switch {
		case row.want == "" && (err == nil || !strings.Contains(err.Error(), "set HOME or NSRUN_DIR")):
			t.Errorf("%d %s: %v, %v; want an error", row.uid, row.env, dir, err)
		case row.want != "" && (err != nil || dir.data != row.want):
			t.Errorf("%d %s: %v, %v; want %s", row.uid, row.env, dir, err, row.want)
		}
	}
	none := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	if _, err := systemDir(5, func(string) string { return "" }, none); err == nil {
		t.Error("no passwd file: no error")
	}
}
