package agent

import (
	"testing"
	"testing/synctest"

	"github.com/clusterd/clusterd/registry"
)

// Whoever waits for a start is told of its end without delay, and of nothing
// that happened on the way to it.
func TestEndOfAStartIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.assign(web, "v1", registry.Target_LAUNCHED, 1)
		assigned := w.revision()
		synctest.Wait() // no time passes
		w.want("at once", w.observed(web), "loaded/active/running generation 1")
		if wrote := w.revision() - assigned; wrote != 1 {
			t.Errorf("%d writes for a start, want 1", wrote)
		}
		_ = w.stop()
	})
}

func (w *world) revision() registry.Revision {
	w.t.Helper()
	all, err := w.store.Range(w.t.Context(), registry.Single(registry.ClusterKey))
	if err != nil {
		w.t.Fatal(err)
	}
	return all.Revision
}
