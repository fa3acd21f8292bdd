package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// mounted leaves in a container's directory what a volatile overlay leaves there.
func mounted(t *testing.T, d *Dir, name string) {
	t.Helper()
	volatile := d.container(name) + "/work/work/incompat/volatile"
	if err := errors.Join(os.MkdirAll(volatile, 0o700), os.WriteFile(volatile+"/dirty", nil, 0)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{volatile, filepath.Dir(volatile), filepath.Dir(filepath.Dir(volatile))} {
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func inode(t *testing.T, file string) uint64 {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, e := range entries {
		text += " " + e.Name()
	}
	return text
}

// A container's directory comes from one that has ended, its parts don't: an
// overlay that somebody still holds open must not reach them.
func TestSpareDirectoryIsMadeOfAUsedOne(t *testing.T) {
	d := testDir(t)
	if _, err := claim(t, d, Record{Name: "one", Details: Details{Env: []string{"SECRET=1"}}}); err != nil {
		t.Fatal(err)
	}
	mounted(t, d, "one")
	whole := inode(t, d.container("one"))
	var parts []uint64
	for _, part := range []string{"/upper", "/work", "/work/work"} {
		parts = append(parts, inode(t, d.container("one")+part))
	}
	if err := d.Remove("one"); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, d.data+"/spare") + ":" + listing(t, d.used(0)); got != " used.0: upper work" {
		t.Fatalf("once it is removed there are:%s", got)
	}
	if os.Geteuid() == 0 { // others can't read what overlay made, and make it anew
		if err := d.stock(); err != nil {
			t.Fatal(err)
		}
		if inode(t, d.spare(0)) != whole {
			t.Error("the directory was not used again")
		}
		for _, old := range parts {
			for _, part := range []string{"/upper", "/work"} {
				if inode(t, d.spare(0)+part) == old {
					t.Errorf("%s is a part of the one that ended", part)
				}
			}
		}
	}
	if _, err := claim(t, d, Record{Name: "two"}); err != nil {
		t.Fatal(err)
	}
	c, err := d.Get("two")
	if err != nil || c.Name != "two" || len(c.Details.Env) != 0 {
		t.Errorf("%+v, %v; want a record of its own", c, err)
	}
	if got := listing(t, d.container("two")) + ":" + listing(t, d.container("two")+"/upper") + listing(t, d.container("two")+"/work"); got != " record upper work:" {
		t.Errorf("it has:%s", got)
	}
	for _, part := range []string{"/upper", "/work"} {
		if info, err := os.Stat(d.container("two") + part); err != nil || info.Mode() != os.ModeDir|0o755 {
			t.Errorf("%s: %v, %v", part, info.Mode(), err)
		}
	}
}

func TestUsedDirectories(t *testing.T) {
	for _, row := range []struct {
		name string
		in   string // what was written, in the container's directory
		kept bool   // until the next start
	}{
		{"nothing written", "work/work/incompat/volatile/", true},
		{"never mounted", "work/", true},
		{"a file", "upper/etc", false},
		{"what was hidden", "upper/.wh", false},
		{"half a volume", fillName + "/x", false},
		{"half a copy of a file, and no more", "work/work/#1", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := testDir(t)
			if _, err := claim(t, d, Record{Name: "one"}); err != nil {
				t.Fatal(err)
			}
			file := d.container("one") + "/" + row.in
			err := os.MkdirAll(filepath.Dir(file), 0o755)
			if row.in[len(row.in)-1] != '/' {
				err = errors.Join(err, os.WriteFile(file, []byte("mine"), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Remove("one"); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(d.used(0)); (err == nil) != row.kept {
				t.Errorf("kept: %v, want %v", err, row.kept)
			}
			if err := d.stock(); err != nil {
				t.Fatal(err)
			}
			if got := listing(t, d.data+"/spare") + listing(t, d.spare(0)+"/upper") + listing(t, d.spare(0)+"/work"); got != " 0" {
				t.Errorf("spare:%s, want an empty one", got)
			}
			if got := listing(t, d.data+"/trash") + listing(t, d.data+"/making"); got != "" {
				t.Errorf("left:%s", got)
			}
		})
	}
}

// Not more are kept than are of use, and a damaged one harms nobody.
func TestSparesAreFew(t *testing.T) {
	d := testDir(t)
	for i := range 3 * sparesMax {
		if _, err := claim(t, d, Record{Name: fmt.Sprint("c", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * sparesMax {
		if err := d.Remove(fmt.Sprint("c", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 * sparesMax {
		if err := d.stock(); err != nil {
			t.Fatal(err)
		}
	}
	if got := listing(t, d.data+"/spare"); got != " 0 1 2 3" {
		t.Errorf("spare:%s", got)
	}
	if got := listing(t, d.data+"/trash") + listing(t, d.data+"/making"); got != "" {
		t.Errorf("left:%s", got)
	}
	if err := errors.Join(os.Remove(d.spare(0)+"/upper"), os.WriteFile(d.spare(0)+"/record", []byte("much too long to be written over\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(t, d, Record{Name: "two"}); err != nil {
		t.Fatal(err)
	}
	if c, err := d.Get("two"); err != nil || c.Name != "two" {
		t.Errorf("%+v, %v", c, err)
	}
	if got := listing(t, d.container("two")); got != " record upper work" {
		t.Errorf("it has:%s", got)
	}
}

// Starts, ends and sweeps at once: each container has all its parts, to the end.
func TestSparesOfManyAtOnce(t *testing.T) {
	d := testDir(t)
	if err := d.makeDirs(); err != nil {
		t.Fatal(err)
	}
	var starts, sweeps sync.WaitGroup
	done := make(chan struct{})
	sweeps.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := d.sweep(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range 4 {
		starts.Go(func() {
			for range 30 {
				name := fmt.Sprint("c", i)
				if _, err := claim(t, d, Record{Name: name}); err != nil {
					t.Error(err)
					return
				}
				if i == 0 { // of each process one
					if err := d.stock(); err != nil {
						t.Error(err)
					}
				}
				if got := listing(t, d.container(name)); got != " record upper work" {
					t.Errorf("%s has:%s", name, got)
				}
				if err := d.Remove(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	starts.Wait()
	close(done)
	sweeps.Wait()
}
