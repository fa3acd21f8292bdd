package functional

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clusterd/clusterd/functional/lab"
)

// bin is where make build puts the programs, or where the environment says.
var bin = cmp.Or(os.Getenv("CLUSTERD_BIN"), "../bin")

// prefix begins the name of every lab these tests boot.
const prefix = "f-"

var keep = flag.Bool("keep", false, "leave the shared lab up after the tests")

func TestMain(m *testing.M) {
	flag.Parse()
	if err := ready(); err != nil {
		fmt.Fprintf(os.Stderr, "functional tests: %v\n", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := sharedLab.down(); err != nil {
		fmt.Fprintf(os.Stderr, "functional tests: take the shared lab down: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// ready says what the tests need and this host doesn't have. Skipping would
// look like passing.
func ready() error {
	if err := lab.Check(); err != nil {
		return err
	}
	for _, program := range []string{"clusterctl", "clusterd", "nsrun", "nsrun-full", "nsrun-image", "nsrun-network"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return fmt.Errorf("%w; build the programs first: make build", err)
		}
	}
	return nil
}

// shared is the lab of the tests that kill nothing, booted by the first.
type shared struct {
	once sync.Once
	lab  *lab.Lab
	err  error
}

var sharedLab shared

const sharedName = prefix + "shared"

// cluster returns the shared cluster of three machines.
func (s *shared) cluster(t *testing.T) *cluster {
	t.Helper()
	s.once.Do(func() {
		s.lab, s.err = up(context.Background(), lab.Options{Name: sharedName})
	})
	if s.err != nil {
		t.Fatalf("boot the shared lab: %v", s.err)
	}
	return newCluster(t, s.lab)
}

// down does nothing unless a test has booted it: another run may have one.
func (s *shared) down() error {
	if *keep || s.lab == nil {
		return nil
	}
	_, err := lab.Down(sharedName)
	return err
}

// up boots a lab in place of one that an earlier run may have left.
func up(ctx context.Context, o lab.Options) (*lab.Lab, error) {
	if _, err := lab.Down(o.Name); err != nil {
		return nil, err
	}
	o.Bin = bin
	return lab.Up(ctx, o)
}

// ownCluster boots a cluster for a test that breaks something in it, or
// measures.
func ownCluster(t testing.TB, o lab.Options) *cluster {
	t.Helper()
	o.Name = prefix + o.Name
	t.Cleanup(func() {
		if *keep && t.Failed() {
			return
		}
		if _, err := lab.Down(o.Name); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
	})
	l, err := up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return newCluster(t, l)
}
