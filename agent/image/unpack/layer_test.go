package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
)

// entry is one thing in an archive, written "kind name[ -> link]".
type entry struct {
	what    string
	content string
	mode    int64
	xattrs  map[string]string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	kinds := map[string]byte{
		"dir": tar.TypeDir, "file": tar.TypeReg, "link": tar.TypeSymlink, "hard": tar.TypeLink,
		"fifo": tar.TypeFifo, "char": tar.TypeChar, "block": tar.TypeBlock,
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		kind, rest, _ := strings.Cut(e.what, " ")
		name, target, _ := strings.Cut(rest, " -> ")
		h := &tar.Header{
			Typeflag: kinds[kind], Name: name, Linkname: target, Size: int64(len(e.content)), Mode: e.mode,
			ModTime: time.Unix(1000000000, 0), Uid: os.Geteuid(), Gid: os.Getegid(), Format: tar.FormatPAX,
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		for k, v := range e.xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords[paxXattr+k] = v
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%s: %v", e.what, err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func files(names ...string) (entries []entry) {
	for _, n := range names {
		entries = append(entries, entry{what: n})
	}
	return entries
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func wantOf(blob, plain []byte) Want {
	return Want{Blob: image.DigestOf(blob), BlobBytes: int64(len(blob)), DiffID: image.DigestOf(plain)}
}

// unpackPlain unpacks an archive into a directory that stands beside a canary.
func unpackPlain(t testing.TB, data []byte, limits Limits) (dir string, report *Report, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "layer")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(filepath.Dir(dir), "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err = Layer(t.Context(), dir, bytes.NewReader(data), wantOf(data, data), limits)
	if got, err := os.ReadFile(canary); err != nil || string(got) != "alive" {
		t.Fatalf("the canary is %q, %v", got, err)
	}
	if beside, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(beside) != 2 {
		t.Fatalf("beside the layer: %v, %v", beside, err)
	}
	return dir, report, err
}

// tree describes what is in dir: "etc/ etc/passwd=content lib->usr/lib gone!".
func describe(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			if n, _ := unix.Lgetxattr(path, opaqueAttr(), nil); n > 0 {
				name += "(opaque)"
			}
			name += "/"
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			name += "->" + target
		case fs.ModeNamedPipe:
			name += "|"
		case fs.ModeDevice | fs.ModeCharDevice:
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil || st.Rdev != 0 {
				return fmt.Errorf("%s is a device, %v", path, err)
			}
			name += "!"
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if len(data) > 0 {
				name += "=" + string(data)
			}
		}
		out = append(out, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func opaqueAttr() string {
	if os.Geteuid() != 0 {
		return "user.overlay.opaque"
	}
	return "trusted.overlay.opaque"
}

func TestLayer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"files, directories and links as they are",
			[]entry{{what: "dir ./"}, {what: "dir ./etc/"}, {what: "file ./etc/a", content: "x"}, {what: "link lib -> usr/lib"}, {what: "fifo p"}},
			"etc/ etc/a=x lib->usr/lib p|"},
		{"directories the archive forgot are made", files("file a/b/c"), "a/ a/b/ a/b/c"},
		{"absolute names are of the layer", files("file /a", "hard /b -> /a"), "a b"},
		{"the last of two wins", []entry{{what: "file a", content: "1"}, {what: "file a", content: "2"}}, "a=2"},
		{"a file replaces a directory and all in it", files("file a/b/c", "file a"), "a"},
		{"a directory replaces a link, not what it leads to", files("dir b/", "link a -> b", "dir a/", "file a/x"), "a/ a/x b/"},
		{"a file replaces a link, not what it leads to", []entry{{what: "file b", content: "old"}, {what: "link a -> b"}, {what: "file a", content: "new"}}, "a=new b=old"},
		{"links to directories are followed within the layer", files("dir usr/lib/", "link lib -> usr/lib", "file lib/x"), "lib->usr/lib usr/ usr/lib/ usr/lib/x"},
		{"absolute links lead to the layer's root", files("dir usr/", "link u -> /usr", "file u/x"), "u->/usr usr/ usr/x"},
		{"a link up and up stays at the root", files("link up -> ../../..", "file up/x"), "up->../../.. x"},
		{"a directory a second time keeps what it has", files("dir a/", "file a/x", "dir a/"), "a/ a/x"},
		{"hidden file", files("file d/.wh.gone"), "d/ d/gone!"},
		{"hidden directory", files("file .wh..wh..opq", "dir d/", "file d/.wh..wh..opq", "file d/x"), "d(opaque)/ d/x"},
		{"opaque mark after the content it doesn't hide", files("file d/x", "file d/.wh..wh..opq"), "d(opaque)/ d/x"},
		{"hiding and replacing a file, in this order", files("file .wh.a", "file a"), "a"},
		{"hiding and replacing a file, in the other", files("file a", "file .wh.a"), "a"},
		{"hiding and replacing a directory, in this order", files("file .wh.d", "dir d/", "file d/x"), "d(opaque)/ d/x"},
		{"hiding and replacing a directory, in the other", files("dir d/", "file d/x", "file .wh.d"), "d(opaque)/ d/x"},
		{"hiding a directory that is then only implied", files("file .wh.d", "file d/x"), "d(opaque)/ d/x"},
		{"bookkeeping of another format is left out", files("dir .wh..wh.plnk/", "file a"), "a"},
		{"devices are left out", files("char dev/null", "block dev/sda", "file a"), "a"},
		{"a hard link to a whiteout is a whiteout", files("file .wh.a", "hard b -> a"), "a! b!"},
		{"nothing at all", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, _, err := unpackPlain(t, archive(t, tt.entries...), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, dir); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestB09_ArchiveTricksWriteNothingOutside(t *testing.T) {
	long := strings.Repeat("n", 300)
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string // in the error
	}{
		{"dots at the start", files("file ../canary"), "leads out of the layer: its name has .."},
		{"dots in the middle", files("dir a/", "file a/../../canary"), "leads out of the layer"},
		{"dots behind a slash", files("file /../canary"), "leads out of the layer"},
		{"hard link out", files("hard a -> ../canary"), "leads out of the layer"},
		{"hard link to the host's file", files("hard a -> /etc/hostname"), "no such file"},
		{"hard link through a link out", files("link l -> ..", "hard a -> l/canary"), "no such file"},
		{"hard link to itself", files("file a", "hard a -> a"), "hard link to itself"},
		{"hard link to a directory", files("dir d/", "hard a -> d"), "not permitted"},
		{"hides what is above", files("file .wh..."), `it hides ".."`},
		{"hides its own directory", files("file .wh.."), `it hides "."`},
		{"hides nothing", files("file .wh."), `it hides ""`},
		{"the root as a file", files("file ."), "root is no directory here"},
		{"the root as a link", files("link . -> .."), "the layer's own root is no directory here"},
		{"below a file", files("file a", "file a/b"), "something else"},
		{"below a link to nothing", files("link a -> b", "file a/c"), "a link to nothing"},
		{"links in a circle", files("link a -> b", "link b -> a", "file a/c"), "too many levels"},
		{"a link to a process's root", files("link a -> /proc/self/root", "file a/tmp/x"), "a link to nothing"},
		{"too long a part", files("file " + long), "file name too long"},
		{"too long a name", files("file " + strings.Repeat("a/", 2000) + "x"), "at most 3072"},
		{"link to nothing at all", []entry{{what: "link a -> "}}, "symbolic link to nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := unpackPlain(t, archive(t, tt.entries...), Limits{})
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestB09_TwoHopLinksStayInside(t *testing.T) {
	dir, _, err := unpackPlain(t, archive(t, files(
		"dir d/", "link d/up -> ..", "link hop -> d/up/..", "file hop/canary", "file hop/d/up/../canary2")...), Limits{})
	if !errors.Is(err, ErrEscape) { // the last name has ".." itself
		t.Fatalf("got %v", err)
	}
	if got := describe(t, dir); got != "canary d/ d/up->.. hop->d/up/.." {
		t.Errorf("got %s", got)
	}
}

func TestB09_BombsEndEarly(t *testing.T) {
	zeros := archive(t, entry{what: "file zeros", content: strings.Repeat("\x00", 8<<20)})
	small := Limits{FreeBytes: 1 << 20}
	for name, blob := range map[string][]byte{"gzip": gzipped(t, zeros), "zstd": zstandard(t, zeros)} {
		dir := t.TempDir()
		_, err := Layer(t.Context(), dir, bytes.NewReader(blob), wantOf(blob, zeros), small)
		if !errors.Is(err, ErrBomb) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, _, err := unpackPlain(t, archive(t, files("file a", "file b", "file c")...), Limits{EntriesMax: 2}); !errors.Is(err, ErrBomb) {
		t.Errorf("entries: got %v", err)
	}
	if _, _, err := unpackPlain(t, zeros, Limits{BytesMax: 1 << 20}); !errors.Is(err, ErrBomb) {
		t.Errorf("bytes: got %v", err)
	}
	if _, _, err := unpackPlain(t, sparse(t, 1<<40), small); !errors.Is(err, ErrBomb) {
		t.Errorf("sparse file: got %v", err)
	}
}

// sparse makes an archive whose one file is a hole of size bytes.
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	body := fmt.Sprintf("1\n%d\n0\n", size)
	body += strings.Repeat("\x00", 512-len(body))
	data := archive(t, entry{what: "file hole", content: body})
	// Write the records of the sparse form by hand: the writer has none.
	records := ""
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=hole", fmt.Sprintf("GNU.sparse.realsize=%d", size)} {
		n := len(r) + 3
		for len(fmt.Sprintf("%d %s\n", n, r)) != n {
			n++
		}
		records += fmt.Sprintf("%d %s\n", n, r)
	}
	pax := make([]byte, 512)
	copy(pax, "pax")
	copy(pax[100:], "0000644\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x00", len(records))+"00000000000\x00        x")
	copy(pax[257:], "ustar\x0000")
	sum := 0
	for _, b := range pax {
		sum += int(b)
	}
	copy(pax[148:], fmt.Sprintf("%06o\x00 ", sum))
	block := make([]byte, 512)
	copy(block, records)
	return append(append(pax, block...), data...)
}

func TestB09_OneFlippedByteIsFound(t *testing.T) {
	plain := archive(t, entry{what: "file a", content: strings.Repeat("text ", 2000)}, entry{what: "link b -> a"})
	for name, blob := range map[string][]byte{"plain": plain, "gzip": gzipped(t, plain), "zstd": zstandard(t, plain)} {
		want := wantOf(blob, plain)
		for i := 0; i < len(blob); i += 1 + len(blob)/97 {
			bad := bytes.Clone(blob)
			bad[i] ^= 1 << (i % 8)
			if _, err := Layer(t.Context(), t.TempDir(), bytes.NewReader(bad), want, Limits{}); !errors.Is(err, image.ErrMismatch) {
				t.Fatalf("%s, byte %d: got %v", name, i, err)
			}
		}
		if _, err := Layer(t.Context(), t.TempDir(), bytes.NewReader(append(bytes.Clone(blob), 0)), want, Limits{}); !errors.Is(err, image.ErrMismatch) {
			t.Errorf("%s, one byte more: got %v", name, err)
		}
		if _, err := Layer(t.Context(), t.TempDir(), bytes.NewReader(blob[:len(blob)-1]), want, Limits{}); !errors.Is(err, ErrShort) {
			t.Errorf("%s, one byte less: got %v", name, err)
		}
		other := want
		other.DiffID = image.DigestOf(nil)
		if _, err := Layer(t.Context(), t.TempDir(), bytes.NewReader(blob), other, Limits{}); !errors.Is(err, image.ErrMismatch) {
			t.Errorf("%s, other diffID: got %v", name, err)
		}
		if _, err := Layer(t.Context(), t.TempDir(), bytes.NewReader(blob), want, Limits{}); err != nil {
			t.Errorf("%s as it is: %v", name, err)
		}
	}
}

func TestLayerKeepsLooks(t *testing.T) {
	data := archive(t,
		entry{what: "dir d/", mode: 0o1777}, entry{what: "file d/su", mode: 0o4755, content: "x"},
		entry{what: "file attrs", xattrs: map[string]string{"user.mine": "1", "trusted.overlay.redirect": "/etc", "user.overlay.opaque": "y", "security.selinux": "s"}})
	dir, report, err := unpackPlain(t, data, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"d": "dtrwxrwxrwx", "d/su": "urwxr-xr-x"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().String(); got != want || info.ModTime().Unix() != 1000000000 {
			t.Errorf("%s: is %s of %v, want %s", name, got, info.ModTime(), want)
		}
	}
	names := make([]byte, 1000)
	n, err := unix.Llistxattr(filepath.Join(dir, "attrs"), names)
	if err != nil || string(names[:n]) != "user.mine\x00" {
		t.Errorf("attributes: %q, %v", names[:max(n, 0)], err)
	}
	if report.Left != 3 {
		t.Errorf("left out %d: %v", report.Left, report.Skipped)
	}
}

func TestSumsFindDamage(t *testing.T) {
	dir, report, err := unpackPlain(t, archive(t, entry{what: "file a", content: "content"}, entry{what: "link b -> a"}, entry{what: `file q" -> "`}, entry{what: "hard c -> a"}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sums := filepath.Join(t.TempDir(), "sums")
	if err := WriteSums(sums, dir, report); err != nil {
		t.Fatal(err)
	}
	check := func() string {
		t.Helper()
		differences, err := CheckSums(t.Context(), sums, dir, 10)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(differences, "\n")
	}
	if got := check(); got != "" {
		t.Errorf("untouched: %s", got)
	}
	info, err := os.Lstat(filepath.Join(dir, "c"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "c"), []byte("contenu"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "c"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := check(); !strings.Contains(got, `"a": is`) || !strings.Contains(got, `"c": is`) {
		t.Errorf("changed: %s", got)
	}
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if got := check(); !strings.Contains(got, `"b": is gone`) {
		t.Errorf("removed: %s", got)
	}
}

func FuzzLayer(f *testing.F) {
	seed := archive(f, files("dir a/", "file a/b", "link c -> a", "hard d -> a/b", "file a/.wh.x", "file a/.wh..wh..opq")...)
	f.Add(seed)
	f.Add(gzipped(f, seed))
	f.Add(zstandard(f, seed))
	f.Add(sparse(f, 1<<30))
	f.Fuzz(func(t *testing.T, blob []byte) {
		dir := filepath.Join(t.TempDir(), "layer")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		want := Want{Blob: image.DigestOf(blob), BlobBytes: int64(len(blob)), DiffID: image.DigestOf(nil)}
		report, err := Layer(t.Context(), dir, bytes.NewReader(blob), want, Limits{FreeBytes: 1 << 20, BytesMax: 4 << 20})
		if err == nil && report == nil {
			t.Fatal("neither report nor error")
		}
		if beside, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(beside) != 1 {
			t.Fatalf("beside the layer: %v, %v", beside, err)
		}
	})
}
