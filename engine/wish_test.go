package engine

import (
	"testing"
	"time"
)

func TestMove(t *testing.T) {
	const begin = `machine m1
		machine m2
		machine m3
		unit a.service launched
		assigned m1 a.service launched
		observed m1 a.service active`
	t.Run("a wish moves the unit in one transaction, and ends", func(t *testing.T) {
		story(t, nil, step{given: begin},
			step{given: "unit a.service launched wish:m3", want: `
				put assignments/m3/a.service launched g1 + put assignments/m1/a.service gone g1 + put units/a.service`},
			step{given: "observed m3 a.service active"},
			// Nothing pulls it back, nor to m3 once more after it had to leave there.
			step{given: "machine m3 drained", want: `put assignments/m1/a.service launched g1 + put assignments/m3/a.service gone g1`},
			step{given: "machine m4\nmachine m2 cordoned"})
	})
	t.Run("one that rules forbid is declined, with the reasons, and the unit stays", func(t *testing.T) {
		story(t, nil, step{given: begin + `
				machine m3 cordoned
				unit b.service launched Conflicts=a.service
				assigned m3 b.service launched`},
			step{given: "unit a.service launched wish:m3", want: `
				put units/a.service declined: is cordoned, runs the conflicting b.service`},
			step{given: "machine m2 cordoned"})
	})
	t.Run("a machine that isn't there", func(t *testing.T) {
		story(t, nil, step{given: begin},
			step{given: "unit a.service launched wish:m9", want: `put units/a.service declined: the machine is not registered`})
	})
	t.Run("not away from a machine that may run it still", func(t *testing.T) {
		story(t, nil, step{given: begin}, step{given: "dies m1"},
			step{given: "unit a.service launched wish:m3", want: `put units/a.service declined: m1 is silent, and may still run it`})
	})
	t.Run("where it is already", func(t *testing.T) {
		story(t, nil, step{given: begin},
			step{given: "unit a.service launched wish:m1", want: `put units/a.service`})
	})
	t.Run("a unit that waits for a place gets this one", func(t *testing.T) {
		story(t, nil, step{given: "machine m1\nmachine m2\nunit a.service launched wish:m2", want: `
			put assignments/m2/a.service launched g1 + put units/a.service`})
	})
}

const threeWebs = `machine m1
	machine m2
	unit web@1.service launched MinAvailable=2
	assigned m1 web@1.service launched
	observed m1 web@1.service active
	unit web@2.service launched MinAvailable=2
	assigned m1 web@2.service launched
	observed m1 web@2.service active
	unit web@3.service launched MinAvailable=2
	assigned m1 web@3.service launched
	observed m1 web@3.service active`

func TestMinAvailable_DrainsOneAfterTheOther(t *testing.T) {
	story(t, nil, step{given: threeWebs},
		step{given: "machine m1 drained", want: `
			put assignments/m2/web@1.service launched g1 + put assignments/m1/web@1.service gone g1
			put pending/web@2.service it should leave m1, but MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active
			put pending/web@3.service it should leave m1, but MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active`},
		step{given: "observed m2 web@1.service activating\nobserved m1 web@1.service inactive gone", want: `delete assignments/m1/web@1.service + delete observed/m1/web@1.service`},
		step{given: "observed m2 web@1.service active", want: `
			put assignments/m2/web@2.service launched g1 + put assignments/m1/web@2.service gone g1 + delete pending/web@2.service`},
		step{given: "observed m2 web@2.service active", want: `
			put assignments/m2/web@3.service launched g1 + put assignments/m1/web@3.service gone g1 + delete pending/web@3.service`})
}

func TestMinAvailable(t *testing.T) {
	t.Run("one that isn't active may go at once", func(t *testing.T) {
		story(t, nil, step{given: threeWebs + "\nobserved m1 web@3.service failed"},
			step{given: "machine m1 drained", want: `
				put pending/web@1.service it should leave m1, but MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active
				put pending/web@2.service it should leave m1, but MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active
				put assignments/m2/web@3.service launched g1 + put assignments/m1/web@3.service gone g1`})
	})
	t.Run("too few ever, until one more is wanted", func(t *testing.T) {
		story(t, nil, step{given: `machine m1
				machine m2
				unit web@1.service launched MinAvailable=1
				assigned m1 web@1.service launched
				observed m1 web@1.service active`},
			step{given: "machine m1 drained", want: `
				put pending/web@1.service it should leave m1, but MinAvailable=1 keeps it, and 1 of web@.service are to run: one more is needed: clusterctl scale web@.service 2`},
			step{given: "unit web@2.service launched MinAvailable=1", want: `
				put pending/web@1.service it should leave m1, but MinAvailable=1 keeps it for now: 1 of 2 of web@.service are active
				put assignments/m2/web@2.service launched g1`},
			step{given: "observed m2 web@2.service active", want: `
				put assignments/m2/web@1.service launched g1 + put assignments/m1/web@1.service gone g1 + delete pending/web@1.service`})
	})
	t.Run("all of them can't be moved", func(t *testing.T) {
		story(t, nil, step{given: `machine m1
				machine m2
				unit web@1.service launched MinAvailable=100%
				assigned m1 web@1.service launched
				observed m1 web@1.service active`},
			step{given: "machine m1 drained", want: `
				put pending/web@1.service it should leave m1, but MinAvailable=100% keeps it, and 1 of web@.service are to run: it has to be lowered`})
	})
	t.Run("a wish waits as well, and is kept", func(t *testing.T) {
		story(t, nil, step{given: threeWebs + "\nobserved m1 web@3.service failed"},
			step{given: "unit web@1.service launched MinAvailable=2 wish:m2", want: `
				put pending/web@1.service it should leave m1, but MinAvailable=2 keeps it for now: 2 of 3 of web@.service are active`},
			step{given: "observed m1 web@3.service active", want: `
				put assignments/m2/web@1.service launched g1 + put assignments/m1/web@1.service gone g1 + delete pending/web@1.service + put units/web@1.service`})
	})
	t.Run("a dead machine doesn't wait", func(t *testing.T) {
		story(t, says{"m1": Dead}, step{given: threeWebs + "\nmachine m3"}, step{given: "dies m1"},
			step{after: 2 * time.Second, want: `
				put assignments/m2/web@1.service launched g1 + delete assignments/m1/web@1.service
				put assignments/m3/web@2.service launched g1 + delete assignments/m1/web@2.service
				put assignments/m2/web@3.service launched g1 + delete assignments/m1/web@3.service`})
	})
}

// C-05: with more than half of the machines missing nothing moves, but from a
// machine whose death an operator confirms.
func TestC05_AConfirmedDeathMovesUnitsThoughTheBrakeHolds(t *testing.T) {
	story(t, says{"m2": Dead, "m3": Dead},
		step{given: `machine m1
			machine m2
			machine m3
			unit a.service launched
			assigned m2 a.service launched
			observed m2 a.service active
			unit b.service launched
			assigned m3 b.service launched
			observed m3 b.service active`},
		step{given: "dies m2\ndies m3"},
		step{after: time.Hour, want: `
			put pending/a.service m2 is dead, as are too many others: nothing moves until machines return, or are said to be dead with clusterctl machine confirm-dead
			put pending/b.service m3 is dead, as are too many others: nothing moves until machines return, or are said to be dead with clusterctl machine confirm-dead`},
		step{after: time.Hour, given: "confirmed m2", want: `
			put assignments/m1/a.service launched g1 + delete assignments/m2/a.service + delete pending/a.service`},
		step{after: 2 * time.Hour})
	t.Run("without waiting for the grace", func(t *testing.T) {
		story(t, says{"m2": Alive},
			step{given: "machine m1\nmachine m2\nmachine m3\nunit a.service launched\nassigned m2 a.service launched"},
			step{given: "dies m2"},
			step{given: "confirmed m2", want: `put assignments/m1/a.service launched g1 + delete assignments/m2/a.service`})
	})
}
