package unpack

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// kindTricks are entries of kinds that have no business in a layer.
func kindTricks(t testing.TB) []trick {
	is := func(name, refused, harmless string, entries ...string) trick {
		return trick{name: name, blob: archive(t, files(entries...)...), refused: refused, harmless: harmless}
	}
	tricks := []trick{
		is("a device for the disk is left out", "", `left out: "sda": device node`, "block sda"),
		is("a device for memory is left out", "", `left out: "dev/mem": device node`, "char dev/mem"),
		is("a device 0:0, overlay's whiteout, is left out", "", `left out: "gone": device node`, "char gone"),
		is("a device whose name climbs is left out", "", `left out: "../../sda": device node`, "block ../../sda"),
		is("a device whose name hurts a terminal is left out and quoted", "", `left out: "\x1b[2J\n": device node`, "char \x1b[2J\n"),
		is("a file in the place of a device that was left out", "", `null left out: "null": device node`, "char null", "file null"),
		is("something below a device that was left out", "", `null/ null/x left out: "null": device node`, "char null", "file null/x"),
		is("a pipe is one, in the container too", "", "p|", "fifo p"),
		is("something below a pipe", "something else", "", "fifo p", "file p/x"),
		is("a file in the place of a pipe doesn't write into it", "", "p", "fifo p", "file p"),
	}
	for _, kind := range []byte("89ABDMNVXZ!\xff") {
		tr := trick{name: fmt.Sprintf("an entry of kind %q", kind), blob: blocks(block{name: "a", kind: kind, body: "x"}), refused: fmt.Sprintf("unknown kind %q of entry", kind)}
		tricks = append(tricks, tr)
	}
	return append(tricks,
		trick{name: "a contiguous file is a file", blob: blocks(block{name: "a", kind: tar.TypeCont, body: "x"}), harmless: "a=x"},
		trick{name: "a file of the oldest kind whose name ends in a slash is a directory", blob: blocks(block{name: "a/", kind: 0}), harmless: "a/"},
		trick{name: "a file whose name ends in a slash is a file", blob: blocks(block{name: "a/", kind: '0', body: "x"}), harmless: "a=x"},
		trick{name: "a directory with a content", blob: blocks(block{name: "d/", kind: '5', size: "00000001000\x00", body: strings.Repeat("x", 512)}, block{name: "a", kind: '0'}), refused: "invalid tar header"},
		trick{name: "a link with a content has none", blob: blocks(block{name: "l", link: "x", kind: '2', size: "00000001000\x00"}, block{name: "a", kind: '0'}), harmless: "a l->x"},
		trick{name: "a set-id file stays one, in a store nobody else may enter and on a mount without set-id", blob: archive(t, entry{what: "file su", mode: 0o6755, content: "x"}), harmless: "su=x"},
		trick{name: "a mode with bits beyond all", blob: blocks(block{name: "a", kind: '0', mode: "7777777\x00"}), harmless: "a"},
		trick{name: "a mode of a device on a file", blob: blocks(block{name: "a", kind: '0', mode: "0020666\x00"}), harmless: "a"},
		trick{name: "a directory nobody may enter", blob: archive(t, entry{what: "dir d/", mode: 0o40000}, entry{what: "file d/x"}), harmless: "d/ d/x"},
	)
}

// attributeTricks bring extended attributes that somebody obeys.
func (o *outside) attributeTricks(t testing.TB) []trick {
	with := func(name, refused, harmless, attr, value string) trick {
		return trick{name: name, refused: refused, harmless: harmless, blob: archive(t, entry{what: "dir d/", xattrs: map[string]string{attr: value}})}
	}
	// Without such attributes in the file system there is nothing to refuse.
	either := func(name, refused, attr, value string) trick {
		if errors.Is(unix.Setxattr(o.base, attr, []byte(value), 0), unix.ENOTSUP) {
			return with(name, "", "d/ left out: "+strconv.Quote(attr)+": the file system has no such attributes", attr, value)
		}
		return with(name, refused, "", attr, value)
	}
	left := func(name, attr, value string) trick {
		return with(name, "", "d/ left out: "+strconv.Quote("d/")+": attribute "+strconv.Quote(attr), attr, value)
	}
	return []trick{
		left("overlay's redirection, which would show the machine's files", "trusted.overlay.redirect", o.base),
		left("overlay's redirection to the root", "trusted.overlay.redirect", "/etc"),
		left("overlay's metadata-only copy, whose content is elsewhere", "trusted.overlay.metacopy", ""),
		left("overlay's opaque mark by attribute", "trusted.overlay.opaque", "y"),
		left("overlay's mark that whiteouts are in here", "trusted.overlay.opaque", "x"),
		left("overlay's whiteout by attribute", "trusted.overlay.whiteout", ""),
		left("overlay's origin", "trusted.overlay.origin", "\x00\xfb\x21"),
		left("overlay's impure mark", "trusted.overlay.impure", "y"),
		left("overlay's upper directory", "trusted.overlay.upper", "x"),
		left("overlay's protected attributes", "trusted.overlay.protattr", "i"),
		left("overlay's attributes of an overlay in an overlay", "trusted.overlay.overlay.redirect", "/"),
		left("an ordinary user's overlay's redirection", "user.overlay.redirect", "/"),
		left("an ordinary user's overlay's metadata-only copy", "user.overlay.metacopy", ""),
		left("an ordinary user's overlay's opaque mark", "user.overlay.opaque", "y"),
		left("an ordinary user's overlay's whiteout", "user.overlay.whiteout", ""),
		left("any other trusted attribute", "trusted.mine", "x"),
		left("a label of SELinux", "security.selinux", "system_u:object_r:shadow_t:s0\x00"),
		left("a label of Smack", "security.SMACK64", "_"),
		left("a label of AppArmor", "security.apparmor", "unconfined"),
		left("a signature of IMA", "security.ima", "\x03"),
		left("a signature of EVM", "security.evm", "\x05"),
		left("an NFS attribute", "system.nfs4_acl", "x"),
		left("an attribute of no family", "mine", "x"),
		left("an attribute of a family in capitals", "TRUSTED.overlay.redirect", "/"),
		left("an attribute whose name hurts a terminal", "x\x1b[2J", "y"),
		either("an access list that is none", "attribute system.posix_acl_access: invalid argument", "system.posix_acl_access", "garbage"),
		either("an access list for nobody", "attribute system.posix_acl_default: ", "system.posix_acl_default", "\x02\x00\x00\x00\xff\xff\xff\xff"),
		with("file capabilities that are none", "attribute security.capability: ", "", "security.capability", "garbage"),
		with("an attribute's name of 300 bytes", "numerical result out of range", "", "user."+strings.Repeat("n", 300), "x"),
		with("an attribute's value of 100,000 bytes", "argument list too long", "", "user.x", strings.Repeat("v", 100000)),
		with("an attribute's name without a rest", "attribute user.: ", "", "user.", "x"),
		{name: "attributes of a symbolic link are not given to what it leads to", harmless: "l->" + o.base + "/canary",
			blob: archive(t, entry{what: "link l -> " + o.base + "/canary", xattrs: map[string]string{"user.x": "y"}})},
		{name: "a thousand attributes", refused: "attribute user.", blob: archive(t, entry{what: "dir d/", xattrs: many(1000)})},
	}
}

func many(n int) map[string]string {
	all := map[string]string{}
	for i := range n {
		all[fmt.Sprintf("user.attribute%d", i)] = strings.Repeat("v", 200)
	}
	return all
}

// base256 is a number as GNU tar writes those too big for octal digits.
func base256(width int, value ...byte) string {
	b := make([]byte, width)
	copy(b[width-len(value):], value)
	b[0] |= 0x80
	return string(b)
}

// headerTricks are headers that no tool writes.
func headerTricks(t testing.TB) []trick {
	file := block{name: "a", kind: '0', body: "x"}
	with := func(change func(*block)) block { b := file; change(&b); return b }
	const invalid = "invalid tar header"
	huge := strconv.FormatUint(1<<62, 10)
	long := func(kind byte, s string) block { return block{name: "././@LongLink", kind: kind, body: s + "\x00"} }
	own := strconv.Itoa(os.Geteuid())
	is := func(name, refused, harmless string, all ...block) trick {
		return trick{name: name, refused: refused, harmless: harmless, blob: blocks(all...)}
	}
	return []trick{
		is("a negative size", invalid, "", with(func(b *block) {
			b.size = base256(12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		})),
		is("a size written with a minus", invalid, "", with(func(b *block) { b.size = "-0000000001\x00" })),
		is("a size of 2^63-1", "unexpected EOF", "", with(func(b *block) { b.size = base256(12, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) })),
		is("a size beyond 64 bits", invalid, "", with(func(b *block) { b.size = base256(12, 1, 0, 0, 0, 0, 0, 0, 0, 0) })),
		is("a size of more than there is", "unexpected EOF", "", with(func(b *block) { b.size = "77777777777\x00" })),
		is("a size that is no number", invalid, "", with(func(b *block) { b.size = "garbage\x00\x00\x00\x00\x00" })),
		is("a mode that is no number", invalid, "", with(func(b *block) { b.mode = "rwxr-xr\x00" })),
		is("an owner of -1", "is no owner", "", with(func(b *block) { b.uid = base256(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) })),
		is("an owner of 2^32-1, the kernel's nobody at all", "is no owner", "", with(func(b *block) { b.uid = base256(8, 0xff, 0xff, 0xff, 0xff) })),
		is("an owner of 2^32, root once cut off", "is no owner", "", with(func(b *block) { b.uid = base256(8, 1, 0, 0, 0, 0) })),
		is("a group of 2^32", "is no owner", "", with(func(b *block) { b.gid = base256(8, 1, 0, 0, 0, 0) })),
		is("an owner in a record of 2^64", invalid, "", pax('x', "uid", "18446744073709551616"), file),
		is("an owner in a record of -2", "is no owner", "", pax('x', "uid", "-2"), file),
		is("a time before all time", "", "a=x", with(func(b *block) {
			b.mtime = base256(12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		})),
		is("a time after all time", "", "a=x", with(func(b *block) { b.mtime = base256(12, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) })),
		is("a time in a record that is none", invalid, "", pax('x', "mtime", "yesterday"), file),
		is("a time in a record with a billion billion nanoseconds", "", "a=x", pax('x', "mtime", "1.999999999999999999999"), file),
		is("a time in a record long before 1970", "", "a=x", pax('x', "mtime", "-99999999999.5"), file),
		is("a wrong checksum", invalid, "", with(func(b *block) { b.sum = "000000\x00 " })),
		is("a checksum that is no number", invalid, "", with(func(b *block) { b.sum = "checksum" })),
		is("an unknown magic", "", "a=x", with(func(b *block) { b.magic = "garbage!" })),
		is("a prefix that climbs", ErrEscape.Error(), "", with(func(b *block) { b.prefix = "../.." })),
		is("a prefix that is absolute", "", "etc/ etc/a=x", with(func(b *block) { b.prefix = "/etc" })),
		is("a name with a zero byte in the header ends there", "", "a=x", with(func(b *block) { b.name = "a\x00/../../canary" })),
		is("a name that isn't UTF-8", "", "\xff\xfe=x", with(func(b *block) { b.name = "\xff\xfe" })),

		is("a record's path that climbs", ErrEscape.Error(), "", pax('x', "path", "../canary"), file),
		is("a record's path that is absolute", "", "etc/ etc/x=x", pax('x', "path", "/etc/x"), file),
		is("a record's path with a zero byte", invalid, "", pax('x', "path", "a\x00b"), file),
		is("an empty record's path is the header's", "", "a=x", pax('x', "path", ""), file),
		is("a record's path twice: the last holds", "", "c=x", pax('x', "path", "b", "path", "c"), file),
		is("a record's path twice, the last to climb", ErrEscape.Error(), "", pax('x', "path", "b", "path", "../c"), file),
		is("a record's link that climbs", ErrEscape.Error(), "", pax('x', "linkpath", "../../canary"), block{name: "a", kind: '1', link: "b"}),
		is("a record's link with a zero byte", invalid, "", pax('x', "linkpath", "a\x00b"), block{name: "a", kind: '2', link: "b"}),
		is("a record's size that is not the content's", "unexpected EOF", "", pax('x', "size", "100000"), file),
		is("a record's size below zero", invalid, "", pax('x', "size", "-1"), file),
		is("a record's size of 2^62", "unexpected EOF", "", pax('x', "size", huge), file),
		is("a record's size that is no number", invalid, "", pax('x', "size", "big"), file),
		is("a record's own length too great", invalid, "", block{name: "pax", kind: 'x', body: "99 path=b\n"}, file),
		is("a record's own length below zero", invalid, "", block{name: "pax", kind: 'x', body: "-9 path=b\n"}, file),
		is("a record's own length of 2^64", invalid, "", block{name: "pax", kind: 'x', body: "18446744073709551616 path=b\n"}, file),
		is("a record without an end", invalid, "", block{name: "pax", kind: 'x', body: "9 path=bc"}, file),
		is("a record without a key", invalid, "", pax('x', "", "b"), file),
		is("records of 2 MiB", "header field too long", "", pax('x', "comment", strings.Repeat("c", 2<<20)), file),
		is("records with no entry behind them are for nothing", "", "", pax('x', "path", "b")),
		is("records for records: the last hold", "", "c=x", pax('x', "path", "b"), pax('x', "path", "c"), file),
		is("a global path that climbs is not heeded", "", "a=x", pax('g', "path", "../canary"), file),
		is("a global link that climbs is not heeded", "", "a->b", pax('g', "linkpath", "../canary"), block{name: "a", kind: '2', link: "b"}),
		is("a global size is not heeded", "", "a=x", pax('g', "size", "0"), file),
		is("a global owner is not heeded", "", "a=x", pax('g', "uid", "-1"), file),
		is("a global attribute is not heeded", "", "a=x", pax('g', "SCHILY.xattr.trusted.overlay.redirect", "/"), file),
		is("a global header with garbage", invalid, "", block{name: "pax", kind: 'g', body: "garbage"}, file),

		is("a long name that climbs", ErrEscape.Error(), "", long('L', "../"+strings.Repeat("a/", 100)), file),
		is("a long name with a zero byte ends there", "", "b=x", long('L', "b\x00/../../c"), file),
		is("a long name of 2 MiB", "header field too long", "", long('L', strings.Repeat("a/", 1<<20)), file),
		is("a long name twice: the last holds", "", "c=x", long('L', "b"), long('L', "c"), file),
		is("a long name and a record's: the long name holds", "", "b=x", long('L', "b"), pax('x', "path", "c"), file),
		is("a long link that climbs", ErrEscape.Error(), "", long('K', "../../canary"), block{name: "a", kind: '1', link: "b"}),
		is("a long name with nothing behind it is for nothing", "", "", long('L', "b")),
		is("a long name of no bytes is the header's", "", "a=x", block{name: "././@LongLink", kind: 'L'}, file),

		is("a sparse file with a map of garbage", "unexpected EOF", "", pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "h", "GNU.sparse.realsize", "10"), block{name: "a", kind: '0', body: "garbage"}),
		is("a sparse file of negative size", "unexpected EOF", "", pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "h", "GNU.sparse.realsize", "-10"), block{name: "a", kind: '0', body: "0\n"}),
		is("a sparse file whose map has a billion parts", "unexpected EOF", "", pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "h", "GNU.sparse.realsize", "10"), block{name: "a", kind: '0', body: "1000000000\n" + strings.Repeat("1\n1\n", 100)}),
		is("a sparse file whose parts overlap", invalid, "", pax('x', "GNU.sparse.size", "10", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,1,0,1"), block{name: "a", kind: '0', body: "xy"}),
		is("a sparse file with parts beyond its end", invalid, "", pax('x', "GNU.sparse.size", "10", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "9,2"), block{name: "a", kind: '0', body: "xy"}),
		is("a sparse file with more parts than said", invalid, "", pax('x', "GNU.sparse.size", "10", "GNU.sparse.numblocks", "1", "GNU.sparse.map", "0,1,5,1"), block{name: "a", kind: '0', body: "xy"}),
		is("a sparse file whose parts overflow", invalid, "", pax('x', "GNU.sparse.size", huge, "GNU.sparse.numblocks", "1", "GNU.sparse.map", "9223372036854775807,1"), block{name: "a", kind: '0', body: "x"}),
		is("a sparse file whose name climbs", ErrEscape.Error(), "", pax('x', "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "../h", "GNU.sparse.realsize", "1"), block{name: "a", kind: '0', body: string(padded("1\n0\n1\n")) + "x"}),
		is("a sparse file of the old form with garbage", invalid, "", block{name: "a", kind: 'S', magic: "ustar  \x00", prefix: strings.Repeat("7", 155)}),
		is("an owner's name is not looked up here", "", "a=x", pax('x', "uname", "nobody", "uid", own), file),
	}
}

// streamTricks are damaged, joined or cut.
func streamTricks(t testing.TB) []trick {
	plain := blocks(block{name: "a", kind: '0', body: "x"}, block{name: "d/", kind: '5'})
	other := blocks(block{name: "b", kind: '0', body: "y"})
	zipped, zst := gzipped(t, plain), zstandard(t, plain)
	skippable := func(n uint32) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, n), make([]byte, min(n, 64))...)
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	is := func(name, refused, harmless string, blob []byte) trick {
		return trick{name: name, blob: blob, refused: refused, harmless: harmless}
	}
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff} // no content size, a window of 3.75 TiB
	tricks := []trick{
		is("no byte at all is an empty layer", "", "", nil),
		is("one byte", "unexpected EOF", "", []byte("x")),
		is("four bytes of gzip", "decompress: unexpected EOF", "", []byte{0x1f, 0x8b, 8, 0}),
		is("gzip of nothing is an empty layer", "", "", gzipped(t, nil)),
		is("zstd of nothing is an empty layer", "", "", zstandard(t, nil)),
		is("gzip in gzip", "read archive: ", "", gzipped(t, zipped)),
		is("zstd in gzip", "read archive: ", "", gzipped(t, zst)),
		is("a method of compression nobody has", "invalid tar header", "", cat([]byte("BZh91AY&SY"), plain)),
		is("an archive without its end", "", "a=x d/", plain[:len(plain)-1024]),
		is("an archive with half of its end", "", "a=x d/", plain[:len(plain)-512]),
		is("garbage behind the archive's end is only hashed", "", "a=x d/", cat(plain, []byte("garbage"))),
		is("a second archive behind the first's end is only hashed", "", "a=x d/", cat(plain, other)),
		is("a second archive in the place of the first's end is of it", "", "a=x b=y d/", cat(plain[:len(plain)-1024], other)),
		is("gzip members are one stream", "", "a=x b=y d/", cat(gzipped(t, plain[:700]), gzipped(t, plain[700:len(plain)-1024]), gzipped(t, other))),
		is("gzip with garbage behind", "gzip: invalid header", "", cat(zipped, []byte("garbage garbage"))),
		is("gzip with zeros behind", "gzip", "", cat(zipped, make([]byte, 512))),
		is("gzip with an archive behind", "gzip: invalid header", "", cat(zipped, plain)),
		is("gzip with zstd behind", "gzip: invalid header", "", cat(zipped, zst)),
		is("gzip with a wrong checksum", "gzip", "", cat(zipped[:len(zipped)-8], []byte{1, 2, 3, 4}, zipped[len(zipped)-4:])),
		is("gzip with a wrong length", "gzip", "", cat(zipped[:len(zipped)-4], []byte{1, 2, 3, 4})),
		is("zstd frames are one stream", "", "a=x b=y d/", cat(zstandard(t, plain[:700]), zstandard(t, plain[700:len(plain)-1024]), zstandard(t, other))),
		is("zstd frames to be skipped are skipped", "", "a=x d/", cat(skippable(64), zst, skippable(64))),
		is("zstd with nothing but a frame to be skipped is an empty layer", "", "", skippable(64)),
		is("zstd with a frame to be skipped that never ends", "unexpected EOF", "", cat(skippable(0xffffffff), zst)),
		is("zstd with garbage behind", "magic number mismatch", "", cat(zst, []byte("garbage garbage"))),
		is("zstd with a window of terabytes", "window size exceeded", "", cat(window, zst)),
		is("zstd with a dictionary nobody has", "unknown dictionary", "", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x63, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0}),
		is("zstd with blocks of an unknown kind", "reserved block type", "", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x10, 0x07, 0, 0, 0}),
	}
	for name, whole := range map[string][]byte{"an archive": plain, "gzip": zipped, "zstd": zst} {
		for _, part := range []int{10, 45, 55, 90} {
			cut := whole[:len(whole)*part/100]
			tr := trick{name: fmt.Sprintf("%s cut off at %d%%, with digests made for that", name, part), blob: cut, refused: "unexpected EOF"}
			tricks = append(tricks, tr)
		}
	}
	return tricks
}

// bombTricks are small and become large.
func bombTricks(t testing.TB) []trick {
	bomb := func(name string, blob []byte, limits Limits) trick {
		return trick{name: name, blob: blob, plain: []byte{}, limits: limits, refused: ErrBomb.Error()}
	}
	small := Limits{FreeBytes: 1 << 20, EntriesMax: 300}
	zeros := archive(t, entry{what: "file zeros", content: strings.Repeat("\x00", 8<<20)})
	best, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	var tiny, deep, dirs, attrs []entry
	for i := range 400 {
		tiny = append(tiny, entry{what: fmt.Sprintf("file %d", i)})
	}
	for i := range 4 {
		deep = append(deep, entry{what: fmt.Sprintf("file %d/%s", i, strings.Repeat("d/", 1000)+"x")})
	}
	for i := range 40 {
		dirs = append(dirs, entry{what: fmt.Sprintf("file %d/a/b/c/d/e/f/g/h/i/x", i)})
	}
	for i := range 20 {
		attrs = append(attrs, entry{what: fmt.Sprintf("dir %d/", i), xattrs: map[string]string{"user.x": strings.Repeat("v", 900<<10)}})
	}
	steps := files("dir " + strings.Repeat("d/", 150))
	for i := range 8 {
		steps = append(steps, entry{what: fmt.Sprintf("link l%d -> %s", i+1, strings.TrimSuffix(fmt.Sprintf("l%d/", i), "l0/")+strings.Repeat("d/", 150))},
			entry{what: fmt.Sprintf("dir l%d/%s", i+1, strings.Repeat("d/", 150))})
	}
	return []trick{
		bomb("gzip of zeros", gzipped(t, zeros), small),
		bomb("zstd of zeros", best.EncodeAll(zeros, nil), small),
		bomb("gzip of zeros behind the archive's end", gzipped(t, append(blocks(), make([]byte, 8<<20)...)), small),
		bomb("gzip of zeros in a record nobody reads", gzipped(t, blocks(pax('x', "comment", strings.Repeat("c", 1<<19)), pax('g', "comment", strings.Repeat("c", 1<<19)), block{name: "a", kind: '7', body: strings.Repeat("\x00", 4<<20)})), small),
		bomb("a file that is one hole of a terabyte", sparse(t, 1<<40), small),
		bomb("a file that is one hole of 2^62 bytes", sparse(t, 1<<62), small),
		bomb("more than what a layer may have at all", zeros, Limits{BytesMax: 1 << 20}),
		bomb("entries without end", archive(t, tiny...), small),
		bomb("directories that the archive only implies", archive(t, dirs...), small),
		bomb("directories a thousand deep", archive(t, deep...), Limits{}),
		bomb("directories deeper and deeper by links", archive(t, steps...), Limits{}),
		bomb("attributes of directories, which wait in memory", archive(t, attrs...), Limits{MemoryBytesMax: 1 << 20}),
	}
}
