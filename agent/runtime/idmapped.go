package runtime

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clusterd/clusterd/agent/sheet"
)

// mountPoint is what of a line of /proc/self/mountinfo matters here.
type mountPoint struct{ at, fs string }

// mountsOf returns the mount that a path lies on, then those below the path, by
// the text of /proc/self/mountinfo.
func mountsOf(file, mountinfo string) (mounts []mountPoint) {
	file = path.Clean(file)
	mounts = []mountPoint{{file, "an unknown kind"}}
	longest := 0
	for line := range strings.Lines(mountinfo) {
		front, back, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 5 || len(kind) < 1 {
			continue
		}
		at := unescapeMount(f[4])
		above := strings.TrimSuffix(at, "/") + "/"
		switch {
		case at == file || strings.HasPrefix(file, above):
			if len(at) >= longest { // of two at one place the later lies on top
				longest, mounts[0].fs = len(at), kind[0]
			}
		case strings.HasPrefix(at, strings.TrimSuffix(file, "/")+"/"):
			mounts = append(mounts, mountPoint{at, kind[0]})
		}
	}
	return mounts
}

// unescapeMount reads the kernel's way to write blanks in paths.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cantMap says which file system is in the way of mapping ids below source.
func cantMap(source string, userns int) string {
	data, err := sheet.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Sprintf("its file system (%s), or one mounted below it,", fsName(source))
	}
	mounts := mountsOf(source, string(data))
	for _, m := range mounts[1:] {
		if !mapsIDs(m.at, userns) {
			return fmt.Sprintf("the file system mounted at %s (%s)", m.at, m.fs)
		}
	}
	return fmt.Sprintf("its file system (%s)", mounts[0].fs)
}

// mapsIDs tries whether the mount at a path can have its ids mapped.
func mapsIDs(at string, userns int) bool {
	fd, err := unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return true // not to be had at all: not what was asked about
	}
	defer unix.Close(fd)
	set := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &set) == nil
}
