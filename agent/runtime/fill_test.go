package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFillLeavesAVolumeThatIsMounted: what has it mounted would go on with a
// directory that is no more.
func TestFillLeavesAVolumeThatIsMounted(t *testing.T) {
	d := testDir(t)
	volume, err := d.Volume("data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(t, d, Record{Name: "web", Volumes: []Volume{{Name: "data", Source: volume}}}); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := errors.Join(os.MkdirAll(root+"/data/sub", 0o750), os.WriteFile(root+"/data/sub/file", nil, 0o640), unix.Chmod(root+"/data", 0o1750)); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(volume)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	scratch := filepath.Join(d.data, "scratch")
	if err := (filler{volumes: placer{d, "another"}}).fillVolume(fd, "/data", volume, scratch); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(held.Fd()), "sub/file", &st, 0); err != nil || st.Mode != unix.S_IFREG|0o640 {
		t.Errorf("who has it mounted sees sub/file: %v, mode %o", err, st.Mode)
	}
	if err := unix.Stat(volume, &st); err != nil || st.Mode != unix.S_IFDIR|0o1750 {
		t.Errorf("the volume: %v, mode %o", err, st.Mode)
	}
	if _, err := os.Lstat(scratch); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestFillFollowsNothing: an image's directory is copied as it is; its links lead
// nowhere, its devices are left out, and one without an end is refused.
func TestFillFollowsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("these tests change owners: run them as root")
	}
	dir := t.TempDir()
	root, volume := filepath.Join(dir, "root"), filepath.Join(dir, "volume")
	secret := filepath.Join(dir, "secret")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(root+"/data/sub", 0o755))
	must(os.Mkdir(volume, 0o755))
	must(os.WriteFile(secret, []byte("secret"), 0o600))
	must(os.WriteFile(root+"/data/sub/file", []byte("text"), 0o640))
	must(os.Chown(root+"/data/sub/file", 500007, 42))
	must(os.Symlink(secret, root+"/data/link"))
	must(os.Symlink(dir, root+"/data/up"))
	must(os.Symlink("/../../../"+dir, root+"/out"))
	must(unix.Mkfifo(root+"/data/pipe", 0o666))
	must(unix.Mknod(root+"/data/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Chmod(root+"/data", 0o1750))
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(err)
	defer unix.Close(fd)
	f := filler{base: 500000, count: 65536, volumes: placer{testDir(t), ""}}
	must(f.fillVolume(fd, "/out", volume, dir+"/scratch")) // leads back to the root, where there is no such directory
	if empty, err := isEmpty(volume); !empty || err != nil {
		t.Fatalf("filled from outside: %v", err)
	}
	must(f.fillVolume(fd, "/data", volume, dir+"/scratch"))
	var st unix.Stat_t
	must(unix.Lstat(volume+"/sub/file", &st))
	if st.Uid != 7 || st.Gid != 42 || st.Mode != unix.S_IFREG|0o640 {
		t.Errorf("file: uid %d, gid %d, mode %o", st.Uid, st.Gid, st.Mode)
	}
	must(unix.Lstat(volume, &st))
	if st.Mode != unix.S_IFDIR|0o1750 {
		t.Errorf("directory: mode %o", st.Mode)
	}
	if to, err := os.Readlink(volume + "/link"); err != nil || to != secret {
		t.Errorf("link: %s, %v", to, err)
	}
	for _, name := range []string{"pipe", "null"} {
		if _, err := os.Lstat(filepath.Join(volume, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was copied: %v", name, err)
		}
	}
	must(os.WriteFile(volume+"/mine", nil, 0o600))
	must(f.fillVolume(fd, "/data", volume, dir+"/scratch"))
	if _, err := os.Lstat(volume + "/mine"); err != nil {
		t.Errorf("a volume in use was replaced: %v", err)
	}
	deep := root + "/deep"
	for range fillDepthMax + 5 {
		deep += "/d"
	}
	must(os.MkdirAll(deep, 0o755))
	must(os.Mkdir(dir+"/other", 0o755))
	if err := f.fillVolume(fd, "/deep", dir+"/other", dir+"/scratch"); err == nil || !strings.Contains(err.Error(), "directories are deeper than 200") {
		t.Errorf("deep: %v", err)
	}
	if _, err := os.Lstat(dir + "/scratch"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestFillInPlaceIsSeenWhole: while files go one by one to a volume that another
// container has mounted, a further one doesn't take it for filled; nor does it
// when who filled it was killed half way. What was written meanwhile stays.
func TestFillInPlaceIsSeenWhole(t *testing.T) {
	const files = 40
	d := testDir(t)
	volume, err := d.Volume("data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(t, d, Record{Name: "web", Volumes: []Volume{{Name: "data", Source: volume}}}); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	err = os.Mkdir(root+"/data", 0o750)
	for i := range files {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("%s/data/%d", root, i), []byte("image's"), 0o640))
	}
	fd, openErr := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err := errors.Join(err, openErr); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	fill := func(id string) error {
		return filler{volumes: placer{d, id}}.fillVolume(fd, "/data", volume, filepath.Join(d.data, "scratch."+id))
	}
	count := func() int {
		entries, err := os.ReadDir(volume)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	// The first is stopped with one file moved: it holds the lock then.
	unlock, err := d.prepare()
	if err != nil {
		t.Fatal(err)
	}
	half := filling(volume)
	if err := errors.Join(os.CopyFS(half, os.DirFS(root+"/data")), os.Rename(half+"/0", volume+"/0")); err != nil {
		t.Fatal(err)
	}
	second := make(chan error)
	go func() { second <- fill("second") }()
	select {
	case err := <-second:
		t.Fatalf("the second goes on with %d of %d files: %v", count(), files, err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := os.WriteFile(volume+"/1", []byte("web's"), 0o600); err != nil { // by who has it mounted
		t.Fatal(err)
	}
	unlock() // killed
	if err := <-second; err != nil || count() != files {
		t.Errorf("the second: %v, with %d of %d files", err, count(), files)
	}
	if data, err := os.ReadFile(volume + "/1"); string(data) != "web's" {
		t.Errorf("what was written meanwhile is %q, %v", data, err)
	}
	if _, err := os.Lstat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestFillAtOnce: of many that fill one volume at once one does, and each finds it
// whole.
func TestFillAtOnce(t *testing.T) {
	const files, starts = 20, 8
	d := testDir(t)
	volume, err := d.Volume("data")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	err = os.Mkdir(root+"/data", 0o750)
	for i := range files {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("%s/data/%d", root, i), nil, 0o640))
	}
	fd, openErr := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err := errors.Join(err, openErr); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	fill := func(i int) error {
		rec := Record{Name: fmt.Sprintf("web%d", i), ID: NewID(), Volumes: []Volume{{Name: "data", Source: volume}}}
		if _, _, err := d.claim(rec, false, false); err != nil {
			return err
		}
		if err := (filler{volumes: placer{d, rec.ID}}).fillVolume(fd, "/data", volume, d.container(rec.Name)+"/fill"); err != nil {
			return err
		}
		if entries, err := os.ReadDir(volume); len(entries) != files {
			return errors.Join(err, fmt.Errorf("%d of %d files", len(entries), files))
		}
		return nil
	}
	all := make(chan error)
	for i := range starts {
		go func() { all <- fill(i) }()
	}
	for range starts {
		if err := <-all; err != nil {
			t.Error(err)
		}
	}
}
