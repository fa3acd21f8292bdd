package runtime

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clusterd/clusterd/agent/sheet"
)

func testDir(t *testing.T) *Dir {
	dir := t.TempDir()
	return NewDir(filepath.Join(dir, "data"), filepath.Join(dir, "run"))
}

// sleeper is a process to stand for a container's.
func sleeper(t *testing.T) *exec.Cmd {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func claim(t *testing.T, d *Dir, rec Record) (uint32, error) {
	t.Helper()
	if rec.ID == "" {
		rec.ID = NewID()
	}
	rec.Created = time.Now()
	ids, _, err := d.claim(rec, true, true)
	return ids, err
}

// A record that rots takes nothing from the container that runs.
func TestClaimLeavesOneThatRunsThoughItsRecordIsDamaged(t *testing.T) {
	dir := t.TempDir()
	d := NewDir(dir, dir+"/run")
	if _, err := claim(t, d, Record{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.container("web")+"/record", []byte("name \"web"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(t, d, Record{Name: "web"}); !errors.Is(err, ErrConflict) || !errors.Is(err, sheet.ErrDamaged) {
		t.Errorf("%v, want a conflict that tells of the damage", err)
	}
	if _, err := os.Stat(d.container("web") + "/upper"); err != nil {
		t.Error(err)
	}
}

func TestClaim(t *testing.T) {
	for _, row := range []struct {
		name     string
		old, new Record
		running  bool
		want     string // "" is taken over; else a part of the error
	}{
		{"a running one keeps its name", Record{}, Record{}, true, "runs already, as process"},
		{"a running one to be removed, too", Record{Remove: true}, Record{}, true, "nsrun stop web"},
		{"a stopped one keeps its name", Record{}, Record{}, false, "nsrun rm web"},
		{"one that was to be removed gives way", Record{Remove: true}, Record{}, false, ""},
		{"the same unit starts again", Record{Unit: "web.service"}, Record{Unit: "web.service"}, false, ""},
		{"another unit wants the name", Record{Unit: "web.service"}, Record{Unit: "b.service"}, false, "name is taken"},
		{"a shell wants a unit's", Record{Unit: "web.service"}, Record{}, false, "name is taken"},
	} {
		d := testDir(t)
		row.old.Name, row.new.Name = "web", "web"
		if _, err := claim(t, d, row.old); err != nil {
			t.Fatal(err)
		}
		cmd := sleeper(t)
		if err := d.setLive("web", cmd.Process.Pid, false, idsFirst); err != nil {
			t.Fatal(err)
		}
		if !row.running {
			cmd.Process.Kill()
			cmd.Wait()
		}
		_, err := claim(t, d, row.new)
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.want != "" && (!errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: error %v, want a conflict with %q", row.name, err, row.want)
		}
	}
}

func TestClaimTakesOverWhatACrashLeft(t *testing.T) {
	d := testDir(t)
	for _, dir := range []string{d.container("web"), d.data + "/making/other"} { // no record yet
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := claim(t, d, Record{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Get("web"); err != nil || c.Running() || c.Live == nil {
		t.Errorf("%+v, %v; want one being set up", c, err)
	}
	if err := d.Reap(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"making", "trash"} {
		if left, _ := filepath.Glob(filepath.Join(d.data, dir, "*")); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
}

func TestIDRangesAreUsedOnce(t *testing.T) {
	d := testDir(t)
	seen := map[uint32]string{}
	for i := range 50 {
		name := "c" + strings.Repeat("x", i+1)
		ids, err := claim(t, d, Record{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if ids < idsFirst || ids+idsPerContainer > idsLast || ids%idsPerContainer != 0 {
			t.Fatalf("range %d is not systemd's", ids)
		}
		if other := seen[ids]; other != "" {
			t.Fatalf("%s and %s both have %d", name, other, ids)
		}
		seen[ids] = name
	}
	// A dead one's range is free again.
	if err := os.Remove(d.live("cx")); err != nil {
		t.Fatal(err)
	}
	unlock, err := d.prepare()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for ids, name := range seen {
		if name == "cx" {
			if err := os.Symlink("cx", d.mark(ids)); !os.IsExist(err) {
				t.Errorf("range %d is not marked: %v", ids, err)
			}
		}
	}
	if _, err := d.claimIDs("cx"); err != nil {
		t.Error(err)
	}
}

// TestNamesOfContainersAreFree: no file of one is another's, whatever they are called.
func TestNamesOfContainersAreFree(t *testing.T) {
	d := testDir(t)
	for _, name := range []string{"web.new", "web", "record"} {
		if _, err := claim(t, d, Record{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"web.new", "web", "record"} {
		if c, err := d.Get(name); err != nil || c.Live == nil {
			t.Errorf("%s: %+v, %v; want one that is being set up", name, c, err)
		}
	}
}

func TestAPidAloneMeansNothing(t *testing.T) {
	d := testDir(t)
	if _, err := claim(t, d, Record{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t)
	if err := d.setLive("web", cmd.Process.Pid, false, 0); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Get("web"); err != nil || !c.Running() {
		t.Fatalf("%+v, %v; want running", c, err)
	}
	live := Live{PID: cmd.Process.Pid, Start: 1}
	if err := writeFile(d.live("web"), []byte(live.String())); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Get("web"); err != nil || c.Live != nil {
		t.Errorf("%+v, %v; want dead: the process started at another time", c, err)
	}
	if err := d.Kill("web", 9); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("kill: %v", err)
	}
	if err := d.Stop("web", "", 0); err != nil {
		t.Errorf("stop of one that is gone: %v", err)
	}
	if cmd.ProcessState != nil || cmd.Process.Signal(syscall.Signal(0)) != nil {
		t.Error("a stranger was killed")
	}
}

// TestStopOfOneThatIsSetUp: nsrun may open the gate, and be gone, while the signal
// is on its way that was to keep it from that.
func TestStopOfOneThatIsSetUp(t *testing.T) {
	for _, signal := range []string{"", "INT"} {
		d := testDir(t)
		if _, err := claim(t, d, Record{Name: "web"}); err != nil {
			t.Fatal(err)
		}
		program, next := sleeper(t), d.live("web")+".running"
		if err := d.setLive("web", program.Process.Pid, false, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(d.live("web"), next); err != nil {
			t.Fatal(err)
		}
		nsrun := exec.Command("sh", "-c", `trap 'mv "$1" "$2"; exit' TERM INT; echo; while :; do sleep 0.01; done`, "nsrun", next, d.live("web"))
		stdout, err := nsrun.StdoutPipe()
		if err == nil {
			err = nsrun.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stdout.Read(make([]byte, 1)); err != nil { // it has its trap
			t.Fatal(err)
		}
		if err := d.setLive("web", nsrun.Process.Pid, true, 0); err != nil {
			t.Fatal(err)
		}
		if err := d.Stop("web", signal, 10*time.Second); err != nil {
			t.Error(err)
		}
		if c, err := d.Get("web"); err != nil || c.Live != nil {
			t.Errorf("stop by %q: %+v, %v; want ended", signal, c, err)
		}
		nsrun.Wait()
	}
}

func TestGetByID(t *testing.T) {
	d := testDir(t)
	for _, id := range []string{"aaaa1111", "aaaa2222", "bbbb3333"} {
		if _, err := claim(t, d, Record{Name: "n" + id, ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := d.Get("bbbb"); err != nil || c.ID != "bbbb3333" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := d.Get("aaaa"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("an id that fits two: %v", err)
	}
	for _, name := range []string{"cccc", "../x", ""} {
		if _, err := d.Get(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v, want unknown", name, err)
		}
	}
}

func TestRemoveRefusesARunningOne(t *testing.T) {
	d := testDir(t)
	if _, err := claim(t, d, Record{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t)
	if err := d.setLive("web", cmd.Process.Pid, false, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove("web"); err == nil || !strings.Contains(err.Error(), "still running") {
		t.Errorf("remove: %v", err)
	}
	if err := d.Kill("web", 9); err != nil {
		t.Errorf("kill: %v", err)
	}
	cmd.Wait()
	if err := d.Remove("web"); err != nil {
		t.Errorf("remove: %v", err)
	}
	if err := d.Remove("web"); !errors.Is(err, ErrUnknown) {
		t.Errorf("remove again: %v, want unknown", err)
	}
}

// book is leases kept in memory.
type book map[string]bool

func (b book) Hold(holder string) error    { b[holder] = true; return nil }
func (b book) Release(holder string) error { delete(b, holder); return nil }

func (b book) Holders() (list []string, err error) {
	for holder := range b {
		list = append(list, holder)
	}
	return list, nil
}

func TestSweepEndsLeasesOfNobody(t *testing.T) {
	d, b := testDir(t), book{}
	d.UseLeases(b)
	kept, lost := NewID(), NewID()
	if _, err := claim(t, d, Record{Name: "web", ID: kept, Image: "busybox"}); err != nil {
		t.Fatal(err)
	}
	b[kept], b[lost], b["somebody-else"] = true, true, true
	if err := d.Reap(); err != nil {
		t.Fatal(err)
	}
	if b[lost] || !b[kept] || !b["somebody-else"] {
		t.Errorf("held: %v; want %s… and somebody-else", b, kept[:12])
	}
	if err := d.Remove("web"); err != nil || b[kept] {
		t.Errorf("remove: %v; held: %v", err, b)
	}
}

func TestLiveLineReadsBackTheSame(t *testing.T) {
	for _, live := range []Live{{PID: 1, Start: 1<<63 + 5, IDs: idsLast}, {PID: 4194304, Setting: true}} {
		if got, err := parseLive(live.String()); err != nil || *got != live {
			t.Errorf("%+v became %+v, %v", live, got, err)
		}
	}
	for _, line := range []string{"", "running 1 2", "asleep 1 2 3", "running x 2 3", "running 1 2 4294967296", "running 1 2 3 4"} {
		if got, err := parseLive(line); err == nil {
			t.Errorf("%q: %+v, want an error", line, got)
		}
	}
}

// TestSweepRemovesStaleMarks: ids that were marked for a start which was killed
// before it was recorded, or for a container that has ended, are marked no more.
func TestSweepRemovesStaleMarks(t *testing.T) {
	d := testDir(t)
	ids, err := claim(t, d, Record{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	ended, err := claim(t, d, Record{Name: "ended"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.live("ended"), []byte(Live{PID: os.Getpid(), Start: 1, IDs: ended}.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for owner, base := range map[string]uint32{"never-recorded": idsFirst, "web": idsFirst + 65536} {
		if err := os.Symlink(owner, d.mark(base)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.sweep(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(d.run, "ids", "*"))
	if want := d.mark(ids); err != nil || len(left) != 1 || left[0] != want {
		t.Errorf("marks left: %v, %v; want that of the one that runs, %s", left, err, want)
	}
}
