package engine

import (
	"cmp"
	"iter"
	"slices"

	"github.com/clusterd/clusterd/registry"
)

// perMachine holds something for some machines, sorted by their ids. Most units
// are on one machine, where a map would take several times as much memory.
type perMachine[T any] []held[T]

type held[T any] struct {
	id   registry.MachineID
	what T
}

func (p perMachine[T]) find(id registry.MachineID) (int, bool) {
	return slices.BinarySearchFunc(p, id, func(h held[T], id registry.MachineID) int { return cmp.Compare(h.id, id) })
}

func (p perMachine[T]) get(id registry.MachineID) (what T, ok bool) {
	i, ok := p.find(id)
	if ok {
		what = p[i].what
	}
	return what, ok
}

// at is what there is for a machine; the zero value when there is nothing.
func (p perMachine[T]) at(id registry.MachineID) T {
	what, _ := p.get(id)
	return what
}

func (p *perMachine[T]) set(id registry.MachineID, what T) {
	i, ok := p.find(id)
	if ok {
		(*p)[i].what = what
		return
	}
	if *p == nil {
		*p = make(perMachine[T], 0, 1)
	}
	*p = slices.Insert(*p, i, held[T]{id, what})
}

func (p *perMachine[T]) remove(id registry.MachineID) {
	if i, ok := p.find(id); ok {
		*p = slices.Delete(*p, i, i+1)
	}
	if len(*p) == 0 {
		*p = nil
	}
}

// all goes through it in the order of the ids.
func (p perMachine[T]) all() iter.Seq2[registry.MachineID, T] {
	return func(yield func(registry.MachineID, T) bool) {
		for _, h := range p {
			if !yield(h.id, h.what) {
				return
			}
		}
	}
}
