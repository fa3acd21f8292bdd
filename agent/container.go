package agent

import (
	"context"
	"slices"

	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

// Puller makes sure that an image is on this machine: with refresh as its
// registry has it now, else any copy will do. It calls progress with what it
// is doing. See [Config].
type Puller func(ctx context.Context, image string, refresh bool, progress func(line string)) error

// loadable is what of a unit file of the cluster's lies in the unit directory.
type loadable struct {
	text    []byte // the file's own bytes, unless it has a [Container] section
	file    *unit.File
	images  []string // to be there before it starts
	refresh bool     // as the registry has them now
}

// load reads a file of the cluster's and renders it if need be.
func load(u unit.Name, src []byte) (loadable, error) {
	l, err := container.Load(u, src)
	if err != nil {
		return loadable{}, err
	}
	return loadable{text: l.Text, file: l.File, images: l.Images, refresh: l.Refresh}, nil
}

// sourceOf is the file of the cluster's that lies in the unit directory as
// text.
func sourceOf(text []byte) []byte {
	if src, ok := container.Source(text); ok {
		return src
	}
	return text
}

// withPull puts before the steps of a unit that starts what it needs for that.
// It comes first of all: an image that can't be had stops nothing, and the
// pull's time is not the start's.
func (a *Agent) withPull(steps []Action, l loadable) []Action {
	starts := slices.ContainsFunc(steps, func(s Action) bool { return s.Verb == Start || s.Verb == Restart })
	if !starts || a.Pull == nil || len(l.images) == 0 {
		return steps
	}
	pull := Action{Verb: Pull, Unit: steps[0].Unit, Desired: steps[0].Desired, Reason: "its container needs it", Images: l.images, Refresh: l.refresh}
	return append([]Action{pull}, steps...)
}

// pull carries out a Pull and tells how far it is. One that fails is tried
// again later: registries come back.
func (a *Agent) pull(ctx context.Context, s Action) error {
	tell := func(reason string) {
		a.tell(ctx, func() {
			if m := a.units[s.Unit]; m != nil && m.want != nil && m.working && *m.want == m.planned {
				m.reason, m.tried = reason, 0
				a.publish(s.Unit, m)
			}
		})
	}
	for _, image := range s.Images {
		progress := func(line string) { tell("pulling " + image + ": " + line) }
		if err := a.Pull(ctx, image, s.Refresh, progress); err != nil {
			return err
		}
	}
	tell("")
	return nil
}
