package unpack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Files are made with their mode and get another or an owner only where those are not right
// at once: neither the umask nor who unpacks may show in what comes out.
func TestLooksDependOnTheArchiveOnly(t *testing.T) {
	owners := []int{os.Geteuid()}
	if os.Geteuid() == 0 {
		owners = append(owners, 1234)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	want := map[string]string{}
	for _, owner := range owners {
		group := os.Getegid()
		if owner != os.Geteuid() {
			group = 4321
		}
		for _, mode := range []int64{0, 0o400, 0o644, 0o666, 0o777, 0o4755, 0o2755, 0o6777, 0o1644} {
			name := fmt.Sprintf("f%d-%o", owner, mode)
			want[name] = fmt.Sprintf("%o %d:%d", mode, owner, group)
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: 1, Uid: owner, Gid: group}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		dir := t.TempDir()
		old := unix.Umask(umask)
		err := os.Chmod(dir, 0o700|os.ModeSetgid)
		if err == nil {
			_, err = Layer(t.Context(), dir, bytes.NewReader(out.Bytes()), wantOf(out.Bytes(), out.Bytes()), Limits{})
		}
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for name, looks := range want {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%o %d:%d", st.Mode&0o7777, st.Uid, st.Gid); got != looks {
				t.Errorf("umask %#o: %s is %s, want %s", umask, name, got, looks)
			}
		}
	}
}
