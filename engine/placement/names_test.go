package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/clusterd/clusterd/unit"
)

// TestNames adds and removes names at random, and compares with a map.
func TestNames(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	table, want := newNames(), map[unit.Name]*member{}
	for range 50000 {
		name := unit.Name(fmt.Sprintf("u%d.service", r.IntN(3000)))
		switch u := table.get(name); {
		case u != want[name]:
			t.Fatalf("%s: got %v, want %v", name, u, want[name])
		case u == nil:
			want[name] = &member{name: name}
			table.add(want[name])
		default:
			table.remove(name)
			delete(want, name)
		}
	}
	n := 0
	for u := range table.all() {
		if n++; want[u.name] != u {
			t.Fatalf("%s is still there", u.name)
		}
	}
	if n != len(want) || table.n != n {
		t.Fatalf("%d names, want %d", n, len(want))
	}
}
