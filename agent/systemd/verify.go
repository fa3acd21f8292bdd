package systemd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clusterd/clusterd/registry/api"
	"github.com/clusterd/clusterd/unit"
	"github.com/clusterd/clusterd/unit/container"
)

const (
	verifyMax      = 20 * time.Second
	verifiesMax    = 2        // at once; each has systemd-analyze read this machine's units
	verifyBytesMax = 64 << 10 // of what systemd-analyze prints
)

// Verify has systemd-analyze(1) of this machine look at a unit file, and writes
// what it says of it to w, a line each: "name:line: what", with "warning: " in
// front where the unit can run all the same, on another machine at least. The
// exit code is 0 when there is nothing but warnings, else 1. Nothing is run.
func (d *Driver) Verify(ctx context.Context, r api.VerifyRequest, w io.Writer) (exit int, err error) {
	text, userLine, err := textFor(r.Name, r.File)
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(ctx, verifyMax)
	defer cancel()
	select {
	case d.verifies <- struct{}{}:
		defer func() { <-d.verifies }()
	case <-ctx.Done():
		return 1, fmt.Errorf("verify %s: this machine is busy; try again: %w", r.Name, ctx.Err())
	}
	dir, err := os.MkdirTemp("", "verify-")
	if err != nil {
		return 1, fmt.Errorf("verify %s: %w", r.Name, err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, string(verifiedAs(r.Name)))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return 1, fmt.Errorf("verify %s: %w", r.Name, err)
	}
	printed := &firstBytes{left: verifyBytesMax}
	code, err := d.tool(ctx, printed, "systemd-analyze", "verify", "--man=no", path)
	switch {
	case ctx.Err() != nil:
		return 1, fmt.Errorf("verify %s: systemd-analyze did not end in %v: %w", r.Name, verifyMax, ctx.Err())
	case err != nil && code == 0:
		return 1, fmt.Errorf("verify %s: %w", r.Name, err)
	}
	said, bad := verdict(printed.String(), path, r, userLine)
	if code != 0 && len(said) == 0 {
		return 1, fmt.Errorf("verify %s: systemd-analyze exited with %d: %s", r.Name, code, firstOf(lastOf(printed.String()), "it doesn't say why"))
	}
	for _, line := range said {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return 1, err
		}
	}
	if bad {
		return 1, nil
	}
	return 0, nil
}

// verifiedAs is the name a file gets for systemd-analyze: it looks at a
// template by an instance only.
func verifiedAs(u unit.Name) unit.Name {
	if u.IsTemplate() {
		return u.InstanceOf("i")
	}
	return u
}

// textFor is what systemd gets for a file, and the user's line behind each of
// its lines.
func textFor(u unit.Name, src []byte) (text []byte, userLine func(int) int, err error) {
	f, err := unit.Parse(string(u), src)
	if err != nil {
		return nil, nil, err
	}
	if !container.Has(f) {
		return src, func(n int) int { return n }, nil
	}
	rendered, err := container.Render(u, f)
	if err != nil {
		return nil, nil, err
	}
	return rendered.Text, func(n int) int {
		if n < 1 || n > len(rendered.Lines) {
			return n
		}
		return rendered.Lines[n-1]
	}, nil
}

// verdict picks what is about the file from all that systemd-analyze printed,
// which tells of units that are loaded along with it, too. A line each; bad says
// whether any is more than a warning.
func verdict(printed, path string, r api.VerifyRequest, userLine func(int) int) (said []string, bad bool) {
	as := filepath.Base(path)
	for line := range strings.Lines(strings.ToValidUTF8(printed, "?")) {
		line = strings.TrimSpace(line)
		what := ""
		if rest, ok := strings.CutPrefix(line, path+":"); ok {
			what = ":" + rest
			number, text, _ := strings.Cut(rest, ":")
			if n, err := strconv.Atoi(number); err == nil {
				what = fmt.Sprintf(":%d:%s", userLine(n), text)
			}
		} else if rest, ok := strings.CutPrefix(line, as+":"); ok {
			what = ":" + rest
		} else if strings.Contains(line, path) || strings.HasPrefix(line, "Unit "+as+" ") {
			what = ": " + line
		} else {
			continue
		}
		what = strings.ReplaceAll(what, path, string(r.Name))
		what = string(r.Name) + strings.ReplaceAll(what, as, string(r.Name))
		if harmless(what, r.AllowUnknown) {
			what = "warning: " + what
		} else {
			bad = true
		}
		if !slices.Contains(said, what) {
			said = append(said, what)
		}
	}
	return said, bad
}

// harmless says whether the unit can do what it says though systemd complains:
// what it ignores or refuses is not. A program or unit that is not on this
// machine may be on another.
func harmless(what string, allowUnknown bool) bool {
	lower := strings.ToLower(what)
	has := func(part string) bool { return strings.Contains(lower, part) }
	switch {
	case has("unknown escape sequence"), has(" is not executable: "), has("/start: unit "):
		return true
	case has("unknown key"), has("unknown lvalue"), has("unknown section"):
		return allowUnknown
	}
	return !has("ignor") && !has("refus") && !has("bad unit file setting") && !has("failed to")
}

// firstBytes keeps the first bytes that are written to it.
type firstBytes struct {
	bytes.Buffer
	left int
}

func (f *firstBytes) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.Buffer.Write(p[:n])
	return len(p), nil
}

// lastOf is the last line of a text.
func lastOf(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
