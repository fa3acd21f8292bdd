package engine

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/registry"
)

func record(key string, m registry.Message) registry.Event {
	return registry.Event{Record: registry.Record{Key: key, Value: registry.Encode(m), Created: 1, Modified: 1}}
}

// How long a machine is away is counted by the leader's clock if it saw the
// machine leave, so that one whose clock is behind keeps its units, too.
func TestA16_AwayLimitDoesNotTrustTheMachinesClock(t *testing.T) {
	for _, test := range []struct {
		name  string
		news  bool
		clock time.Duration // the machine's, ahead
		want  placement.State
	}{
		{"clock an hour behind, seen to leave", true, -time.Hour, placement.Held},
		{"clock an hour ahead, seen to leave", true, time.Hour, placement.Held},
		{"left an hour before this leader came", false, -time.Hour, placement.Lost},
		{"left a minute before this leader came", false, -time.Minute, placement.Held},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := newIndex(slog.New(slog.NewTextHandler(io.Discard, nil)), Timing{}.withDefaults(), silent{})
			x.listed = test.news
			x.apply(record(registry.MachineKey("m1"), &registry.Machine{Hostname: "m1"}), start)
			x.apply(record(registry.AwayKey("m1"), &registry.Away{SinceUnixMs: start.Add(test.clock).UnixMilli()}), start)
			x.apply(registry.Event{Record: registry.Record{Key: registry.AliveKey("m1")}, Deleted: true}, start.Add(5*time.Second))
			got := x.timing.judge(x.machines["m1"], Unknown, start.Add(6*time.Second))
			if got.state != test.want {
				t.Errorf("judged %v (%s), want %v", got.state, got.why, test.want)
			}
			if test.news {
				if late := x.timing.judge(x.machines["m1"], Unknown, start.Add(15*time.Minute)); late.state != placement.Lost {
					t.Errorf("after the limit it is %v (%s)", late.state, late.why)
				}
			}
		})
	}
}

func TestBrakeIsASetting(t *testing.T) {
	for _, test := range []struct {
		brake   float64
		missing int
		want    bool
	}{{0, 2, false}, {0, 3, true}, {0.2, 1, true}, {0.8, 3, false}, {1, 4, false}} {
		x := newIndex(slog.New(slog.NewTextHandler(io.Discard, nil)), Timing{Brake: test.brake}.withDefaults(), silent{})
		for i := range 4 {
			id := registry.MachineID(fmt.Sprintf("m%d", i))
			x.apply(record(registry.MachineKey(id), &registry.Machine{Hostname: string(id)}), start)
			if i >= test.missing {
				x.apply(record(registry.AliveKey(id), &registry.Alive{Incarnation: "boot1"}), start)
			}
		}
		if x.judgeBrake(start); x.braked != test.want {
			t.Errorf("brake %v, %d of 4 missing: %v", test.brake, test.missing, x.braked)
		}
	}
}
