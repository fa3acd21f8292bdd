package systemd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/unit"
)

func tree(t *testing.T, dir string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			found = append(found, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

func TestFilesOfAUnit(t *testing.T) {
	dir := t.TempDir()
	d := New(Config{UnitDir: dir, Log: slog.New(slog.DiscardHandler)})
	do := func(a agent.Action) {
		t.Helper()
		a.Unit = "side.service"
		had, err := d.links(a.Unit)
		if err == nil && a.Verb == agent.Write {
			err = d.write(a, had, d.wantedLinks(a.Unit, a.WantedBy, a.RequiredBy))
		} else if err == nil {
			err = d.remove(a.Unit, had)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	do(agent.Action{Verb: agent.Write, File: []byte("v1"), DropIn: []byte("d1"), WantedBy: []unit.Name{"main.service"}, RequiredBy: []unit.Name{"other.service"}})
	want := "main.service.wants main.service.wants/side.service other.service.requires other.service.requires/side.service " +
		"side.service side.service.d side.service.d/50-clusterd.conf"
	if got := tree(t, dir); got != want {
		t.Errorf("written:\n got %s\nwant %s", got, want)
	}
	if s := d.files("side.service"); string(s.File) != "v1" || string(s.DropIn) != "d1" || s.Taken != "" {
		t.Errorf("read back: %+v", s)
	}
	for _, path := range []string{"side.service", "side.service.d/50-clusterd.conf"} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	// What others put beside it stays.
	for _, path := range []string{"side.service.d/10-mine.conf", "main.service.wants/mine.service"} {
		if err := os.WriteFile(filepath.Join(dir, path), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do(agent.Action{Verb: agent.Write, File: []byte("v2")})
	if got, want := tree(t, dir), "main.service.wants main.service.wants/mine.service side.service side.service.d side.service.d/10-mine.conf"; got != want {
		t.Errorf("written again:\n got %s\nwant %s", got, want)
	}
	do(agent.Action{Verb: agent.Remove})
	do(agent.Action{Verb: agent.Remove}) // as after a crash
	if got, want := tree(t, dir), "main.service.wants main.service.wants/mine.service side.service.d side.service.d/10-mine.conf"; got != want {
		t.Errorf("removed:\n got %s\nwant %s", got, want)
	}
}

// TestA14_NothingIsWrittenWithoutSystemd: whoever writes must be able to have
// systemd see it, since what lies on disk is not written again.
func TestA14_NothingIsWrittenWithoutSystemd(t *testing.T) {
	dir := t.TempDir()
	d := New(Config{UnitDir: dir, Log: slog.New(slog.DiscardHandler)})
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // before it has connected
	err := d.Do(ctx, agent.Action{Verb: agent.Write, Unit: "side.service", File: []byte("v1"), WantedBy: []unit.Name{"main.service"}})
	if err == nil || tree(t, dir) != "" {
		t.Errorf("written: %s, %v", tree(t, dir), err)
	}
}

func TestJobThatEndsBeforeItsCallIsAnswered(t *testing.T) {
	b := &bus{jobs: map[dbus.ObjectPath][]chan string{}, early: map[dbus.ObjectPath]string{}, calling: 1}
	removed := func(path dbus.ObjectPath, result string) {
		b.jobRemoved(&dbus.Signal{Body: []any{uint32(7), path, "web.service", result}})
	}
	removed("/job/7", "failed")
	if b.early["/job/7"] != "failed" {
		t.Errorf("kept %v", b.early)
	}
	b.calling = 0
	first, second := make(chan string, 1), make(chan string, 1)
	b.jobs["/job/8"] = []chan string{first, second}
	removed("/job/8", "done")
	if <-first != "done" || <-second != "done" || len(b.jobs) != 0 {
		t.Error("two waiters of one job were not both told")
	}
	removed("/job/9", "done") // nobody's
	if _, ok := b.early["/job/9"]; ok {
		t.Error("a job of others is kept")
	}
}

func TestAnsweredTellsRefusalsFromSilence(t *testing.T) {
	for name, want := range map[string]bool{
		"org.freedesktop.systemd1.NoSuchUnit":       true,
		"org.freedesktop.systemd1.BadUnitSetting":   true,
		"org.freedesktop.DBus.Error.NoReply":        false,
		"org.freedesktop.systemd1.ShuttingDown":     false,
		"org.freedesktop.DBus.Error.ServiceUnknown": false,
	} {
		if got := answered(dbus.Error{Name: name}); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	for _, err := range []error{nil, errDisconnected, context.Canceled, errors.New("broken pipe")} {
		if answered(err) {
			t.Errorf("%v counts as an answer", err)
		}
	}
}

// An answer that was on its way when a signal came says nothing of what the
// signal told.
func TestSignalsCountForMoreThanOlderAnswers(t *testing.T) {
	d := New(Config{})
	const u = unit.Name("web.service")
	d.tracked[u] = &tracked{changed: make(chan struct{})}
	seen, _ := d.signalsOf([]unit.Name{u})
	active := agent.Status{Load: "loaded", Active: "active", Sub: "running"}
	d.update(u, func(s *agent.Status) { *s = active })
	if again := d.take([]unit.Name{u}, seen, nil); len(again) != 1 || d.tracked[u].status != active {
		t.Errorf("read again: %v; it counts as %+v", again, d.tracked[u].status)
	}
	seen, _ = d.signalsOf([]unit.Name{u})
	if again := d.take([]unit.Name{u}, seen, nil); len(again) != 0 || d.tracked[u].status.Loaded() {
		t.Errorf("nothing came since: read again %v; it counts as %+v", again, d.tracked[u].status)
	}
}
