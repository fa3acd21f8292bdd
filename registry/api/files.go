package api

import (
	"fmt"
	"sync"

	"github.com/clusterd/clusterd/registry"
	"github.com/clusterd/clusterd/unit"
)

// fileCache remembers what lists need of unit files, which never change under
// their hash, so that a list of many units doesn't parse them all again.
type fileCache struct {
	mu    sync.Mutex
	known map[fileOf]fileAbout
}

type fileOf struct {
	hash unit.Hash
	name unit.Name // specifiers expand by it
}

type fileAbout struct {
	description string
	global      bool
	broken      string
}

// fileCacheMax bounds the cache; past it, it starts anew.
const fileCacheMax = 1 << 16

func newFileCache() *fileCache { return &fileCache{known: map[fileOf]fileAbout{}} }

// about is what the file says of the unit.
func (c *fileCache) about(view registry.View, hash unit.Hash, name unit.Name) fileAbout {
	key := fileOf{hash, name}
	c.mu.Lock()
	about, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return about
	}
	rec, ok := view.Get(registry.FileKey(hash))
	if !ok {
		return fileAbout{broken: fmt.Sprintf("%s: its file %s is not in the registry; submit it again", name, hash.Short())}
	}
	f, err := unit.Parse(string(name), rec.Value)
	if err != nil {
		about.broken = err.Error()
	} else {
		about.description = f.Description()
		o, err := f.Options(name)
		if about.global = o.Global; err != nil {
			about.broken = err.Error()
		}
	}
	c.mu.Lock()
	if len(c.known) >= fileCacheMax {
		clear(c.known)
	}
	c.known[key] = about
	c.mu.Unlock()
	return about
}
