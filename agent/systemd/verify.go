package systemd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/clusterd/clusterd/agent"
	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

const (
	verifyMax      = 20 * time.Second // for one run, with the machine's units
	aloneMax       = 5 * time.Second  // without them
	blindFor       = time.Minute      // for so long systemd-analyze isn't asked again after it failed
	verifiesMax    = 2                // at once; each has systemd-analyze read units
	verifyBytesMax = 64 << 10         // of what systemd-analyze prints
	verifyBatchMax = 200              // files in one run of systemd-analyze
)

// Verify has systemd-analyze(1) of this machine look at unit files, and writes
// what it says of them to w, a line each: "name:line: what", with "warning: " in
// front where the unit can run all the same, on another machine at least. The
// exit code is 0 when there is nothing but warnings, else 1. Nothing is run.
func (d *Driver) Verify(ctx context.Context, r api.VerifyRequest, w io.Writer) (exit int, err error) {
	for files := range slices.Chunk(r.Files, verifyBatchMax) {
		said, err := d.analyze(ctx, files, r.AllowUnknown, r.Alone)
		if err != nil {
			return 1, err
		}
		for _, f := range said {
			if _, err := fmt.Fprintln(w, f); err != nil {
				return 1, err
			}
			if !f.harmless {
				exit = 1
			}
		}
	}
	return exit, nil
}

// looked is a file as systemd-analyze gets it.
type looked struct {
	unit unit.Name
	as   string // the name it has there
	path string
	runs *container.Loaded
}

// analyze runs systemd-analyze once. Alone, it sees none of the machine's units.
func (d *Driver) analyze(ctx context.Context, files []api.VerifyFile, allowUnknown, alone bool) ([]finding, error) {
	limit := verifyMax
	if alone {
		limit = aloneMax
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case d.verifies <- struct{}{}:
		defer func() { <-d.verifies }()
	case <-ctx.Done():
		return nil, fmt.Errorf("verify %s: this machine is busy; try again: %w", named(files), ctx.Err())
	}
	dir, err := os.MkdirTemp("", "verify-")
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", named(files), err)
	}
	defer os.RemoveAll(dir)
	there, args, err := layOut(dir, files)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "systemd-analyze", append([]string{"verify", "--man=no"}, args...)...)
	cmd.Env = toolEnv()
	if alone {
		// An empty path adds nothing to the directory of the files. Loading what
		// they depend on would take longer than all the rest.
		cmd.Env = append(cmd.Env, "SYSTEMD_UNIT_PATH=")
	}
	printed := &firstBytes{left: verifyBytesMax}
	cmd.Stdout, cmd.Stderr = printed, printed
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var code *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("verify %s: systemd-analyze did not end in %v: %w", named(files), limit, ctx.Err())
	case err != nil && !(errors.As(err, &code) && code.Exited()):
		return nil, fmt.Errorf("verify %s: run systemd-analyze: %w", named(files), err)
	}
	said, told := verdict(printed.text.String(), there, allowUnknown, alone)
	switch {
	case printed.left == 0:
		return nil, fmt.Errorf("verify %s: systemd-analyze has more to say than %d bytes; give it fewer files at once", named(files), verifyBytesMax)
	case err != nil && !told:
		return nil, fmt.Errorf("verify %s: systemd-analyze: %w: %s", named(files), err, firstOf(lastOf(printed.text.String()), "it doesn't say why"))
	}
	return said, nil
}

// named are the first of some files, for errors.
func named(files []api.VerifyFile) string {
	text := ""
	if len(files) > 0 {
		text = string(files[0].Name)
	}
	if len(files) > 1 {
		text += fmt.Sprintf(" and %d others", len(files)-1)
	}
	return text
}

// layOut puts the files into a directory.
func layOut(dir string, files []api.VerifyFile) (there []looked, paths []string, err error) {
	taken := map[string]bool{}
	for _, f := range files {
		runs, err := container.Load(f.Name, f.File)
		if err != nil {
			return nil, nil, err
		}
		as := verifiedAs(f.Name, taken)
		taken[as] = true
		path := filepath.Join(dir, as)
		arg := path
		if strings.Contains(as, ":") { // which systemd-analyze takes for FILE:NAME
			path = filepath.Join(dir, fmt.Sprintf("colon%d.%s", len(paths), f.Name.Type()))
			arg = path + ":" + as
		}
		if err := os.WriteFile(path, runs.Text, 0o600); err != nil {
			return nil, nil, fmt.Errorf("verify %s: %w", f.Name, err)
		}
		there, paths = append(there, looked{f.Name, as, path, runs}), append(paths, arg)
	}
	return there, paths, nil
}

// verifiedAs is the name a file gets for systemd-analyze, which looks at a
// template by an instance only: one that no other file has.
func verifiedAs(u unit.Name, taken map[string]bool) string {
	as := string(u)
	for i := "i"; u.IsTemplate(); i += "i" {
		if as = string(u.InstanceOf(i)); !taken[as] {
			break
		}
	}
	return as
}

// finding is what systemd-analyze says of a file, as one line.
type finding struct {
	text     string
	harmless bool
}

func (f finding) String() string {
	if f.harmless {
		return "warning: " + f.text
	}
	return f.text
}

// verdict picks what is about the files from all that systemd-analyze printed,
// which tells of units that are loaded along with them, too. told says that
// there was something, be it not worth repeating: alone, a file's dependencies
// are never found.
func verdict(printed string, files []looked, allowUnknown, alone bool) (said []finding, told bool) {
	for line := range strings.Lines(strings.ToValidUTF8(printed, "?")) {
		line = strings.TrimSpace(line)
		for _, f := range files {
			at, what, ok := f.about(line)
			if !ok {
				continue
			}
			told = true
			if alone && elsewhere(what) {
				break
			}
			text := fmt.Sprintf("%s: %s", f.unit, what)
			if at > 0 {
				text = fmt.Sprintf("%s:%d: %s", f.unit, f.runs.Line(at), what)
			}
			text = strings.ReplaceAll(strings.ReplaceAll(text, f.path, string(f.unit)), f.as, string(f.unit))
			found := finding{text, harmless(strings.ReplaceAll(what, f.as, ""), allowUnknown) || f.instanceDecides(at)}
			if !slices.Contains(said, found) {
				said = append(said, found)
			}
			break
		}
	}
	return said, told
}

// about takes a line that systemd-analyze printed for one about the file: what
// it says, and of which line of the file; 0 is the whole.
func (f looked) about(line string) (at int, what string, ok bool) {
	// A file with a name of its own is looked at under another directory.
	path, _, _ := strings.Cut(line, " ")
	if at := strings.Index(path, "/"+f.as+":"); at >= 0 && strings.HasPrefix(line, "/") {
		rest := line[at+len("/"+f.as+":"):]
		number, text, _ := strings.Cut(rest, ":")
		if n, err := strconv.Atoi(number); err == nil {
			return n, strings.TrimSpace(text), true
		}
		return 0, strings.TrimSpace(rest), true
	}
	if rest, ok := strings.CutPrefix(line, f.as+":"); ok {
		return 0, strings.TrimSpace(rest), true
	}
	return 0, line, strings.Contains(line, f.path) || strings.HasPrefix(line, "Unit "+f.as+" ")
}

// instanceDecides says whether what is in a line of a template, or 0 in all of
// it, depends on the instance: that there is none yet is nothing against it.
func (f looked) instanceDecides(at int) bool {
	if !f.unit.IsTemplate() {
		return false
	}
	text := string(f.runs.Text)
	if at > 0 {
		lines := strings.SplitAfter(text, "\n")
		end := min(at, len(lines))
		for end < len(lines) && strings.HasSuffix(strings.TrimRight(lines[end-1], "\r\n"), `\`) {
			end++
		}
		text = strings.Join(lines[min(at, len(lines))-1:end], "")
	}
	return byInstance(text)
}

// byInstance says whether a text has specifiers that depend on the instance.
func byInstance(text string) bool {
	for _, s := range []string{"%i", "%I", "%j", "%J", "%f", "%n", "%N"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// elsewhere says whether what systemd complains of is about other units, which
// may well be on another machine.
func elsewhere(what string) bool {
	return strings.Contains(what, "/start: Unit ") || strings.HasSuffix(what, "not loaded, socket cannot be started.")
}

// harmless says whether the unit can do what it says though systemd complains:
// what it ignores or refuses is not. A program or unit that is not on this
// machine may be on another. What a newer systemd has done away with was in
// force where the file was accepted, and does nothing any more.
func harmless(what string, allowUnknown bool) bool {
	lower := strings.ToLower(what)
	has := func(part string) bool { return strings.Contains(lower, part) }
	switch {
	case elsewhere(what), has("unknown escape sequence"), has(" is not executable: "), has("has been removed"):
		return true
	case has("unknown key"), has("unknown lvalue"), has("unknown section"):
		return allowUnknown
	}
	return !slices.ContainsFunc([]string{"ignor", "refus", "bad unit file setting", "failed to", "unable to", "cannot ", "invalid "}, has)
}

// verdicts remembers what systemd had against files, for as long as it is the
// same systemd: of one template there may be a thousand instances.
type verdicts struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]string // empty: nothing
	until time.Time                    // systemd can't be asked
}

const verdictsMax = 1000

func (v *verdicts) get(key [sha256.Size]byte) (why string, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	why, ok = v.known[key]
	return why, ok
}

func (v *verdicts) put(key [sha256.Size]byte, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= verdictsMax {
		clear(v.known)
	}
	v.known[key] = why
}

// blind says whether systemd could not be asked a short while ago: units aren't
// held up for that, one after the other.
func (v *verdicts) blind(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return now.Before(v.until)
}

func (v *verdicts) blindUntil(until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.until = until
}

// fit makes sure that this machine's systemd takes a unit's file as it stands.
// When it can't be asked, the unit isn't held up for that.
func (d *Driver) fit(ctx context.Context, s agent.Action) error {
	version, err := d.Version(ctx)
	if err != nil {
		return err
	}
	if version == s.Desired.VerifiedBy {
		return nil // one like it had nothing against the file
	}
	about := s.Unit
	if template, ok := about.Template(); ok && !byInstance(string(s.File)) {
		about = template
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%v\n%s", version, about, s.Desired.AllowUnknown, s.File))
	why, known := d.verdicts.get(key)
	if !known && d.verdicts.blind(time.Now()) {
		return nil
	}
	if !known {
		said, err := d.analyze(ctx, []api.VerifyFile{{Name: about, File: s.File}}, s.Desired.AllowUnknown, true)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			d.log.Warn("unit files not verified on this machine", "unit", s.Unit, "for", blindFor, "error", err)
			d.verdicts.blindUntil(time.Now().Add(blindFor))
			return nil
		}
		why = reasons(said)
		d.verdicts.put(key, why)
	}
	if why != "" {
		number, _, _ := strings.Cut(version, ".")
		return &agent.Unfit{Why: "runs systemd " + number + ": " + why}
	}
	return nil
}

// reasonsMax is how much of what systemd has against a file is kept for people
// to see; the machine's journal and clusterctl verify have it all.
const reasonsMax = 2

// reasons puts what is not harmless into one line.
func reasons(said []finding) string {
	var all []string
	for _, f := range said {
		if !f.harmless {
			all = append(all, strings.TrimSuffix(f.text, "."))
		}
	}
	if more := len(all) - reasonsMax; more > 0 {
		all = append(all[:reasonsMax], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// firstBytes keeps the first bytes that are written to it.
type firstBytes struct {
	text bytes.Buffer
	left int
}

func (f *firstBytes) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.text.Write(p[:n])
	return len(p), nil
}

// lastOf is the last line of a text.
func lastOf(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
