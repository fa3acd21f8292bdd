package unpack

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func up(n int) string { return strings.Repeat("../", n) }

// nameTricks are names that mean to be somewhere else, or nowhere.
func (o *outside) nameTricks(t testing.TB) []trick {
	is := func(name, refused, harmless string, entries ...string) trick {
		return trick{name: name, blob: archive(t, files(entries...)...), refused: refused, harmless: harmless}
	}
	abs := filepath.Join(o.base, "canary")
	part := func(n int) string { return strings.Repeat("n", n) }
	tricks := []trick{
		is("a name climbs one directory", ErrEscape.Error(), "", "file ../canary"),
		is("a name climbs to the root and down to the canary", ErrEscape.Error(), "", "file "+up(30)+abs[1:]),
		is("a name climbs behind a directory", ErrEscape.Error(), "", "file a/../../../canary"),
		is("a name climbs but no higher than it came", ErrEscape.Error(), "", "dir a/", "file a/../b"),
		is("a name is two dots alone", ErrEscape.Error(), "", "dir .."),
		is("a name ends in two dots", ErrEscape.Error(), "", "dir a/.."),
		is("a name climbs behind a slash", ErrEscape.Error(), "", "file /../canary"),
		is("a name climbs behind two slashes", ErrEscape.Error(), "", "file //../canary"),
		is("a name climbs behind a dot", ErrEscape.Error(), "", "file ./../canary"),
		is("a directory climbs", ErrEscape.Error(), "", "dir ../../layers/other/"),
		is("a symbolic link's name climbs", ErrEscape.Error(), "", "link ../../../canary -> /etc/passwd"),
		is("a hard link's name climbs", ErrEscape.Error(), "", "file a", "hard ../../../canary -> a"),
		is("a pipe's name climbs", ErrEscape.Error(), "", "fifo ../../../pipe"),
		is("a name is the canary's whole path: it is of the layer", "", whole(abs), "file "+abs),
		is("three dots are a name like any", "", ".../ .../...", "file .../..."),
		is("dots with a space are a name like any", "", ".. / .. /x", "file .. /x"),
		is("backslashes separate nothing", "", `..\..\canary`, `file ..\..\canary`),
		is("a drive letter is a name like any", "", `C:/ C:/x`, `file C:/x`),
		is("percent signs are not decoded", "", "%2e%2e/ %2e%2e/canary", "file %2e%2e/canary"),
		is("dots of full width are a name like any", "", "\uff0e\uff0e/ \uff0e\uff0e/x", "file \uff0e\uff0e/x"),
		is("slashes of another script separate nothing", "", "..\u2215canary", "file ..\u2215canary"),
		is("a name of a newline and an escape sequence", "", "a\nb\x1b[2J", "file a\nb\x1b[2J"),
		is("a name that goes right to left", "", "\u202egpj.exe", "file \u202egpj.exe"),
		is("a name of 255 bytes fits", "", part(255), "file "+part(255)),
		is("a name of 256 bytes", "file name too long", "", "file "+part(256)),
		is("a directory of 300 bytes on the way", "file name too long", "", "file "+part(300)+"/x"),
		is("a name of 5000 bytes", "name of 5000 bytes; at most 3072", "", "file "+part(5000)),
		is("a path of more than 4096 bytes", "at most 3072", "", "file "+strings.Repeat(part(100)+"/", 50)+"x"),
		{name: "a name of slashes alone is the root", refused: "the layer's own root is no directory", blob: blocks(block{name: "///", kind: '0'})},
		{name: "a name of dots and slashes alone is the root", refused: "the layer's own root is no directory", blob: blocks(block{name: "./././", kind: '0'})},
		{name: "an empty name is the root", refused: "the layer's own root is no directory", blob: blocks(block{name: "", kind: '0'})},
		is("the root as a pipe", "the layer's own root is no directory", "", "fifo ."),
		is("the root as a hard link to the canary", "the layer's own root is no directory", "", "hard . -> "+abs),
		is("the root as a link to the canary's directory, then written through", "the layer's own root is no directory", "", "link . -> "+o.base, "file canary"),
		is("the root twice, as a directory", "", "", "dir ./", "dir ./"),
		is("many slashes within a name are one", "", "a/ a/b", "file a////b"),
		is("dots within a name are nothing", "", "a/ a/b", "file a/././b"),
		is("the same name in other letters is another", "", "A a", "file a", "file A"),
		is("two spellings of one letter are two names", "", "e\u0301 \u00e9", "file e\u0301", "file \u00e9"),
	}
	for _, n := range []int{1, 2, 5, 40} {
		tricks = append(tricks, is(fmt.Sprintf("a name climbs %d times behind a link that does", n), ErrEscape.Error(), "", "link l -> "+up(n), "file l/"+up(n)+"canary"))
	}
	for what, name := range map[string]string{
		"a process's root": "/proc/self/root/etc/x", "a process's directory": "/proc/self/cwd/x", "a descriptor": "/proc/self/fd/3/x", "the devices": "/dev/shm/x", "systemd's units": "/run/systemd/system/x.service",
	} {
		tricks = append(tricks, is("a name is in "+what+": it is of the layer", "", whole(name), "file "+name))
	}
	return tricks
}

// whole lists a path and the directories on the way.
func whole(path string) string {
	var all []string
	for i, c := range path {
		if c == '/' && i > 0 {
			all = append(all, path[1:i+1])
		}
	}
	return strings.Join(append(all, path[1:]), " ")
}

// linkTricks lead somewhere else by links of both kinds.
func (o *outside) linkTricks(t testing.TB) []trick {
	is := func(name, refused, harmless string, entries ...string) trick {
		return trick{name: name, blob: archive(t, files(entries...)...), refused: refused, harmless: harmless}
	}
	abs := filepath.Join(o.base, "canary")
	tricks := []trick{
		is("a link out of the layer is only a link", "", "l->../../../canary", "link l -> ../../../canary"),
		is("a link to the canary is only a link", "", "l->"+abs, "link l -> "+abs),
		is("a file through a link to the canary's directory", "a link to nothing", "", "link l -> "+o.base, "file l/canary"),
		is("a file through a link up: the layer's root is the top", "", "canary l->../../..", "link l -> ../../..", "file l/canary"),
		is("a file in the place of a link to the canary", "", "l", "link l -> "+abs, "file l"),
		is("a directory in the place of a link to the canary's", "", "l/ l/canary", "link l -> "+o.base, "dir l/", "file l/canary"),
		is("a link in the place of a directory, then written through", "a link to nothing", "", "dir d/", "file d/x", "link d -> "+o.base, "file d/canary"),
		is("a link up in the place of a directory, then written through", "", "canary d->..", "dir d/", "link d -> ..", "file d/canary"),
		is("the same directory again after it became a link out", "", "d/ d/x", "dir d/", "link d -> "+o.base, "dir d/", "file d/x"),
		is("a mode for a directory that became a link out", "", "d->"+o.base, "dir d/", "link d -> "+o.base),
		is("a mode for a directory below what became a link out", "", "d->"+o.base, "dir d/store/", "link d -> "+o.base),
		is("two hops up by links", "", "a/ a/up->.. b->a/up/.. canary", "dir a/", "link a/up -> ..", "link b -> a/up/..", "file b/canary"),
		is("two hops, the second an absolute one", "a link to nothing", "", "link a -> b", "link b -> "+o.base, "file a/canary"),
		is("two hops through the process's root", "a link to nothing", "", "link a -> /proc/self/root", "link b -> a/"+o.base, "file b/canary"),
		is("the process's working directory", "a link to nothing", "", "link a -> /proc/self/cwd", "file a/canary"),
		is("the descriptor of the layer's own directory", "a link to nothing", "", "link a -> /proc/self/fd/3/..", "file a/canary"),
		is("the descriptor of the layer's own directory, made a directory first", "", "a->/proc/self/fd/3/.. proc/ proc/self/ proc/self/fd/ proc/self/fd/3/ proc/self/fd/canary",
			"dir proc/self/fd/3/", "link a -> /proc/self/fd/3/..", "file a/canary"),
		is("forty hops and one more", "too many levels", "", append(chain(41, "."), "file l41/x")...),
		is("thirty hops that end out", "a link to nothing", "", append(chain(30, o.base), "file l30/canary")...),
		is("ten hops that end up: the layer's root is the top", "", "canary l1->../../ l10->l9 l2->l1 l3->l2 l4->l3 l5->l4 l6->l5 l7->l6 l8->l7 l9->l8", append(chain(10, up(2)), "file l10/canary")...),
		is("links in a circle", "too many levels", "", "link a -> b", "link b -> a", "file a/x"),
		is("a link to itself", "too many levels", "", "link a -> a", "file a/x"),
		is("a link below itself", "too many levels", "", "link a -> a/b", "file a/x"),
		is("a link to a file, then written through", "something else", "", "file f", "link l -> f", "file l/x"),
		is("a link made after what goes through it", "", "l->"+o.base, "file l/canary", "link l -> "+o.base),
		is("a link with a target of 4095 bytes", "", "l->"+strings.Repeat("t", 4095), "link l -> "+strings.Repeat("t", 4095)),
		is("a link with a target of 4096 bytes", "file name too long", "", "link l -> "+strings.Repeat("t", 4096)),
		is("a link to nothing at all", "symbolic link to nothing", "", "link l -> "),
		is("a link whose target has an escape sequence", "", "l->\x1b[2J\n", "link l -> \x1b[2J\n"),
		is("system directories as links out: the container's start refuses them", "", "dev->/dev proc->/proc sys->/sys", "link proc -> /proc", "link dev -> /dev", "link sys -> /sys"),

		is("a hard link to the canary's whole path", "no such file", "", "hard a -> "+abs),
		is("a hard link that climbs to the canary", ErrEscape.Error(), "", "hard a -> ../../../canary"),
		is("a hard link that climbs behind a directory", ErrEscape.Error(), "", "dir d/", "hard a -> d/../../../../canary"),
		is("a hard link through a link up", "no such file", "", "link l -> ../../..", "hard a -> l/canary"),
		is("a hard link through a link to the canary's directory", "no such file", "", "link l -> "+o.base, "hard a -> l/canary"),
		is("a hard link through two links", "no such file", "", "dir d/", "link d/u -> ..", "link l -> d/u/../..", "hard a -> l/canary"),
		is("a hard link to a link out is that link again, not what it leads to", "", "a->"+abs+" l->"+abs, "link l -> "+abs, "hard a -> l"),
		is("a hard link to a link out, then a file in its place", "", "a l->"+abs, "link l -> "+abs, "hard a -> l", "file a"),
		is("a hard link to a link out, then written through", "a link to nothing", "", "link l -> "+o.base, "hard a -> l", "file a/canary"),
		is("a hard link to what comes later", "no such file", "", "hard a -> b", "file b"),
		is("a hard link to itself", "to itself", "", "file a", "hard a -> a"),
		is("a hard link to itself by another spelling", "to itself", "", "file a", "hard a -> ./a"),
		is("a hard link to itself through a link", "no such file", "", "dir d/", "link l -> d", "file d/a", "hard d/a -> l/a"),
		is("a hard link to a directory", "operation not permitted", "", "dir d/", "hard a -> d"),
		is("a hard link to the root", "operation not permitted", "", "hard a -> ."),
		is("a hard link to the root's slash", "operation not permitted", "", "hard a -> /"),
		is("a hard link to nothing at all", "operation not permitted", "", "hard a -> "),
		is("a hard link to a file in a process's root", "no such file", "", "hard a -> /proc/self/root"+abs),
		is("a hard link to a device that was left out", "no such file", "", "char null", "hard a -> null"),
		is("a hard link to a whiteout is one, too", "", "a! b!", "file .wh.a", "hard b -> a"),
		is("a hard link named as a whiteout hides, as any entry of that name", "", "a b!", "file a", "hard .wh.b -> a"),
		is("a hard link in the place of the directory that holds its source", "no such file", "", "file d/x", "hard d -> d/x"),
		is("a hard link whose name is below its source", "something else", "", "file a", "hard a/b -> a"),
		is("a hard link to a pipe", "", "a| p|", "fifo p", "hard a -> p"),
		is("a hard link to a file that is then replaced keeps the old", "", "a b", "file a", "hard b -> a", "file a"),
		is("a hard link into another layer of the store", ErrEscape.Error(), "", "hard a -> ../../../layers/other/canary"),
	}
	return tricks
}

// chain makes links l1 … ln, each to the one before, the first to target.
func chain(n int, target string) []string {
	all := []string{"link l1 -> " + target}
	for i := 2; i <= n; i++ {
		all = append(all, fmt.Sprintf("link l%d -> l%d", i, i-1))
	}
	return all
}

// whiteoutTricks hide, or say they do.
func whiteoutTricks(t testing.TB) []trick {
	is := func(name, refused, harmless string, entries ...string) trick {
		return trick{name: name, blob: archive(t, files(entries...)...), refused: refused, harmless: harmless}
	}
	return []trick{
		is("a whiteout of the directory itself", ErrEscape.Error(), "", "file d/.wh.."),
		is("a whiteout of the parent", ErrEscape.Error(), "", "file d/.wh..."),
		is("a whiteout of the layer's parent", ErrEscape.Error(), "", "file .wh..."),
		is("a whiteout of nothing", ErrEscape.Error(), "", "file .wh."),
		is("a whiteout of nothing, as a directory", ErrEscape.Error(), "", "dir .wh./"),
		is("a whiteout that climbs", ErrEscape.Error(), "", "file ../.wh.canary"),
		is("a whiteout through a link up: the layer's root is the top", "", "canary! l->../../..", "link l -> ../../..", "file l/.wh.canary"),
		is("a whiteout through a link out", "a link to nothing", "", "link l -> /nowhere/at/all", "file l/.wh.canary"),
		is("a whiteout of four dots hides two dots' cousin", "", "...!", "file .wh...."),
		is("a whiteout of a whiteout's name is another format's bookkeeping", "", "left out: \".wh..wh.x\": other layer format's bookkeeping", "file .wh..wh.x"),
		is("an opaque mark where there is no directory makes one", "", "d(opaque)/", "file d/.wh..wh..opq"),
		is("an opaque mark below a file", "something else", "", "file a", "file a/.wh..wh..opq"),
		is("an opaque mark through a link to a directory of the layer", "", "d(opaque)/ l->d", "dir d/", "link l -> d", "file l/.wh..wh..opq"),
		is("an opaque mark through a link up marks the layer's root", "", "l->..", "link l -> ..", "file l/.wh..wh..opq"),
		is("an opaque mark that is a link", "", "", "link .wh..wh..opq -> /etc"),
		is("an opaque mark that is a directory", "", "", "dir .wh..wh..opq/"),
		is("something below an opaque mark is bookkeeping", "", `left out: ".wh..wh..opq/x": other layer format's bookkeeping`, "file .wh..wh..opq/x"),
		is("an opaque mark with something behind its name is bookkeeping", "", "left out: \".wh..wh..opqx\": other layer format's bookkeeping", "file .wh..wh..opqx"),
		is("a whiteout that is a link hides", "", "a!", "link .wh.a -> /etc/passwd"),
		is("a whiteout that is a directory hides", "", "a!", "dir .wh.a/"),
		is("a whiteout that is a device is left out with all devices", "", "left out: \".wh.a\": device node", "char .wh.a"),
		is("a whiteout with a content hides", "", "a!", "file .wh.a"),
		is("something below a whiteout", "lies in a whiteout", "", "file .wh.a", "file .wh.a/b"),
		is("something below what is hidden", "", "a(opaque)/ a/b", "file .wh.a", "file a/b"),
		is("a whiteout in what is hidden", "", "a(opaque)/ a/b!", "file .wh.a", "file a/.wh.b"),
		is("a link in the place of a whiteout", "", "a->/etc", "file .wh.a", "link a -> /etc"),
		is("a whiteout after a link out hides nothing of where it leads", "", "a->/etc", "link a -> /etc", "file .wh.a"),
		is("a whiteout of a path", "lies in a whiteout", "", "file .wh.a/b"),
		is("a directory below a whiteout", "lies in a whiteout", "", "dir d/.wh.a/b/"),
		is("a whiteout below a whiteout", "lies in a whiteout", "", "file .wh.a/.wh.b"),
		is("a hard link to a name of a whiteout", "no such file", "", "file .wh.a", "hard b -> .wh.a"),
		is("a whiteout of 255 bytes behind its prefix", "file name too long", "", "file .wh."+strings.Repeat("n", 256)),
		is("the same whiteout a hundred times", "", "a!", repeat("file .wh.a", 100)...),
		is("capitals are no whiteout", "", ".WH.a", "file .WH.a"),
		is("aufs' own files are left out", "", "left out: \".wh..wh.aufs\": other layer format's bookkeeping, \".wh..wh.orph\": other layer format's bookkeeping", "file .wh..wh.aufs", "dir .wh..wh.orph/"),
	}
}

func repeat(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}
