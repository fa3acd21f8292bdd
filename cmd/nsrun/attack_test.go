package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestB05_ExecAttack: a container's root, with all the rights nsrun can give,
// lies in wait for who joins the container, and gets hold of nothing of nsrun's
// and no right it hasn't got itself; nsrun's file stays as it is.
//
// With a user name-space it can't even look at who joins. Without one, and with
// SYS_PTRACE, it is one of the machine's and may trace it, as it may the program
// itself a moment later; then what joins is harmless by what it is.
func TestB05_ExecAttack(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	build := func(name, source string) string {
		file := filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-o", file, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
		return file
	}
	nsrun, attack := build("nsrun", "."), build("attack", "./testdata/attack")
	before := digest(t, nsrun)
	const wanted = 1000
	total := 0
	begun := time.Now()
	for _, row := range []struct {
		name  string
		flags []string
		execs int
		limit time.Duration
	}{
		{"own ids", []string{"--cap-add=ALL"}, 600, 7 * time.Second},
		{"the machine's ids and SYS_PTRACE", []string{"--userns=host", "--cap-add=SYS_PTRACE"}, 400, 6 * time.Second},
		{"the machine's ids and every capability", []string{"--userns=host", "--cap-add=ALL", "--cap-drop=SYS_RESOURCE"}, 400, 6 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			total += attacked(t, nsrun, attack, row.flags, row.execs, row.limit)
		})
	}
	if after := digest(t, nsrun); after != before {
		t.Errorf("nsrun's file has changed: %x, was %x", after, before)
	}
	if total < wanted {
		t.Errorf("%d programs joined in %v, want %d: the machine is too slow for this to mean much", total, time.Since(begun), wanted)
	}
}

func digest(t *testing.T, file string) [sha256.Size]byte {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// attacked runs programs in a container that attacks them, until there were
// enough or the time is over, and returns how many.
func attacked(t *testing.T, nsrun, attack string, flags []string, enough int, limit time.Duration) int {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	busybox(t, root)
	if err := os.Link(attack, filepath.Join(root, "attack")); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(nsrun, args...)
		cmd.Env = []string{"PATH=/bin:/usr/bin", "NSRUN_DIR=" + filepath.Join(dir, "state"), "HIDDEN=SECRET-OF-THE-MACHINE"}
		return cmd
	}
	args := append([]string{"run", "--name", "lair", "--rootfs", root}, flags...)
	args = append(args, "/attack")
	if slices.Contains(flags, "--userns=host") {
		args = append(args, "reaches")
	}
	lair := command(args...)
	// The container's own environment hasn't the secret: --env-host isn't given.
	said, err := os.Create(filepath.Join(dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	lair.Stdout, lair.Stderr = said, said
	if err := lair.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		lair.Process.Kill()
		lair.Wait()
	}()
	text := func() string { data, _ := os.ReadFile(said.Name()); return string(data) }
	for until := time.Now().Add(5 * time.Second); !strings.Contains(text(), "waiting"); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the attacker isn't there:\n%s", text())
		}
	}
	var (
		done  atomic.Int64
		group sync.WaitGroup
	)
	end := time.Now().Add(limit)
	for range 2 {
		group.Go(func() {
			for done.Load() < int64(enough) && time.Now().Before(end) {
				cmd := command("exec", "lair", "/bin/true")
				var out bytes.Buffer
				cmd.Stderr = &out
				timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
				err := cmd.Run()
				timer.Stop()
				if err != nil {
					t.Errorf("exec: %v: %s", err, out.String())
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	if err := os.WriteFile(filepath.Join(root, "stop"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(5 * time.Second); !strings.Contains(text(), "caught "); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the attacker doesn't end:\n%.3000s", text())
		}
	}
	if strings.Contains(text(), "VIOLATION") {
		t.Errorf("the attacker got hold of something:\n%.5000s", text())
	}
	caught, got := 0, 0
	_, rest, _ := strings.Cut(text(), "caught ")
	if _, err := fmt.Sscanf("caught "+rest, "caught %d got %d", &caught, &got); err != nil || caught < 5 {
		t.Errorf("it met %d of %d processes before they were the program: no attack to speak of", caught, done.Load())
	}
	t.Logf("%d execs, %d met in time, %d with something open", done.Load(), caught, got)
	return int(done.Load())
}
