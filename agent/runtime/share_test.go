package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseUlimit(t *testing.T) {
	for s, want := range map[string]string{
		"nofile=1024:4096": "nofile=1024:4096", "nofile=1024": "nofile=1024:1024", "memlock=-1:-1": "memlock=unlimited:unlimited",
		"core=0:unlimited": "core=0:unlimited", "nofile=2:1": "the soft limit is above the hard one", "nofile=unlimited:1": "the soft limit is above",
		"nofile": `"" is no number`, "nofile=": `"" is no number`, "nofile=x": `"x" is no number`, "frob=1": `"frob" is no limit`, "nofile=1:2:3": `"2:3" is no number`,
	} {
		u, err := ParseUlimit(s)
		got := u.String()
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}

// TestShared: what is shared with the machine is not made anew, and only bound.
func TestShared(t *testing.T) {
	score := 5
	for _, row := range []struct {
		name        string
		spec        func(*Spec)
		has, hasNot string
	}{
		{"memory", func(s *Spec) { s.IPC = IPCHost }, "name-spaces: mnt pid uts cgroup net user\n;take /dev/shm\n", "make shm;make mqueue"},
		{"no shared memory at all", func(s *Spec) { s.IPC = IPCNone }, "name-spaces: mnt pid ipc uts;make mqueue", "shm"},
		{"the host name", func(s *Spec) { s.HostUTS = true }, "name-spaces: mnt pid ipc cgroup net", "set host name"},
		{"cgroups", func(s *Spec) { s.HostCgroupNS = true }, "name-spaces: mnt pid ipc uts net;take /sys/fs/cgroup, read-only;mount cgroup on /sys/fs/cgroup", "make cgroup"},
		{"limits", func(s *Spec) { s.Ulimits, s.OOMScore = []Ulimit{{"nofile", 1, 2}}, &score },
			"raise the new process's hard limits if need be: nofile=1:2;oom_score_adj to 5;wait at the gate;bounding set;find;set limits: nofile=1:2;execve", "as it was when nsrun started"},
		{"another limit than that of open files", func(s *Spec) { s.Ulimits = []Ulimit{{"core", 0, 0}} }, "as it was when nsrun started;set limits: core=0:0", "oom_score_adj"},
	} {
		s, host := webSpec(), rootHost()
		host.Cgroup2 = true
		row.spec(&s)
		p, err := Make(s, host)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		rest := p.String()
		for _, want := range strings.Split(row.has, ";") {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("%s: no %q in\n%s", row.name, want, p)
				break
			}
			rest = after
		}
		for _, bad := range strings.Split(row.hasNot, ";") {
			if strings.Contains(p.String(), bad) {
				t.Errorf("%s: %q is in\n%s", row.name, bad, p)
			}
		}
	}
}

// TestFillFollowsNothing: an image's directory is copied as it is; its links lead
// nowhere, its devices are left out, and one without an end is refused.
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
	if err := (filler{place: d.placer("another")}).fillVolume(fd, "/data", volume, scratch); err != nil {
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
	f := filler{base: 500000, count: 65536, place: testDir(t).placer("")}
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
