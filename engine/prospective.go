package engine

import (
	"github.com/clusterd/clusterd/engine/placement"
	"github.com/clusterd/clusterd/unit"
)

// Prospective is a unit that isn't there, or isn't wanted, as placement would
// know it if it were to run with the file src. The error is the file's.
func Prospective(name unit.Name, src []byte) (placement.Unit, error) {
	f := &fileEntry{src: src}
	if f.parse(name); f.err != nil {
		return placement.Unit{}, f.err
	}
	a, err := f.asksOf(name)
	if err != nil {
		return placement.Unit{}, err
	}
	return placement.Unit{Name: name, Options: a.options, Needs: a.needs, Ports: a.ports, Wanted: true, Launched: true}, nil
}
