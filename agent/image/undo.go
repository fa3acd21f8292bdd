package image

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func (x *Session) remember(path string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.made = append(x.made, path)
}

// Undo removes the layers and blobs that came with this session and that
// nothing uses: of an image that turned out not to be trusted nothing is to
// stay. When others are at work in the store it leaves that to [Store.Prune].
// The session can only be closed then.
func (x *Session) Undo() {
	if x.lock.change(unix.LOCK_EX) != nil {
		return
	}
	live, err := x.store.live()
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, path := range x.made {
		if live[Digest(digestPrefix+filepath.Base(path))] {
			continue
		}
		// Renamed away first, so that no half of a layer can be found.
		away := filepath.Join(x.store.dir, "tmp", "undone-"+filepath.Base(path))
		if os.Rename(path, away) != nil || os.RemoveAll(away) != nil {
			continue // for Prune
		}
		if beside, err := filepath.Glob(path + ".*"); err == nil && strings.Contains(path, "layers") {
			for _, b := range beside {
				os.Remove(b)
			}
		}
	}
}
