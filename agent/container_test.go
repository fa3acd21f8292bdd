package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// images is a registry of images: what is in it can be pulled. A pull of
// "slow" ends when the channel is closed.
type images struct {
	mu    sync.Mutex
	has   map[string]bool
	slow  chan struct{}
	asked []string
}

func (p *images) pull(ctx context.Context, image string, refresh bool, progress func(string)) error {
	p.mu.Lock()
	p.asked = append(p.asked, image)
	ok := p.has[image]
	p.mu.Unlock()
	progress("layer 1 of 2")
	if image == "slow" {
		select {
		case <-p.slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if !ok {
		return errors.New("no such image")
	}
	return nil
}

func (p *images) put(image string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.has[image] = true
}

// assignContainer assigns a unit with a [Container] section.
func (w *world) assignContainer(u unit.Name, text string, target registry.Target, generation uint64) unit.Hash {
	b := []byte("[Container]\n" + text + "\n")
	h := unit.HashOf(b)
	w.commit(registry.Op{Key: registry.FileKey(h), Value: b})
	w.put(registry.AssignmentKey(me, u), &registry.Assignment{File: string(h), Target: target, Generation: generation})
	return h
}

func (w *world) onDisk(u unit.Name) string {
	w.manager.mu.Lock()
	defer w.manager.mu.Unlock()
	if x := w.manager.units[u]; x != nil {
		return string(x.File)
	}
	return ""
}

func TestContainerIsRenderedForSystemd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.pull = (&images{has: map[string]bool{"app:1": true, "app:2": true}}).pull
		w.start()
		h := w.assignContainer(web, "Image=app:1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("steps", w.manager.took(), "write web.service@"+h.Short()+"; start web.service")
		w.want("observed", w.observed(web), "loaded/active/running generation 1")
		disk := w.onDisk(web)
		if !strings.Contains(disk, "ExecStart=/usr/bin/nsrun run") || !strings.HasPrefix(disk, "[X-Container]\nImage=app:1\n") {
			t.Errorf("on disk:\n%s", disk)
		}
		o, _, err := readRecord[registry.Observed](t.Context(), w.store, registry.ObservedKey(me, web))
		if err != nil || unit.Hash(o.File) != h {
			t.Errorf("reported file %s, want the user's, %s (%v)", o.GetFile(), h, err)
		}
		pid := w.manager.pidOf(web)

		// C-02: another agent takes it for what it is.
		_ = w.stop()
		w.start()
		w.settle()
		w.assignContainer(web, "Image=app:1", registry.Target_LAUNCHED, 2)
		w.settle()
		w.want("steps after a restart of the agent", w.manager.took(), "")
		w.want("observed after it", w.observed(web), "loaded/active/running generation 2")
		if now := w.manager.pidOf(web); now != pid {
			t.Errorf("PID was %d, is %d", pid, now)
		}

		h = w.assignContainer(web, "Image=app:2", registry.Target_LAUNCHED, 3)
		w.settle()
		w.want("steps of a change", w.manager.took(), "stop web.service; write web.service@"+h.Short()+"; start web.service")
		_ = w.stop()
	})
}

// C-16: what another version rendered runs on, and is written anew when the
// unit starts again for another reason. Nothing is fetched for that.
func TestC16_AnotherRenderingRestartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		h := w.assignContainer(web, "Image=app:1", registry.Target_LAUNCHED, 1)
		w.settle()
		w.manager.mu.Lock()
		old := append([]byte(nil), w.manager.units[web].File...)
		old = append(old, "# an older version said more\n"...)
		w.manager.units[web].File = old
		w.manager.mu.Unlock()
		w.manager.took()
		_ = w.stop()
		w.start()
		w.commit(registry.Op{Delete: registry.Single(registry.FileKey(h))})
		again := func(generation, restart uint64) {
			w.put(registry.AssignmentKey(me, web), &registry.Assignment{File: string(h), Target: registry.Target_LAUNCHED, Generation: generation, RestartGeneration: restart})
			w.settle()
		}
		again(2, 0)
		w.want("steps of a start", w.manager.took(), "")
		w.want("observed", w.observed(web), "loaded/active/running generation 2")
		again(3, 3)
		w.want("steps of a restart", w.manager.took(), "stop web.service; write web.service@"+h.Short()+"; start web.service")
		if src, ok := container.Source([]byte(w.onDisk(web))); !ok || string(src) != "[Container]\nImage=app:1\n" || strings.Contains(w.onDisk(web), "older") {
			t.Errorf("on disk:\n%s", w.onDisk(web))
		}
		_ = w.stop()
	})
}

func TestC04_APullHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		registryOf := &images{has: map[string]bool{"slow": true, "old": true}, slow: make(chan struct{})}
		w.pull = registryOf.pull
		w.start()
		w.assignContainer("a-slow.service", "Image=slow", registry.Target_LAUNCHED, 1)
		w.assignContainer("b-missing.service", "Image=missing", registry.Target_LAUNCHED, 1)
		w.assign("c-plain.service", "v1", registry.Target_LAUNCHED, 1)
		w.assignContainer("d-bad.service", "Image=old\nFrob=1", registry.Target_LAUNCHED, 1)
		w.assignContainer("e-old.service", "Image=old", registry.Target_LAUNCHED, 1)
		w.settle()
		w.want("slow", w.observed("a-slow.service"), "// generation 0: pulling slow: layer 1 of 2")
		w.want("missing", w.observed("b-missing.service"), "// generation 1: pull missing for b-missing.service: no such image")
		w.want("plain", w.observed("c-plain.service"), "loaded/active/running generation 1")
		w.want("bad", w.observed("d-bad.service"), "// generation 1: d-bad.service:3: [Container] has no key Frob=; it takes those of podman's Quadlet; see podman-systemd.unit(5)")
		w.want("old", w.observed("e-old.service"), "loaded/active/running generation 1")

		// An update to an image that can't be had stops nothing.
		pid := w.manager.pidOf("e-old.service")
		w.assignContainer("e-old.service", "Image=missing", registry.Target_LAUNCHED, 2)
		w.settle()
		w.want("update", w.observed("e-old.service"), "loaded/active/running generation 2: pull missing for e-old.service: no such image")
		if now := w.manager.pidOf("e-old.service"); now != pid {
			t.Errorf("PID was %d, is %d", pid, now)
		}

		// It is tried again, and what is wanted no longer is not waited for.
		registryOf.put("missing")
		w.assignContainer("a-slow.service", "Image=slow", registry.Target_LOADED, 2)
		for range 60 {
			w.settle()
		}
		w.want("slow, only loaded", w.observed("a-slow.service"), "loaded/inactive/dead generation 2")
		w.want("missing, once it is there", w.observed("b-missing.service"), "loaded/active/running generation 1")
		w.want("update, once it is there", w.observed("e-old.service"), "loaded/active/running generation 2")
		w.assignContainer("a-slow.service", "Image=slow", registry.Target_LAUNCHED, 3)
		w.settle()
		close(registryOf.slow)
		w.settle()
		w.want("slow, at last", w.observed("a-slow.service"), "loaded/active/running generation 3")
		_ = w.stop()
	})
}
