package runtime

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// OwnBytes is how much a container's own files take, besides its image.
func (d *Dir) OwnBytes(name string) int64 {
	return DiskBytes(filepath.Join(d.container(name), "upper"))
}

// DiskBytes is how much is in a directory, as far as it can be read.
func DiskBytes(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil && !e.IsDir() {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total
}
