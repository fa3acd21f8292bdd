package unpack

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/image"
)

// trick is one malicious layer. It is either refused, the error saying what
// refused says, or taken with just what harmless lists in it: see describe.
type trick struct {
	name     string // a sentence
	blob     []byte
	refused  string
	harmless string
	plain    []byte // the archive in blob, where diffID is to be right; nil: what decompress makes of it
	limits   Limits
}

// outside is a store with a canary around each place in it. Archives name it by
// its absolute path, so that a trick that works hits something.
type outside struct {
	base  string
	store *image.Store
}

func newOutside(t testing.TB) *outside {
	t.Helper()
	o := &outside{base: t.TempDir()}
	var err error
	if o.store, err = image.Open(filepath.Join(o.base, "store")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "store", "store/tmp", "store/layers", "store/layers/other", "store/refs"} {
		at := filepath.Join(o.base, dir)
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if dir == "store/tmp" {
			continue
		}
		if err := os.WriteFile(filepath.Join(at, "canary"), []byte("alive"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// snapshot describes everything outside of the layer that is being made.
func (o *outside) snapshot(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(o.base, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(o.base, path)
		switch {
		case err != nil:
			return err
		case name == "store/locks", name == "store/blobs", name == "store/leases":
			return fs.SkipDir
		case name == "store/lock":
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		names := make([]byte, 4096)
		n, _ := unix.Llistxattr(path, names)
		fmt.Fprintf(&all, "%s %o %d:%d links %d rdev %d attrs %q", name, st.Mode, st.Uid, st.Gid, st.Nlink, st.Rdev, names[:max(n, 0)])
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " %d %x", st.Mtim.Nano(), sha256.Sum256(data))
		}
		all.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

var errEnough = errors.New("seen enough")

// try does with a layer what a pull does, looks at what came of it, and gives it up.
func (o *outside) try(t *testing.T, tr trick) (looks string, err error) {
	t.Helper()
	session, err := o.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	before := o.snapshot(t)
	want := wantOf(tr.blob, tr.plain)
	if tr.plain == nil {
		want = wantOf(tr.blob, plainOf(tr.blob))
	}
	_, err = session.Layer(t.Context(), want.DiffID, func(fresh image.Fresh) error {
		report, err := Layer(t.Context(), fresh.Root(), bytes.NewReader(tr.blob), want, tr.limits)
		if err == nil {
			err = WriteSums(fresh.Sums(), fresh.Root(), report)
		}
		if err != nil {
			return err
		}
		harmless(t, fresh.Root())
		looks = describe(t, fresh.Root())
		if report.Left > 0 {
			looks = strings.TrimSpace(looks + " left out: " + strings.Join(report.Skipped, ", "))
		}
		return errEnough
	})
	if after := o.snapshot(t); after != before {
		t.Errorf("outside it was\n%s\nand is\n%s", before, after)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return looks, err
}

// plainOf decompresses as far as that works: the digest is not what these layers are to fail by.
func plainOf(blob []byte) []byte {
	r, err := decompress(bytes.NewReader(blob))
	if err != nil {
		return nil
	}
	defer r.Close()
	var out bytes.Buffer
	const bytesMax = 256 << 20
	buf := make([]byte, 64<<10)
	for out.Len() < bytesMax {
		n, err := r.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break
		}
	}
	return out.Bytes()
}

// harmless looks at a layer that was taken for what could hurt outside of it: an
// inode that is also somewhere else, a device, and what overlay obeys.
func harmless(t *testing.T, dir string) {
	t.Helper()
	type inode struct{ links, names uint64 }
	seen := map[uint64]inode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFBLK || kind == unix.S_IFCHR && st.Rdev != 0 {
			t.Errorf("%s is a device", path)
		}
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFCHR {
			seen[st.Ino] = inode{links: uint64(st.Nlink), names: seen[st.Ino].names + 1}
		}
		names := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, names)
		if err != nil {
			return err
		}
		for _, attr := range strings.Split(string(names[:n]), "\x00") {
			if strings.Contains(attr, ".overlay.") && attr != opaqueAttr() || strings.HasPrefix(attr, "security.") && attr != "security.capability" {
				t.Errorf("%s has the attribute %s", path, attr)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range seen {
		if i.links != i.names {
			t.Errorf("something in it has %d names, of which %d are here", i.links, i.names)
		}
	}
}

// TestB09_MaliciousLayers tries them all. Some are taken: then what they name
// can't hurt, as links are of the container's root and not of ours.
func TestB09_MaliciousLayers(t *testing.T) {
	o := newOutside(t)
	tricks := slices.Concat(o.nameTricks(t), o.linkTricks(t), whiteoutTricks(t), kindTricks(t), o.attributeTricks(t), headerTricks(t), streamTricks(t), bombTricks(t))
	if len(tricks) < 150 {
		t.Errorf("%d tricks; at least 150 are wanted", len(tricks))
	}
	known := map[string]bool{}
	for _, tr := range tricks {
		if known[tr.name] {
			t.Errorf("%s: is there twice", tr.name)
		}
		known[tr.name] = true
		t.Run(tr.name, func(t *testing.T) {
			looks, err := o.try(t, tr)
			switch {
			case tr.refused != "" && err == nil:
				t.Errorf("taken as %q, want the error %q", looks, tr.refused)
			case tr.refused != "" && !strings.Contains(err.Error(), tr.refused):
				t.Errorf("refused as\n%v, want\n%s", err, tr.refused)
			case tr.refused == "" && err != nil:
				t.Errorf("refused as\n%v, want\n%s", err, tr.harmless)
			case tr.refused == "" && looks != tr.harmless:
				t.Errorf("taken as\n%s, want\n%s", looks, tr.harmless)
			}
			if err != nil && (len(err.Error()) > 1000 || strings.ContainsFunc(err.Error(), func(c rune) bool { return c < ' ' || c == 0x7f })) {
				t.Errorf("an error to hurt a terminal: %q", err)
			}
		})
	}
}

// block is a header of ustar's, made by hand; the fields may be anything.
type block struct {
	name, link     string
	kind           byte
	mode, uid, gid string // as they stand there; "": an ordinary number
	size, mtime    string
	magic, sum     string
	prefix         string
	devMajor       string
	body           string // padded
}

func (b block) bytes() []byte {
	h := make([]byte, 512)
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	copy(h[0:100], b.name)
	copy(h[100:108], or(b.mode, "0000755\x00"))
	own := fmt.Sprintf("%07o\x00", os.Geteuid())
	copy(h[108:116], or(b.uid, own))
	copy(h[116:124], or(b.gid, own))
	copy(h[124:136], or(b.size, fmt.Sprintf("%011o\x00", len(b.body))))
	copy(h[136:148], or(b.mtime, "07346545000\x00"))
	copy(h[148:156], "        ")
	h[156] = b.kind
	copy(h[157:257], b.link)
	copy(h[257:265], or(b.magic, "ustar\x0000"))
	copy(h[329:337], b.devMajor)
	copy(h[345:500], b.prefix)
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], or(b.sum, fmt.Sprintf("%06o\x00 ", sum)))
	return append(h, padded(b.body)...)
}

func padded(body string) []byte {
	return append([]byte(body), make([]byte, (512-len(body)%512)%512)...)
}

// pax is an extended header for the entry behind it; pairs are key, value, …
func pax(kind byte, pairs ...string) block {
	records := ""
	for i := 0; i < len(pairs); i += 2 {
		records += paxRecord(pairs[i], pairs[i+1])
	}
	return block{name: "pax", kind: kind, body: records}
}

func paxRecord(key, value string) string {
	rest := len(key) + len(value) + 3
	n := rest + len(strconv.Itoa(rest))
	if n2 := rest + len(strconv.Itoa(n)); n2 != n {
		n = n2
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// blocks is an archive of them, ended as it should be.
func blocks(all ...block) []byte {
	return append(unended(all...), make([]byte, 1024)...)
}

func unended(all ...block) []byte {
	var out []byte
	for _, b := range all {
		out = append(out, b.bytes()...)
	}
	return out
}
