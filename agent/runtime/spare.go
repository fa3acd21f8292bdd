package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A container of an image has a directory with a record, a writable layer (upper)
// and what overlay needs beside that (work). On a disk, to make these and to
// delete them is what a start would wait for longest: an ext4 that discards blocks
// takes 0.15 ms for each directory that goes. So a start does it ahead, when the
// gate is open and it has nothing else to do: it makes the directory of a next
// container, spare/N, out of one that has ended and wrote nothing, spare/used.N.
// Of that only the directory itself is used again, and those that overlay made and
// nobody was in: an overlay that somebody still holds open reaches none of them.

// sparesMax is how many directories are kept, of each kind: as many starts as
// there are at once on a small machine find one.
const sparesMax = 4

func (d *Dir) spare(n int) string { return filepath.Join(d.data, "spare", strconv.Itoa(n)) }
func (d *Dir) used(n int) string  { return filepath.Join(d.data, "spare", "used."+strconv.Itoa(n)) }

// skeleton returns a directory with rec and, if it is to be the place of an
// overlay, nothing else in it, which needs but a name. The lock is held.
func (d *Dir) skeleton(rec Record, overlay bool) (string, error) {
	record := rec.encode()
	if overlay {
		for n := range sparesMax {
			dir := d.spare(n)
			err := createFile(dir+"/record", record, 0o600)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			// They are there, but for what a power cut has taken.
			return dir, errors.Join(err, makeParts(dir))
		}
	}
	dir := filepath.Join(d.data, "making", rec.Name)
	if err := makeSkeleton(dir, overlay); err != nil {
		return "", err
	}
	return dir, createFile(dir+"/record", record, 0o600)
}

// makeSkeleton makes a directory as a container has it, but for the record. One
// that is there is left from a crash.
func makeSkeleton(dir string, overlay bool) error {
	err := unix.Mkdir(dir, 0o755)
	if errors.Is(err, unix.EEXIST) {
		if err = removeAll(dir); err == nil {
			err = unix.Mkdir(dir, 0o755)
		}
	}
	if err == nil && overlay {
		err = makeParts(dir)
	}
	return err
}

// makeParts makes the parts that aren't there.
func makeParts(dir string) error {
	for _, part := range []string{"/upper", "/work"} {
		if err := unix.Mkdir(dir+part, 0o755); err != nil && err != unix.EEXIST {
			return err
		}
	}
	return nil
}

// keepUsed puts a container's directory aside to be made a spare one of, if it
// never wrote to its root and there is room. The lock is held.
func (d *Dir) keepUsed(dir string) bool {
	if !unused(dir) {
		return false
	}
	for n := range sparesMax {
		switch err := unix.Rename(dir, d.used(n)); err {
		case nil:
			// Its variables are nobody's business any more. To empty the file instead
			// would have ext4 write it to the disk when it is used again.
			unix.Unlink(d.used(n) + "/record")
			return true
		case unix.ENOTEMPTY, unix.EEXIST:
		default:
			return false
		}
	}
	return false
}

// unused reports whether a container never wrote to its root. What a start that
// was killed may have left beside that makes it used.
func unused(dir string) bool {
	empty, err := isEmpty(dir + "/upper")
	return err == nil && empty && unix.Access(dir+"/"+fillName, unix.F_OK) == unix.ENOENT
}

// stock sees to it that a next start finds a spare directory. It does most of that
// without the lock, which other starts want.
func (d *Dir) stock() error {
	making := filepath.Join(d.data, "making")
	entries, err := os.ReadDir(making)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stockName) && !stocking(e.Name()) { // it was killed
			if err := deleteContainer(filepath.Join(making, e.Name())); err != nil {
				return err
			}
		}
	}
	next := filepath.Join(making, stockName+strconv.Itoa(os.Getpid()))
	if !d.takeUsed(next) {
		if unix.Access(d.spare(0), unix.F_OK) == nil {
			return nil
		}
		if err := errors.Join(d.makeDirs(), makeSkeleton(next, true)); err != nil {
			return err
		}
	}
	unlock, err := d.prepare() // sweep may take us for dead
	if err != nil {
		return err
	}
	for n := range sparesMax {
		if err = unix.Rename(next, d.spare(n)); err == nil {
			break
		}
	}
	unlock()
	if err != nil { // there are enough
		return deleteContainer(next)
	}
	return nil
}

// stockName begins the name, in making, of what stock is at; its process follows.
// No container is called so.
const stockName = ".spare."

// stocking reports whether a process that is there is at making what has a name
// in making.
func stocking(name string) bool {
	process, ok := strings.CutPrefix(name, stockName)
	pid, err := strconv.Atoi(process)
	return ok && err == nil && unix.Kill(pid, 0) != unix.ESRCH
}

// takeUsed makes a spare directory, next, of a container's that has ended, if
// there is one.
func (d *Dir) takeUsed(next string) bool {
	for n := range sparesMax {
		if unix.Rename(d.used(n), next) == nil {
			return remake(next) == nil
		}
	}
	return false
}

// remake replaces both parts of a container's directory. What overlay made of
// directories for the mark of a volatile one will do: nobody was ever in there. To
// rename is to delete what has the name, if that is empty, and else an error.
func remake(dir string) error {
	const mark = "/work/work/incompat"
	unix.Unlink(dir + "/record") // if keepUsed was killed
	unix.Unlink(dir + mark + "/volatile/dirty")
	if unix.Rename(dir+mark+"/volatile", dir+"/upper") != nil {
		return errors.Join(unix.Rmdir(dir+"/upper"), dropWork(dir), makeParts(dir))
	}
	err := errors.Join(unix.Rename(dir+mark, dir+"/next"), unix.Rmdir(dir+"/work/work"), unix.Rename(dir+"/next", dir+"/work"))
	for _, part := range []string{"/upper", "/work"} {
		err = errors.Join(err, unix.Lchown(dir+part, os.Geteuid(), os.Getegid()), unix.Chmod(dir+part, 0o755))
	}
	return err
}

// deleteUnused deletes the directory of a container that wrote nothing to its
// root, knowing what is in there: os.RemoveAll takes four times as many calls.
func deleteUnused(dir string) error {
	unix.Unlink(dir + "/record")
	dropWork(dir)
	unix.Rmdir(dir + "/upper")
	return unix.Rmdir(dir)
}

// dropWork deletes what overlay has needed beside the writable layer. A volatile
// one leaves a mark there, that what was written may not have reached the disk.
func dropWork(dir string) error {
	if errors.Is(unix.Rmdir(dir+"/work/work"), unix.ENOTEMPTY) {
		const mark = "/work/work/incompat"
		unix.Unlink(dir + mark + "/volatile/dirty")
		unix.Rmdir(dir + mark + "/volatile")
		unix.Rmdir(dir + mark)
		unix.Rmdir(dir + "/work/work")
	}
	return unix.Rmdir(dir + "/work")
}

// emptyTrash deletes what discard put aside, which may take a while, so it is
// done without the lock.
func (d *Dir) emptyTrash() error {
	trash := filepath.Join(d.data, "trash")
	entries, err := os.ReadDir(trash)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, deleteContainer(filepath.Join(trash, e.Name())))
	}
	return err
}

func deleteContainer(dir string) error {
	if deleteUnused(dir) == nil {
		return nil
	}
	return removeAll(dir)
}
