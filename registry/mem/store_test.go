package mem_test

import (
	"testing"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/registry/mem"
	"github.com/clusterd/clusterd/registry/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) registry.Store { return mem.New(mem.Options{}) })
}
