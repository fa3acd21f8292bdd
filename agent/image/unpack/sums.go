package unpack

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// WriteSums writes to file the list of what Layer put into dir, one line for
// each thing there. The checksums are CRC-32C, taken while unpacking: they
// find every flipped byte and cost next to nothing, and it is damage they are for, not malice.
func WriteSums(file, dir string, report *Report) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 64<<10)
	fmt.Fprintf(w, "%s%d\n", bytesLine, report.Bytes)
	err = list(context.Background(), dir, func(_ string, inode uint64) (uint32, error) {
		sum, ok := report.crcs[inode]
		if !ok {
			return 0, fmt.Errorf("inode %d is not of this layer", inode)
		}
		return sum, nil
	}, func(line string) error {
		_, err := w.WriteString(line + "\n")
		return err
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

const bytesLine = "bytes "

// CheckSums compares dir with the list in file and returns what differs, one line
// each, at most differencesMax.
func CheckSums(ctx context.Context, file, dir string, differencesMax int) (differences []string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wanted := map[string]string{} // line by path
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), bytesLine) {
			wanted[pathOf(lines.Text())] = lines.Text()
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	differ := func(format string, args ...any) {
		if len(differences) < differencesMax {
			differences = append(differences, fmt.Sprintf(format, args...))
		}
	}
	err = list(ctx, dir, func(path string, _ uint64) (uint32, error) { return crcOf(path) }, func(line string) error {
		path := pathOf(line)
		switch want, ok := wanted[path]; {
		case !ok:
			differ("%s: was not there", path)
		case want != line:
			differ("%s: is %s, was %s", path, looks(line), looks(want))
		}
		delete(wanted, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for path := range wanted {
		differ("%s: is gone", path)
	}
	return differences, nil
}

// A line is "looks path" or "looks path -> target", the names quoted as in Go.
func pathOf(line string) string {
	if start := strings.IndexByte(line, '"'); start >= 0 {
		if name, err := strconv.QuotedPrefix(line[start:]); err == nil {
			return name
		}
	}
	return line
}

func looks(line string) string {
	looks, _, _ := strings.Cut(line, ` "`)
	_, rest, _ := strings.Cut(line, pathOf(line))
	return looks + rest
}

// list calls yield for everything in dir, in a fixed order.
func list(ctx context.Context, dir string, crc func(path string, inode uint64) (uint32, error), yield func(string) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		target := ""
		switch {
		case info.Mode().IsRegular():
			sum, err := crc(path, st.Ino)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %d %08x", info.ModTime().UnixNano(), info.Size(), sum)
		case info.Mode()&fs.ModeSymlink != 0:
			if target, err = os.Readlink(path); err != nil {
				return err
			}
			target = fmt.Sprintf(" -> %q", target)
		}
		return yield(line + fmt.Sprintf(" %q", name) + target)
	})
}

func crcOf(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := crc32.New(castagnoli())
	_, err = io.Copy(sum, f)
	return sum.Sum32(), err
}
